"""A proxy for programs in any language: chat completions go through a session, all other routes pass through untouched.

It is the transport's machine (``openai/forward.py``) behind an HTTP server.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web
from multidict import CIMultiDict

from cometstream.config import find_base_url
from cometstream.errors import APITimeoutError, CometError, InvalidRequestError
from cometstream.openai.forward import ROUTE, EventBytes, Forwarded, error_body, forward, passed_headers
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["Proxy", "serve"]

# Where clients expect the routes; an upstream has them where its URL says.
_PREFIX: Final = "/v1"

# What a session must have where each client brings its own key.
_NO_KEY: Final = "brought-by-the-client"

# What belongs to one connection (RFC 9110, 7.6.1).
_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
)


class Proxy:
    """``async with Proxy(upstream=...) as proxy``: it listens until the end of the block.

    Args:
        upstream: The address of the endpoint behind it.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        api_key: Is sent for clients that bring no key, where only this machine can reach the proxy and no browser asks; None sends
            no key for anybody.
        repair: Bend what gateways bend back into the documented shape.
        options: The session's further arguments.
    Raises:
        ConfigurationError: An option cannot be used.
    """

    def __init__(
        self,
        *,
        upstream: str,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        repair: bool = True,
        **options: Any,
    ) -> None:
        self._upstream = find_base_url(upstream)
        self._host = host
        self._port = port
        self._lends_key = api_key is not None and _is_loopback(host)
        self._key = api_key
        self._repair = repair
        self._session = CometSession(api_key=api_key or _NO_KEY, base_url=upstream, **options)
        self._runner: web.ServerRunner | None = None
        self._client: aiohttp.ClientSession | None = None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            site = web.TCPSite(self._runner, self._host, self._port)
            await site.start()
        except BaseException:
            await self.aclose()
            raise
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}{_PREFIX}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening, and close all connections.

        Cancellation:
            They are closed all the same.
        """
        await self._session.aclose()
        if self._client is not None:
            await self._client.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if request.method != "POST" or not path.rstrip("/").endswith(ROUTE):
            return await self._pass_through(request, request.content if request.can_read_body else None)
        body = await request.content.read()
        headers = passed_headers(request.headers.items())
        if "Authorization" not in request.headers and not self._may_lend(request):
            return _failed(
                401, {"message": "no API key: send it as Authorization: Bearer ...", "type": "invalid_request_error"}
            )
        try:
            answer = await forward(self._session, body, headers, query=request.query_string, repair=self._repair)
        except InvalidRequestError:
            return await self._pass_through(request, body)  # not a JSON object: the server says so in its own words
        except CometError as error:
            return _failed(504 if isinstance(error, APITimeoutError) else 502, error_body(error))
        return await _written(request, answer)

    def _may_lend(self, request: web.BaseRequest) -> bool:
        """Whether the proxy's own key is sent: a browser's page must not spend it."""
        return self._lends_key and "Origin" not in request.headers

    async def _pass_through(self, request: web.BaseRequest, body: Any) -> web.StreamResponse:
        assert self._client is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        if "Authorization" not in request.headers and self._may_lend(request):
            headers["Authorization"] = f"Bearer {self._key}"
        path = request.raw_path.removeprefix(_PREFIX)
        try:
            answer = await self._client.request(
                request.method, f"{self._upstream}{path}", headers=headers, data=body, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            return _failed(502, {"message": f"no answer from {self._upstream}: {type(error).__name__}"})
        async with answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=CIMultiDict(kept))
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
        return response


async def _written(request: web.BaseRequest, answer: Forwarded) -> web.StreamResponse:
    if isinstance(content := answer.content, bytes):
        return web.Response(status=answer.status, headers=CIMultiDict(answer.headers), body=content)
    response = web.StreamResponse(status=answer.status, headers=CIMultiDict(answer.headers))
    try:
        await response.prepare(request)
        await _write_all(response, content)
    finally:
        await content.aclose()
    return response


async def _write_all(response: web.StreamResponse, content: EventBytes) -> None:
    async for piece in content:
        await response.write(piece)
    await response.write_eof()


def _failed(status: int, error: dict[str, Any]) -> web.Response:
    headers = {"x-should-retry": "false"}  # the session has repeated what can be repeated
    return web.Response(
        status=status, headers=headers, body=orjson.dumps({"error": error}), content_type="application/json"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve(
    *,
    upstream: str,
    host: str = "127.0.0.1",
    port: int = 8080,
    api_key: str | None = None,
    repair: bool = True,
    started: Callable[[Proxy], object] | None = None,
) -> None:
    """Run a proxy until cancelled.

    Args:
        upstream: As ``Proxy``.
        host: As ``Proxy``.
        port: As ``Proxy``.
        api_key: As ``Proxy``.
        repair: As ``Proxy``.
        started: Called with the proxy once it listens.
    Raises:
        OSError: The address is in use or does not belong to this machine.
        ConfigurationError: An option cannot be used.
    Cancellation:
        Cancel it to end it: all connections are closed.
    """
    async with Proxy(upstream=upstream, host=host, port=port, api_key=api_key, repair=repair) as proxy:
        if started is not None:
            started(proxy)
        await asyncio.get_running_loop().create_future()
