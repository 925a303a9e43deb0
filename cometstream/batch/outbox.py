"""The results of a batch that wait for their reader, in the order in which rows end or in that of the requests."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from cometstream.errors import UsageError

if TYPE_CHECKING:
    from cometstream.batch.result import BatchResult

__all__ = ["Outbox"]


class Outbox:
    """Results that wait. Its length is how many the reader may take now.

    Args:
        ordered: Keep those that are done before their turn.

    Attributes:
        taken: How many the reader has taken.
    """

    def __init__(self, *, ordered: bool) -> None:
        self.taken = 0
        self._ordered = ordered
        self._loop = asyncio.get_running_loop()
        self._ready: deque[BatchResult] = deque()
        self._parked: dict[int, BatchResult] = {}  # done before their turn
        self._in_turn = 0
        self._reader: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, result: BatchResult) -> None:
        """Add a result, and wake the reader."""
        if self._ordered:
            self._parked[result.index] = result
            while (result_in_turn := self._parked.pop(self._in_turn, None)) is not None:
                self._in_turn += 1
                self._ready.append(result_in_turn)
        else:
            self._ready.append(result)
        self.wake()

    def take(self) -> BatchResult:
        """Return the next result; there must be one."""
        self.taken += 1
        return self._ready.popleft()

    async def wait(self) -> None:
        """Wait until the reader is woken.

        Raises:
            UsageError: Another task waits.
        Cancellation:
            Safe; another task may wait then.
        """
        if self._reader is not None and not self._reader.done():
            raise UsageError("another task is reading this batch: one reader at a time")
        self._reader = self._loop.create_future()
        await self._reader  # if the read is cancelled, so is the future

    def wake(self) -> None:
        """Wake the reader: there is a result, or there will be none."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def end_turns(self) -> None:
        """Give out what waits for its turn: what was to come before it never does."""
        self._ready.extend(self._parked.pop(index) for index in sorted(self._parked))

    def clear(self) -> None:
        """Forget what may be taken now."""
        self._ready.clear()
