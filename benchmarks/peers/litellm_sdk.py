"""litellm's ``acompletion(stream=True)``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.answers import MESSAGES, MODEL

if TYPE_CHECKING:
    from typing_extensions import Self

# Installed in an environment of its own, so that no checker sees it.
litellm: Any = import_module("litellm")
litellm.telemetry = False


class Litellm:
    """Chunks, whose text the caller joins."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def read(self) -> tuple[str | None, int | None]:
        pieces: list[str] = []
        usage = None
        stream = await litellm.acompletion(
            model=f"openai/{MODEL}",
            messages=MESSAGES,
            api_base=self.base_url,
            api_key="sk-benchmark",
            stream=True,
            stream_options={"include_usage": True},
            max_retries=0,
        )
        async for chunk in stream:
            if chunk.choices:
                content = chunk.choices[0].delta.content
                if content:
                    pieces.append(content)
            usage = getattr(chunk, "usage", None) or usage
        assert usage is not None
        return "".join(pieces), usage.completion_tokens
