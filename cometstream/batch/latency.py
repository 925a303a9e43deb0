"""Whether the answers of one model begin later than before."""

from __future__ import annotations

from statistics import median
from typing import Final

__all__ = ["LatencyWatch"]

# The median of this many answers is compared. Single answers differ by a factor of ten, such medians hardly by two.
_BATCH: Final = 31
# If a median is slower than the best one by this factor and this many seconds, the server has a queue.
_FACTOR: Final = 2.0
_GRACE: Final = 0.25
# If a step down brings less than this, it did not help: the answers are longer, and there is no queue.
_HELPED: Final = 0.9


class LatencyWatch:
    """Compares the median time to first content of the latest answers with the best median so far."""

    __slots__ = ("_before", "_best", "_times")

    def __init__(self) -> None:
        self._times: list[float] = []
        self._best: float | None = None
        self._before: float | None = None

    def add(self, seconds: float) -> bool:
        """Count one answer's time. Return whether the median of a full set of answers shows a queue."""
        self._times.append(seconds)
        if len(self._times) < _BATCH:
            return False
        now = median(self._times)
        self._times.clear()
        before, self._before = self._before, None
        if self._best is None or now < self._best:
            # Half-way, since one good median proves little.
            self._best = now if self._best is None else (self._best + now) / 2
            return False
        if now <= self._best * _FACTOR + _GRACE:
            return False
        if before is not None and now > before * _HELPED:
            self._best = now
            return False
        self._before = now
        return True
