"""An event loop whose clock jumps: tests of seconds and minutes run in milliseconds, over real sockets.

When nothing is ready, the loop looks at its sockets for a moment and then moves its clock to the next timer. A program that waits
by ``loop.time()``, timers and sleeps needs no change for this. What runs in a thread gets a second of real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import anyio.to_thread

_T = TypeVar("_T")

# Real seconds for what runs in a thread: a busy machine needs more than a moment to start one.
_FOR_A_THREAD: Final = 1.0


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, settle: float) -> None:
        super().__init__()
        self.now = 1000.0
        self.threads = 0  # functions that run in one
        self._settle = settle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(_FOR_A_THREAD if self.threads else min(timeout, self._settle))
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

    @contextmanager
    def waiting_for_threads(self) -> Iterator[None]:
        """Have the clock wait for what ``anyio.to_thread`` runs."""
        run_sync = anyio.to_thread.run_sync

        async def counted(*args: Any, **options: Any) -> Any:
            self._jumping.threads += 1
            try:
                return await run_sync(*args, **options)
            finally:
                self._jumping.threads -= 1

        anyio.to_thread.run_sync = counted
        try:
            yield
        finally:
            anyio.to_thread.run_sync = run_sync


def run(main: Coroutine[Any, Any, _T], *, settle: float = 0.003) -> _T:
    """Run a coroutine to its end on a loop of its own, and leave no task behind.

    Use addresses, not names: looking a name up takes a thread of asyncio's own, and the clock does not wait for that.

    Args:
        main: What to run.
        settle: Real seconds that traffic over loopback gets to arrive before the clock moves.
    """
    loop = VirtualClockLoop(settle)
    try:
        with loop.waiting_for_threads():
            result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        assert not left, left
        loop.run_until_complete(asyncio.sleep(0))
        return result
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
