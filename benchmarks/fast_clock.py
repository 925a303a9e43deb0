"""An event loop whose clock runs ahead: minutes of a server and its clients in one process pass in seconds, over real sockets."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

# Real seconds that loopback traffic gets to arrive before the clock moves to the next timer.
_SETTLE = 0.0005


class _RunningAhead(selectors.DefaultSelector):
    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, _SETTLE))
        if not ready:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._ahead = _RunningAhead()
        super().__init__(self._ahead)

    def time(self) -> float:
        return self._ahead.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on such a loop. Use addresses, not names: the clock does not wait for a thread that looks one up."""
    loop = _Loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
