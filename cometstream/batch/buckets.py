"""Token buckets and counts over the trailing minute: how much has been taken, and when there is more."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

__all__ = ["TICK", "Caps", "Pace", "TokenBucket", "TrailingMinute"]

# Shorter waits count as 0: rounding may end a sleep this many seconds too early.
TICK: Final = 1e-6

_MINUTE: Final = 60.0
# A busy event loop wakes some 10 ms late. A pace makes up for this many seconds of lateness, or that time would be lost. It is also
# the burst that a server sees, so it is small.
_LATENESS: Final = 0.05


class Pace:
    """Even spacing at a rate that may change, with a burst of 1 + 0.05 s of the rate.

    Args:
        rate: Requests a second.
        now: Seconds on the caller's clock.

    Source:
        The generic cell rate algorithm, ITU-T I.371.
    """

    __slots__ = ("__weakref__", "_due", "lateness", "rate")

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

    A bucket of a minute's worth would allow two minutes' worth in the first minute, which the server's own window refuses.
    What the bucket holds is taken off the refill, so that no 60 s exceed the cap by more than one request. A larger request
    than the bucket starts when that is full, and leaves a debt.

    Args:
        tpm: Tokens a minute.
        now: Seconds on the caller's clock.
    """

    __slots__ = ("__weakref__", "_capacity", "_level", "_rate", "_seen")

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
        """Take so many tokens, even if there are fewer; a negative number gives tokens back."""
        self._refill(now)
        self._level = min(self._level - tokens, self._capacity)

    def _refill(self, now: float) -> None:
        if now > self._seen:
            self._level = min(self._level + (now - self._seen) * self._rate, self._capacity)
            self._seen = now


class Caps:
    """The caller's caps, shared by all batches that have equal ones for a model; they live as long as one of these batches."""

    def __init__(self) -> None:
        self._paces: WeakValueDictionary[tuple[str, float], Pace] = WeakValueDictionary()
        self._buckets: WeakValueDictionary[tuple[str, float], TokenBucket] = WeakValueDictionary()

    def pace(self, model: str, rpm: float, now: float) -> Pace:
        """Return the pace of a model's requests."""
        pace = self._paces.get((model, rpm))
        if pace is None:
            pace = self._paces[model, rpm] = Pace.of_cap(rpm, now)
        return pace

    def bucket(self, model: str, tpm: float, now: float) -> TokenBucket:
        """Return the bucket of a model's tokens."""
        bucket = self._buckets.get((model, tpm))
        if bucket is None:
            bucket = self._buckets[model, tpm] = TokenBucket(tpm, now)
        return bucket


class TrailingMinute:
    """How many there were in the last 60 s, in one count a second."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._counts = [0] * 64
        self._second = -(1 << 62)

    def add(self, time: float, count: int) -> None:
        """Count some at `time`; a negative number takes back what is not forgotten yet."""
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
        """Return how many there were in the `seconds` (at most 60) before `until`; a part of the first second counts as such."""
        since = until - seconds
        first, last = int(since), int(until)
        counted = self._at(first) * (1.0 - (since - first))
        for second in range(first + 1, last + 1):
            counted += self._at(second)
        return counted

    def _at(self, second: int) -> int:
        return self._counts[second & 63] if self._second - 64 < second <= self._second else 0
