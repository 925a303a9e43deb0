"""One worker's part of limits that several workers share: what it may send, and what it has to report. No I/O and no clock."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.buckets import TICK, Caps
from cometstream.batch.latency import LatencyWatch
from cometstream.batch.model_limits import ModelLimits, Ticket
from cometstream.batch.shared_state import AHEAD, Report, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cometstream.batch.shared_state import Event, ModelKey, ModelReply, Reply

__all__ = ["SOON", "SharedModel", "SharedModels"]

SOON: Final = 0.05
"""The shortest time between two exchanges, in seconds."""

# Seconds after its time in which a grant may be used. A busy event loop is late; much later, grants would pile up to a burst.
_LATE: Final = 0.5
# Seconds to wait for the next exchange: it asks again anyway.
_A_WHILE: Final = 1.0
# Models that are remembered, unless they have requests under way.
_MODELS: Final = 64
# Headers that tell of limits.
_HEADERS: Final = "x-ratelimit-"


class SharedModels:
    """What one worker knows of the models that it shares.

    Args:
        workers: How many workers there are, as far as is known.
        want: Called if an exchange is wanted soon.
    """

    def __init__(self, workers: int, want: Callable[[], object]) -> None:
        self.workers = workers
        self.due = -math.inf  # when the next exchange is due
        self._models: dict[ModelKey, SharedModel] = {}
        self._want = want
        self._away = False
        # Spent by this worker as it was reported, and by all; each as money and as tokens.
        self._reported = (0.0, 0)
        self._spent = (0.0, 0)

    def model(self, name: str, rpm: float | None, tpm: float | None, now: float) -> SharedModel:
        """Return a model of this worker's."""
        key = (name, rpm, tpm)
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= _MODELS:
                for idle in [known for known, other in self._models.items() if other.is_idle]:
                    del self._models[idle]
            model = self._models[key] = SharedModel(key, self._want)
            if self._away:
                model.go_on_alone(self.workers, now)
            self._want()
        return model

    def report(self, now: float, cost: float, tokens: int, free: int) -> Report:
        """Return what is to be reported.

        Args:
            now: Seconds on the worker's clock.
            cost: Money that this worker has spent so far.
            tokens: Tokens that it has used so far.
            free: How many more requests it could run.
        """
        events: dict[ModelKey, list[Event]] = {}
        wants: dict[ModelKey, Want] = {}
        for key, model in self._models.items():
            want = model.wants(free)
            told = model.report(now)
            if told or model.is_waiting:
                events[key] = told
            if want is not None:
                wants[key] = want
        spent = Report(now, events, wants, cost - self._reported[0], tokens - self._reported[1])
        self._reported = (cost, tokens)
        return spent

    def take(self, reply: Reply, now: float) -> None:
        """Take what the others told."""
        self._away = False
        self.workers = reply.workers
        self._spent = (reply.cost, reply.tokens)
        wait = AHEAD
        for key, told in reply.models.items():
            self._models[key].take(told, now)
            # Half-way, so that the next grants are there before the last one is used.
            wait = min(wait, AHEAD / 2 if told.grants else max(told.wait, SOON))
        self.due = now + wait

    def lost(self, report: Report, now: float, *, alone: bool = True) -> None:
        """The others are not reached: keep what was to be reported, and go on with a fair share if that is known."""
        self._reported = (self._reported[0] - report.cost, self._reported[1] - report.tokens)
        for key, events in report.models.items():
            self._models[key].put_back(events)
        if not alone:
            return
        self._away = True
        for model in self._models.values():
            model.go_on_alone(self.workers, now)

    def room(self, most: float, *, money: bool) -> float:
        """Return what this worker may have spent in all, if all workers together may spend `most`."""
        reported, spent = (self._reported[0], self._spent[0]) if money else (self._reported[1], self._spent[1])
        if self._away:
            return reported + max(most - spent, 0.0) / self.workers
        return most - (spent - reported)


class SharedModel:
    """One model of one worker; it takes the place of a ``ModelLimits``.

    Args:
        key: The model, with the caller's caps.
        want: Called if an exchange is wanted soon.

    Attributes:
        in_flight: This worker's requests under way.
        started: Requests that this worker started.
        tokens_started: Tokens that this worker started.
    """

    __slots__ = (
        "_alone",
        "_asked",
        "_ended",
        "_events",
        "_free",
        "_granted",
        "_grants",
        "_headers",
        "_key",
        "_numbers",
        "_overloaded",
        "_rate",
        "_shadows",
        "_told",
        "_used",
        "_want",
        "in_flight",
        "input",
        "latency",
        "name",
        "started",
        "tokens_started",
        "total",
    )

    def __init__(self, key: ModelKey, want: Callable[[], object]) -> None:
        self._key = key
        self._want = want
        self.name = key[0]
        self._free = False
        self.in_flight = 0
        self.started = 0
        self.tokens_started = 0
        self.latency = LatencyWatch()
        self.input: float | None = None
        self.total: float | None = None
        self._events: list[Event] = []
        self._headers: Event | None = None  # the newest
        self._grants: deque[tuple[int, float]] = deque()
        self._granted = self._used = 0  # by the last exchange, and used of these
        self._asked = 0  # tokens of a request that waits for a grant
        self._numbers: dict[Ticket, int] = {}
        self._ended: list[Ticket] = []
        self._told = False  # when to ask again
        self._rate: float | None = None
        self._overloaded = False
        self._alone: ModelLimits | None = None  # what counts if the others are not reached
        self._shadows: dict[Ticket, Ticket] = {}  # requests that were started then

    @property
    def free(self) -> bool:
        """Whether a request need not wait."""
        return self._free if self._alone is None else self._alone.free

    @property
    def is_idle(self) -> bool:
        """Whether it has no requests under way, and nothing to report."""
        return not (self.in_flight or self._events or self._grants or self._ended)

    @property
    def is_waiting(self) -> bool:
        """Whether it wants to know what may be sent."""
        return self._told or self.in_flight > 0

    @property
    def was_refused(self) -> bool:
        """Whether refusals have taught anything."""
        return self._rate is not None or self._overloaded

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a request of this size may start; 0.0 for now."""
        if self._alone is not None:
            return self._alone.wait(tokens, now)
        self._drop_late(now)
        self._asked = max(tokens, 1)
        if self._grants:
            wait = self._grants[0][1] - now
            return wait if wait > TICK else 0.0
        if not self._told:
            self._want()
        return _A_WHILE

    def start(self, tokens: int, now: float) -> Ticket:
        """Count a request that starts."""
        self.in_flight += 1
        self.started += 1
        self.tokens_started += tokens
        ticket = Ticket(self, tokens, now, ())
        if self._alone is not None:
            self._shadows[ticket] = self._alone.start(tokens, now)
        elif self._grants:
            number = self._numbers[ticket] = self._grants.popleft()[0]
            self._used += 1
            self._events.append((number, "used", now, tokens))
        else:
            number = self._numbers[ticket] = -self.started
            self._events.append((number, "start", now, tokens))
        return ticket

    def read(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """Read the limits that an answer's headers announce."""
        if ticket in self._shadows and self._alone is not None:
            self._alone.read(self._shadows[ticket], headers, now)
            return
        told = {name.lower(): value for name, value in headers.items() if name.lower().startswith(_HEADERS)}
        if told and ticket in self._numbers:
            self._headers = (self._numbers[ticket], "read", now, told)

    def give_back(self, tokens: int, now: float) -> None:
        """Give back tokens that a request did not need."""
        if self._alone is not None:
            self._alone.give_back(tokens, now)
        elif tokens and self._key[2] is not None:
            self._events.append((0, "back", now, tokens))

    def taken(self, ticket: Ticket, now: float) -> None:
        """The server took a request."""
        if ticket in self._shadows:
            if self._alone is not None:
                self._alone.taken(self._shadows[ticket], now)
        elif ticket.was_taken is None:
            ticket.was_taken = True
            self._tell(ticket, "taken", now, None)

    def over(self, ticket: Ticket) -> None:
        """A request has ended, however it did."""
        self.in_flight -= 1
        # It may still be told that it was refused: it is forgotten with the next report.
        self._ended.append(ticket)
        shadow = self._shadows.get(ticket)
        if shadow is None:
            self._tell(ticket, "over", ticket.time, None)
        elif self._alone is not None:
            self._alone.over(shadow)

    def answered(self, now: float) -> None:
        """A request was answered whole."""
        if self._alone is not None:
            self._alone.answered(now)
        else:
            self._events.append((0, "answered", now, None))

    def refused(self, ticket: Ticket, wish: float | None, now: float) -> bool:
        """The server refused a request. Return whether it is overloaded, and no rate is known that explains it."""
        if ticket in self._shadows:
            return self._alone is not None and self._alone.refused(self._shadows[ticket], wish, now)
        if ticket not in self._numbers:  # of a time when the others were away
            return self._overloaded
        ticket.was_taken = False
        self._tell(ticket, "refused", now, wish)
        # Nothing more until the others know, and have said what follows from it.
        self._free = False
        self._want()
        return self._overloaded

    def busy(self, wish: float, now: float) -> None:
        """The server answered with a 503 that asks to wait."""
        if self._alone is not None:
            self._alone.busy(wish, now)
        else:
            self._events.append((0, "busy", now, wish))
            self._want()

    def report(self, now: float) -> list[Event]:
        """Return what happened since the last report."""
        self._drop_late(now)
        events, self._events = self._events, []
        if self._headers is not None:
            events.append(self._headers)
            self._headers = None
        for ticket in self._ended:
            self._shadows.pop(ticket, None)
            number = self._numbers.pop(ticket, None)
            if number is not None:
                events.append((number, "end", now, None))
        self._ended.clear()
        return events

    def put_back(self, events: list[Event]) -> None:
        """A report did not arrive."""
        self._events = events + self._events

    def wants(self, free: int) -> Want | None:
        """Return how many requests to ask for; None if no request waits."""
        asked, self._asked = self._asked, 0
        self._told = asked > 0
        if not asked or self.free:
            return None
        # Twice as many as were used, so that a worker whose rows come slowly leaves some to the others.
        count = self._used + 1 if self._used < self._granted else 2 * self._used + 1
        left = free - len(self._grants)
        return Want(min(count, left), asked) if left > 0 else None

    def take(self, told: ModelReply, now: float) -> None:
        """Take what the others told."""
        if self._alone is not None:
            self._alone = None
            self._shadows.clear()
        self._free = told.free
        self._rate = told.rate
        self._overloaded = told.overloaded
        self._void(told.void, now)
        if told.grants:
            self._granted, self._used = len(told.grants), 0
            self._grants.extend(told.grants)

    def go_on_alone(self, workers: int, now: float) -> None:
        """The others are not reached: take a fair share of what is known."""
        if self._alone is not None:
            return
        name, rpm, tpm = self._key
        known = math.inf if self._rate is None else self._rate * 60.0
        most = min(math.inf if rpm is None else rpm, known)
        self._alone = ModelLimits(
            name,
            None if most == math.inf else most / workers,
            None if tpm is None else tpm / workers,
            now,
            Caps(),
        )
        self._void(math.inf, now)

    def _void(self, up_to: float, now: float) -> None:
        """Give back the grants up to a number."""
        while self._grants and self._grants[0][0] <= up_to:
            self._events.append((self._grants.popleft()[0], "unused", now, None))

    def _tell(self, ticket: Ticket, what: str, now: float, value: Any) -> None:
        number = self._numbers.get(ticket)
        if number is not None:
            self._events.append((number, what, now, value))

    def _drop_late(self, now: float) -> None:
        while self._grants and self._grants[0][1] < now - _LATE:
            self._events.append((self._grants.popleft()[0], "unused", now, None))
