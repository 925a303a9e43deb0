"""An answer, and a request over a connection of the session's own, without the objects that aiohttp makes for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.transport.opening import OpeningClock
    from cometstream.transport.quirks import KeptConnection

__all__ = ["PlainAnswer", "ask"]


class PlainAnswer:
    """One open answer; what is read of it has the names that an ``aiohttp.ClientResponse`` has, which takes some 2 KB more.

    Attributes:
        connection: Its connection; None once the body has come to its end, or was closed.
        content: The body.
        headers: The headers, case-insensitive.
        status: The status.
    """

    __slots__ = ("connection", "content", "headers", "status")

    def __init__(
        self, connection: KeptConnection, status: int, headers: Mapping[str, str], content: aiohttp.StreamReader
    ) -> None:
        self.status = status
        self.headers = headers
        self.content = content
        self.connection: KeptConnection | None = connection
        content.on_eof(self._ended)

    def _ended(self) -> None:
        if self.connection is not None:
            self.connection.release()
            self.connection = None

    def close(self) -> None:
        """Close the connection, where the answer has not ended, and wake who reads it."""
        if self.connection is not None:
            if self.content.exception() is None:
                self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
            self.connection.close()
            self.connection = None


async def ask(connection: KeptConnection, request: bytes, clock: OpeningClock) -> PlainAnswer:
    """Send a request, head and body, and return its answer.

    Raises:
        KeptConnectionLost: The connection failed, and nothing of the answer had come.
        OpeningEnded: A clock fired, or the opening was cancelled.
        Exception: What else aiohttp's connections raise.
    Cancellation:
        Safe at any point; the connection is closed.
    """
    try:
        coming = connection.protocol.ask(request)
        clock.awaits(coming)
        try:
            message, content = await coming
        finally:
            clock.has_awaited()
        return PlainAnswer(connection, message.code, message.headers, content)
    except BaseException:
        connection.protocol.abort()  # under TLS `close` waits for the peer's goodbye
        connection.close()
        raise
