"""The session: one configuration, one connection pool, and the public calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from cometstream.answer.error_body import ErrorContext, read_error
from cometstream.attempts import Attempts
from cometstream.config import checked_headers, find_base_url, find_key, find_proxy, merge_headers, standard_headers
from cometstream.errors import ConfigurationError, InvalidRequestError, ProtocolError, UsageError
from cometstream.policy import NOT_GIVEN, Clocks, NotGiven, RetryPolicy, Timeouts
from cometstream.request.checks import check_request
from cometstream.request.encode import is_json_list
from cometstream.request.providers import warn_parameters
from cometstream.stream import ChatStream
from cometstream.transport.exchange import Endpoint
from cometstream.transport.pool import Pool
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage
from cometstream.views.models import Model
from cometstream.views.view import View, list_of_dicts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from cometstream.request.params import ChatParams, MessageParam
    from cometstream.transport.pool import Client

__all__ = ["CometSession"]

# What the two forms of the route add to the session's headers. An event stream is not to be held back by a compressor.
_STREAM: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_COMPLETE: Final = {"Accept": "application/json", "Content-Type": "application/json"}


class CometSession:
    """A connection pool to the endpoint, and what every request through it shares.

    Use it with ``async with``, or let the first request open it and end it with ``await session.aclose()``. One session serves
    any number of concurrent streams, in whichever event loop runs it: each loop has connections of its own.

    Args:
        api_key: The CometAPI key; None takes the environment variable ``COMETAPI_KEY``.
        base_url: Where the routes are; None takes ``COMETAPI_BASE_URL``, then ``https://api.cometapi.com/v1``.
        timeouts: The four clocks in seconds, see ``Timeouts``; None turns all off.
        retry: A ``RetryPolicy``, a number of retries, or None for none; two by default.
        headers: Headers added to every request.
        max_connections: Connections open at a time in one event loop; None for no limit.
        client: Your own ``aiohttp.ClientSession``; it is never closed here, and its timeout, raise_for_status and redirect
            settings do not apply. In it ``first_content`` also counts the wait for a place in the pool, and ``connect`` neither
            the look-up of the name nor a proxy's answer.
        validate: Check requests against the endpoint's specification before they are sent.

    Raises:
        ConfigurationError: No key, an empty one, or a base URL, header or proxy that cannot be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        max_connections: int | None = None,
        client: Client | None = None,
        validate: bool = True,
    ) -> None:
        key, source = find_key(api_key)
        self.base_url = find_base_url(base_url)
        self.clocks = Clocks().with_(timeouts)
        self.retry = RetryPolicy() if isinstance(retry, NotGiven) else RetryPolicy.of(retry)
        self.validate = validate
        self._pool = Pool(max_connections, client, secure=self.base_url.startswith("https:"))
        self._headers = merge_headers(standard_headers(key), checked_headers(headers))
        self._context = ErrorContext(self.base_url, source, key)
        self._proxy = find_proxy(self.base_url) if client is None else None
        self._endpoints: dict[tuple[str, bool], Endpoint] = {}
        self._closed = False
        self._on_close: set[Callable[[], None]] = set()

    def __repr__(self) -> str:
        return f"<CometSession {self.base_url}{' closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        self._pool.client()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool and with it every open stream; a second call does nothing.

        Cancellation:
            The pool is closed all the same.
        """
        self._closed = True
        while self._on_close:
            self._on_close.pop()()
        await self._pool.aclose()

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called: nothing can be sent any more."""
        return self._closed

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `aclose` call something first, such as what ends work that goes on over this session.

        Returns:
            What takes it back.
        """
        self._on_close.add(callback)
        return lambda: self._on_close.discard(callback)

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        pace: float = 0.0,
        on_incomplete: Literal["raise", "return"] = "raise",
        fallback_models: Sequence[str] = (),
        extra_body: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatStream:
        """Return one request as a stream to enter with ``async with``; nothing is sent before that.

        Args:
            model: The model's id.
            messages: The conversation, oldest first, sent as given; an answer's ``message`` can stand in it as it is.
            timeouts: Clocks for this call; those not given are the session's, None turns all off.
            retry: As the session's, for this call.
            headers: Headers added for this call.
            pace: Seconds that arrivals may gather between two reads, to save CPU where nobody watches each token; 0.0 wakes
                for each.
            on_incomplete: ``"raise"``, or ``"return"`` to end the loop quietly where the answer was truncated or unterminated;
                ``stream.outcome`` tells.
            fallback_models: Models to turn to, in order, when the retries are used up or the model is unknown.
            extra_body: Parameters that a provider added; they are merged into the body unread, over all others.
            **params: The wire's parameters by their names; None means not given.
        Returns:
            The stream.
        Raises:
            InvalidRequestError: The request breaks the specification; every problem is listed.
            ConfigurationError: An option of the call cannot be used.
            UsageError: The session is closed.
        Cancellation:
            Nothing is awaited.
        Source:
            POST /v1/chat/completions.
        """
        return self._chat(
            {"model": model, "messages": messages, "stream": True, **params},
            extra_body,
            timeouts=timeouts,
            retry=retry,
            headers=headers,
            pace=pace,
            on_incomplete=on_incomplete,
            fallback_models=fallback_models,
        )

    async def complete(
        self,
        *,
        model: str,
        messages: Sequence[MessageParam | ChatCompletionMessage],
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        fallback_models: Sequence[str] = (),
        extra_body: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion:
        """Send one request in the route's synchronous form and return the completion.

        A proxy may cut an answer that is silent for long; ``stream(...)`` with ``until_done()`` gives the same and shows life.

        Args:
            model: The model's id.
            messages: The conversation, oldest first, sent as given.
            timeouts: As ``stream``; ``first_content`` runs until the answer begins.
            retry: As ``stream``.
            headers: As ``stream``.
            fallback_models: As ``stream``.
            extra_body: As ``stream``.
            **params: As ``stream``.
        Returns:
            The completion, as the server wrote it.
        Raises:
            CometError: As entering and reading a stream.
        Cancellation:
            Safe at any point; the connection is closed.
        Source:
            POST /v1/chat/completions without ``stream``.
        """
        body = {"model": model, "messages": messages, **params}
        async with self._chat(
            body, extra_body, timeouts=timeouts, retry=retry, headers=headers, fallback_models=fallback_models
        ) as stream:
            return await stream.until_done()

    async def models(
        self,
        *,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
    ) -> list[Model]:
        """Return the models that the endpoint serves.

        Args:
            timeouts: As ``stream``.
            retry: As ``stream``.
            headers: As ``stream``.
        Raises:
            APIStatusError: The status was no 2xx.
            APIConnectionError: No answer could be had.
            ProtocolError: The answer is no list of models.
        Cancellation:
            Safe at any point.
        Source:
            GET /v1/models.
        """
        attempts = Attempts(
            self._endpoint("/models", {}, headers),
            None,
            clocks=self.clocks.with_(timeouts),
            retry=self.retry if isinstance(retry, NotGiven) else RetryPolicy.of(retry),
            on_close=self.on_close,
        )
        document = await attempts.document()
        listed = document.get("data") if isinstance(document, dict) else document
        if not isinstance(listed, list):
            error = read_error(document)
            if error is not None:
                raise self._context.frame_error(error, started=False)
            raise ProtocolError(f"{self.base_url}/models answered with something that is no list of models")
        return [Model(model) for model in list_of_dicts(listed)]

    def _chat(
        self,
        body: dict[str, Any],
        extra_body: Mapping[str, Any] | None,
        *,
        timeouts: Timeouts | NotGiven | None,
        retry: RetryPolicy | int | NotGiven | None,
        headers: Mapping[str, str] | None,
        pace: float = 0.0,
        on_incomplete: Literal["raise", "return"] = "raise",
        fallback_models: Sequence[str] = (),
    ) -> ChatStream:
        if self._closed:
            raise UsageError("this session is closed: make another CometSession")
        clocks = self.clocks.with_(timeouts)
        policy = self.retry if isinstance(retry, NotGiven) else RetryPolicy.of(retry)
        if isinstance(pace, bool) or not isinstance(pace, (int, float)) or not 0 <= pace < math.inf:
            raise ConfigurationError(f"pace: {pace!r} is no time; use seconds, 0 or more")
        if on_incomplete not in ("raise", "return"):
            raise ConfigurationError(f"on_incomplete: {on_incomplete!r} is unknown; use 'raise' or 'return'")
        if fallback_models != () and (
            not is_json_list(fallback_models) or not all(isinstance(name, str) and name for name in fallback_models)
        ):
            raise ConfigurationError(f"fallback_models: {fallback_models!r} is no list of model ids")
        if extra_body is not None and not isinstance(extra_body, Mapping):
            raise InvalidRequestError([f"extra_body: is {type(extra_body).__name__}; a mapping is allowed"])

        streamed = body.get("stream") is True
        body = {name: value for name, value in body.items() if value is not None or name in ("model", "messages")}
        if is_json_list(body["messages"]):
            body["messages"] = [item.to_dict() if isinstance(item, View) else item for item in body["messages"]]
        if self.validate:
            check_request(body)
            warn_parameters(body, stacklevel=3)
        added_usage = False
        if streamed:
            # Billing needs the usage, and gateways hold it back unless asked.
            options = body.get("stream_options") or {}
            added_usage = not options and "stream_options" not in (extra_body or {})
            if isinstance(options, Mapping):
                body["stream_options"] = {"include_usage": True, **options}
        if extra_body:
            body.update(extra_body)
        attempts = Attempts(
            self._endpoint("/chat/completions", _STREAM if streamed else _COMPLETE, headers),
            body,
            clocks=clocks,
            retry=policy,
            fallback_models=fallback_models,
            added_usage=added_usage,
            on_close=self.on_close,
        )
        return ChatStream(
            attempts, clocks=clocks, context=self._context, on_incomplete=on_incomplete, pace=pace, streamed=streamed
        )

    def _endpoint(self, route: str, form: Mapping[str, str], headers: Mapping[str, str] | None) -> Endpoint:
        """Return one route in one form; that of calls which add no header is made once."""
        key = (route, form is _STREAM)
        endpoint = self._endpoints.get(key)
        if endpoint is not None and not headers:
            return endpoint
        endpoint = Endpoint(
            self._pool,
            self.base_url + route,
            headers=merge_headers(self._headers, form, checked_headers(headers)),
            proxy=self._proxy,
            context=self._context,
        )
        if not headers:
            self._endpoints[key] = endpoint
        return endpoint
