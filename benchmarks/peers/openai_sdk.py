"""openai's own client: ``create(stream=True)``, its streaming helper, and its transport over aiohttp."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import openai
from pydantic import BaseModel

from benchmarks.answers import MESSAGES, MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self


class Create:
    """Chunks of ``create(stream=True)``, whose text the caller joins."""

    def __init__(self, base_url: str) -> None:
        self.client = openai.AsyncOpenAI(api_key="sk-benchmark", base_url=base_url, **self.options())

    def options(self) -> dict[str, Any]:
        return {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.client.close()

    async def read(self) -> tuple[str | None, int | None]:
        pieces: list[str] = []
        usage = None
        stream = await self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            if chunk.choices:
                content = chunk.choices[0].delta.content
                if content:
                    pieces.append(content)
            if chunk.usage:
                usage = chunk.usage
        assert usage is not None
        return "".join(pieces), usage.completion_tokens


class CreateAiohttp(Create):
    """The same over aiohttp."""

    def options(self) -> dict[str, Any]:
        return {"http_client": openai.DefaultAioHttpClient()}


class CreateTransport(Create):
    """The same over a session of ours."""

    def options(self) -> dict[str, Any]:
        # Imported here: the other peers of this module are measured without us.
        from cometstream.openai.transport import CometTransport

        return {"http_client": httpx2.AsyncClient(transport=CometTransport())}


class Semaphored(Create):
    """What openai's users write for a batch: a task for each request behind a semaphore, results as they come."""

    async def read_all(self, rows: int, concurrency: int) -> AsyncIterator[tuple[str | None, int | None]]:
        places = asyncio.Semaphore(concurrency)

        async def one() -> tuple[str | None, int | None]:
            async with places:
                return await self.read()

        for done in asyncio.as_completed([one() for _ in range(rows)]):
            yield await done


class Stream(Create):
    """The streaming helper, which adds the completion up as cometstream does."""

    async def read(self) -> tuple[str | None, int | None]:
        async with self.client.chat.completions.stream(
            model=MODEL, messages=MESSAGES, stream_options={"include_usage": True}
        ) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    event.delta  # noqa: B018 - what a user does with it is not measured, in no peer
            completion = await stream.get_final_completion()
        assert completion.usage is not None
        return completion.choices[0].message.content, completion.usage.completion_tokens


class Note(BaseModel):
    """What the answers of the kind ``"json"`` are."""

    text: str


class StreamOfType(Create):
    """The streaming helper with a type, whose value it parses anew for every delta."""

    async def read(self) -> tuple[str | None, int | None]:
        async with self.client.chat.completions.stream(
            model=MODEL, messages=MESSAGES, stream_options={"include_usage": True}, response_format=Note
        ) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    event.parsed  # noqa: B018 - as above
            completion = await stream.get_final_completion()
        assert completion.usage is not None
        assert completion.choices[0].message.parsed is not None
        return completion.choices[0].message.content, completion.usage.completion_tokens
