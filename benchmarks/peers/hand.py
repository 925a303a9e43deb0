"""The yardstick: what a user writes by hand over aiohttp and orjson, with nothing that is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from benchmarks.answers import MESSAGES, MODEL

if TYPE_CHECKING:
    from typing_extensions import Self


class PostAndRead:
    """Only the request and the bytes of its answer: the floor of what one request costs over aiohttp."""

    def __init__(self, base_url: str) -> None:
        self.url = f"{base_url}/chat/completions"
        self.headers = {"Authorization": "Bearer sk-benchmark"}
        self.body = {"model": MODEL, "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), headers=self.headers
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.http.close()

    async def read(self) -> tuple[str | None, int | None]:
        async with self.http.post(self.url, json=self.body) as response:
            response.raise_for_status()
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        return None, None


class HandWritten(PostAndRead):
    """The loop that a user leaves for a library only if that costs nothing."""

    async def read(self) -> tuple[str | None, int | None]:
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        buffer = b""
        async with self.http.post(self.url, json=self.body) as response:
            response.raise_for_status()
            async for data in response.content.iter_any():
                buffer += data
                *events, buffer = buffer.split(b"\n\n")
                for event in events:
                    if not event.startswith(b"data: "):
                        continue
                    payload = event[6:]
                    if payload == b"[DONE]":
                        continue
                    chunk = orjson.loads(payload)
                    if choices := chunk["choices"]:
                        content = choices[0]["delta"].get("content")
                        if content:
                            pieces.append(content)
                    if chunk["usage"]:
                        usage = chunk["usage"]
        return "".join(pieces), usage["completion_tokens"]


class HandWrittenTools(PostAndRead):
    """The same loop for the arguments of one tool call."""

    async def read(self) -> tuple[str | None, int | None]:
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        buffer = b""
        async with self.http.post(self.url, json=self.body) as response:
            response.raise_for_status()
            async for data in response.content.iter_any():
                buffer += data
                *events, buffer = buffer.split(b"\n\n")
                for event in events:
                    if not event.startswith(b"data: "):
                        continue
                    payload = event[6:]
                    if payload == b"[DONE]":
                        continue
                    chunk = orjson.loads(payload)
                    if choices := chunk["choices"]:
                        calls = choices[0]["delta"].get("tool_calls")
                        if calls:
                            pieces.append(calls[0]["function"]["arguments"])
                    if chunk["usage"]:
                        usage = chunk["usage"]
        return "".join(pieces), usage["completion_tokens"]
