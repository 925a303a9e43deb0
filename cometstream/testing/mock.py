"""The response class that aioresponses needs under every aiohttp that this library supports."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["MockResponse"]

# aiohttp 3.14 made it a required argument; aioresponses 0.7.9 does not know it, and earlier versions refuse it.
_HAS_STREAM_WRITER = "stream_writer" in inspect.signature(ClientResponse.__init__).parameters


class MockResponse(ClientResponse):
    """An aiohttp response that aioresponses can build: ``mocked.post(url, response_class=MockResponse, ...)``."""

    def __init__(self, method: str, url: URL, **kwargs: Any) -> None:
        if _HAS_STREAM_WRITER:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(method, url, **kwargs)
