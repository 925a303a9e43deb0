"""A server that writes what a test says, byte by byte, over plain TCP or TLS."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from support.tls import server_context

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def text(content: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % content.encode()


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(content: str) -> bytes:
    """A whole answer that leaves the connection open."""
    return CHUNKED + http_chunk(text(content) + STOP + DONE) + END


@dataclass
class RawServer:
    """What came to the server.

    Attributes:
        base_url: Where it is.
        connections: How many were made.
        requests: The number of its connection for each request.
    """

    base_url: str = ""
    connections: int = 0
    requests: list[int] = field(default_factory=list)


# Given the number of the request (from 1) and the connection; True keeps the connection for another request.
Answering = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection: nothing that is still unsent is sent."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def delivered(writer: asyncio.StreamWriter) -> None:
    """Wait until all that was written lies with the other side, at most for 10 s: a reset takes back what does not."""
    unsent = array.array("i", [0])
    for _ in range(1000):
        fcntl.ioctl(writer.get_extra_info("socket"), termios.TIOCOUTQ, unsent)
        if not unsent[0] and not writer.transport.get_write_buffer_size():
            return
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def raw_server(answering: Answering, *, tls: bool = False) -> AsyncIterator[RawServer]:
    seen = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen.connections += 1
        number = seen.connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length")
                    ),
                    0,
                )
                await reader.readexactly(length)
                seen.requests.append(number)
                if not await answering(len(seen.requests), reader, writer):
                    return
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=server_context() if tls else None)
    port = server.sockets[0].getsockname()[1]
    seen.base_url = f"http{'s' if tls else ''}://127.0.0.1:{port}/v1"
    try:
        yield seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
