"""The clocks of an answer as arithmetic: how long a read may wait, and which clock has run out. The time is passed in.

``first_content`` and ``content_idle`` are budgets: only the time in which a caller waits in a read is taken off them, so that a
slow consumer trips neither. ``total`` always runs. Behind an error frame the answer has `GRACE` left to bring its usage.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cometstream.errors import APITimeoutError

if TYPE_CHECKING:
    from typing import Protocol

    class Lengths(Protocol):
        """How long each clock runs, in seconds; None where it is off."""

        @property
        def first_content(self) -> float | None: ...
        @property
        def content_idle(self) -> float | None: ...
        @property
        def total(self) -> float | None: ...


__all__ = ["GRACE", "Budget"]

# What a server may take behind an error frame, as behind [DONE], to end its response.
GRACE: Final = 0.25

# A caller who takes longer than this for what was handed over is slow, and that time is the caller's own.
_SLOW: Final = 0.05

# What the handing over of each item may take on a busy machine: a flood of keep-alives must not pass for a slow caller.
_SLOW_FOR_EACH: Final = 0.001

_MISSED: Final = {
    "first_content": "no content came",
    "content_idle": "no further content came (keep-alives do not count)",
    "total": "the answer did not end",
}


class Budget:
    """What is left of the clocks of one attempt.

    Args:
        lengths: How long each clock runs.
        waited: Seconds already waited for the head of the answer.
        total_due: When ``total`` runs out, on the caller's clock.

    Attributes:
        progress: Content came: the next wait begins with a full ``content_idle``.
        read_at: When the last read ended: set by whoever reads. Minus infinity before, and where a read was given up.
        is_untimed: ``total`` is off, so that no clock has run out where there was `progress`.
        handed_over: How many items the caller was given since the last read: where that took long, the time is the caller's own.
    """

    __slots__ = (
        "_began",
        "_idle",
        "_left",
        "_lengths",
        "_name",
        "_total_due",
        "handed_over",
        "is_untimed",
        "progress",
        "read_at",
    )

    def __init__(self, lengths: Lengths, *, waited: float = 0.0, total_due: float = math.inf) -> None:
        self._lengths = lengths
        self._name = "first_content"
        self._left = math.inf if lengths.first_content is None else lengths.first_content - waited
        self._idle = math.inf if lengths.content_idle is None else lengths.content_idle
        self._total_due = total_due
        self._began = 0.0
        self.is_untimed = total_due == math.inf
        self.read_at = -math.inf
        self.progress = False
        self.handed_over = 1

    def wait_begins(self, now: float) -> float:
        """A read begins to wait; return when the first clock runs out."""
        if self.progress:
            self.progress = False
            self._name = "content_idle"
            self._left = self._idle
        elif self.read_at >= self._began:
            # To read and hand over what says nothing took time, too; but a slow caller's time is the caller's own.
            given = self.handed_over
            is_slow = given > 0 and now - self.read_at >= max(_SLOW, given * _SLOW_FOR_EACH)
            self._left -= (self.read_at if is_slow else now) - self._began
        self.handed_over = 0
        self._began = now
        due = now + self._left
        return due if due < self._total_due else self._total_due

    def wait_broken_off(self, now: float) -> None:
        """The read was given up: its time is taken off, but no clock has run out before another read looked for bytes."""
        self._left -= now - self._began
        self._began = now
        self.read_at = -math.inf

    def end_soon(self) -> None:
        """An error frame came: what may follow it has `GRACE` to come."""
        self._name = "grace"
        self._left = self._idle = GRACE
        self._began = self.read_at
        self.progress = False

    def expired(self) -> str | None:
        """Return the clock that had run out when the last read ended, unless content came with it; None if no clock has."""
        if self.read_at >= self._total_due:
            return "total"
        if self.progress or self.read_at < self._began:
            return None
        return self._name if self._left <= self.read_at - self._began else None

    def error(self, clock: str) -> APITimeoutError:
        """Return the error for a clock that has run out."""
        seconds = getattr(self._lengths, clock)
        return APITimeoutError(f"{_MISSED[clock]} within {seconds:g} s (timeouts.{clock})", clock=clock)
