"""How many requests may run at a time: more while all goes well, fewer at the first sign of congestion."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AdaptiveConcurrency", "ConcurrencyChange"]

# "auto" begins with so many: enough to learn something in the first second, few enough for any key.
_START: Final = 16
# From this share of failures on there is congestion (an average over about 16 outcomes: three in a row, or one in seven for long).
# After a step down the average is set to the second value: one more failure steps down again, a success does not.
_CONGESTED: Final = 0.15
_AFTER_STEP: Final = 0.12
_WEIGHT: Final = 1 / 16
# Changes that are kept; 1,000 are hours of a batch.
_HISTORY: Final = 1000
# Growth within so many seconds is one entry of the history.
_ONE_ENTRY: Final = 1.0


class ConcurrencyChange(NamedTuple):
    """One change of the concurrency.

    Attributes:
        time: Seconds on the clock that was passed in.
        concurrency: Requests that may run at a time from then on.
        reason: Why, as one short phrase.
    """

    time: float
    concurrency: int
    reason: str


class AdaptiveConcurrency:
    """Additive increase, multiplicative decrease, with a doubling start.

    A step down counts only requests that were sent after the last step, so that there is at most one a round trip. An answer makes
    the number grow only if nearly all places were in use meanwhile.

    Args:
        fixed: A number that never changes; None to adapt.
        ceiling: What it never exceeds.
        now: Seconds on the caller's clock.

    Source:
        RFC 5681 (slow start, congestion avoidance), with shares of failures instead of single losses.
    """

    __slots__ = (
        "_adapts",
        "_ceiling",
        "_changes",
        "_errors",
        "_step",
        "_stepped",
        "_succeeded",
        "_threshold",
        "_used",
        "_window",
        "in_flight",
        "limit",
        "reason",
    )

    def __init__(self, *, fixed: int | None, ceiling: int, now: float) -> None:
        self._adapts = fixed is None
        self._ceiling = ceiling
        self.limit = min(_START, ceiling) if fixed is None else fixed
        self.reason = "starting" if fixed is None else "fixed"
        self.in_flight = 0
        self._window = float(self.limit)
        self._threshold = float("inf")
        self._step = 1.0
        self._errors = 0.0
        self._stepped = float("-inf")
        self._succeeded = True
        self._used = float("-inf")
        self._changes: deque[ConcurrencyChange] = deque(maxlen=_HISTORY)
        self._changes.append(ConcurrencyChange(now, self.limit, self.reason))

    @property
    def history(self) -> Sequence[ConcurrencyChange]:
        """The latest changes, oldest first."""
        return self._changes

    def started(self, now: float) -> None:
        """A request was started."""
        self.in_flight += 1
        if self.in_flight >= self.limit - (self.limit >> 3):
            self._used = now

    def succeeded(self, sent: float, now: float) -> None:
        """A request that was sent at `sent` has ended well."""
        self.in_flight -= 1
        if not self._adapts or sent <= self._stepped:
            return
        self._succeeded = True
        if self._errors:
            self._errors -= self._errors * _WEIGHT
        limit = self.limit
        if limit >= self._ceiling or self._used < sent or self._errors >= _CONGESTED:
            return
        window = self._window
        window += 1.0 if window < self._threshold else self._step / window
        self._window = window = min(window, float(self._ceiling))
        if window >= limit + 1:
            self._set(int(window), "growing", now)

    def erred(self, sent: float, now: float, reason: str) -> None:
        """A request that was sent at `sent` has failed in a way that too much load explains."""
        self.in_flight -= 1
        if not self._adapts:
            return
        self._errors += (1.0 - self._errors) * _WEIGHT
        if self._errors >= _CONGESTED and sent > self._stepped:
            # Nothing but failures since the last step: the server is down, and halving would be too slow.
            self._back_off(0.5 if self._succeeded else 0.25, now, reason)
            self._errors = _AFTER_STEP

    def slower(self, now: float) -> None:
        """Answers begin later than before: the server has a queue."""
        if self._adapts:
            self._back_off(0.8, now, "answers became slower")

    def out_of_files(self, now: float) -> None:
        """The process can open no more connections: stay below what was open."""
        self.in_flight -= 1
        if self.in_flight < min(self._ceiling, self.limit):
            self._ceiling = max(1, self.in_flight - self.in_flight // 10)
            if self.limit > self._ceiling:
                self._window = float(self._ceiling)
                self._settle()
                self._set(self._ceiling, "out of file descriptors", now)

    def ended(self) -> None:
        """A request has ended in a way that says nothing about the load."""
        self.in_flight -= 1

    def is_newer(self, sent: float) -> bool:
        """Whether a request was sent after the latest step down."""
        return sent > self._stepped

    def _back_off(self, factor: float, now: float, reason: str) -> None:
        self._window = max(1.0, self._window * factor)
        if self._succeeded:
            # Only the first step of a series tells what went well; below that, growth doubles again.
            self._settle()
        self._succeeded = False
        self._stepped = now
        if int(self._window) != self.limit:
            self._set(int(self._window), reason, now)

    def _settle(self) -> None:
        self._threshold = max(self._window, 2.0)
        self._step = max(1.0, self._threshold / 16)

    def _set(self, limit: int, reason: str, now: float) -> None:
        last = self._changes[-1]
        if last.reason == reason == "growing" and now - last.time < _ONE_ENTRY:
            self._changes[-1] = ConcurrencyChange(last.time, limit, reason)
        else:
            self._changes.append(ConcurrencyChange(now, limit, reason))
        self.limit = limit
        self.reason = reason
