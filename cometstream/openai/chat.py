"""``client.chat.completions``: one request, answered whole, as chunks or as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from cometstream.errors import InvalidRequestError
from cometstream.openai.streams import AsyncChatCompletionStreamManager, AsyncStream
from cometstream.policy import NotGiven
from cometstream.request.describe import kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from cometstream.openai.calls import Calls, CreateParams
    from cometstream.request.params import MessageParam
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion, ChatCompletionMessage

__all__ = ["Chat", "Completions"]


class Chat:
    """``client.chat``.

    Attributes:
        completions: ``client.chat.completions``.
    """

    def __init__(self, calls: Calls) -> None:
        self.completions = Completions(calls)


class Completions:
    """``client.chat.completions``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        stream: Literal[False] | NotGiven | None = ...,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        stream: Literal[True],
        **params: Unpack[CreateParams],
    ) -> AsyncStream[ChatCompletionChunk]: ...

    @overload
    async def create(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        stream: bool,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...

    async def create(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        stream: bool | NotGiven | None = None,
        **params: Unpack[CreateParams],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Send one request; return the completion, or with ``stream=True`` an open stream of chunks.

        Args:
            model: The model's id.
            messages: The conversation, oldest first. An answer's ``message`` or its ``tool_calls`` can stand in it as they are.
            stream: True returns a stream, once the request is answered with a 2xx status. Its connection is closed at its end;
                ``async with stream`` or ``await stream.close()`` closes it before.
            **params: The wire's parameters by their names; None, ``NOT_GIVEN`` and ``omit`` mean not given. Also ``timeout``, as
                the client's; ``extra_headers``; ``extra_body``: a provider's own parameters, which are merged into the body,
                replace others of the same name, and are not checked.
        Raises:
            InvalidRequestError: The request does not match the specification; every problem is listed.
            CometError: The server answered with an error, or there was no answer. Without ``stream`` also: the answer did not end
                well.
        Cancellation:
            Safe at any point; the connection is closed.
        """
        if stream is not None and not isinstance(stream, (bool, NotGiven)):
            raise InvalidRequestError([f"stream: is {kind(stream)}; it must be true or false"])
        request = self._calls.request(model, messages, params)
        if stream is not True:
            return await self._calls.session.complete(**request)
        chat = self._calls.session.stream(**request)
        await chat.__aenter__()
        asks = _asks_for_usage(request)
        return AsyncStream(chat, chat, lambda chunk: asks or bool(chunk.choices))

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        **params: Unpack[CreateParams],
    ) -> AsyncChatCompletionStreamManager:
        """Return one request as typed events, to enter with ``async with`` and iterate; nothing is sent before that.

        Args:
            model: As ``create``.
            messages: As ``create``.
            **params: As ``create``.
        Raises:
            InvalidRequestError: As ``create``.
        """
        request = self._calls.request(model, messages, params)
        return AsyncChatCompletionStreamManager(self._calls.session.stream(**request), _asks_for_usage(request))


def _asks_for_usage(request: Mapping[str, Any]) -> bool:
    """Whether the caller decided on the usage chunk. If not, the session asks for it, and the caller's loop does not see it."""
    for holder in (request, request.get("extra_body")):
        options = holder.get("stream_options") if isinstance(holder, Mapping) else None
        if isinstance(options, Mapping) and "include_usage" in options:
            return True
    return False
