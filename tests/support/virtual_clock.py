"""An event loop whose clock jumps: tests of seconds and minutes run in milliseconds, over real sockets.

When nothing is ready, the loop looks at its sockets for a moment and then moves its clock to the next timer. A program that waits
by ``loop.time()``, timers and sleeps needs no change for this.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, settle: float) -> None:
        super().__init__()
        self.now = 1000.0
        self._settle = settle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, self._settle))
        if not ready:
            self.now += timeout
        return ready


class VirtualClockLoop(asyncio.SelectorEventLoop):
    def __init__(self, settle: float = 0.003) -> None:
        self._jumping = _JumpingSelector(settle)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def jump(self, seconds: float) -> None:
        """Move the clock now, whatever is ready."""
        self._jumping.now += seconds


def run(main: Coroutine[Any, Any, _T], *, settle: float = 0.003) -> _T:
    """Run a coroutine to its end on a loop of its own, and leave no task behind.

    Use addresses, not names: looking a name up takes a thread, and the clock does not wait for it.

    Args:
        main: What to run.
        settle: Real seconds that traffic over loopback gets to arrive before the clock moves.
    """
    loop = VirtualClockLoop(settle)
    try:
        result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        assert not left, left
        loop.run_until_complete(asyncio.sleep(0))
        return result
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
