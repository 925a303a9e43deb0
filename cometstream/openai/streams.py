"""Open streams with OpenAI's names: of chunks, and of typed events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from cometstream.answer.events import (
    ChunkEvent,
    ContentDeltaEvent,
    ContentDoneEvent,
    FunctionToolCallArgumentsDoneEvent,
    KeepAliveEvent,
    ReasoningDeltaEvent,
    ReasoningDoneEvent,
)
from cometstream.answer.json_output import JSON_OUTPUT, read_pieces
from cometstream.errors import CometError, UsageError
from cometstream.openai.errors import Request, Response, openais, translated
from cometstream.openai.parsing import Parser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from typing_extensions import Self

    from cometstream.answer.events import StreamEvent
    from cometstream.answer.partial_json import PartialJSON
    from cometstream.stream import ChatStream
    from cometstream.views.completion import ChatCompletion

__all__ = ["AsyncChatCompletionStream", "AsyncChatCompletionStreamManager", "AsyncStream"]

_T = TypeVar("_T")

# Events that OpenAI's helper does not have; `CometSession.stream(...).events()` yields them.
_FOREIGN_EVENTS: Final = (KeepAliveEvent, ReasoningDeltaEvent, ReasoningDoneEvent)


class AsyncStream(Generic[_T]):
    """An open stream: iterate it.

    The connection is closed at the end of the stream, after an error or a cancelled read, by ``close()`` and by ``async with``. A
    stream that is dropped before closes it with a ResourceWarning.

    Args:
        stream: The entered stream.
        items: Yields the items.
        shows: Whether the loop gets an item.
        url: Where the request went.

    Raises:
        StreamError: While iterating: the answer did not come whole; ``partial`` is what came.
    """

    def __init__(
        self, stream: ChatStream, items: AsyncIterator[_T], shows: Callable[[_T], bool], url: str = ""
    ) -> None:
        self._stream = stream
        self._items = items
        self._shows = shows
        self._request = Request("POST", url)

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
        except CometError as error:
            await self.close()
            raise openais(error, self._request) from None
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

    aclose = close

    @property
    def completion(self) -> ChatCompletion:
        """The completion so far. At the end it has ``usage``, even if the caller did not ask for it."""
        return self._stream.completion

    @property
    def response(self) -> Response:
        """The head of the answer: ``status_code``, ``headers``."""
        head = self._stream.response
        return Response(head.status, head.headers, self._request, request_id=head.request_id)


class AsyncChatCompletionStream(AsyncStream["StreamEvent"]):
    """An open stream of typed events, as OpenAI's helper yields them.

    Args:
        stream: As ``AsyncStream``.
        items: As ``AsyncStream``.
        shows: As ``AsyncStream``.
        url: As ``AsyncStream``.
        parser: Parses texts and arguments.
    """

    def __init__(
        self,
        stream: ChatStream,
        items: AsyncIterator[StreamEvent],
        shows: Callable[[StreamEvent], bool],
        url: str,
        parser: Parser,
    ) -> None:
        super().__init__(stream, items, shows, url)
        self._parser = parser
        self._partials: dict[int, PartialJSON] = {}  # by the choice

    async def __anext__(self) -> StreamEvent:
        event = await super().__anext__()
        return self._parsed(event) if self._parser else event

    def _parsed(self, event: StreamEvent) -> Any:
        if isinstance(event, ContentDeltaEvent):
            partial = self._partials.get(event.choice_index)
            if partial is None:
                partial = self._partials[event.choice_index] = JSON_OUTPUT.parser()
            return _ParsedEvent(event, read_pieces(partial, event.delta))
        if isinstance(event, ContentDoneEvent):
            return _ParsedEvent(event, self._parser.content(event.content))
        if isinstance(event, FunctionToolCallArgumentsDoneEvent):
            return _ParsedEvent(event, self._parser.arguments(event.name, event.arguments))
        return event

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

    async def get_final_completion(
        self,
    ) -> Any:  # a ChatCompletion; with a model as response_format a ParsedChatCompletion
        """Read to the end and return the completion.

        Raises:
            CometError: As iterating; ``LengthFinishReasonError`` if it is to be parsed and was cut at its length limit.
        Cancellation:
            Safe; the connection is closed.
        """
        await self.until_done()
        return self._parser.completion(self.completion) if self._parser else self.completion

    @property
    def current_completion_snapshot(self) -> ChatCompletion:
        """The completion so far."""
        return self.completion


class _ParsedEvent:
    """An event with its text or arguments parsed.

    Attributes:
        parsed: The value. While the text goes on it is the same object in all events, and grows: copy what you keep.
    """

    def __init__(self, event: StreamEvent, parsed: Any) -> None:
        self._event = event
        self.parsed = parsed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    @property
    def parsed_arguments(self) -> Any:
        """``parsed``, under the name that events of tool calls have."""
        return self.parsed

    def __repr__(self) -> str:
        return f"{self._event!r}, parsed={self.parsed!r}"


class AsyncChatCompletionStreamManager:
    """The result of ``stream(...)``: entering it sends the request.

    Args:
        open_stream: Returns the stream, not entered.
        shows_bare_chunks: Whether chunks without choices are events.
        url: Where the request goes.
        parser: Parses texts and arguments.
    """

    def __init__(
        self, open_stream: Callable[[], Awaitable[ChatStream]], shows_bare_chunks: bool, url: str, parser: Parser
    ) -> None:
        self._open = open_stream
        self._stream: ChatStream | None = None
        self._shows_bare_chunks = shows_bare_chunks
        self._url = url
        self._parser = parser

    async def __aenter__(self) -> AsyncChatCompletionStream:
        with translated(self._url):
            if self._stream is None:
                self._stream = await self._open()
            await self._stream.__aenter__()
        return AsyncChatCompletionStream(self._stream, self._stream.events(), self._shows, self._url, self._parser)

    async def __aexit__(self, *exc_info: object) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    def _shows(self, event: StreamEvent) -> bool:
        if isinstance(event, ChunkEvent):
            return self._shows_bare_chunks or bool(event.chunk.choices)
        return not isinstance(event, _FOREIGN_EVENTS)
