"""``OpenAI``: the same client for programs that are not asynchronous. It runs in an event loop in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from cometstream.answer.events import StreamEvent
from cometstream.openai.calls import NOT_GIVEN
from cometstream.openai.chat import Completions as AsyncCompletions
from cometstream.openai.client import Client
from cometstream.openai.left_out import LeftOutCompletions, missing, openais_class
from cometstream.openai.models import Models as AsyncModels
from cometstream.openai.portal import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from typing_extensions import Self, Unpack

    from cometstream.openai.calls import ApiKey, Calls, CreateParams, ParseParams, Query, Timeout
    from cometstream.openai.errors import Response
    from cometstream.openai.models import AsyncPage
    from cometstream.openai.parsing import ParsedChatCompletion
    from cometstream.openai.streams import AsyncChatCompletionStream, AsyncChatCompletionStreamManager, AsyncStream
    from cometstream.policy import NotGiven
    from cometstream.request.params import Message
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion
    from cometstream.views.models import Model

__all__ = ["ChatCompletionStream", "ChatCompletionStreamManager", "OpenAI", "Stream", "SyncPage"]

_T = TypeVar("_T")


class Stream(Generic[_T]):
    """An open stream: iterate it; see ``AsyncStream``.

    Args:
        stream: The asynchronous stream.
    """

    def __init__(self, stream: AsyncStream[_T]) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        found = run(_next(self._stream))
        if not found:
            raise StopIteration
        return found[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if the stream is not at its end."""
        run(self._stream.close())

    @property
    def completion(self) -> ChatCompletion:
        """The completion so far."""
        return self._stream.completion

    @property
    def response(self) -> Response:
        """The head of the answer."""
        return self._stream.response


async def _next(items: AsyncIterator[_T]) -> tuple[_T] | tuple[()]:
    async for item in items:
        return (item,)
    return ()


class ChatCompletionStream(Stream[StreamEvent]):
    """An open stream of typed events; see ``AsyncChatCompletionStream``."""

    _stream: AsyncChatCompletionStream

    def until_done(self) -> Self:
        """Read to the end."""
        run(self._stream.until_done())
        return self

    def get_final_completion(self) -> Any:  # as the asynchronous one
        """Read to the end and return the completion."""
        return run(self._stream.get_final_completion())

    @property
    def current_completion_snapshot(self) -> ChatCompletion:
        """The completion so far."""
        return self.completion


class ChatCompletionStreamManager:
    """The result of ``stream(...)``: entering it sends the request.

    Args:
        manager: The asynchronous one.
    """

    def __init__(self, manager: AsyncChatCompletionStreamManager) -> None:
        self._manager = manager

    def __enter__(self) -> ChatCompletionStream:
        return ChatCompletionStream(run(self._manager.__aenter__()))

    def __exit__(self, *exc_info: object) -> None:
        run(self._manager.__aexit__(*exc_info))


class Completions:
    """``client.chat.completions``."""

    def __init__(self, calls: Calls) -> None:
        self._completions = AsyncCompletions(calls)

    def __getattr__(self, name: str) -> Any:
        raise missing("client.chat.completions", name)

    @overload
    def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: Literal[False] | NotGiven | None = ...,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion: ...

    @overload
    def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: Literal[True],
        **params: Unpack[CreateParams],
    ) -> Stream[ChatCompletionChunk]: ...

    @overload
    def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: bool,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | Stream[ChatCompletionChunk]: ...

    def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: Any = None,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Send one request; see the asynchronous ``create``."""
        answer = run(self._completions.create(model=model, messages=messages, stream=stream, **params))
        return Stream(answer) if stream is True else answer

    def parse(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        response_format: Any = None,
        **params: Unpack[ParseParams],
    ) -> ParsedChatCompletion[Any]:
        """Send one request and return the completion with what it says as objects; see the asynchronous ``parse``."""
        return run(self._completions.parse(model=model, messages=messages, response_format=response_format, **params))

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        response_format: Any = None,
        **params: Unpack[ParseParams],
    ) -> ChatCompletionStreamManager:
        """Return one request as typed events, to enter with ``with`` and iterate; see the asynchronous ``stream``."""
        return ChatCompletionStreamManager(
            self._completions.stream(model=model, messages=messages, response_format=response_format, **params)
        )


class Chat:
    """``client.chat``.

    Attributes:
        completions: ``client.chat.completions``.
    """

    def __init__(self, calls: Calls) -> None:
        self.completions = Completions(calls)

    def __getattr__(self, name: str) -> Any:
        raise missing("client.chat", name)


class Beta:
    """``client.beta``.

    Attributes:
        chat: ``client.chat``.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def __getattr__(self, name: str) -> Any:
        raise missing("client.beta", name)


class SyncPage:
    """The list of models: one page, and the last.

    Args:
        page: The asynchronous one.
    """

    def __init__(self, page: AsyncPage) -> None:
        self.data = page.data
        self.object = page.object

    def __iter__(self) -> Iterator[Model]:
        return iter(self.data)

    def has_next_page(self) -> bool:
        """Whether there is another page; there is none."""
        return False


class Models:
    """``client.models``."""

    def __init__(self, calls: Calls) -> None:
        self._models = AsyncModels(calls)

    def __getattr__(self, name: str) -> Any:
        raise missing("client.models", name)

    def list(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Query = None,
    ) -> SyncPage:
        """Return the models that the endpoint serves."""

        async def fetch() -> AsyncPage:
            return await self._models.list(timeout=timeout, extra_headers=extra_headers, extra_query=extra_query)

        return SyncPage(run(fetch()))

    def retrieve(
        self,
        model: str,
        *,
        timeout: Timeout = NOT_GIVEN,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Query = None,
    ) -> Model:
        """Return one model, by its id, out of the list."""
        return run(self._models.retrieve(model, timeout=timeout, extra_headers=extra_headers, extra_query=extra_query))


class OpenAI(Client):
    """``AsyncOpenAI`` for scripts: its calls wait for their answers.

    Use it with ``with``, or end it with ``client.close()``; one that is forgotten closes its connections itself.

    Args:
        api_key: As ``AsyncOpenAI``.
        base_url: As ``AsyncOpenAI``.
        timeout: As ``AsyncOpenAI``.
        max_retries: As ``AsyncOpenAI``.
        default_headers: As ``AsyncOpenAI``.
        default_query: As ``AsyncOpenAI``.
        organization: As ``AsyncOpenAI``.
        project: As ``AsyncOpenAI``.
        **left_out: As ``AsyncOpenAI``.
    Raises:
        ConfigurationError: There is no key, or an option cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        default_query: Query = None,
        organization: str | None = None,
        project: str | None = None,
        **left_out: object,
    ) -> None:
        super().__init__(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeout": timeout,
                "max_retries": max_retries,
                "default_headers": default_headers,
                "default_query": default_query,
                "organization": organization,
                "project": project,
                **left_out,
            }
        )

    @property  # type: ignore[misc] # read, never set
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] # as above
        # As AsyncOpenAI's.
        return openais_class("OpenAI") or OpenAI

    def _bind(self) -> None:
        super()._bind()
        self.chat = Chat(self._calls)
        self.beta = Beta(Chat(self._calls))  # its own, as wrappers wrap each
        self.models = Models(self._calls)
        self.completions = LeftOutCompletions()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool and all open streams."""
        run(self._session.aclose())

    def copy(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        default_headers: Mapping[str, str] | None = None,
        set_default_headers: Mapping[str, str] | None = None,
        default_query: Query = None,
        set_default_query: Query = None,
        organization: str | None = None,
        project: str | None = None,
        **left_out: object,
    ) -> Self:
        """Return a client with some settings changed; see ``AsyncOpenAI.copy``."""
        return self._changed(
            {
                "api_key": api_key,
                "base_url": base_url,
                "timeout": timeout,
                "max_retries": max_retries,
                "default_headers": default_headers,
                "set_default_headers": set_default_headers,
                "default_query": default_query,
                "set_default_query": set_default_query,
                "organization": organization,
                "project": project,
                **left_out,
            }
        )

    with_options = copy
