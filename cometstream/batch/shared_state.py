"""What workers know together of a server's limits: one ``ModelLimits`` for each model, fed by all of them. No I/O and no clock.

A worker reports what became of its requests, and is granted the next ones for the next moment: a lease, not a call for each row.
So the limits are learned from all requests, as if one process sent them all.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from cometstream.batch.announced import AnnouncedLimit
from cometstream.batch.buckets import Caps, Pace, TokenBucket, TrailingMinute
from cometstream.batch.latency import LatencyWatch
from cometstream.batch.learned_rate import LearnedRate
from cometstream.batch.model_limits import ModelLimits, Ticket
from cometstream.batch.parallel import ParallelLimit
from cometstream.batch.rate_trial import RateTest
from cometstream.batch.ratelimit_headers import Allowance
from cometstream.batch.refusals import RefusalWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AHEAD", "Event", "ModelKey", "ModelReply", "Reply", "Report", "SharedState", "Want"]

AHEAD: Final = 0.25
"""Seconds for which requests are granted. What is granted to a worker that dies is lost."""

# Seconds after which a worker that is silent is dead: its requests are not under way any more.
_DEAD: Final = 10.0
# Models that are remembered.
_MODELS: Final = 64
# The most requests that are granted at once.
_GRANTS: Final = 1000

ModelKey: TypeAlias = "tuple[str, float | None, float | None]"
"""A model's name and the caller's caps: workers with other caps do not share them."""

Event: TypeAlias = "tuple[int, str, float, Any]"
"""The request's number (of its grant; negative if it needed none), what happened, when, and a value."""


class Want(NamedTuple):
    """How many requests a worker could start, and their tokens."""

    requests: int
    tokens: int


class Report(NamedTuple):
    """What a worker tells.

    Attributes:
        now: Seconds on the worker's own clock, which all times are of.
        models: For each of its models, what happened since its last report.
        wants: The models that it wants to send requests to.
        cost: Money spent since its last report.
        tokens: Tokens used since its last report.
    """

    now: float
    models: dict[ModelKey, list[Event]]
    wants: dict[ModelKey, Want]
    cost: float = 0.0
    tokens: int = 0


class ModelReply(NamedTuple):
    """What a worker is told of a model.

    Attributes:
        free: There is no limit: requests need no grant.
        grants: Numbers of requests that may start, and when.
        void: Grants up to this number are void: they were granted before requests began to rest.
        overloaded: Requests rest, and no rate is known that explains it.
        rate: Requests a second that the server seems to take, of all workers together; None if nothing was learned.
        wait: Seconds after which asking for more may help.
    """

    free: bool
    grants: list[tuple[int, float]]
    void: int
    overloaded: bool
    rate: float | None
    wait: float


class Reply(NamedTuple):
    """What a worker is told.

    Attributes:
        models: Of each model in its report.
        workers: How many workers there are, itself included.
        cost: Money spent by all workers.
        tokens: Tokens used by all workers.
    """

    models: dict[ModelKey, ModelReply]
    workers: int
    cost: float
    tokens: int


class SharedState:
    """The state that all workers share."""

    __slots__ = ("cost", "models", "now", "number", "requests", "seen", "tokens", "void")

    def __init__(self) -> None:
        self.now = 0.0
        self.models: dict[ModelKey, ModelLimits] = {}
        self.seen: dict[str, float] = {}
        self.number = 0
        self.void: dict[ModelKey, int] = {}
        # Of each worker: its requests by their numbers, and when they were granted.
        self.requests: dict[str, dict[tuple[ModelKey, int], tuple[Ticket, float]]] = {}
        self.cost = 0.0
        self.tokens = 0

    def exchange(self, worker: str, report: Report, now: float) -> Reply:
        """Take a worker's report, and tell it what it may send until the next one.

        Args:
            worker: Who reports.
            report: What happened.
            now: Seconds on the clock of all workers.
        """
        now = self.now = max(now, self.now)
        later = now - report.now
        self.seen[worker] = now
        self._bury(now)
        self.cost += report.cost
        self.tokens += report.tokens
        requests = self.requests.setdefault(worker, {})
        for key, events in report.models.items():
            model = self._model(key, now)
            rested = model.is_resting
            for number, what, at, value in events:
                _apply(requests, key, model, (number, what, at + later, value))
            if model.is_resting and not rested:
                self.void[key] = self.number
        replies = {}
        for key in report.models:
            model, want = self._model(key, now), report.wants.get(key)
            grants, wait = ([], AHEAD) if want is None or model.free else self._grant(worker, key, model, want)
            own = [(number, due - later) for number, due in grants]
            replies[key] = ModelReply(model.free, own, self.void.get(key, 0), model.is_overloaded, model.rate, wait)
        return Reply(replies, len(self.seen), self.cost, self.tokens)

    def leave(self, worker: str) -> None:
        """A worker has ended."""
        self.seen.pop(worker, None)
        for (key, _), (ticket, _) in self.requests.pop(worker, {}).items():
            if key in self.models and not ticket.is_over:
                self.models[key].over(ticket)

    def _grant(
        self, worker: str, key: ModelKey, model: ModelLimits, want: Want
    ) -> tuple[list[tuple[int, float]], float]:
        """Start the next requests for a worker, each at its time."""
        grants: list[tuple[int, float]] = []
        due, end = self.now, self.now + AHEAD
        while True:
            wait = model.wait(want.tokens, due)
            if due + wait > end:
                return grants, due + wait - end
            if len(grants) >= min(want.requests, _GRANTS):
                return grants, 0.0
            due += wait
            self.number += 1
            self.requests[worker][key, self.number] = (model.start(want.tokens, due), self.now)
            grants.append((self.number, due))

    def _bury(self, now: float) -> None:
        for worker in [worker for worker, seen in self.seen.items() if now - seen > _DEAD]:
            self.leave(worker)

    def _model(self, key: ModelKey, now: float) -> ModelLimits:
        model = self.models.get(key)
        if model is None:
            if len(self.models) >= _MODELS:
                idle = [known for known, limits in self.models.items() if not limits.in_flight]
                for known in idle[:1]:
                    del self.models[known]
                    self.void.pop(known, None)
            name, rpm, tpm = key
            model = self.models[key] = ModelLimits(name, rpm, tpm, now, Caps())
        return model

    def written(self) -> bytes:
        """Return the state as bytes."""
        return pickle.dumps(self, protocol=5)

    @classmethod
    def read(cls, state: bytes | None, now: float) -> SharedState:
        """Return the state that was written; a new one if there is none, or none that can be read.

        If the clock was set back, only what was spent is kept: the times of the rest are in the future.
        """
        new = cls()
        if state is None:
            return new
        try:
            read = _Unpickler(io.BytesIO(state)).load()
        except Exception:  # whatever bytes that are no pickle of ours lead to
            return new
        if not isinstance(read, cls):
            return new
        if now < read.now - _DEAD:
            new.cost, new.tokens = read.cost, read.tokens
            return new
        return read


def _apply(
    requests: dict[tuple[ModelKey, int], tuple[Ticket, float]], key: ModelKey, model: ModelLimits, event: Event
) -> None:
    """Have a model learn what happened to one request."""
    number, what, at, value = event
    if what == "start":
        requests[key, number] = (model.start(value, at), at)
        return
    if what == "busy":
        model.busy(value, at)
        return
    if what == "answered":
        model.answered(at)
        return
    if what == "back":
        model.give_back(value, at)
        return
    if (key, number) not in requests:  # its worker was taken for dead
        return
    ticket, granted = requests[key, number]
    if what == "used":
        model.give_back(ticket.tokens - value, at)
        ticket.tokens = value
    elif what == "read":
        model.read(ticket, value, at)
    elif what == "taken":
        model.taken(ticket, at)
    elif what == "refused":
        # It was on its way when others were refused meanwhile.
        ticket.time = granted
        model.refused(ticket, value, at)
    elif what == "over":
        model.over(ticket)
    elif what == "unused":
        model.unused(ticket, at)
        del requests[key, number]
    else:
        del requests[key, number]


_CLASSES: Final[Sequence[type]] = (
    Allowance,
    AnnouncedLimit,
    LatencyWatch,
    LearnedRate,
    ModelLimits,
    Pace,
    ParallelLimit,
    RateTest,
    RefusalWatch,
    SharedState,
    Ticket,
    TokenBucket,
    TrailingMinute,
)
_KNOWN: Final = {(known.__module__, known.__qualname__): known for known in _CLASSES}


class _Unpickler(pickle.Unpickler):
    """Reads nothing but the classes of a state: whoever can write to the store must not run code here."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        known = _KNOWN.get((module_name, global_name))
        if known is not None:
            return known
        if (module_name, global_name) == ("collections", "deque"):
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of a state")
