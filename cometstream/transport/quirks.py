"""How a session's connections take in bytes: as aiohttp's do, but for two costs that have nothing to do with the bytes.

Both are measured in benchmarks/README.md:

- asyncio's transports on selectors make room for 256 KiB before each ``recv``, though a token brings 300 bytes, and the C library
  takes so much room from the kernel anew each time, and gives it back. How much it is stands in the transport's attribute
  ``max_size``. Transports without one (uvloop's, which keep their room, and those of TLS) stay as they are.
- aiohttp resumes the connection with every HTTP chunk that is read, and its parser with it, paused or not. Servers send each
  event as a chunk of its own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["make_connector", "receive_less"]

# The versions of aiohttp of which it is known that nothing waits to be resumed but what was paused.
_KNOWN: Final = aiohttp.__version__.startswith("3.14.")

# Below the 128 KiB from which glibc's malloc turns to the kernel, and still some 200 events.
_ROOM: Final = 64 * 1024


def receive_less(transport: asyncio.BaseTransport | None) -> None:
    """Have a transport make no more room for a ``recv`` than costs little."""
    changed: Any = transport
    if getattr(changed, "max_size", 0) > _ROOM:
        changed.max_size = _ROOM


class _Handler(ResponseHandler):
    """A connection of aiohttp's that is resumed only where it was paused."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        receive_less(transport)
        super().connection_made(transport)

    def pause_reading(self) -> None:
        self._is_held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._is_held or not _KNOWN:
            self._is_held = False  # before: what is parsed now may be enough to pause it again
            super().resume_reading(resume_parser)


def make_connector(limit: int) -> aiohttp.TCPConnector:
    """Return the pool of a session; to be called in its event loop.

    Args:
        limit: Connections at a time; 0 for no limit.
    """
    connector = aiohttp.TCPConnector(limit=limit)
    # aiohttp offers no public way. A version that knows no such attribute takes its own handler, and costs what it costs.
    factory: Any = partial(_Handler, asyncio.get_running_loop())
    connector._factory = factory
    return connector
