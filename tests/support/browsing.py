"""Browsers and web servers, as the tests of relays need them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import uvicorn
from aiohttp import web

from cometstream import SSEParser
from cometstream.answer.sse import Event

__all__ = ["Browser", "data_of", "serving_aiohttp", "serving_asgi"]


def data_of(body: bytes) -> list[Any]:
    """What a browser makes of an event stream: the parsed data of each event, ``"[DONE]"`` for the end mark."""
    items = SSEParser().feed(body)
    return [
        "[DONE]" if item.data == b"[DONE]" else orjson.loads(item.data) for item in items if isinstance(item, Event)
    ]


class Browser:
    """One request over a connection of its own, which it may leave at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def ask(cls, port: int, path: str = "/chat", body: bytes = b"") -> Browser:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        return cls(reader, writer)

    def leave(self) -> None:
        self._writer.transport.abort()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read the whole answer: status, headers, body without its chunks; a body that is cut ends where it was cut."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        rest = await self.reader.read()
        self.leave()
        if headers.get("transfer-encoding") != "chunked":
            return int(first.split()[1]), headers, rest
        body = b""
        while b"\r\n" in rest:
            size, rest = rest.split(b"\r\n", 1)
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return int(first.split()[1]), headers, body


@contextlib.asynccontextmanager
async def serving_asgi(app: Any, **options: Any) -> AsyncIterator[int]:
    """Serve an ASGI application by uvicorn, in this event loop."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", **{"lifespan": "off", **options})
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
        await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def serving_aiohttp(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], *, middlewares: Any = (), **options: Any
) -> AsyncIterator[int]:
    """Serve one handler by aiohttp.web, in this event loop."""
    app = web.Application(middlewares=middlewares)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None, **options)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
