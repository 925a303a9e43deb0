"""Token buckets and counts over the trailing minute: how much has been taken, and when there is more."""

from __future__ import annotations

from typing import Final

__all__ = ["TICK", "Pace", "TokenBucket", "TrailingMinute"]

# Seconds that count as none: a wait that was slept through may end this much early, as floating point has it.
TICK: Final = 1e-6

_MINUTE: Final = 60.0
# Seconds of lateness that a pace catches up with: an event loop full of streams wakes some 10 ms late, and without this every
# such moment would be lost. It is also the burst that a server can see, so it stays small.
_LATENESS: Final = 0.05


class Pace:
    """Even spacing at a rate that may change, with a burst of 1 + 0.05 s of the rate.

    Args:
        rate: Requests a second.
        now: Seconds on the caller's clock.

    Source:
        The generic cell rate algorithm, ITU-T I.371.
    """

    __slots__ = ("_due", "lateness", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.lateness = _LATENESS
        self._due = now

    @classmethod
    def of_cap(cls, rpm: float, now: float) -> Pace:
        """Return the pace that keeps a cap of `rpm` in every 60 s, its burst included."""
        return cls((rpm - rpm / _MINUTE * _LATENESS) / _MINUTE, now)

    def wait(self, now: float) -> float:
        """Return the seconds until the next is due; 0.0 for now."""
        wait = self._due - now
        return wait if wait > TICK else 0.0

    def take(self, now: float) -> None:
        """Count one that starts now, due or not."""
        self._due = max(self._due, now - self.lateness) + 1.0 / self.rate

    def settle(self, rate: float, due: float) -> None:
        """Change the rate, and when the next is due."""
        self.rate = rate
        self._due = due


class TokenBucket:
    """Tokens a minute, refilled evenly and one second's worth deep.

    A bucket of a minute's worth would let two minutes' worth through in the first one, which the server's own window refuses.
    What it holds is taken off the refill, so that any 60 s bring the cap at most, and one request beyond: a request of more than
    the bucket holds starts when it is full and leaves a debt.

    Args:
        tpm: Tokens a minute.
        now: Seconds on the caller's clock.
    """

    __slots__ = ("_capacity", "_level", "_rate", "_seen")

    def __init__(self, tpm: float, now: float) -> None:
        self._capacity = tpm / _MINUTE
        self._rate = (tpm - self._capacity) / _MINUTE
        self._level = self._capacity
        self._seen = now

    def wait(self, tokens: float, now: float) -> float:
        """Return the seconds until so many tokens may be taken; 0.0 for now."""
        self._refill(now)
        wait = (min(tokens, self._capacity) - self._level) / self._rate
        return wait if wait > TICK else 0.0

    def take(self, tokens: float, now: float) -> None:
        """Take so many tokens, there or not; fewer than none gives back."""
        self._refill(now)
        self._level = min(self._level - tokens, self._capacity)

    def _refill(self, now: float) -> None:
        if now > self._seen:
            self._level = min(self._level + (now - self._seen) * self._rate, self._capacity)
            self._seen = now


class TrailingMinute:
    """How many there were in the last 60 s, in one count a second."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._counts = [0] * 64
        self._second = -(1 << 62)

    def add(self, time: float, count: int) -> None:
        """Count some at `time`; fewer than none takes back, unless it is forgotten already."""
        second = int(time)
        if second > self._second:
            counts = self._counts
            for passed in range(max(self._second + 1, second - 63), second + 1):
                counts[passed & 63] = 0
            self._second = second
        elif second <= self._second - 64:
            return
        self._counts[second & 63] += count

    def rate(self, seconds: float, until: float) -> float:
        """Return how many a second there were in the `seconds` (at most 60) before `until`."""
        return self.count(seconds, until) / seconds

    def count(self, seconds: float, until: float) -> float:
        """Return how many there were in the `seconds` (at most 60) before `until`; the first second is taken in proportion."""
        since = until - seconds
        first, last = int(since), int(until)
        counted = self._at(first) * (1.0 - (since - first))
        for second in range(first + 1, last + 1):
            counted += self._at(second)
        return counted

    def _at(self, second: int) -> int:
        return self._counts[second & 63] if self._second - 64 < second <= self._second else 0
