"""One route of the endpoint: a request is sent to it, and whatever comes of that but an answer is named."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
from multidict import CIMultiDict
from yarl import URL

from cometstream.answer.body import BodyReader
from cometstream.answer.error_body import parse_error
from cometstream.errors import APIStatusError, APITimeoutError, CometError, ProtocolError, UsageError
from cometstream.policy import retry_after
from cometstream.transport.failures import cut_answer, request_failure
from cometstream.transport.incoming import HTTPIncoming
from cometstream.transport.intercept import Outgoing
from cometstream.transport.kept import PlainAnswer, ask
from cometstream.transport.opening import OpeningEnded
from cometstream.transport.quirks import (
    READ_BUFFER,
    Connector,
    KeptConnectionLost,
    client_timeout,
    plain_connection,
    request_body,
    request_head,
    take_fresh_connection,
    watch_connection,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    import aiohttp

    from cometstream.answer.typed_errors import ErrorContext
    from cometstream.policy import Clocks
    from cometstream.transport.incoming import Incoming
    from cometstream.transport.intercept import Interceptor
    from cometstream.transport.opening import OpeningClock
    from cometstream.transport.pool import Client, Pool

__all__ = ["CLIENT_REQUEST_ID", "Endpoint"]

CLIENT_REQUEST_ID: Final = "X-Client-Request-Id"
"""The header with a request's own id, under OpenAI's name. It is not ``Idempotency-Key``: servers that obey that one send the first
answer again, an error included, and refuse the key for the changed body of a fallback."""

# Bytes of an error body that are read and kept.
_MAX_ERROR_BODY: Final = 65536

# What the rest of an error's body may take: a status that is known is not kept back for a body that stalls.
_ERROR_BODY_WAIT: Final = 5.0

# A larger body is written by aiohttp, which waits while the connection is full; asyncio's buffer for writing holds as much.
_ONE_PIECE: Final = 64 * 1024


class Endpoint:
    """One route: how a request to it is sent and its failures are named.

    Args:
        pool: The session's connections.
        url: The route's address.
        headers: Headers of every request, the key among them.
        proxy: The proxy's address, or None.
        context: What errors need to know.
    """

    def __init__(
        self,
        pool: Pool,
        url: str,
        *,
        headers: Mapping[str, str],
        proxy: str | None,
        context: ErrorContext,
    ) -> None:
        self.traced = pool.traced
        self._pool = pool
        self.url = url
        # aiohttp would make these names of texts again for each request.
        self.headers = CIMultiDict(headers)
        self.proxy = proxy
        self.context = context
        self.redact = context.redact  # made once, for all calls
        self._head: bytes | None = None  # of a request to this route, without what differs by request
        self._names_itself = CLIENT_REQUEST_ID in self.headers

    def elsewhere(self, url: str, *, without: str) -> Endpoint:
        """Return the route at another address of the same host, without one of the headers."""
        headers = self.headers.copy()
        headers.popall(without, None)
        return Endpoint(self._pool, url, headers=headers, proxy=self.proxy, context=self.context)

    async def send(
        self,
        method: str,
        body: bytes | None,
        clock: OpeningClock,
        client_request_id: str,
        added: Mapping[str, str],
    ) -> Incoming:
        """Send one request and return the open answer, its status 2xx.

        Args:
            method: ``"POST"`` or ``"GET"``.
            body: The body as JSON; None for a GET.
            clock: The clock that runs.
            client_request_id: The id that the attempts of one request share; a header of the caller's own replaces it.
            added: More headers of this request, checked; the caller's own replace them.

        Raises:
            CometError: Anything else; nothing of aiohttp's is chained to it, since its errors print the key.
        """
        # Most requests have none but the id.
        own = self._not_ours(added) if added else {}
        if not self._names_itself:
            own[CLIENT_REQUEST_ID] = client_request_id
        interceptor = self._pool.interceptor
        if interceptor is None:
            incoming = await self._send(method, body, clock, own)
        else:
            incoming = await self._intercepted(interceptor, method, body, clock, own)
        if 200 <= incoming.status < 300:
            return incoming
        error: CometError | None = None
        with clock:
            error = await self._status_error(incoming)
        raise error or clock.error(self.context.base_url)

    def _not_ours(self, added: Mapping[str, str]) -> dict[str, str]:
        """Return those headers that the route does not have itself."""
        return {name: value for name, value in added.items() if name not in self.headers}

    async def _intercepted(
        self, interceptor: Interceptor, method: str, body: bytes | None, clock: OpeningClock, own: Mapping[str, str]
    ) -> Incoming:
        """Send one request past what stands between requests and the network, and return the open answer; see `_send`."""
        request = Outgoing(method, self._route, body, self.context)
        return await interceptor.intercept(request, lambda: self._send(method, body, clock, own))

    @property
    def _route(self) -> str:
        """The address without the base URL: a recording fits another gateway, too."""
        base_url = self.context.base_url
        return self.url[len(base_url) :] if self.url.startswith(base_url) else URL(self.url).raw_path_qs

    async def _send(self, method: str, body: bytes | None, clock: OpeningClock, own: Mapping[str, str]) -> Incoming:
        """Send one request over the network and return the open answer, whatever its status.

        Raises:
            CometError: There is none.
        """
        client = self._pool.client()
        connector = self._connector(client, body)
        error: CometError
        try:
            is_lost = False
            if connector is not None and (connection := await connector.kept()) is not None:
                try:
                    answer = await ask(connection, self._written(connector, body, own), clock)
                    return HTTPIncoming(answer, self.context, clock.waited)
                except KeptConnectionLost:
                    is_lost = True
            connection = None
            with clock:
                if connector is not None and not self.traced:
                    connection = await connector.fresh(client_timeout(clock.connect, self._pool.queues))
                if connection is None:
                    response = await self._request(client, method, body, clock, own, is_lost=is_lost)
                    return HTTPIncoming(response, self.context, clock.waited)
            if connector is not None and connection is not None:
                answer = await ask(connection, self._written(connector, body, own), clock)
                return HTTPIncoming(answer, self.context, clock.waited)
            error = clock.error(self.context.base_url)
        except CometError as caught:
            error = caught
        except OpeningEnded:
            error = clock.error(self.context.base_url)
        except asyncio.CancelledError:
            # A pool that is closed cancels those who wait for a place in it; nobody cancelled the caller.
            if not client.closed or _is_cancelled():
                raise
            error = _closed_meanwhile()
        except Exception as caught:
            if client.closed:
                error = _closed_meanwhile()
            else:
                error = request_failure(caught, self.context, proxy=self.proxy, connect=clock.connect)
        # A task written in Python (nest_asyncio's) resumes us while it handles aiohttp's error: it would be chained all the same.
        raise error from None

    def _connector(self, client: Client, body: bytes | None) -> Connector | None:
        """Return what has connections that a request can be written to; None where aiohttp is to send it."""
        connector = client.connector
        if body is None or len(body) > _ONE_PIECE or self.proxy is not None or not isinstance(connector, Connector):
            return None
        return connector

    def _written(self, connector: Connector, body: bytes | None, own: Mapping[str, str]) -> bytes:
        """Return a request as it is written to a connection of the session's own."""
        assert body is not None
        if self._head is None:
            self._head = request_head(connector.host, URL(self.url).raw_path_qs, self.headers)
        lines = "".join([f"{name}: {value}\r\n" for name, value in own.items()]).encode()
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, lines, len(body), body)

    async def _request(
        self,
        client: Client,
        method: str,
        body: bytes | None,
        clock: OpeningClock,
        own: Mapping[str, str],
        *,
        is_lost: bool,
    ) -> aiohttp.ClientResponse | PlainAnswer:
        """Send a request as aiohttp does; a kept connection that is lost before the answer is replaced."""
        # Those of a caller's own client are sent, too.
        headers = self.headers.copy()
        headers.update({name: value for name, value in own.items() if name not in client.headers})

        def request() -> Awaitable[aiohttp.ClientResponse]:
            return client.request(
                method,
                self.url,
                data=request_body(body),
                headers=headers,
                proxy=self.proxy,
                allow_redirects=False,
                raise_for_status=False,
                timeout=client_timeout(clock.connect, self._pool.queues),
                read_bufsize=READ_BUFFER if self._pool.is_ours else None,
            )

        try:
            response = await (take_fresh_connection(request()) if is_lost else request())
        except KeptConnectionLost:
            # It had served before, and the server may have closed it when the request was on its way (RFC 9112, 9.3.1).
            response = await take_fresh_connection(request())
        if not self._pool.is_ours:
            watch_connection(response)
            return response
        connection = plain_connection(response)
        if connection is None:
            return response
        return PlainAnswer(connection, response.status, response.headers, response.content)

    async def _status_error(self, incoming: Incoming) -> APIStatusError:
        pieces: list[bytes] = []
        size = 0
        try:
            with anyio.move_on_after(_ERROR_BODY_WAIT):
                while size < _MAX_ERROR_BODY and (piece := await incoming.read()):
                    pieces.append(piece)
                    size += len(piece)
        except Exception:
            pass  # the status is known; a body that breaks off takes nothing from it
        finally:
            incoming.close()
        status, headers = incoming.status, incoming.headers
        return self.context.status_error(
            status,
            parse_error(b"".join(pieces)[:_MAX_ERROR_BODY]),
            headers=headers,
            retry_after=retry_after(headers, time.time()),
            request_id=incoming.request_id,
            location=headers.get("Location") if 300 <= status < 400 else None,
        )

    async def read_document(self, incoming: Incoming, clocks: Clocks, total_due: float) -> Any:
        """Return the JSON document that a 2xx answer holds.

        Raises:
            APIConnectionError: The connection was cut.
            APITimeoutError: No byte came for ``content_idle`` seconds, or ``total`` ran out.
            ProtocolError: The body is not JSON.
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
                    data = await incoming.read()
                    body.feed(data)
                if scope.cancelled_caught:
                    clock = "total" if due == total_due else "content_idle"
                    seconds = getattr(clocks, clock)
                    raise APITimeoutError(
                        f"the answer did not end within {seconds:g} s (timeouts.{clock})", clock=clock
                    )
            body.end()
            if body.kind != "json":
                raise ProtocolError(f"{self.url} answered with something that is not JSON", raw=body.head)
            if not body.cut:
                return body.document
            error = cut_answer(None, self.url, self.context)
        except APITimeoutError:
            raise
        except ProtocolError as caught:
            error = self.context.redact_error(caught)
        except Exception as caught:  # of aiohttp's parsers the one in Python lets more than ClientError through
            error = cut_answer(caught, self.url, self.context)
        finally:
            incoming.close()
        raise error from None


def _closed_meanwhile() -> UsageError:
    return UsageError("the session was closed while a request was on its way")


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task; before Python 3.11 a task does not tell."""
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0
