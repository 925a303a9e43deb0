"""A relay as an ASGI application: for Litestar, and for every other framework that lets one answer a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio

from cometstream.relay.engine import servant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from typing_extensions import Unpack

    from cometstream.relay.options import RelayOptions

__all__ = ["ASGIRelay"]


class ASGIRelay:
    """An ASGI application that answers one request with a relay: ``await ASGIRelay(session.stream(...))(scope, receive, send)``.

    ``receive()`` is watched from the first moment on: when the browser leaves, the request upstream ends, also before its head and
    between its retries. A server that cancels the request because it stops gives the browser an error in band.

    Args:
        stream: As ``relay`` takes it.
        headers: Headers of your own for the response.
        **options: As ``relay`` takes them.

    Raises:
        ConfigurationError: An option cannot be used.
    """

    def __init__(
        self, stream: Any, *, headers: Mapping[str, str] | None = None, **options: Unpack[RelayOptions]
    ) -> None:
        self._servant = servant(stream, options)
        self._headers = dict(headers or {})

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer the request.

        Raises:
            UsageError: The stream was left or relayed before.
        Cancellation:
            The connection upstream is closed at once, and the browser told that the answer is not whole.
        """
        outlet = _Response(send, self._headers)
        with anyio.CancelScope() as scope_:
            watch = asyncio.ensure_future(_watch(receive, outlet, scope_))
            try:
                await self._servant.serve(outlet)
                await outlet.close()
            finally:
                watch.cancel()
                with anyio.CancelScope(shield=True):
                    await asyncio.wait({watch})


async def _watch(receive: Callable[[], Awaitable[Any]], outlet: _Response, scope: anyio.CancelScope) -> None:
    """Cancel the relay when the browser leaves."""
    try:
        # What comes before is the request's body, where nobody has read it.
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:
        return  # a server or a middleware that tells nothing: writing will fail instead
    outlet.gone = True
    scope.cancel()


class _Response:
    """An outlet that speaks ASGI."""

    def __init__(self, send: Callable[[Any], Awaitable[None]], headers: Mapping[str, str]) -> None:
        self.gone = False
        self._send = send
        self._headers = headers

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._merged(headers)]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)

    async def close(self) -> None:
        if not self.gone:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _merged(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        return [*headers.items(), *self._headers.items()]
