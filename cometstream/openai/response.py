"""An answer as httpx's or httpx2's response: the classes are those of whichever package the client is of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from cometstream.openai.portal import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import ModuleType

    from cometstream.openai.forward import EventBytes, Forwarded

__all__ = ["response"]


def response(http: ModuleType, answer: Forwarded, *, is_async: bool) -> Any:
    """Return an answer as the response of a client's package.

    Args:
        http: httpx or httpx2.
        answer: The answer.
        is_async: Whether the client is the asynchronous one.
    """
    extensions = {"http_version": b"HTTP/1.1"}
    if isinstance(answer.content, bytes):
        return http.Response(answer.status, headers=answer.headers, extensions=extensions, content=answer.content)
    kind, body = _classes(http)[0 if is_async else 1]
    return kind(answer.status, headers=answer.headers, extensions=extensions, stream=body(answer.content))


@cache
def _classes(http: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the responses and bodies that a client of this package takes, for the asynchronous one and the other."""

    class Body(http.AsyncByteStream):  # type: ignore[misc] # of whichever package it is
        def __init__(self, content: EventBytes) -> None:
            self.content = content

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self.content

        async def aclose(self) -> None:
            await self.content.aclose()

    class Response(http.Response):  # type: ignore[misc] # as above
        is_stream_consumed: bool

        def __init__(self, *args: Any, stream: Body, **options: Any) -> None:
            super().__init__(*args, stream=stream, **options)
            self._pieces = stream.content

        def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            # httpx passes each piece through three generators, for encodings and sizes that do not concern us.
            if chunk_size is not None or self.is_stream_consumed or self.is_closed:
                return super().aiter_bytes(chunk_size)  # type: ignore[no-any-return] # as above
            self.is_stream_consumed = True
            return _ClosingPieces(self, self._pieces)

    class SyncBody(http.SyncByteStream):  # type: ignore[misc] # as above
        def __init__(self, content: EventBytes) -> None:
            self._content = content

        def __iter__(self) -> Iterator[bytes]:
            while (piece := run(self._next())) is not None:
                yield piece

        async def _next(self) -> bytes | None:
            async for piece in self._content:
                return piece
            return None

        def close(self) -> None:
            run(self._content.aclose())

    return (Response, Body), (http.Response, SyncBody)


class _ClosingPieces:
    """The pieces of a body; at their end the response is closed, as httpx does."""

    __slots__ = ("_pieces", "_response")

    def __init__(self, response: Any, pieces: EventBytes) -> None:
        self._response = response
        self._pieces = pieces

    def __aiter__(self) -> _ClosingPieces:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            await self._response.aclose()
            raise

    async def aclose(self) -> None:
        await self._response.aclose()
