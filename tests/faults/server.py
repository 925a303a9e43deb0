"""A server of raw bytes: what stands on the wire is written by hand, and every connection can be told what became of it."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from faults.wire import END, JSON_HEAD, SSE_HEAD, json_until, sse_until

__all__ = ["Act", "Connection", "Server", "answer_well"]

# Turns of the loop in which a client of the same process reads what was sent: a reset would take it away.
_TURNS_TO_BE_READ = 12

_READ = 65536


class Connection:
    """The server's end of one connection.

    Attributes:
        served: Requests answered, or being answered.
        sent: Bytes written.
        gone: Set when the client has closed its end.
        request: The request being answered.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext | None
    ) -> None:
        self.served = 0
        self.sent = 0
        self.gone = asyncio.Event()
        self.request: dict[str, object] = {}
        self._reader = reader
        self._writer = writer
        self._arrived = bytearray()
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            # By hand, so that the bytes below TLS are at hand too.
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        if self._tls is None:
            return
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            await self.send_raw(self._outgoing.read())
            if not done:
                self._incoming.write(await self.receive_raw())

    async def send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await self.send_raw(data)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes below TLS."""
        if self._writer.is_closing():  # uvloop raises RuntimeError where asyncio's transport says nothing
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def receive_raw(self) -> bytes:
        data = await self._reader.read(_READ)
        if not data:
            raise ConnectionResetError("the client closed the connection")
        return data

    async def receive_request(self) -> None:
        while b"\r\n\r\n" not in self._arrived:
            await self._receive()
        head, _, body = bytes(self._arrived).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        while len(self._arrived) < len(head) + 4 + size:
            await self._receive()
            body = bytes(self._arrived[len(head) + 4 :])
        self._arrived.clear()
        self.request = json.loads(body) if body else {}
        self.served += 1

    async def _receive(self) -> None:
        # What came in one segment with the end of the handshake waits below TLS already.
        if self._tls is not None and self._decrypt():
            return
        data = await self.receive_raw()
        if self._tls is None:
            self._arrived += data
            return
        self._incoming.write(data)
        self._decrypt()

    def _decrypt(self) -> bool:
        assert self._tls is not None
        size = len(self._arrived)
        try:
            while data := self._tls.read(_READ):
                self._arrived += data
        except ssl.SSLWantReadError:
            pass
        return len(self._arrived) > size

    async def until_gone(self) -> None:
        """Send nothing more, and wait until the client leaves."""
        while True:
            await self.receive_raw()

    async def until_read(self) -> None:
        for _ in range(_TURNS_TO_BE_READ):
            await asyncio.sleep(0)

    def half_close(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        if self._writer.is_closing():
            return
        # With a linger time of zero, close() sends RST instead of FIN.
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Act: TypeAlias = Callable[[Connection], Awaitable[bool]]
"""What the server does with a request, or with a new connection: whether the connection serves another one after it."""


class Server:
    """Does ``act`` with the first requests, and answers all others well.

    Args:
        act: For each request.
        on_connect: Whether it is done with each new connection instead, before a request is read.
        times: How many requests (or connections) it is done with; None is all.
        context: For TLS.

    Attributes:
        port: Where it listens.
        connections: All that there were, oldest first.
    """

    def __init__(
        self,
        act: Act,
        *,
        on_connect: bool = False,
        times: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self.connections: list[Connection] = []
        self._act = act
        self._on_connect = on_connect
        self._left = times
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Server:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.reset()
        await asyncio.gather(*self._tasks)

    @property
    def served(self) -> int:
        """Requests so far; connections, where they are what is acted upon."""
        return len(self.connections) if self._on_connect else sum(one.served for one in self.connections)

    @property
    def sent(self) -> int:
        return sum(one.sent for one in self.connections)

    def behave(self) -> None:
        """Answer well from now on."""
        self._left = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(reader, writer, self._context)
        self.connections.append(connection)
        try:
            await self._serve(connection)
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            connection.gone.set()
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, connection: Connection) -> None:
        if self._on_connect:
            await self._next_act()(connection)
            return
        await connection.handshake()
        again = True
        while again:
            await connection.receive_request()
            again = await self._next_act()(connection)
        await connection.until_gone()

    def _next_act(self) -> Act:
        if self._left == 0:
            return answer_well
        if self._left is not None:
            self._left -= 1
        return self._act


async def answer_well(connection: Connection) -> bool:
    """Answer as the endpoint does when all is well."""
    streamed = connection.request.get("stream") is True
    await connection.send(SSE_HEAD if streamed else JSON_HEAD)
    await connection.send_chunk(sse_until("after [DONE]") if streamed else json_until("after finish"))
    await connection.send(END)
    return True
