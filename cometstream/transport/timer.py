"""The timer of a stream's reads: wakes the reader when a clock is due, and opens the gate of ``pace``.

Setting a timer for each token would cost more than the token. This one is set once, looks when it fires whether anything is due,
and sleeps on. What is due is the answer's to say (``answer/budget.py``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cometstream.transport.gate import ENOUGH

if TYPE_CHECKING:
    import asyncio

    from cometstream.transport.gate import Gate
    from cometstream.transport.incoming import Incoming

__all__ = ["ReadTimer"]

# Long enough for one turn of the event loop between a clock's due and its firing.
_LAST_LOOK: Final = 0.001

# Moments in each pace at which gates open.
_SLOTS: Final = 8


class ReadTimer:
    """One lazy timer for all reads of an attempt.

    Args:
        loop: The event loop.
        incoming: The body that is read; it is interrupted when a clock is due.
        gate: Holds arrivals back between two reads; None where they are not held.
        pace: Seconds for which they are.

    Attributes:
        gate: As given.
        waiting: A read waits for bytes.
    """

    __slots__ = (
        "_closing",
        "_due",
        "_gate_due",
        "_incoming",
        "_last_look",
        "_loop",
        "_pace",
        "_slot",
        "_timer",
        "_timer_due",
        "gate",
        "waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, incoming: Incoming, *, gate: Gate | None, pace: float) -> None:
        self._loop = loop
        self._incoming = incoming
        self.gate = gate
        self._gate_due = 0.0
        self._pace = pace
        self._slot = pace / _SLOTS
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = math.inf
        self._closing: asyncio.TimerHandle | None = None
        self._due = math.inf
        self.waiting = False
        self._last_look = False

    def wait_begins(self, now: float, due: float, *, gather: bool) -> None:
        """A read begins to wait.

        Args:
            now: Seconds on the event loop's clock.
            due: When the first clock runs out; it may be past, and the read is then the last look for bytes.
            gather: Let arrivals gather, where there is a gate.
        """
        self.waiting = True
        self._last_look = False
        self._due = due
        if gather and self.gate is not None and now < self._gate_due:
            self.gate.shut()
            due = min(due, self._gate_due)
        if due < self._timer_due:
            self._arm(due)

    def wait_ends(self, now: float, came: int) -> None:
        """The read is over. The timer stays, and looks again when it fires.

        Args:
            now: Seconds on the event loop's clock.
            came: Bytes that came with it.
        """
        self.waiting = False
        if self.gate is not None:
            self.gate.open()
            # A read of this size was worth its wake-up, and more of the burst may wait behind it.
            if came >= ENOUGH:
                self._gate_due = now
            else:
                # Gates of many streams open together, a few times in each pace: one turn of the event loop serves them all.
                self._gate_due = (now + self._pace) // self._slot * self._slot

    def close_at(self, due: float) -> None:
        """Close the connection when `due` is there, also while nobody reads; what has arrived by then can still be read."""
        if due != math.inf:
            self._closing = self._loop.call_at(due, self._close)

    def _close(self) -> None:
        if self.waiting:
            # That read's own clock is about to end it. If it ends with bytes, nobody reads while the caller has them.
            self._closing = self._loop.call_later(_LAST_LOOK, self._close)
        else:
            self._closing = None
            self._incoming.close()

    def stop(self) -> None:
        """Stop for good."""
        self.waiting = False
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
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
        if not self.waiting:
            return
        now = self._loop.time()
        if self.gate is not None and self.gate.is_shut:
            self.gate.open()
        elif now >= self._due and self._last_look:
            self._incoming.interrupt()
            return
        if now >= self._due:
            # A loop that was busy may have bytes waiting in the kernel: one more turn of the loop reads them first.
            self._last_look = True
            self._arm(now + _LAST_LOOK)
        elif self._due != math.inf:
            self._arm(self._due)
