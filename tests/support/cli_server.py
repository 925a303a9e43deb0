"""A simulated server on a thread of its own, for programs that run their own event loop or are a process of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from cometstream.testing import SimulatedServer

_T = TypeVar("_T")


class ServerThread:
    """``with ServerThread() as thread``: ``thread.server`` listens until the end of the block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.server = SimulatedServer()

    def __enter__(self) -> ServerThread:
        self._thread.start()
        self.do(self.server.start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.do(self.server.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def set(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)
