"""``CometTransport``: OpenAI's own client, or any framework above it, with its chat completions sent by a ``CometSession``.

::

    client = openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=CometTransport(session)))

One class serves httpx and httpx2, which openai uses since version 3: an answer has the classes of its request's package.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import sys
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from cometstream.errors import APITimeoutError, CometError, ConfigurationError, InvalidRequestError, StreamError
from cometstream.openai.forward import ROUTE, Forwarded, forward
from cometstream.openai.portal import run
from cometstream.openai.response import response
from cometstream.openai.routing import Routing
from cometstream.policy import NOT_GIVEN, NotGiven, Timeouts
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType

    from cometstream.session import CometSession

__all__ = ["CometTransport", "SyncCometTransport"]

# httpx2 needs Python 3.11; either is enough.
_INSTALLED: Final = [import_module(name) for name in ("httpx", "httpx2") if find_spec(name) is not None]
if not _INSTALLED:
    raise ConfigurationError("cometstream.openai.transport needs httpx or httpx2: pip install 'cometstream[httpx]'")

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...

    class _SyncTransport(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...
else:
    _AsyncTransport = type("_AsyncTransport", tuple(module.AsyncBaseTransport for module in _INSTALLED), {})
    _SyncTransport = type("_SyncTransport", tuple(module.BaseTransport for module in _INSTALLED), {})

# What openai's client sets if its user sets nothing: then the session's own clocks are used.
_OPENAIS_DEFAULT: Final = {"connect": 5.0, "read": 600, "write": 600, "pool": 600}

# Which request failed last in this task, and with which error: openai's client repeats it, but the session has done so already.
_FAILED: Final[ContextVar[tuple[bytes, CometError] | None]] = ContextVar("cometstream.openai.transport", default=None)


class CometTransport(_AsyncTransport):
    """An asynchronous transport for ``httpx.AsyncClient`` and ``httpx2.AsyncClient``.

    Chat completions go through a session: its clocks, its retries before the first content, its check of the ending. All other
    routes pass through httpx's own transport, untouched. A request goes to the address that its client gives, with the key that it
    brings. If OpenAI's client was given no address, the session's address and key are used.

    Args:
        session: The session, which stays yours to close. None makes one from ``COMETAPI_KEY`` and ``COMETAPI_BASE_URL``, or for the
            address and key of each request; it is closed with the transport.
        repair: Mend what gateways change of the documented shape, above all tool calls. False passes chunks on as they came.
            Endings are verified in both cases.
    Raises:
        ConfigurationError: An argument cannot be used.
    """

    def __init__(self, session: CometSession | None = None, *, repair: bool = True) -> None:
        self._routing = Routing(session)
        self._repair = _checked(repair)
        # httpx's own transports belong to the event loop that used them first.
        self._others: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Other]] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<CometTransport {self._routing!r}>"

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request; see ``httpx.AsyncBaseTransport``."""
        http = _module_of(request)
        if not _is_chat(request):
            self._routing.check_other(str(request.url))
            return await self._other(http).handle_async_request(request)
        chat = _Chat(request, await request.aread())
        try:
            answer = await chat.send(self._routing, self._repair)
        except CometError as error:
            raise chat.failure(error) from error
        if answer is None:
            return await self._other(http).handle_async_request(request)
        return response(http, answer, is_async=True)

    def _other(self, http: ModuleType) -> Any:
        mine = self._others.setdefault(asyncio.get_running_loop(), {})
        if http.__name__ not in mine:
            mine[http.__name__] = _Other(http)
        return mine[http.__name__].transport

    async def aclose(self) -> None:
        """Close what this transport made; a session that was given stays open.

        Cancellation:
            The connections are closed all the same.
        """
        await self._routing.aclose()
        for other in self._others.pop(asyncio.get_running_loop(), {}).values():
            await other.transport.aclose()


class _Other:
    """httpx's own transport for one event loop, closed before the loop is: ``asyncio.run()`` ends asynchronous generators first."""

    def __init__(self, http: ModuleType) -> None:
        self.transport = http.AsyncHTTPTransport()
        self._end = self._closed_with_its_loop()
        try:
            self._end.__anext__().send(None)
        except StopIteration:
            pass

    async def _closed_with_its_loop(self) -> AsyncGenerator[None, None]:
        transport = self.transport
        try:
            yield
        finally:
            await transport.aclose()


class SyncCometTransport(_SyncTransport):
    """As ``CometTransport``, for ``httpx.Client`` and ``httpx2.Client``: the session runs in a thread of its own.

    Args:
        session: As ``CometTransport``.
        repair: As ``CometTransport``.
    Raises:
        ConfigurationError: An argument cannot be used.
    """

    def __init__(self, session: CometSession | None = None, *, repair: bool = True) -> None:
        self._others: dict[str, Any] = {}
        self._routing = Routing(session)
        self._repair = _checked(repair)

    def __repr__(self) -> str:
        return f"<SyncCometTransport {self._routing!r}>"

    def handle_request(self, request: Any) -> Any:
        """Send one request; see ``httpx.BaseTransport``."""
        http = _module_of(request)
        if not _is_chat(request):
            self._routing.check_other(str(request.url))
            return self._other(http).handle_request(request)
        chat = _Chat(request, request.read())
        try:
            answer = run(chat.send(self._routing, self._repair))
        except CometError as error:
            raise chat.failure(error) from error
        if answer is None:
            return self._other(http).handle_request(request)
        return response(http, answer, is_async=False)

    def _other(self, http: ModuleType) -> Any:
        if http.__name__ not in self._others:
            self._others[http.__name__] = http.HTTPTransport()
        return self._others[http.__name__]

    def close(self) -> None:
        """Close what this transport made; a session that was given stays open."""
        run(self._routing.aclose())
        while self._others:
            self._others.popitem()[1].close()

    def __del__(self) -> None:
        while self._others:
            self._others.popitem()[1].close()


class _Chat:
    """One chat completion that OpenAI's client sends.

    Args:
        request: The request.
        body: Its body.
    Raises:
        Exception: The client repeats a request that has failed for good: it gets the same failure at once.
    """

    def __init__(self, request: Any, body: bytes) -> None:
        self._request = request
        self._body = body
        self._digest = hashlib.sha256(str(request.url).encode() + b"\0" + body).digest()
        failed = _FAILED.get()
        if (
            failed is not None
            and failed[0] == self._digest
            and request.headers.get("x-stainless-retry-count", "0") != "0"
        ):
            raise self.failure(failed[1])

    async def send(self, routing: Routing, repair: bool) -> Forwarded | None:
        """Return the answer; None where the request is to pass through."""
        request = self._request
        route = routing.route(str(request.url), request.headers.multi_items())
        if route is None:
            return None
        try:
            return await forward(
                route.session,
                self._body,
                route.headers,
                query=route.query,
                timeouts=_timeouts(request.extensions.get("timeout")),
                repair=repair,
            )
        except InvalidRequestError:
            return None  # not a JSON object: the server says so in its own words

    def failure(self, error: CometError) -> Exception:
        """Return the exception that the client above knows for an error."""
        _FAILED.set((self._digest, copy.copy(error)))  # without its traceback, which would keep what it refers to
        request = self._request
        http: Any = _module_of(request)
        openai: Any = sys.modules.get("openai")
        kind: Any
        if openai is not None and "x-stainless-package-version" in request.headers:
            # Its client raises its own errors as they are, and does not repeat the request.
            kind = openai.APITimeoutError if isinstance(error, APITimeoutError) else openai.APIConnectionError
            failure = kind(request=request)
            failure.message = error.message
            failure.args = (error.message,)
        elif isinstance(error, APITimeoutError):
            kind = http.ConnectTimeout if error.clock == "connect" else http.ReadTimeout
            failure = kind(error.message, request=request)
        else:
            kind = http.RemoteProtocolError if isinstance(error, StreamError) else http.ConnectError
            failure = kind(error.message, request=request)
        return failure  # type: ignore[no-any-return] # of whichever package the request is


def _is_chat(request: Any) -> bool:
    path: str = request.url.path
    return request.method == "POST" and path.rstrip("/").endswith(ROUTE)


def _module_of(request: Any) -> ModuleType:
    """Return the package that a request is of: httpx or httpx2."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _checked(repair: object) -> bool:
    if not isinstance(repair, bool):
        raise ConfigurationError(f"repair must be True or False; got {shown(repair)}")
    return repair


def _timeouts(timeout: dict[str, float | None] | None) -> Timeouts | NotGiven:
    """Return the clocks for a client's timeouts: its limit on each wait for bytes limits each wait for content."""
    if timeout is None or timeout == _OPENAIS_DEFAULT:
        return NOT_GIVEN
    read = timeout.get("read")
    return Timeouts(connect=timeout.get("connect"), first_content=read, content_idle=read)
