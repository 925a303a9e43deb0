"""A relay as a response of aiohttp.web."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import anyio
from aiohttp import web

from cometstream.relay.engine import servant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from typing_extensions import Unpack

    from cometstream.relay.options import RelayOptions

__all__ = ["relay_response"]

# Seconds between two looks at the connections; aiohttp tells a handler of nothing unless the application asks for its cancellation.
_LOOK: Final = 0.025


async def relay_response(
    request: web.Request, stream: Any, *, headers: Mapping[str, str] | None = None, **options: Unpack[RelayOptions]
) -> web.StreamResponse:
    """Answer a request of aiohttp.web with a relay: ``return await relay_response(request, session.stream(...))``.

    It enters, reads and closes the stream itself. When the browser leaves, the request upstream ends, also before its head and
    between its retries, whether or not the application runs with ``handler_cancellation``.

    Args:
        request: The request.
        stream: As ``relay`` takes it.
        headers: Headers of your own for the response.
        **options: As ``relay`` takes them.
    Returns:
        The response, written to its end.
    Raises:
        ConfigurationError: An option cannot be used.
        UsageError: The stream was left or relayed before.
    Cancellation:
        The connection upstream is closed at once, and the browser told that the answer is not whole.
    """
    outlet = _Response(request, headers or {})
    serving = servant(stream, options)
    with anyio.CancelScope() as scope:
        watch = _Watch.of_this_loop()
        watch.add(outlet, scope)
        try:
            await serving.serve(outlet)
        finally:
            watch.discard(outlet)
    if outlet.response is None:
        # The browser left before the head; aiohttp wants a response all the same.
        return web.Response(status=499, reason="Client Closed Request")
    return outlet.response


class _Response:
    """An outlet that is a response of aiohttp.web."""

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self._transport = request.transport  # None where the browser has left already
        self._headers = headers
        self.response: web.StreamResponse | None = None
        self.write: Callable[[bytes], Awaitable[None]]  # the response's own, once it is started

    @property
    def gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        response = self.response = web.StreamResponse(status=status, headers={**headers, **self._headers})
        self.write = response.write
        await response.prepare(self._request)

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)


class _Watch:
    """Looks at all connections of a loop that relay, on one timer."""

    _of_loops: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_later = loop.call_later
        self._watched: dict[_Response, anyio.CancelScope] = {}
        self._ticks = False

    @classmethod
    def of_this_loop(cls) -> _Watch:
        loop = asyncio.get_running_loop()
        watch = cls._of_loops.get(loop)
        if watch is None:
            watch = cls._of_loops[loop] = cls(loop)
        return watch

    def add(self, response: _Response, scope: anyio.CancelScope) -> None:
        self._watched[response] = scope
        if not self._ticks:
            self._ticks = True
            self._call_later(_LOOK, self._tick)

    def discard(self, response: _Response) -> None:
        self._watched.pop(response, None)

    def _tick(self) -> None:
        for response, scope in self._watched.items():
            if response.gone:
                scope.cancel()
        self._ticks = bool(self._watched)
        if self._ticks:
            self._call_later(_LOOK, self._tick)
