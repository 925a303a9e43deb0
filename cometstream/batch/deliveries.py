"""What was awaited in an event loop and ends in another thread: the loop is woken once for all of it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Deliveries", "Ended"]


class Deliveries:
    """Wakes an event loop from the thread of the rows, once for all that has ended meanwhile.

    Attributes:
        loop: The event loop.
        lock: Held by those who count and add.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = threading.Lock()
        self._ended: deque[asyncio.Future[None]] = deque()

    def add(self, ended: asyncio.Future[None]) -> None:
        """Wake who awaits this; `lock` is held."""
        self._ended.append(ended)
        if len(self._ended) == 1:
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                self._ended.clear()  # the loop was closed: nobody waits there

    def _deliver(self) -> None:
        while self._ended:
            ended = self._ended[0]
            if not ended.done():
                ended.set_result(None)
            self._ended.popleft()  # only now: until then, nobody need wake this loop for what is added


class Ended:
    """Counts the rows of one call.

    Args:
        rows: How many.
        deliveries: Those of the caller's event loop, which runs now.

    Attributes:
        all: Done when all rows have ended.
    """

    def __init__(self, rows: int, deliveries: Deliveries) -> None:
        self.all: asyncio.Future[None] = deliveries.loop.create_future()
        self._left = rows
        self._deliveries = deliveries
        if not rows:
            self.all.set_result(None)

    def one(self, _: Future[dict[str, Any]]) -> None:
        """Count a row that has ended."""
        with self._deliveries.lock:  # it is called by the thread of the rows, and by the caller's
            self._left -= 1
            if not self._left:
                self._deliveries.add(self.all)
