"""The line to one browser: the head goes out with the first bytes, and a sign of life where nothing else was written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import anyio

from cometstream.readers import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

__all__ = ["Line", "Outlet"]


class Outlet(Protocol):
    """Where a relay writes to: a server's response, or whatever stands for one."""

    @property
    def gone(self) -> bool:
        """Whether the browser has left, so that there is nobody to write to."""
        ...

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head."""
        ...

    def write(self, data: bytes, /) -> Awaitable[None]:
        """Send bytes, and wait while the browser is slower than they come.

        Raises:
            OSError: The browser has left.
        """
        ...

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        """Send a whole response in the place of a stream.

        Args:
            status: Its status.
            headers: Its headers.
            body: Its body.
            in_band: What says the same in a stream, where there is no status to choose.
        """
        ...


class Line:
    """Writes to an outlet.

    One timer serves all writes: it looks when it fires whether the line was silent, and sleeps on.

    Args:
        outlet: Where to.
        headers: Of the response.
        heartbeat: Seconds of silence before a comment is sent; None for none.

    Attributes:
        started: The head was sent: the status can no longer be chosen.
    """

    __slots__ = ("_beat", "_busy", "_headers", "_heartbeat", "_last", "_loop", "_outlet", "_timer", "started")

    def __init__(self, outlet: Outlet, headers: Mapping[str, str], heartbeat: float | None) -> None:
        self._outlet = outlet
        self._headers = headers
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._busy = False
        self._beat: asyncio.Task[None] | None = None
        self._timer = None if heartbeat is None else self._loop.call_later(heartbeat, self._tick)
        self.started = False

    async def write(self, data: bytes) -> None:
        """Send bytes, the head before the first.

        Raises:
            OSError: The browser has left.
        Cancellation:
            Safe; bytes may have been sent.
        """
        if self._beat is not None:
            await asyncio.wait({self._beat})
        self._busy = True
        try:
            if self.started:
                await self._outlet.write(data)  # as nearly all of them are: a coroutine for each costs
            else:
                await self._send(data)
        finally:
            self._busy = False
            self._last = self._loop.time()

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        """Send a whole response in the place of a stream; `in_band` says the same where the head was sent already."""
        if self._beat is not None:
            await asyncio.wait({self._beat})
        if self.started:
            await self.write(in_band)
            return
        self.started = self._busy = True
        await self._outlet.refuse(status, headers, body, in_band)

    async def close(self) -> None:
        """Stop the heartbeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heartbeat = None
        if self._beat is not None:
            self._beat.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._beat})

    async def _send(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            await self._outlet.start(200, self._headers)
        await self._outlet.write(data)

    def _tick(self) -> None:
        heartbeat = self._heartbeat
        if heartbeat is None:
            return
        now = self._loop.time()
        due = self._last + heartbeat
        if self._busy or self._beat is not None:
            due = now + heartbeat  # a slow browser has bytes to read
        elif due <= now:
            self._beat = self._loop.create_task(self._send_beat())
            due = now + heartbeat
        self._timer = self._loop.call_at(due, self._tick)

    async def _send_beat(self) -> None:
        try:
            await self._send(HEARTBEAT)
        except Exception:
            pass  # whatever it is, the next write meets it
        finally:
            self._last = self._loop.time()
            self._beat = None
