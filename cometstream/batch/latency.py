"""Whether answers of one model begin later than they used to."""

from __future__ import annotations

from statistics import median
from typing import Final

__all__ = ["LatencyWatch"]

# Answers whose median is compared. Single rows differ by a factor of ten by nature, medians of so many hardly by two.
_BATCH: Final = 31
# Slower than this many times the best median, and by so many seconds, is a queue at the server and not its mood.
_FACTOR: Final = 2.0
_GRACE: Final = 0.25
# A step down that brings less than this did not help: the rows are longer, not the queue.
_HELPED: Final = 0.9


class LatencyWatch:
    """Compares the median time to first content of the latest answers with the best one there was."""

    __slots__ = ("_before", "_best", "_times")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._best: float | None = None
        self._before: float | None = None

    def add(self, seconds: float) -> bool:
        """Take one answer's time; return whether a batch is full and shows a queue."""
        self._times.append(seconds)
        if len(self._times) < _BATCH:
            return False
        now = median(self._times)
        self._times.clear()
        before, self._before = self._before, None
        if self._best is None or now < self._best:
            # Half-way: one lucky batch proves little.
            self._best = now if self._best is None else (self._best + now) / 2
            return False
        if now <= self._best * _FACTOR + _GRACE:
            return False
        if before is not None and now > before * _HELPED:
            self._best = now
            return False
        self._before = now
        return True
