"""The session: one configuration, one connection pool, and the public calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal

from cometstream.answer.body import Backlog
from cometstream.answer.error_body import read_error
from cometstream.answer.machine import AnswerMaker
from cometstream.answer.typed_errors import ErrorContext
from cometstream.attempts import Attempts
from cometstream.config import (
    MAX_EVENT_SIZE,
    checked_event_size,
    checked_headers,
    find_base_url,
    find_key,
    find_secrets,
    longest_first,
    merge_headers,
    standard_headers,
)
from cometstream.errors import ConfigurationError, ProtocolError, UsageError
from cometstream.late import late_import
from cometstream.network import checked_tls, find_proxy, find_proxy_secrets
from cometstream.observe import Call, settle
from cometstream.policy import NOT_GIVEN, Clocks, NotGiven, RetryBudget, RetryPolicy, Timeouts, is_seconds
from cometstream.request.chat import ChatRequest, chat_request, checked_fallbacks, encoded_request
from cometstream.request.describe import shown
from cometstream.stream import ChatStream
from cometstream.transport.exchange import CLIENT_REQUEST_ID, Endpoint
from cometstream.transport.pool import Pool, running_loop
from cometstream.views.cost import Prices
from cometstream.views.view import list_of_dicts

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from ssl import SSLContext
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from cometstream.catalog import Balance, Catalog
    from cometstream.hooks import Hooks
    from cometstream.observe import Listener
    from cometstream.partials import GrowingOutput
    from cometstream.request.params import Message, OtherChatParams, ResponseFormatParam
    from cometstream.steps import Step, StepKind
    from cometstream.structured import Schema
    from cometstream.transport.intercept import Interceptor
    from cometstream.transport.pool import Client
    from cometstream.views.completion import ChatCompletion
    from cometstream.views.models import Model
    from cometstream.views.output import AskedT

__all__ = ["CometSession"]

# What the two forms of the route add to the session's headers. A compressor would hold an event stream back.
_STREAM: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_COMPLETE: Final = {"Accept": "application/json", "Content-Type": "application/json"}

# As many streams may hold an unfinished event of the largest size at a time; others are given up.
_STREAMS_AT_THEIR_LARGEST: Final = 8

_CLOSED: Final = "this session is closed: make another CometSession"


class CometSession:
    """A connection pool to the endpoint, and the settings that all its requests share.

    Use it with ``async with``, or let the first request open it and end it with ``await session.aclose()``. One session serves
    any number of streams at the same time, in whichever event loop runs it: each loop has connections of its own.

    Args:
        api_key: The CometAPI key; None takes the environment variable ``COMETAPI_KEY``.
        base_url: The address of the endpoint; None takes ``COMETAPI_BASE_URL``, then ``https://api.cometapi.com/v1``.
        timeouts: The four clocks in seconds, see ``Timeouts``; None turns all of them off.
        retry: A ``RetryPolicy``, a number of retries, or None for no retries. The default is two retries.
        headers: Headers added to every request. All attempts of one request have the same ``X-Client-Request-Id``; give your own
            here or in a call to replace it.
        max_connections: How many connections may be open at the same time in one event loop; None for no limit.
        client: Your own ``aiohttp.ClientSession``. The session never closes it, and does not use its timeout, raise_for_status and
            redirect settings. With it ``first_content`` also counts the wait for a place in the pool, and ``connect`` does not
            count the look-up of the name or a proxy's answer.
        validate: Check requests against the endpoint's specification before they are sent.
        max_event_size: The largest event or JSON answer in bytes that is taken from a server, 1,024 or more. A larger one ends the
            stream with a ``ProtocolError``. All streams of the session together may hold 8 times as much of unfinished events.
            Raise it where one event carries, say, a long video.
        ssl: What the server's certificate is checked by: an ``ssl.SSLContext``, or the path of a file or folder with the
            certificates of the authorities to trust, such as your company's. None trusts the system's, or those that
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name.
        proxy: The URL of an http or https proxy, with user and password in any characters: ``http://user:p@ss@host:3128``. None
            uses no proxy; not given is ``HTTPS_PROXY`` (``HTTP_PROXY``, ``ALL_PROXY``), but for the hosts in ``NO_PROXY``.
        hooks: Functions of yours that are called when a call starts, is repeated, brings its first content and ends; see ``Hooks``.

    Attributes:
        prices: The prices that answers' ``cost`` goes by; none before ``catalog()`` was called.

    Raises:
        ConfigurationError: There is no key, or an option cannot be used.
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
        max_event_size: int = MAX_EVENT_SIZE,
        ssl: SSLContext | str | PathLike[str] | None = None,
        proxy: str | NotGiven | None = NOT_GIVEN,
        hooks: Hooks | None = None,
    ) -> None:
        if client is not None and not (ssl is None and isinstance(proxy, NotGiven)):
            raise ConfigurationError("ssl= and proxy= are for the session's own connections: give them to your client")
        key, source = find_key(api_key)
        self.base_url = find_base_url(base_url)
        self.clocks = Clocks().with_(timeouts)
        self.retry = RetryPolicy() if isinstance(retry, NotGiven) else RetryPolicy.of(retry)
        if not isinstance(validate, bool):
            raise ConfigurationError(f"validate must be True or False; got {shown(validate)}")
        self.validate = validate
        self.max_event_size = checked_event_size(max_event_size)
        self.prices = Prices()
        self._catalog: Catalog | None = None
        self._backlog = Backlog(_STREAMS_AT_THEIR_LARGEST * self.max_event_size)
        self._pool = Pool(max_connections, client, secure=self.base_url.startswith("https:"), tls=checked_tls(ssl))
        self._key = key
        self._headers = merge_headers(standard_headers(key), checked_headers(headers))
        self._context = ErrorContext(
            self.base_url,
            source,
            longest_first([key], find_proxy_secrets(proxy), find_secrets(client.headers) if client is not None else ()),
        )
        self._proxy = find_proxy(self.base_url, proxy if client is None else None)
        self._budget = RetryBudget()
        self._endpoints: dict[tuple[str, bool], Endpoint] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._listeners = self._hooked(hooks)
        self._closed = False
        with late_import:  # now: failures are told with it, also that no more files can be opened
            from cometstream.failed import FailedAttempt  # noqa: F401

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
        """Close the pool and all open streams; a second call does nothing.

        What hooks await has up to 1 s to end.

        Cancellation:
            The pool is closed all the same.
        """
        self._closed = True
        await self._pool.aclose()
        if self._under_way:
            await settle(self._under_way)

    def close_soon(self) -> None:
        """Close the pool and all open streams without waiting: each event loop closes its own connections when it runs next.

        For finalizers and programs that are not asynchronous; a second call does nothing.
        """
        self._closed = True
        self._pool.close_soon()

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called. A closed session sends nothing."""
        return self._closed

    @property
    def connections_opened(self) -> int | None:
        """How many connections the session has opened in the event loop that runs: fewer than requests, as they are used again.

        None where a client of your own opens them.
        """
        return self._pool.opened

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `aclose` call a function first, for example to end work that uses this session.

        The function is called in the event loop that runs now: when that runs next, where `aclose` is called in another one.

        Returns:
            A function that takes this back.
        """
        return self._pool.on_close(callback)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have a listener told of every call from now on: the seam for logs, metrics and traces. See `Hooks` for functions.

        Returns:
            A function that takes this back.
        """
        self._listeners = (*self._listeners, listener)

        def forget() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return forget

    def intercept(self, interceptor: Interceptor) -> Callable[[], None]:
        """Have an interceptor send or answer every request from now on: the seam for record and replay. The latest one counts.

        Returns:
            A function that takes this back; what counted before then counts again.
        Raises:
            ConfigurationError: It is no interceptor.
        """
        return self._pool.interceptors.add(interceptor)

    @staticmethod
    def intercept_all(interceptor: Interceptor) -> Callable[[], None]:
        """Have an interceptor send or answer the requests of all sessions of this process that have none of their own.

        Returns:
            A function that takes this back.
        Raises:
            ConfigurationError: It is no interceptor.
        """
        return Pool.of_all_sessions.add(interceptor)

    def step(self, kind: StepKind, name: str | None = None, **about: Any) -> Step:
        """Return a piece of work around calls, which those listeners hear of that are a ``StepListener``, too; for features.

        Args:
            kind: What it is; see ``Step``.
            name: Its name, where it has one.
            **about: What is known of it.
        """
        with late_import:  # programs without tools and batches do not wait for it
            from cometstream.steps import Step, StepListener

        listeners = [listener for listener in self._listeners if isinstance(listener, StepListener)]
        return Step(kind, name, listeners=listeners, redact=self._context.redact, **about)

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        pace: float = 0.0,
        on_incomplete: Literal["raise", "return"] = "raise",
        fallback_models: Sequence[str] = (),
        extra_body: Mapping[str, Any] | None = None,
        split_think: bool = False,
        max_event_size: int | NotGiven = NOT_GIVEN,
        query: str = "",
        response_format: type[AskedT] | Schema[AskedT] | ResponseFormatParam | None = None,
        hooks: Hooks | None = None,
        **params: Unpack[OtherChatParams],
    ) -> ChatStream[AskedT]:
        """Return one request as a stream to enter with ``async with``; nothing is sent before that.

        Example:
            Print an answer as it comes, and then how it ended:

                async with CometSession() as session:
                    async with session.stream(
                        model="gpt-5.4",
                        messages=[{"role": "user", "content": "Write one sentence about comets."}],
                        temperature=0.2,
                    ) as stream:
                        async for text in stream.text():
                            print(text, end="", flush=True)
                    print(stream.outcome, stream.completion.usage)

        Args:
            model: The model's id.
            messages: The conversation, oldest first, sent as given. An answer's ``message`` can stand in it as it is.
            timeouts: Clocks for this call. Clocks that are not given are the session's; None turns all of them off.
            retry: As the session's, for this call. A number changes only how many retries the session's policy makes.
            headers: Headers added for this call.
            pace: Seconds that arrivals may gather between two reads once there is content, to save CPU where nobody watches each
                token. 0.0 reads each arrival at once.
            on_incomplete: ``"raise"``, or ``"return"`` to end the loop without an error where the answer was truncated or
                unterminated; ``stream.outcome`` tells which.
            fallback_models: Models to turn to, in order, when the retries are used up or the model is unknown.
            extra_body: A provider's own parameters. They are merged into the body, replace others of the same name, and are not
                checked.
            split_think: Take text between ``<think>`` and ``</think>`` at the beginning of the answer for reasoning: it reads as
                ``reasoning``, and ``content`` begins after it. For servers that do not separate the two themselves.
            max_event_size: As the session's, for this call.
            query: What to add to the URL behind ``?``, as it is written there: ``"api-version=1"``.
            response_format: A pydantic model, a dataclass, a TypedDict, or any type that pydantic's TypeAdapter takes: the answer
                is JSON of that type, ``partials()`` yields it as it grows, and ``completion.parsed`` is the checked value. A
                ``Schema`` of one says more. Or the wire's own form.
            hooks: Functions for this call, called after the session's.
            **params: The wire's parameters by their names; None means not given.

                - how the model writes: ``temperature``, ``top_p``, ``seed``, ``stop``, ``presence_penalty``, ``frequency_penalty``,
                  ``logit_bias``, ``verbosity``, ``reasoning_effort``, ``prediction``
                - how much: ``max_completion_tokens``, ``max_tokens``, ``n``
                - tools: ``tools``, ``tool_choice``, ``parallel_tool_calls``, ``web_search_options``; the older ``functions``,
                  ``function_call``
                - what comes: ``modalities``, ``audio``, ``logprobs``, ``top_logprobs``, ``stream_options`` (``include_usage`` is on
                  unless you say no)
                - whose request it is, and how it is served: ``user``, ``safety_identifier``, ``metadata``, ``store``,
                  ``service_tier``, ``moderation``, ``prompt_cache_key``, ``prompt_cache_options``, ``prompt_cache_retention``
        Returns:
            The stream.
        Raises:
            InvalidRequestError: The request does not match the specification; every problem is listed.
            ConfigurationError: An option of the call cannot be used.
            UsageError: The session is closed.
        Cancellation:
            Nothing is awaited.
        Source:
            POST /v1/chat/completions.
        """
        return self._chat(
            *self._request(
                {"model": model, "messages": messages, "stream": True, **params}, extra_body, response_format
            ),
            timeouts=timeouts,
            retry=retry,
            headers=headers,
            pace=pace,
            on_incomplete=on_incomplete,
            fallback_models=fallback_models,
            split_think=split_think,
            max_event_size=max_event_size,
            query=query,
            hooks=hooks,
        )

    async def complete(
        self,
        *,
        model: str,
        messages: Sequence[Message],
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        fallback_models: Sequence[str] = (),
        extra_body: Mapping[str, Any] | None = None,
        split_think: bool = False,
        max_event_size: int | NotGiven = NOT_GIVEN,
        query: str = "",
        response_format: type[AskedT] | Schema[AskedT] | ResponseFormatParam | None = None,
        hooks: Hooks | None = None,
        **params: Unpack[OtherChatParams],
    ) -> ChatCompletion[AskedT]:
        """Send one request in the route's synchronous form and return the completion.

        A proxy may cut an answer that is silent for long. ``stream(...)`` with ``until_done()`` returns the same completion and
        is never silent.

        Args:
            model: The model's id.
            messages: The conversation, oldest first, sent as given.
            timeouts: As ``stream``; ``first_content`` runs until the answer begins.
            retry: As ``stream``.
            headers: As ``stream``.
            fallback_models: As ``stream``.
            extra_body: As ``stream``.
            split_think: As ``stream``.
            max_event_size: As the session's, for this call.
            query: As ``stream``.
            response_format: As ``stream``.
            hooks: As ``stream``.
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
        async with self._chat(
            *self._request({"model": model, "messages": messages, **params}, extra_body, response_format),
            timeouts=timeouts,
            retry=retry,
            headers=headers,
            fallback_models=fallback_models,
            split_think=split_think,
            max_event_size=max_event_size,
            query=query,
            hooks=hooks,
        ) as stream:
            completion = await stream.until_done()
            completion.request_id = stream.response.request_id or completion.request_id
            completion.metrics = stream.metrics
            return completion

    def forward(
        self,
        body: bytes,
        *,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        fallback_models: Sequence[str] = (),
        hooks: Hooks | None = None,
    ) -> ChatStream:
        """Return a request that another client wrote as a stream: its bytes are sent as they are, unchecked.

        Both forms of the route are read as a stream; the synchronous one has a single frame, its document. ``stream.frames()``
        gives the server's own bytes.

        Args:
            body: The request's body, a JSON object.
            timeouts: As ``stream``.
            retry: As ``stream``.
            headers: As ``stream``.
            query: What stands behind ``?`` in the URL, as it is written there.
            fallback_models: As ``stream``.
            hooks: As ``stream``.
        Raises:
            InvalidRequestError: The body is not a JSON object.
            ConfigurationError: An option of the call cannot be used.
            UsageError: The session is closed.
        Cancellation:
            Nothing is awaited.
        Source:
            POST /v1/chat/completions.
        """
        if self._closed:
            raise UsageError(_CLOSED)
        return self._chat(
            encoded_request(body),
            timeouts=timeouts,
            retry=retry,
            headers=headers,
            query=query,
            fallback_models=fallback_models,
            hooks=hooks,
        )

    async def models(
        self,
        *,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> list[Model]:
        """Return the models that the endpoint serves.

        Args:
            timeouts: As ``stream``.
            retry: As ``stream``.
            headers: As ``stream``.
            query: As ``stream``.
        Raises:
            APIStatusError: The server answered with a status other than 2xx.
            APIConnectionError: There was no answer.
            ProtocolError: The answer is not a list of models.
        Cancellation:
            Safe at any point.
        Source:
            GET /v1/models.
        """
        with late_import:
            from cometstream.views.models import Model

        document = await self._document(self._endpoint(_route("/models", query), {}, headers), timeouts, retry)
        listed = document.get("data") if isinstance(document, dict) else document
        if not isinstance(listed, list):
            raise ProtocolError(f"the answer of {self.base_url}/models is not a list of models")
        return [Model(model) for model in list_of_dicts(listed)]

    async def catalog(
        self,
        *,
        refresh: bool = False,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
    ) -> Catalog:
        """Return the gateway's catalogue: its models by id, with their prices, context length and routes.

        It is read once and kept for a day. From then on the answers of this session have a ``cost``, also those under way.

        Args:
            refresh: Read it again, however new it is.
            timeouts: As ``stream``.
            retry: As ``stream``.
        Raises:
            ConfigurationError: An argument cannot be used.
            CometError: As ``models``.
        Cancellation:
            Safe at any point.
        Source:
            GET /api/models on the same host, not below ``/v1``. It needs no key, and is sent none.
        """
        if not isinstance(refresh, bool):
            raise ConfigurationError(f"refresh must be True or False; got {shown(refresh)}")
        # Programs that ask for no prices do not wait for the import.
        with late_import:
            from cometstream.catalog import catalog_url, read_catalog

        if self._catalog is None or refresh or not self._catalog.is_fresh:
            endpoint = self._endpoint("/models", {}, {}).elsewhere(catalog_url(self.base_url), without="Authorization")
            document = await self._document(endpoint, timeouts, retry)
            self._catalog = read_catalog(document, endpoint.url)
            self.prices.update(self._catalog.prices)
        return self._catalog

    async def balance(
        self,
        *,
        timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
        retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
    ) -> Balance:
        """Return what is left of the money that the key may spend, and what was spent, in US dollars.

        Args:
            timeouts: As ``stream``.
            retry: As ``stream``.
        Raises:
            CometError: As ``models``.
        Cancellation:
            Safe at any point.
        Source:
            GET /v1/dashboard/billing/subscription and /v1/dashboard/billing/usage.
        """
        with late_import:
            from cometstream.catalog import read_balance  # as in `catalog`

        endpoints = [self._endpoint(f"/dashboard/billing/{route}", {}, {}) for route in ("subscription", "usage")]
        subscription, usage = [await self._document(endpoint, timeouts, retry) for endpoint in endpoints]
        return read_balance(subscription, usage, endpoints[0].url)

    async def _document(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts | NotGiven | None,
        retry: RetryPolicy | int | NotGiven | None,
    ) -> Any:
        """Return the JSON document of a route that does not stream, where it is not an error."""
        if self._closed:
            raise UsageError(_CLOSED)
        running_loop()
        attempts = Attempts(
            endpoint,
            None,
            clocks=self.clocks.with_(timeouts),
            retry=self._policy(retry),
            budget=self._budget,
            call=self._call(endpoint),
            on_close=self.on_close,
        )
        document = await attempts.document()
        listed = document.get("data") if isinstance(document, dict) else None
        error = read_error(document) if isinstance(document, dict) and not isinstance(listed, list) else None
        if error is not None:
            raise endpoint.context.frame_error(error, started=False)
        return document

    def _request(
        self, params: dict[str, Any], extra_body: Mapping[str, Any] | None, response_format: object
    ) -> tuple[ChatRequest, GrowingOutput[Any] | None]:
        if self._closed:
            raise UsageError(_CLOSED)
        output = None
        problems: Sequence[str] = ()
        if response_format is not None:
            # Programs that want text do not wait for the import.
            with late_import:
                from cometstream.structured import read_response_format

            params["response_format"], output, problems = read_response_format(response_format)
        request = chat_request(params, extra_body=extra_body, validate=self.validate, stacklevel=3, problems=problems)
        return request, output

    def _chat(
        self,
        request: ChatRequest,
        output: GrowingOutput[Any] | None = None,
        *,
        timeouts: Timeouts | NotGiven | None,
        retry: RetryPolicy | int | NotGiven | None,
        headers: Mapping[str, str] | None,
        query: str = "",
        pace: float = 0.0,
        on_incomplete: Literal["raise", "return"] = "raise",
        fallback_models: Sequence[str],
        split_think: bool = False,
        max_event_size: int | NotGiven = NOT_GIVEN,
        hooks: Hooks | None = None,
    ) -> ChatStream[Any]:
        clocks, policy = self.clocks.with_(timeouts), self._policy(retry)
        if not is_seconds(pace):
            raise ConfigurationError(f"pace must be seconds, 0 or more; got {shown(pace)}")
        if not isinstance(on_incomplete, str) or on_incomplete not in ("raise", "return"):
            raise ConfigurationError(f"on_incomplete must be 'raise' or 'return'; got {shown(on_incomplete)}")
        if not isinstance(split_think, bool):
            raise ConfigurationError(f"split_think must be True or False; got {shown(split_think)}")
        max_event_size = (
            self.max_event_size if isinstance(max_event_size, NotGiven) else checked_event_size(max_event_size)
        )
        fallbacks = checked_fallbacks(fallback_models)
        streamed = request.streamed
        route = _route("/chat/completions", query)
        endpoint = self._endpoint(route, _STREAM if streamed else _COMPLETE, headers)
        call = self._call(endpoint, request, (*self._listeners, *self._hooked(hooks)))
        request.let_go()
        attempts = Attempts(
            endpoint,
            request,
            clocks=clocks,
            retry=policy,
            budget=self._budget,
            fallback_models=fallbacks,
            call=call,
            on_close=self.on_close,
        )
        make_answer = AnswerMaker(
            endpoint.context,
            streamed=streamed,
            choices=request.choices,
            split_think=split_think,
            max_event_size=max_event_size,
            backlog=self._backlog,
        )
        return ChatStream(
            attempts,
            make_answer,
            clocks=clocks,
            on_incomplete=on_incomplete,
            pace=pace,
            usage_asked=request.usage_asked,
            output=output,
            prices=self.prices,
            call=call,
        )

    def _hooked(self, hooks: Hooks | None) -> tuple[Listener, ...]:
        """Return what calls a caller's hooks.

        Raises:
            ConfigurationError: They are not ``Hooks``.
        """
        if hooks is None:
            return ()
        with late_import:  # programs without hooks do not wait for it
            from cometstream.hooks import HookRunner

        return (HookRunner(hooks, self._under_way),)

    def _call(self, endpoint: Endpoint, request: ChatRequest | None = None, listeners: Sequence[Listener] = ()) -> Call:
        """Return what is told of a call. Listeners hear of answers only, the log also of other routes."""
        own = endpoint.headers.get(CLIENT_REQUEST_ID)
        name = os.urandom(16).hex() if own is None else own
        if request is None:
            return Call(name, redact=endpoint.redact)
        # Without listeners nobody asks for the request, which would lie there as long as its stream.
        return Call(name, request.model, listeners, endpoint.redact, request.params if listeners else None)

    def _policy(self, retry: RetryPolicy | int | NotGiven | None) -> RetryPolicy:
        return self.retry if isinstance(retry, NotGiven) else RetryPolicy.of(retry, base=self.retry)

    def _endpoint(self, route: str, form: Mapping[str, str], headers: Mapping[str, str] | None) -> Endpoint:
        """Return one route in one form. Calls without headers of their own share one."""
        own = checked_headers(headers)
        key = (route, form is _STREAM)
        endpoint = self._endpoints.get(key)
        if endpoint is not None and not own:
            return endpoint
        merged = merge_headers(self._headers, form, own)
        session = self._context
        context = ErrorContext(
            session.base_url,
            session.key_source if f"Bearer {self._key}" in merged.values() else "the header Authorization",
            longest_first(session.secrets, find_secrets(merged)),
        )
        endpoint = Endpoint(
            self._pool,
            self.base_url + route,
            headers=merged,
            proxy=self._proxy,
            context=context,
        )
        if not own and "?" not in route:
            self._endpoints[key] = endpoint
        return endpoint


def _route(path: str, query: object) -> str:
    """Return a route with a caller's query.

    Raises:
        ConfigurationError: It cannot stand in a URL.
    """
    if isinstance(query, str) and not query:
        return path
    if not isinstance(query, str) or not query.isascii() or not query.isprintable() or " " in query or "#" in query:
        raise ConfigurationError(
            f"query must be as it is written in a URL, such as 'api-version=1'; got {shown(query)}"
        )
    return f"{path}?{query}"
