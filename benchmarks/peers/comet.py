"""cometstream, read in the ways it offers; accumulation, clocks, outcome and metrics are always on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from benchmarks.answers import MESSAGES, MODEL
from cometstream import CometSession, fan_out

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self

    from cometstream import ChatStream


class Chunks:
    """Typed chunks, each token looked at."""

    pace = 0.0

    def __init__(self, base_url: str) -> None:
        self.session = CometSession(api_key="sk-benchmark", base_url=base_url)

    async def __aenter__(self) -> Self:
        await self.session.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.session.aclose()

    async def read(self) -> tuple[str | None, int | None]:
        async with self.session.stream(model=MODEL, messages=MESSAGES, pace=self.pace) as stream:
            await self.consume(stream)
        message = stream.completion.choices[0].message
        usage = stream.metrics.usage
        assert stream.outcome == "complete"
        assert usage is not None
        text = message.tool_calls[0].function.arguments if message.tool_calls else message.content
        return text, usage.completion_tokens

    async def consume(self, stream: ChatStream) -> None:
        async for chunk in stream:
            if choices := chunk.choices:
                choices[0].delta.content  # noqa: B018 - what a user does with it is not measured, in no peer


class Tools(Chunks):
    """Typed chunks, each fragment of the arguments looked at."""

    async def consume(self, stream: ChatStream) -> None:
        async for chunk in stream:
            if choices := chunk.choices:
                for call in choices[0].delta.tool_calls or ():
                    assert call.function is not None
                    call.function.arguments  # noqa: B018 - as above


class Text(Chunks):
    """The text alone."""

    async def consume(self, stream: ChatStream) -> None:
        async for _ in stream.text():
            pass


class Note(BaseModel):
    """What the answers of the kind ``"json"`` are."""

    text: str


class Partials(Chunks):
    """The value of a type as it grows."""

    async def read(self) -> tuple[str | None, int | None]:
        async with self.session.stream(model=MODEL, messages=MESSAGES, response_format=Note) as stream:
            async for note in stream.partials():
                note.text  # noqa: B018 - as above
        usage = stream.metrics.usage
        assert usage is not None
        assert len(stream.completion.parsed.text) > 0
        return stream.completion.content, usage.completion_tokens


class Pace100(Chunks):
    """Typed chunks, for a reader that needs them ten times a second."""

    pace = 0.1


class Pace500(Chunks):
    """Typed chunks, for a reader that needs them twice a second."""

    pace = 0.5


class FannedOut(Chunks):
    """Rows of a batch, whose tokens nobody watches, at its default pace."""

    async def read_all(self, rows: int, concurrency: int) -> AsyncIterator[tuple[str | None, int | None]]:
        requests = ({"messages": MESSAGES} for _ in range(rows))
        async with fan_out(self.session, requests, model=MODEL, concurrency=concurrency) as batch:
            async for result in batch:
                assert result.outcome == "complete"
                assert result.completion is not None
                assert result.completion.usage is not None
                yield result.completion.content, result.completion.usage.completion_tokens
