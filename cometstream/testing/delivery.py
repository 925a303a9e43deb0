"""Writes a reply to its connection: each piece in its own write, then the reply's ending."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

if TYPE_CHECKING:
    from cometstream.testing.replies import Piece, Reply

__all__ = ["Delivered", "deliver"]

# A reader on the same loop is polled one turn after the write and woken in the next. In three more turns it passes the data on
# (asyncio.wait_for alone takes two) and reads again.
_TURNS_TO_BE_READ = 5


async def deliver(reply: Reply, request: web.BaseRequest) -> bool:
    """Write one reply to a request's connection.

    Args:
        reply: What to write.
        request: The request that it answers.
    Returns:
        Whether the connection can serve another request.
    Raises:
        ConnectionError: The client has left.
    Cancellation:
        Safe at any point; bytes that were written stay written.
    """
    if reply.framing == "chunked" and request.version < HttpVersion11:
        reply = replace(reply, framing="close")
    if not request.keep_alive and reply.framing in ("chunked", "length"):
        reply = reply.with_headers({"Connection": "close"})
    connection = _Connection(request)
    await _wait(reply.delay)
    await connection.write(reply.head)
    chunked = reply.framing == "chunked"
    await connection.write_steps(_until(reply.body, reply.at), chunked)
    if reply.ending == "repeat":
        while True:
            await connection.write_steps(reply.repeat, chunked)
            await asyncio.sleep(0)
    if reply.ending == "half_close":
        connection.transport.write_eof()
    if reply.ending in ("stall", "half_close"):
        await asyncio.get_running_loop().create_future()
    if reply.ending == "reset":
        connection.reset()
    if reply.ending != "end":
        return False
    if chunked:
        await connection.write(b"0\r\n\r\n")
    return request.keep_alive and reply.framing in ("chunked", "length")


class Delivered(web.StreamResponse):
    """Tells aiohttp that the response has been written already.

    Args:
        keep_alive: Whether the connection can serve another request.
    """

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._reusable = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection can serve another request."""
        return self._reusable

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no head: it has been written."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end: the reply had its own."""


class _Connection:
    """The server's side of one connection during one reply."""

    def __init__(self, request: web.BaseRequest) -> None:
        if request.transport is None:
            raise ConnectionResetError("the client left before its answer")
        self.transport = request.transport
        self._writer = request.writer

    async def write(self, data: bytes) -> None:
        if data:
            await self._writer.write(data)
            await self._writer.drain()

    async def write_steps(self, steps: Iterator[Piece] | tuple[Piece, ...], chunked: bool) -> None:
        waited = False
        for step in steps:
            if not isinstance(step, bytes):
                await _wait(step)
                waited = not isinstance(step, asyncio.Event) and step > 0
                continue
            if not waited:
                for _ in range(_TURNS_TO_BE_READ):
                    await asyncio.sleep(0)
            waited = False
            if step:
                await self.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)

    def reset(self) -> None:
        # With a linger time of zero, close() sends RST instead of FIN.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _until(steps: tuple[Piece, ...], at: int | None) -> Iterator[Piece]:
    left = at
    for step in steps:
        if left is not None and left <= 0:
            return
        if isinstance(step, bytes) and left is not None:
            step = step[:left]
            left -= len(step)
        yield step


async def _wait(delay: float | asyncio.Event) -> None:
    if isinstance(delay, asyncio.Event):
        await delay.wait()
    elif delay > 0:
        await asyncio.sleep(delay)
