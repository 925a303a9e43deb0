"""``client.chat.completions``: one request, answered whole, as objects, as chunks or as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from cometstream.errors import InvalidRequestError
from cometstream.openai.calls import is_given
from cometstream.openai.errors import translated
from cometstream.openai.left_out import missing
from cometstream.openai.parsing import ParsedChatCompletion, Parser
from cometstream.openai.streams import AsyncChatCompletionStreamManager, AsyncStream
from cometstream.request.describe import kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from cometstream.openai.calls import Calls, CreateParams, ParseParams
    from cometstream.policy import NotGiven
    from cometstream.request.params import Message
    from cometstream.stream import ChatStream
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion

__all__ = ["Beta", "Chat", "Completions"]


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
    """``client.beta``: ``chat.completions`` under its old name.

    Attributes:
        chat: ``client.chat``.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def __getattr__(self, name: str) -> Any:
        raise missing("client.beta", name)


class Completions:
    """``client.chat.completions``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._url = f"{calls.session.base_url}/chat/completions"

    def __getattr__(self, name: str) -> Any:
        raise missing("client.chat.completions", name)

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: Literal[False] | NotGiven | None = ...,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: Literal[True],
        **params: Unpack[CreateParams],
    ) -> AsyncStream[ChatCompletionChunk]: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: bool,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...

    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        stream: bool | NotGiven | None = None,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Send one request; return the completion, or with ``stream=True`` an open stream of chunks.

        Args:
            model: The model's id.
            messages: The conversation, oldest first. An answer's ``message`` or its ``tool_calls`` can stand in it as they are, and
                so can OpenAI's own objects and pydantic models.
            stream: True returns a stream, once the request is answered with a 2xx status. Its connection is closed at its end;
                ``async with stream`` or ``await stream.close()`` closes it before.
            **params: The wire's parameters by their names; None, ``NOT_GIVEN`` and ``omit`` mean not given. Also ``timeout``, as
                the client's; ``extra_headers``; ``extra_query``; ``extra_body``: a provider's own parameters, which are merged into
                the body, replace others of the same name, and are not checked.
        Raises:
            BadRequestError: The server refused the request, or it does not match the specification; every problem is listed.
            APIError: The server answered with an error, or there was no answer. Without ``stream`` also: the answer did not
                come whole.
        Cancellation:
            Safe at any point; the connection is closed.
        """
        with translated(self._url):
            if stream is not None and is_given(stream) and not isinstance(stream, bool):
                raise InvalidRequestError([f"stream: is {kind(stream)}; it must be true or false"])
            calls = await self._calls.with_key()
            request = calls.request(model, messages, params)
            if stream is not True:
                return await calls.session.complete(**request)
            chat = calls.session.stream(**request)
            await chat.__aenter__()
        asks = _asks_for_usage(request)
        return AsyncStream(chat, chat, lambda chunk: asks or bool(chunk.choices), self._url)

    async def parse(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        response_format: Any = None,
        **params: Unpack[ParseParams],
    ) -> ParsedChatCompletion[Any]:
        """Send one request and return the completion with what it says as objects: ``completion.choices[0].message.parsed``.

        Args:
            model: As ``create``.
            messages: As ``create``.
            response_format: A pydantic model or another type that pydantic knows. Its strict schema is sent, or its plain one where
                it has no strict form.
            **params: As ``create``. Tools of ``pydantic_function_tool`` give ``call.function.parsed_arguments``.
        Raises:
            LengthFinishReasonError: The answer ended at its length limit.
            ContentFilterFinishReasonError: A content filter ended it.
            APIError: As ``create``.
            ValueError: pydantic's: the answer does not match the model.
        Cancellation:
            Safe at any point; the connection is closed.
        """
        with translated(self._url):
            parser = Parser(response_format if is_given(response_format) else None, params.get("tools"))
        asked: Any = {**params, "response_format": parser.response_format}
        return parser.completion(await self.create(model=model, messages=messages, **asked))

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        response_format: Any = None,
        **params: Unpack[ParseParams],
    ) -> AsyncChatCompletionStreamManager:
        """Return one request as typed events, to enter with ``async with`` and iterate; nothing is sent before that.

        Args:
            model: As ``create``.
            messages: As ``create``.
            response_format: As ``parse``; ``content`` events then have ``parsed``.
            **params: As ``create``.
        Raises:
            BadRequestError: As ``create``.
        """
        with translated(self._url):
            parser = Parser(response_format if is_given(response_format) else None, params.get("tools"))
            asked: Any = {**params, "response_format": parser.response_format}
            first = self._calls.session.stream(**(request := self._calls.request(model, messages, asked)))

        async def open_stream() -> ChatStream:
            calls = await self._calls.with_key()
            return first if calls is self._calls else calls.session.stream(**calls.request(model, messages, asked))

        return AsyncChatCompletionStreamManager(open_stream, _asks_for_usage(request), self._url, parser)


def _asks_for_usage(request: Mapping[str, Any]) -> bool:
    """Whether the caller set ``include_usage``. If not, the session does, and the caller's loop does not see the usage chunk."""
    for holder in (request, request.get("extra_body")):
        options = holder.get("stream_options") if isinstance(holder, Mapping) else None
        if isinstance(options, Mapping) and "include_usage" in options:
            return True
    return False
