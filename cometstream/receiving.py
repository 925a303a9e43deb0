"""How many bytes the event loop asks the kernel for at a time.

asyncio's transports on selectors make room for 256 KiB before each ``recv``, though a token brings 300 bytes, and the C library
takes so much room from the kernel anew each time, and gives it back: two fifths of what a dripped token cost. How much it is
stands in the transport's attribute ``max_size``. Transports without one (uvloop's, which keep their room, and those of TLS) stay
as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp

if TYPE_CHECKING:
    import asyncio

    from aiohttp.connector import Connection

__all__ = ["Response", "receive_less"]

# Below the 128 KiB from which glibc's malloc turns to the kernel, and still some 200 events.
_ROOM: Final = 64 * 1024


def receive_less(transport: asyncio.BaseTransport | None) -> None:
    """Have a transport make no more room for a ``recv`` than costs little."""
    changed: Any = transport
    if getattr(changed, "max_size", 0) > _ROOM:
        changed.max_size = _ROOM


class Response(aiohttp.ClientResponse):
    """An answer whose head is received so, too: a short answer is whole by then."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Begin to read the answer."""
        receive_less(connection.transport)
        return await super().start(connection)
