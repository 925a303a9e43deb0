"""An event loop in a thread of its own, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["run"]

_T = TypeVar("_T")

_LOCK = threading.Lock()


class _Portal:
    """The loop and its thread; both end with the process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: the interpreter waits for other threads before it calls what ends this one.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="cometstream", daemon=True)
        self._thread.start()
        self.loop, self._end = self._ready.result()
        atexit.register(self._close)

    async def _main(self) -> None:
        end = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    def _close(self) -> None:
        if self.process == os.getpid():
            self.loop.call_soon_threadsafe(self._end.set)
            self._thread.join()


_portal: _Portal | None = None


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in the loop of the process's one thread for this, and return what it returns.

    An interrupt of the caller (Ctrl-C) cancels it.
    """
    global _portal
    with _LOCK:
        if _portal is None or _portal.process != os.getpid():  # a fork has no threads of its parent
            _portal = _Portal()
    future = asyncio.run_coroutine_threadsafe(work, _portal.loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
