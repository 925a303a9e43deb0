"""One route of the endpoint: a request is sent to it, and whatever comes of that but an answer is named."""

from __future__ import annotations

import asyncio
import errno
import io
import math
import ssl
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import anyio
from multidict import CIMultiDict

from cometstream.answer.body import BodyReader
from cometstream.answer.error_body import RETRYABLE_STATUSES, excerpt, parse_error
from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CometError,
    ConfigurationError,
    ProtocolError,
    UsageError,
)
from cometstream.policy import retry_after
from cometstream.transport.incoming import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cometstream.answer.error_body import ErrorContext
    from cometstream.policy import Clocks
    from cometstream.transport.opening import OpeningClock

__all__ = ["CLIENT_REQUEST_ID", "Endpoint", "request_id"]

CLIENT_REQUEST_ID: Final = "X-Client-Request-Id"
"""The header with a request's own id, under OpenAI's name. It is not ``Idempotency-Key``: servers that obey that one send the first
answer again, an error included, and refuse the key for the changed body of a fallback."""

# Bytes of an error body that are read and kept.
_MAX_ERROR_BODY: Final = 65536

# What the rest of an error's body may take: a status that is known is not kept back for a body that stalls.
_ERROR_BODY_WAIT: Final = 5.0

# aiohttp warns of more bytes than this in one piece: they would be written without a turn for others.
_LARGE_BODY: Final = 2**20

# Names under which gateways send their request id.
_REQUEST_ID_HEADERS: Final = ("x-request-id", "x-oneapi-request-id", "request-id")

_PACKAGE_OF: Final = {"br": "brotli", "zstd": "backports.zstd"}


class Endpoint:
    """One route: how a request to it is sent and its failures are named.

    Args:
        pool: Gives the pool when it is needed; a session makes its own lazily.
        url: The route's address.
        headers: Headers of every request, the key among them.
        proxy: The proxy's address, or None.
        context: What errors need to know.
        queues: Whether a request may wait for a place in the pool.
        traced: Whether the pool tells its `opening_trace` what it is doing.
    """

    def __init__(
        self,
        pool: Callable[[], aiohttp.ClientSession],
        url: str,
        *,
        headers: Mapping[str, str],
        proxy: str | None,
        context: ErrorContext,
        queues: bool,
        traced: bool,
    ) -> None:
        self.traced = traced
        self._pool = pool
        self._queues = queues
        self.url = url
        # Its names are those that aiohttp would make of texts, for each request anew.
        self.headers = CIMultiDict(headers)
        self.proxy = proxy
        self.context = context

    async def send(self, method: str, body: bytes | None, clock: OpeningClock, client_request_id: str) -> Incoming:
        """Send one request and return the open answer, its status 2xx.

        Args:
            method: ``"POST"`` or ``"GET"``.
            body: The body as JSON; None for a GET.
            clock: The clock that runs.
            client_request_id: The id that the attempts of one request share; a header of the caller's own replaces it.

        Raises:
            CometError: Anything else; nothing of aiohttp's is chained to it, since its errors print the key.
        """
        client = self._pool()
        headers = self.headers.copy()
        if CLIENT_REQUEST_ID not in client.headers:  # those of a caller's own client
            headers.setdefault(CLIENT_REQUEST_ID, client_request_id)
        error: CometError
        try:
            response = await client.request(
                method,
                self.url,
                data=body if body is None or len(body) <= _LARGE_BODY else io.BytesIO(body),
                headers=headers,
                proxy=self.proxy,
                allow_redirects=False,
                raise_for_status=False,
                timeout=_client_timeout(clock.connect, self._queues),
            )
            _watch_connection(response)
            if 200 <= response.status < 300:
                told = request_id(response.headers)
                return Incoming(response, told and self.context.redact(told), clock.waited)
            error = await self._status_error(response)
        except asyncio.CancelledError:
            # A pool that is closed cancels those who wait for a place in it; nobody cancelled the caller.
            if not client.closed or _is_cancelled():
                raise
            error = _closed_meanwhile()
        except Exception as caught:
            error = _closed_meanwhile() if client.closed else self._transport_error(caught, clock.connect)
        # A task written in Python (nest_asyncio's) resumes us while it handles aiohttp's error: it would be chained all the same.
        raise error from None

    async def _status_error(self, response: aiohttp.ClientResponse) -> APIStatusError:
        pieces: list[bytes] = []
        size = 0
        try:
            with anyio.move_on_after(_ERROR_BODY_WAIT):
                while size < _MAX_ERROR_BODY and (piece := await response.content.readany()):
                    pieces.append(piece)
                    size += len(piece)
        except Exception:
            pass  # the status is known; a body that breaks off takes nothing from it
        finally:
            response.close()
        headers = response.headers.copy()
        headers.clear()
        headers.extend([(name, self.context.redact(value)) for name, value in response.headers.items()])
        return self.context.status_error(
            response.status,
            parse_error(b"".join(pieces)[:_MAX_ERROR_BODY]),
            headers=headers,
            retry_after=retry_after(headers, time.time()),
            request_id=request_id(headers),
            location=headers.get("Location") if 300 <= response.status < 400 else None,
        )

    async def read_document(self, response: aiohttp.ClientResponse, clocks: Clocks, total_due: float) -> Any:
        """Return the JSON document that a 2xx answer holds.

        Raises:
            APIConnectionError: The connection was cut.
            APITimeoutError: No byte came for ``content_idle`` seconds, or ``total`` ran out.
            ProtocolError: The body is no JSON.
        """
        loop = asyncio.get_running_loop()
        idle = math.inf if clocks.content_idle is None else clocks.content_idle
        body = BodyReader()
        error: CometError
        data = None
        try:
            while data != b"":
                due = min(loop.time() + idle, total_due)
                with anyio.CancelScope(deadline=due) as scope:
                    data = await response.content.readany()
                    body.feed(data)
                if scope.cancelled_caught:
                    clock = "total" if due == total_due else "content_idle"
                    seconds = getattr(clocks, clock)
                    raise APITimeoutError(
                        f"the answer did not end within {seconds:g} s (timeouts.{clock})", clock=clock
                    )
            body.end()
            if body.kind != "json":
                raise ProtocolError(f"{self.url} answered with something that is no JSON", raw=body.head)
            if not body.cut:
                return body.document
            error = APIConnectionError(f"the answer of {self.url} was cut")
        except APITimeoutError:
            raise
        except ProtocolError as caught:
            error = self.context.redact_error(caught)
        except Exception as caught:  # of aiohttp's parsers the one in Python lets more than ClientError through
            what = self._on_one_line(f"{type(caught).__name__}: {caught}")
            error = APIConnectionError(f"the answer of {self.url} was cut ({what})")
        finally:
            response.close()
        raise error from None

    def _transport_error(self, error: Exception, connect: float | None) -> CometError:
        base_url, proxy = self.context.base_url, _without_userinfo(self.proxy)
        # Never repr(): those of aiohttp's errors that hold the request print its Authorization header, and str() the proxy's URL.
        if isinstance(error, aiohttp.ClientResponseError):
            return self._response_error(error)
        what = self._on_one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return APITimeoutError(
                f"no connection to {base_url} within {connect:g} s (timeouts.connect)", clock="connect"
            )
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            none_left = APIConnectionError(
                "no file descriptor is left for another connection: raise the limit (`ulimit -n 65536`) or set max_connections",
                retryable=False,
            )
            none_left.errno = error.errno
            return none_left
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return APIConnectionError(f"the proxy {proxy} cannot be reached: {what}")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return APIConnectionError(f"the certificate of {base_url} is not trusted: {what}", retryable=False)
        if isinstance(error, (aiohttp.ClientConnectorSSLError, ssl.SSLError)):
            return APIConnectionError(f"TLS with {base_url} failed: {what}", retryable=False)
        if isinstance(error, (aiohttp.ClientError, OSError, asyncio.TimeoutError)) and not isinstance(
            error, ValueError
        ):
            return APIConnectionError(f"no answer from {base_url}: {what}")
        return ConfigurationError(f"the request to {base_url} could not be sent: {what}")

    def _response_error(self, error: aiohttp.ClientResponseError) -> CometError:
        """Name an answer that aiohttp could not take as one."""
        message = self._on_one_line(error.message)
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return APIConnectionError(
                f"the proxy {_without_userinfo(self.proxy)} refused the connection: {error.status} {message}",
                retryable=error.status in RETRYABLE_STATUSES,
            )
        for encoding, package in _PACKAGE_OF.items():
            if f"({encoding})" in message or message.endswith(encoding):
                return ProtocolError(
                    f"the server sent {encoding}-encoded bytes unasked: install the package {package} to read them"
                )
        return ProtocolError(f"{self.context.base_url} answered with something that is no HTTP: {message}")

    def _on_one_line(self, text: str) -> str:
        return self.context.redact(excerpt(text))


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the gateway's id of a request from the answer's headers."""
    for name in _REQUEST_ID_HEADERS:
        if name in headers:
            return headers[name]
    return None


@lru_cache(maxsize=16)  # sessions have few; making one costs as much as sending the headers
def _client_timeout(connect: float | None, queues: bool) -> aiohttp.ClientTimeout:
    """Return aiohttp's part in the clocks; its `connect` also counts the wait for a place in the pool."""
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if queues else connect,
        sock_connect=connect if queues else None,
        sock_read=None,
        ceil_threshold=math.inf,  # above it a timeout is rounded up to a whole second
    )


def _without_userinfo(proxy: str | None) -> str:
    """Return the proxy's address without the password that may stand in it."""
    if proxy is None:
        return "of your aiohttp session"
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _closed_meanwhile() -> UsageError:
    return UsageError("the session was closed while a request was on its way")


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task; before Python 3.11 a task does not tell."""
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0


def _watch_connection(response: aiohttp.ClientResponse) -> None:
    """Fail the body when its connection is lost before its end.

    aiohttp does so itself, but for one case: its parser in C forgets a body whose chunked framing broke (a proxy that writes an
    error page into it), closes the connection, and nobody would wake the reader.
    """
    protocol = response.connection.protocol if response.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is not None:
        response.content.on_eof(_Watch(response.content, closed).ended)


class _Watch:
    """Between a body and the end of its connection, until either comes."""

    __slots__ = ("_closed", "_content")

    def __init__(self, content: aiohttp.StreamReader, closed: asyncio.Future[None]) -> None:
        self._content = content
        self._closed = closed
        # The future is the connection's, and serves many streams: take back what is ours, and leave one that reads its result.
        closed.remove_done_callback(_read_result)
        closed.add_done_callback(_read_result)
        closed.add_done_callback(self.lost)

    def lost(self, _: asyncio.Future[None]) -> None:
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost in the middle of the body"))

    def ended(self) -> None:
        self._closed.remove_done_callback(self.lost)


def _read_result(closed: asyncio.Future[None]) -> None:
    """Read the result: asyncio logs an exception that nobody does."""
    _ = closed.cancelled() or closed.exception()
