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
from cometstream.pacing import ENOUGH

if TYPE_CHECKING:
    import aiohttp

    from cometstream.pacing import Gate
    from cometstream.policy import Clocks

__all__ = ["ClockFired", "ReadClock"]

# Long enough for one turn of the event loop between a clock's due and its firing.
_LAST_LOOK: Final = 0.001

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
    """

    __slots__ = (
        "_began",
        "_content",
        "_due",
        "_fired",
        "_gate",
        "_gate_due",
        "_idle",
        "_last_look",
        "_left",
        "_lengths",
        "_loop",
        "_name",
        "_pace",
        "_timer",
        "_total_due",
        "_waiting",
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
        self._name = "first_content"
        self._left = math.inf if clocks.first_content is None else clocks.first_content - waited
        self._idle = math.inf if clocks.content_idle is None else clocks.content_idle
        self._total_due = total_due
        self._gate = gate
        self._gate_due = 0.0
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        self._began = 0.0
        self._waiting = False
        self._last_look = False
        self._fired: str | None = None
        self.progress = False

    def wait_begins(self) -> None:
        """A read begins to wait: let the clocks run."""
        now = self._loop.time()
        if self.progress:
            self.progress = False
            self._name = "content_idle"
            self._left = self._idle
        self._began = now
        self._waiting = True
        self._last_look = False
        due = min(now + self._left, self._total_due)
        if self._gate is not None and now < self._gate_due:
            self._gate.shut()
            due = min(due, self._gate_due)
        self._due = due
        timer = self._timer
        if due != math.inf and (timer is None or timer.when() > due):
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(due, self._tick)

    def wait_ends(self, came: int) -> None:
        """The read is over: take its time off the budget. The timer stays, and looks again when it fires.

        Args:
            came: Bytes that came with it. Any are the last look of a clock that is due by now: were it to wait for a quiet
                moment, a server that sends without a pause would never let it fire.
        """
        now = self._loop.time()
        self._waiting = False
        self._left -= now - self._began
        if self._gate is not None:
            self._gate.open()
            # A read of this size was worth its wake-up, and more of the burst may wait behind it.
            self._gate_due = now if came >= ENOUGH else now + self._pace
        if self._fired is not None:
            self.clear_exception()
        elif came and (self._left <= 0 or now >= self._total_due):
            self._fired = "total" if now >= self._total_due else self._name

    def clear_exception(self) -> None:
        """Take back what was raised in the body, which withholds the bytes that came before it."""
        content: Any = self._content  # its annotation leaves out the None that takes an exception back
        content.set_exception(None)

    def verdict(self) -> APITimeoutError | None:
        """Return the error if a clock has fired and what was waiting then is not what the clock was waiting for."""
        clock = self._fired
        if clock is None:
            return None
        self._fired = None
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

    def _tick(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        now = self._loop.time()
        if self._gate is not None and self._gate.is_shut:
            self._gate.open()
            self._due = min(self._began + self._left, self._total_due)
        elif now >= self._due and self._last_look:
            self._fired = "total" if self._due >= self._total_due else self._name
            self._content.set_exception(ClockFired())
            return
        if now >= self._due:
            # A loop that was busy may have bytes waiting in the kernel: one more turn of the loop reads them first.
            self._last_look = True
            self._timer = self._loop.call_later(_LAST_LOOK, self._tick)
        elif self._due != math.inf:
            self._timer = self._loop.call_at(self._due, self._tick)
