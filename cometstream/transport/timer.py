"""The clocks that run while a stream is read, on one lazy timer.

``first_content`` and ``content_idle`` are budgets: only the time in which the caller waits in a read is taken off them, so that a
slow consumer trips none. ``total`` runs always. Setting a timer for each token would cost more than the token; this one
is set once, looks when it fires whether anything is due, and sleeps on.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import APITimeoutError
from cometstream.transport.gate import ENOUGH

if TYPE_CHECKING:
    import aiohttp

    from cometstream.policy import Clocks
    from cometstream.transport.gate import Gate

__all__ = ["ClockFired", "ReadClock"]

# Long enough for one turn of the event loop between a clock's due and its firing.
_LAST_LOOK: Final = 0.001

# Moments in each pace at which gates open.
_SLOTS: Final = 8

_MISSED: Final = {
    "first_content": "no content came",
    "content_idle": "no further content came (keep-alives are none)",
    "total": "the answer did not end",
}


class ClockFired(Exception):
    """Wakes the reader: a clock has fired."""


class ReadClock:
    """The clocks of one attempt's reads, and the gate of ``pace``.

    Args:
        clocks: Their lengths.
        content: The body that is read; a clock that fires raises ``ClockFired`` in it.
        waited: Seconds already waited for the head of the answer.
        total_due: When ``total`` runs out, on the event loop's clock.
        gate: Holds arrivals back between two reads; None where they are not held.
        pace: Seconds for which they are.

    Attributes:
        progress: Set by the reader when content came; the budget then begins anew.
        fired: The clock that has fired and of which nobody was told yet.
        every_read: Every read must be told of its end, also one that brought content.
    """

    __slots__ = (
        "_began",
        "_content",
        "_due",
        "_gate",
        "_gate_due",
        "_idle",
        "_last_look",
        "_left",
        "_lengths",
        "_loop",
        "_name",
        "_pace",
        "_slot",
        "_time",
        "_timer",
        "_timer_due",
        "_total_due",
        "_waiting",
        "every_read",
        "fired",
        "progress",
    )

    def __init__(
        self,
        clocks: Clocks,
        content: aiohttp.StreamReader,
        *,
        waited: float,
        total_due: float,
        gate: Gate | None,
        pace: float,
    ) -> None:
        self._lengths = clocks
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._name = "first_content"
        self._left = math.inf if clocks.first_content is None else clocks.first_content - waited
        self._idle = math.inf if clocks.content_idle is None else clocks.content_idle
        self._total_due = total_due
        self._gate = gate
        self._gate_due = 0.0
        self._pace = pace
        self._slot = pace / _SLOTS
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._due = math.inf
        self._began = 0.0
        self._waiting = False
        self._last_look = False
        self.fired: str | None = None
        self.progress = False
        self.every_read = gate is not None

    def wait_begins(self) -> None:
        """A read begins to wait: let the clocks run."""
        now = self._time()
        if self.progress:
            self.progress = False
            self._name = "content_idle"
            self._left = self._idle
        elif self._waiting:
            self.wait_ends(1)  # the read before brought nothing to hand over
        self._began = now
        self._waiting = True
        self._last_look = False
        due = now + self._left
        if due > self._total_due:
            due = self._total_due
            if now >= due:
                self.every_read = True  # this one is the last look
        if self._gate is not None and now < self._gate_due:
            self._gate.shut()
            due = min(due, self._gate_due)
        self._due = due
        if due < self._timer_due:
            self._arm(due)

    def wait_ends(self, came: int) -> None:
        """The read is over: take its time off the budget. The timer stays, and looks again when it fires.

        A read that brought content need not tell more than `progress`.

        Args:
            came: Bytes that came with it. Any are the last look of a clock that is due by now: were it to wait for a quiet
                moment, a server that sends without a pause would never let it fire.
        """
        if not self._waiting or self.progress:
            return  # it has ended: with the content that came, if not before
        now = self._time()
        self._waiting = False
        self._left -= now - self._began
        if self._gate is not None:
            self._gate.open()
            # A read of this size was worth its wake-up, and more of the burst may wait behind it.
            if came >= ENOUGH:
                self._gate_due = now
            else:
                # Gates of many streams open together, a few times in each pace: one turn of the event loop serves them all.
                self._gate_due = (now + self._pace) // self._slot * self._slot
        if self.fired is not None:
            self.clear_exception()
        elif came and (self._left <= 0 or now >= self._total_due):
            self.fired = "total" if now >= self._total_due else self._name

    def clear_exception(self) -> None:
        """Take back what was raised in the body, which withholds the bytes that came before it."""
        content: Any = self._content  # its annotation leaves out the None that takes an exception back
        content.set_exception(None)

    def verdict(self) -> APITimeoutError | None:
        """Return the error if a clock has fired and what was waiting then is not what the clock was waiting for."""
        clock = self.fired
        if clock is None:
            return None
        self.fired = None
        if self.progress and clock != "total":
            return None
        return APITimeoutError(
            f"{_MISSED[clock]} within {getattr(self._lengths, clock):g} s (timeouts.{clock})", clock=clock
        )

    def stop(self) -> None:
        """Stop for good."""
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)
        self._timer_due = due

    def _tick(self) -> None:
        self._timer = None
        self._timer_due = math.inf
        if not self._waiting or self.progress:
            return
        now = self._time()
        if self._gate is not None and self._gate.is_shut:
            self._gate.open()
            self._due = min(self._began + self._left, self._total_due)
        elif now >= self._due and self._last_look:
            self.fired = "total" if self._due >= self._total_due else self._name
            self._content.set_exception(ClockFired())
            return
        if now >= self._due:
            # A loop that was busy may have bytes waiting in the kernel: one more turn of the loop reads them first.
            self._last_look = True
            self._arm(now + _LAST_LOOK)
        elif self._due != math.inf:
            self._arm(self._due)
