"""Open streams with OpenAI's names: of chunks, and of typed events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cometstream.answer.events import ChunkEvent, KeepAliveEvent, ReasoningDeltaEvent, ReasoningDoneEvent
from cometstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from typing_extensions import Self

    from cometstream.answer.events import StreamEvent
    from cometstream.metrics import StreamResponse
    from cometstream.stream import ChatStream
    from cometstream.views.completion import ChatCompletion

__all__ = ["AsyncChatCompletionStream", "AsyncChatCompletionStreamManager", "AsyncStream"]

_T = TypeVar("_T")

# Events that OpenAI's helper does not have; `CometSession.stream(...).events()` yields them.
_FOREIGN_EVENTS: Final = (KeepAliveEvent, ReasoningDeltaEvent, ReasoningDoneEvent)


class AsyncStream(Generic[_T]):
    """An open stream: iterate it.

    Its end, an error and a cancelled read close the connection, and so do ``close()`` and ``async with``. A stream that is
    forgotten earlier closes it, too, with a ResourceWarning.

    Args:
        stream: The entered stream.
        items: Its reader.
        shows: Which items the loop gets.

    Raises:
        StreamError: While iterating: the answer did not end well; ``partial`` holds what came.
    """

    def __init__(self, stream: ChatStream, items: AsyncIterator[_T], shows: Callable[[_T], bool]) -> None:
        self._stream = stream
        self._items = items
        self._shows = shows

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        try:
            while True:
                item = await self._items.__anext__()
                if self._shows(item):
                    return item
        except UsageError:
            raise  # another task is reading this stream: it goes on
        except BaseException:
            # When a cancellation ends the loop, nobody else closes the stream.
            await self.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, if the stream is not at its end. A loop in another task ends without an error.

        Cancellation:
            Nothing is awaited.
        """
        await self._stream.aclose()

    @property
    def completion(self) -> ChatCompletion:
        """The completion so far. At the end it has ``usage``, also where the caller did not ask for it."""
        return self._stream.completion

    @property
    def response(self) -> StreamResponse:
        """Status, headers and request id of the answer."""
        return self._stream.response


class AsyncChatCompletionStream(AsyncStream["StreamEvent"]):
    """An open stream of typed events, as OpenAI's helper yields them."""

    async def until_done(self) -> Self:
        """Read to the end.

        Raises:
            CometError: As iterating.
        Cancellation:
            Safe; the connection is closed.
        """
        async for _ in self:
            pass
        return self

    async def get_final_completion(self) -> ChatCompletion:
        """Read to the end and return the completion.

        Raises:
            CometError: As iterating.
        Cancellation:
            Safe; the connection is closed.
        """
        await self.until_done()
        return self.completion

    @property
    def current_completion_snapshot(self) -> ChatCompletion:
        """The completion so far."""
        return self.completion


class AsyncChatCompletionStreamManager:
    """The result of ``stream(...)``: entering it sends the request.

    Args:
        stream: The stream, not entered.
        shows_bare_chunks: Whether chunks without choices are events.
    """

    def __init__(self, stream: ChatStream, shows_bare_chunks: bool) -> None:
        self._stream = stream
        self._shows_bare_chunks = shows_bare_chunks

    async def __aenter__(self) -> AsyncChatCompletionStream:
        await self._stream.__aenter__()
        return AsyncChatCompletionStream(self._stream, self._stream.events(), self._shows)

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stream.aclose()

    def _shows(self, event: StreamEvent) -> bool:
        if isinstance(event, ChunkEvent):
            return self._shows_bare_chunks or bool(event.chunk.choices)
        return not isinstance(event, _FOREIGN_EVENTS)
