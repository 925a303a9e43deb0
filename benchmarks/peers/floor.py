"""The floor: an ``asyncio.Protocol`` that counts bytes and understands none of them."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.answers import MESSAGES, MODEL, Answer

if TYPE_CHECKING:
    from typing_extensions import Self


class ByteCounter:
    """One connection for each answer; what it costs to be woken for the bytes."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "", parts.port or 0
        self.ssl = ssl.create_default_context() if parts.scheme == "https" else None
        self.expected = len(Answer.named(parts.path.split("/")[1]).whole)
        body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()
        self.request = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def read(self) -> tuple[str | None, int | None]:
        loop = asyncio.get_running_loop()
        whole = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: _Counter(self.expected, whole), self.host, self.port, ssl=self.ssl
        )
        transport.write(self.request)
        try:
            await whole
        finally:
            transport.abort()
        return None, None


class _Counter(asyncio.Protocol):
    def __init__(self, expected: int, whole: asyncio.Future[None]) -> None:
        self.missing = expected
        self.whole = whole

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing == 0:
            self.whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.whole.done():
            self.whole.set_exception(ConnectionError(f"{self.missing} bytes are missing"))
