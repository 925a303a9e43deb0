"""The figures of a batch's report, in memory of a fixed size however many rows there are: bins of time, and sketches of spreads."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from cometstream.batch import ConcurrencyChange
from cometstream.batch.output_line import error_code
from cometstream.views.cost import output_tokens, reported_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cometstream.batch import BatchProgress, BatchResult
    from cometstream.metrics import StreamMetrics

__all__ = ["BatchFigures", "Bin", "Fault", "Spread", "Timeline"]

# A counter is for times up to 5 % longer than the one before: from a millisecond to a day.
_FINEST: Final = 1e-3
_GROWTH: Final = math.log(1.05)
_COUNTERS: Final = 384

# Bins of time, and the seconds of one at first: a page is about so many pixels wide.
_BINS: Final = 120
_WIDTH: Final = 0.1

# Kinds of failures and models that are told apart. A server may invent any number of them.
_KINDS: Final = 100
_OTHER: Final = "other"
# Rows of a kind that are named, and the characters of names and messages that are kept.
_NAMED: Final = 5
_LONGEST: Final = 300

# Changes of the concurrency that are kept, as many as a batch itself keeps.
_CHANGES: Final = 1000


class Spread:
    """How times spread, as a sketch: a percentile is right to 3 %, the shortest and the longest time are exact.

    Attributes:
        count: How many times there are.
        shortest: The shortest time in seconds.
        longest: The longest time in seconds.
    """

    __slots__ = ("_counters", "count", "longest", "shortest")

    def __init__(self) -> None:
        self._counters = [0] * _COUNTERS
        self.count = 0
        self.shortest = math.inf
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        counter = 0 if seconds <= _FINEST else min(math.ceil(math.log(seconds / _FINEST) / _GROWTH), _COUNTERS - 1)
        self._counters[counter] += 1
        self.count += 1
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float | None:
        """Return the time that a share of all does not exceed; None where there is no time."""
        if not self.count:
            return None
        rank = max(math.ceil(share * self.count), 1)
        counter = bisect_left(list(accumulate(self._counters)), rank)
        return min(max(_FINEST * math.exp((counter - 0.5) * _GROWTH), self.shortest), self.longest)

    def bars(self, most: int) -> list[tuple[float, float, int]]:
        """Return at most so many bars from the shortest to the longest time: from, to (in seconds), and how many there are."""
        used = [counter for counter, count in enumerate(self._counters) if count]
        if not used:
            return []
        step = (used[-1] - used[0]) // most + 1
        return [
            (
                _FINEST * math.exp((first - 1) * _GROWTH),
                _FINEST * math.exp((first - 1 + step) * _GROWTH),
                sum(self._counters[first : first + step]),
            )
            for first in range(used[0], used[-1] + 1, step)
        ]


@dataclass
class Bin:
    """What happened in one piece of the time.

    Attributes:
        done: Rows that ended well.
        failed: Rows that failed.
        tokens: Output tokens of the rows that ended.
        running: The most requests that were under way; None if nobody looked.
        allowed: How many might be, at the last look; None if nobody looked.
    """

    done: int = 0
    failed: int = 0
    tokens: int = 0
    running: int | None = None
    allowed: int | None = None

    def add(self, later: Bin) -> None:
        """Take in the bin that follows."""
        self.done += later.done
        self.failed += later.failed
        self.tokens += later.tokens
        if later.running is not None:
            self.running = max(self.running or 0, later.running)
        if later.allowed is not None:
            self.allowed = later.allowed


class Timeline:
    """The time as at most 120 bins. When the time goes on behind the last one, two by two become one.

    Attributes:
        width: The seconds of a bin.
        bins: The bins, from the beginning on.
    """

    def __init__(self) -> None:
        self.width = _WIDTH
        self.bins: list[Bin] = []

    def at(self, seconds: float) -> Bin:
        """Return the bin of a time since the beginning."""
        number = int(max(seconds, 0.0) / self.width)
        while number >= _BINS:
            self.width *= 2
            number = int(seconds / self.width)
            for first, second in zip(self.bins[::2], self.bins[1::2], strict=False):
                first.add(second)
            self.bins = self.bins[::2]
        while len(self.bins) <= number:
            self.bins.append(Bin())
        return self.bins[number]


@dataclass
class Fault:
    """One kind of failure.

    Attributes:
        rows: How many rows failed so.
        named: The names of some of them.
        message: What the first one said.
    """

    rows: int = 0
    named: list[str] = field(default_factory=list)
    message: str = ""


class BatchFigures:
    """What a batch did.

    Args:
        priced: Whether the user gave prices.

    Attributes:
        began: When the batch began.
        ended: When it ended; before that, when it began.
        seconds: How long it took.
        timeline: What happened when.
        first_content: From sending the last attempt of a row to its first content.
        durations: From sending the last attempt of a complete row to its end.
        faults: The failures by kind.
        retries: Why attempts were made again.
        models: The models that were asked, by their rows.
        costs: Answers by who said what they cost: ``reported``, ``price``, ``catalog``, ``unknown``.
        uncounted: Answers whose tokens nobody told.
        changes: How the concurrency changed, in seconds since the beginning.
        exact: Whether these are all changes, and not those that were seen from time to time.
        progress: The last progress; None if the batch did not begin.
    """

    def __init__(self, *, priced: bool) -> None:
        self._priced = priced
        self.begin(time.monotonic)
        self.seconds = 0.0
        self.timeline = Timeline()
        self.first_content = Spread()
        self.durations = Spread()
        self.faults: dict[str, Fault] = {}
        self.retries: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.costs: Counter[str] = Counter()
        self.uncounted = 0
        self.changes: deque[ConcurrencyChange] = deque(maxlen=_CHANGES)
        self.exact = False
        self.progress: BatchProgress | None = None

    def begin(self, clock: Callable[[], float]) -> None:
        """The batch begins now.

        Args:
            clock: The seconds of its event loop.
        """
        self._clock = clock
        self._zero = clock()
        self.began = self.ended = datetime.now(timezone.utc)

    @property
    def done(self) -> int:
        """Rows that ended well."""
        return sum(one.done for one in self.timeline.bins)

    @property
    def failed(self) -> int:
        """Rows that failed, bad lines included."""
        return sum(one.failed for one in self.timeline.bins)

    def pieces(self) -> list[tuple[float, float, Bin]]:
        """Return the time in pieces: from, how long (in seconds), and what happened."""
        width, bins = self.timeline.width, self.timeline.bins
        last = max(self.seconds - width * (len(bins) - 1), 0.0)
        pieces = [(number * width, width, one) for number, one in enumerate(bins[:-1])]
        if pieces and last < width / 2:  # too short for a rate
            start, _, before = pieces.pop()
            whole = replace(before)
            whole.add(bins[-1])
            return [*pieces, (start, width + last, whole)]
        return [*pieces, *((len(bins) * width - width, last or width, one) for one in bins[-1:])]

    def note(self, result: BatchResult, custom_id: str) -> None:
        """A row has ended, and has its line."""
        now = self.timeline.at(self._clock() - self._zero)
        if result.outcome == "complete":
            now.done += 1
        else:
            now.failed += 1
            self._fault(error_code(result), custom_id, str(result.error))
        metrics = result.metrics
        if metrics is None:
            return  # nothing was sent
        self.models[_kept(metrics.model or "unknown", self.models)] += 1
        for failed in metrics.failures:
            if failed.followed_by not in ("end", "hedge"):
                self.retries[_kept(failed.reason, self.retries)] += 1
        if metrics.time_to_first_content is not None:
            self.first_content.add(metrics.time_to_first_content)
        if result.outcome == "complete":
            self.durations.add(metrics.duration)
            self._count(metrics, now)

    def note_bad(self, custom_id: str, problems: Sequence[str]) -> None:
        """A row that cannot be sent has its line."""
        self.timeline.at(self._clock() - self._zero).failed += 1
        self._fault("invalid_request", custom_id, "; ".join(problems))

    def look(self, progress: BatchProgress) -> None:
        """See how far the batch has come. To be called again and again."""
        seconds = self._clock() - self._zero
        self.progress = progress
        self.timeline.at(seconds).add(Bin(running=progress.running, allowed=progress.concurrency))
        last = self.changes[-1] if self.changes else None
        change = ConcurrencyChange(seconds, progress.concurrency, progress.concurrency_reason)
        if last is None or last.reason != change.reason or change.concurrency < last.concurrency:
            self.changes.append(change)
        elif change.concurrency > last.concurrency:
            self.changes[-1] = change._replace(time=last.time)

    def end(self, progress: BatchProgress, history: Sequence[ConcurrencyChange] | None) -> None:
        """The batch has ended.

        Args:
            progress: How far it has come.
            history: The changes of its concurrency, on the clock; None if they are not known.
        """
        self.look(progress)
        self.ended = datetime.now(timezone.utc)
        self.seconds = self._clock() - self._zero
        if history is not None:
            self.exact = True
            self.changes = deque((change._replace(time=change.time - self._zero) for change in history), _CHANGES)

    def _count(self, metrics: StreamMetrics, now: Bin) -> None:
        """Count the tokens of an answer, and who says what they cost."""
        usage = metrics.usage
        if usage is None:
            self.uncounted += 1
            self.costs["unknown"] += 1
            return
        now.tokens += output_tokens(usage)
        if reported_cost(usage) is not None:
            self.costs["reported"] += 1
        elif self._priced:
            self.costs["price"] += 1
        else:
            self.costs["unknown" if metrics.cost is None else "catalog"] += 1

    def _fault(self, kind: str, custom_id: str, message: str) -> None:
        fault = self.faults.setdefault(_kept(kind, self.faults), Fault(message=message[:_LONGEST]))
        fault.rows += 1
        if len(fault.named) < _NAMED:
            fault.named.append(custom_id[:_LONGEST])


def _kept(kind: str, kinds: Counter[str] | dict[str, Fault]) -> str:
    """Return the name under which a kind is counted."""
    kind = kind[:_LONGEST]
    return kind if kind in kinds or len(kinds) < _KINDS else _OTHER
