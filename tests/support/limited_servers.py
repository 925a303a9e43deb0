"""Servers that hide a limit, and a client that obeys `Limits`, as a simulation of discrete events: no clock, no I/O."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from cometstream.batch.limits import Limits, Ticket
from cometstream.batch.shared_models import SOON, SharedModels
from cometstream.batch.shared_state import SharedState
from cometstream.errors import APIConnectionError, CometError, RateLimitError

# Seconds that a request takes to the server, and its refusal back.
_ONE_WAY = 0.03
# Seconds that a store takes.
_STORE = 0.005


class Server(Protocol):
    """Takes a request, or names the seconds until it would."""

    rpm: float

    def takes(self, now: float) -> float:
        """Return 0.0 where the request is taken, else the seconds until there is room."""
        ...

    def ended(self, now: float) -> None:
        """A request that was taken has been answered."""


@dataclass
class FixedWindow:
    """So many in each minute of the server's own clock, which began at `offset`."""

    rpm: float
    offset: float = 0.0
    _window: int = -1
    _taken: int = 0

    def announces(self, now: float) -> dict[str, str]:
        """Return the headers that tell what is left of the window."""
        reset = 60 - (now - self.offset) % 60
        return {
            "x-ratelimit-limit-requests": f"{self.rpm}",
            "x-ratelimit-remaining-requests": f"{self.rpm - self._taken}",
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
        }

    def takes(self, now: float) -> float:
        window = math.floor((now - self.offset) / 60)
        if window != self._window:
            self._window, self._taken = window, 0
        if self._taken >= self.rpm:
            return (window + 1) * 60 + self.offset - now
        self._taken += 1
        return 0.0

    def ended(self, now: float) -> None: ...


@dataclass
class SlidingWindow:
    """So many in any 60 seconds."""

    rpm: float
    _taken: deque[float] = field(default_factory=deque)

    def takes(self, now: float) -> float:
        while self._taken and self._taken[0] <= now - 60:
            self._taken.popleft()
        if len(self._taken) >= self.rpm:
            return self._taken[0] + 60 - now
        self._taken.append(now)
        return 0.0

    def ended(self, now: float) -> None: ...


@dataclass
class CountsAnswers:
    """So many answers that have ended in any 60 seconds: what is on its way is not counted yet, as in new-api."""

    rpm: float
    _ended: deque[float] = field(default_factory=deque)

    def takes(self, now: float) -> float:
        while self._ended and self._ended[0] <= now - 60:
            self._ended.popleft()
        full = len(self._ended) - int(self.rpm)
        return self._ended[full] + 60 - now if full >= 0 else 0.0

    def ended(self, now: float) -> None:
        self._ended.append(now)


@dataclass
class LeakyBucket:
    """An even rate, with so many at once."""

    rpm: float
    burst: float
    _level: float = math.inf
    _seen: float = 0.0

    def announces(self, now: float) -> dict[str, str]:
        """Return the headers that tell what is left of the bucket, and when it will be full, as OpenAI does."""
        return {
            "x-ratelimit-limit-requests": f"{self.burst:.0f}",
            "x-ratelimit-remaining-requests": f"{self._level:.0f}",
            "x-ratelimit-reset-requests": f"{(self.burst - self._level) * 60 / self.rpm * 1000:.0f}ms",
        }

    def takes(self, now: float) -> float:
        self._level = min(self.burst, self._level + (now - self._seen) * self.rpm / 60)
        self._seen = now
        if self._level < 1 - 1e-9:
            return (1 - self._level) * 60 / self.rpm
        self._level -= 1
        return 0.0

    def ended(self, now: float) -> None: ...


@dataclass
class Queue:
    """No limit but so many slots: what does not fit waits for its first content."""

    slots: int
    rpm: float = 0.0

    def takes(self, now: float) -> float:
        return 0.0

    def ended(self, now: float) -> None: ...

    def first_content(self, random: Random, in_flight: int) -> float:
        return random.uniform(0.4, 0.6) + 2.5 * max(0, in_flight - self.slots) / self.slots


@dataclass
class Chance:
    """No limit, but a share of all requests is refused at random."""

    share: float
    wish: float = 1.0
    rpm: float = 0.0
    seed: int = 5

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def takes(self, now: float) -> float:
        return self.wish if self._random.random() < self.share else 0.0

    def ended(self, now: float) -> None: ...


@dataclass
class Channels:
    """No limit, but so many channels that take turns, and the last one is full."""

    count: int
    wish: float = 1.0
    rpm: float = 0.0
    _turn: int = 0

    def takes(self, now: float) -> float:
        self._turn += 1
        return self.wish if self._turn % self.count == 0 else 0.0

    def ended(self, now: float) -> None: ...


@dataclass
class Parallel:
    """So many at a time; the others are refused."""

    slots: int
    wish: float = 1.0
    rpm: float = 0.0
    _running: int = 0

    def takes(self, now: float) -> float:
        if self._running >= self.slots:
            return self.wish
        self._running += 1
        return 0.0

    def ended(self, now: float) -> None:
        self._running -= 1


@dataclass
class Log:
    """What happened in each minute, by the time at which requests were sent."""

    taken: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    failed: int = 0

    def of(self, first: int, last: int) -> tuple[float, float]:
        """Return the requests taken a minute, and the share that was refused, from minute `first` to before `last`."""
        taken = sum(self.taken.get(minute, 0) for minute in range(first, last))
        refused = sum(self.refused.get(minute, 0) for minute in range(first, last))
        return taken / (last - first), refused / max(taken + refused, 1)


@dataclass
class Simulation:
    """An endless batch of one model against one server, for some minutes.

    A request is started as soon as `limits` allow it; one that was refused or failed is replaced by the next. First contents
    take 0.2 to 2 s, what follows is lognormal within `ends_within`.
    """

    limits: Limits
    server: Server
    tells: bool = True
    announces: Callable[[float], dict[str, str]] = lambda now: {}
    seed: int = 1
    ends_within: tuple[float, float] = (1.0, 15.0)
    first_content: Callable[[Random, int], float] = lambda random, in_flight: min(random.lognormvariate(-0.5, 0.5), 5.0)
    fails: Callable[[float], CometError | None] = lambda now: None
    log: Log = field(default_factory=Log)
    now: float = 0.0
    in_flight: int = 0
    peak: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._events: list[tuple[float, int, Iterator[float]]] = []
        self._number = 0
        self._woken = math.inf

    def run(self, until: float) -> Log:
        """Go on until that time."""
        while True:
            self._start_all()
            if not self._events or min(self._events[0][0], self._woken) >= until:
                if self._woken >= until:
                    return self.log
                self.now, self._woken = self._woken, math.inf
                continue
            if self._woken < self._events[0][0]:
                self.now, self._woken = self._woken, math.inf
                continue
            self.now, _, request = heapq.heappop(self._events)
            self._go_on(request)

    def _start_all(self) -> None:
        while self.in_flight < self.limits.concurrency:
            wait = self.limits.wait("model", 100, self.now)
            if wait > 0.0:
                self._woken = min(self._woken, self.now + wait) if self._woken > self.now else self.now + wait
                return
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self._go_on(self._request(self.limits.start("model", 100, self.now)))

    def _go_on(self, request: Iterator[float]) -> None:
        delay = next(request, None)
        if delay is None:
            self.in_flight -= 1
            return
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self._number, request))

    def _request(self, ticket: Ticket) -> Iterator[float]:
        limits, random, sent = self.limits, self._random, self.now
        yield _ONE_WAY
        error = self.fails(self.now)
        room = 0.0 if error is not None else self.server.takes(self.now)
        headers = self.announces(self.now)
        yield _ONE_WAY + random.expovariate(1 / 0.05)
        if error is not None:
            self.log.failed += 1
            limits.failed(ticket, error, self.now)
            return
        if room > 0.0:
            self._count(self.log.refused, sent)
            retry_after = float(math.ceil(room)) if self.tells else None
            limits.failed(
                ticket, RateLimitError("slow down", status=429, retry_after=retry_after, retryable=True), self.now
            )
            return
        self._count(self.log.taken, sent)
        limits.answered(ticket, headers, self.now)
        first = self.first_content(random, self.in_flight)
        shortest, longest = self.ends_within
        yield first + min(max(random.lognormvariate(1.2, 0.5), shortest), longest)
        self.server.ended(self.now)
        limits.completed(ticket, self.now, tokens=90, time_to_first_content=first)

    @staticmethod
    def _count(counts: dict[int, int], sent: float) -> None:
        minute = int(sent // 60)
        counts[minute] = counts.get(minute, 0) + 1


def no_connection(_now: float) -> CometError:
    return APIConnectionError("no answer")


@dataclass
class SharedSimulation(Simulation):
    """The same with several workers, which know of each other what a `SharedState` holds.

    `dies` ends a worker at a time, with all that it was granted; another one takes its place.
    """

    workers: int = 8
    concurrency: Any = "auto"
    caps: dict[str, float] = field(default_factory=dict)
    dies: tuple[float, ...] = ()
    state: SharedState = field(default_factory=SharedState)
    exchanges: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._team = [_Worker(self, name) for name in range(self.workers)]
        for worker in self._team:
            self._go_on(self._exchange(worker))
        for moment in self.dies:
            self._number += 1
            heapq.heappush(self._events, (moment, self._number, self._replace()))

    def _start_all(self) -> None:
        for worker in self._team:
            while worker.in_flight < worker.limits.concurrency:
                wait = worker.limits.wait("model", 100, self.now)
                if wait > 0.0:
                    self._woken = min(self._woken, self.now + wait) if self._woken > self.now else self.now + wait
                    break
                worker.in_flight += 1
                self._go_on(self._of(worker, worker.limits.start("model", 100, self.now)))

    def _of(self, worker: _Worker, ticket: Ticket) -> Iterator[float]:
        self.limits = worker.limits
        request = self._request(ticket)
        for delay in request:
            yield delay
            if worker.dead:
                return
            self.limits = worker.limits
        self.in_flight += 1  # which the end of every request takes off
        worker.in_flight -= 1

    def _exchange(self, worker: _Worker) -> Iterator[float]:
        yield self._random.uniform(0.0, 0.1)
        while not worker.dead:
            self.exchanges += 1
            free = worker.limits.concurrency - worker.in_flight
            report = worker.models.report(self.now, 0.0, 0, free)
            yield _STORE
            if worker.dead:
                return
            reply = SharedState.exchange(self.state, worker.name, report, self.now)
            worker.models.take(reply, self.now)
            worker.wanted = False
            while self.now < worker.models.due and not (worker.wanted and self.now >= worker.last + SOON):
                yield 0.01
            worker.last = self.now

    def _replace(self) -> Iterator[float]:
        self._team.pop(0).dead = True
        self._team.append(_Worker(self, self._number))
        self._go_on(self._exchange(self._team[-1]))
        yield 0.0
        self.in_flight += 1


class _Worker:
    def __init__(self, simulation: SharedSimulation, name: int) -> None:
        self.name = f"worker {name}"
        self.models = SharedModels(1, self.want)
        self.limits = Limits(
            now=simulation.now,
            shared=self.models,
            concurrency=simulation.concurrency,
            **simulation.caps,  # type: ignore[arg-type]
        )
        self.in_flight = 0
        self.wanted = self.dead = False
        self.last = 0.0

    def want(self) -> None:
        self.wanted = True
