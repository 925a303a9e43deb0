"""The peers: each a client that reads answers in the way its users do.

A peer is an async context manager made with the base URL of one answer. ``read()`` sends one request, reads the answer chunk by
chunk, and returns its whole text and the completion tokens of its usage; peers that cannot tell the text return None for it.
A peer that also has ``read_all()`` is given all requests at once, as a batch.
Importing a peer imports its client, so that each is imported in its own process only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self


class Peer(Protocol):
    def __init__(self, base_url: str) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def read(self) -> tuple[str | None, int | None]: ...


@runtime_checkable
class BatchPeer(Peer, Protocol):
    """A peer that is given all its requests at once."""

    def read_all(self, rows: int, concurrency: int) -> AsyncIterator[tuple[str | None, int | None]]: ...


# Label -> module and class.
PEERS = {
    "byte counter": "floor:ByteCounter",
    "post + read": "hand:PostAndRead",
    "hand-written": "hand:HandWritten",
    "hand-written tools": "hand:HandWrittenTools",
    "cometstream": "comet:Chunks",
    "cometstream tools": "comet:Tools",
    "cometstream partials()": "comet:Partials",
    "cometstream text()": "comet:Text",
    "cometstream pace=0.1": "comet:Pace100",
    "cometstream pace=0.5": "comet:Pace500",
    "cometstream fan_out": "comet:FannedOut",
    "cometstream with hooks": "comet_watched:Hooked",
    "cometstream with OpenTelemetry": "comet_watched:Traced",
    "openai create": "openai_sdk:Create",
    "openai stream": "openai_sdk:Stream",
    "openai stream of a type": "openai_sdk:StreamOfType",
    "openai aiohttp": "openai_sdk:CreateAiohttp",
    "openai transport": "openai_sdk:CreateTransport",
    "openai semaphore": "openai_sdk:Semaphored",
    "litellm": "litellm_sdk:Litellm",
    "byte pump": "relays:BytePump",
    "relay raw": "relays:RelayRaw",
    "relay ui": "relays:RelayUi",
    "relay raw, FastAPI": "relays:RelayFastAPI",
    "openai re-encoded, FastAPI": "relays:ReencodingFastAPI",
}


def load(label: str) -> type[Peer]:
    """Import and return a peer."""
    module, _, name = PEERS[label].partition(":")
    peer: type[Peer] = getattr(import_module(f"benchmarks.peers.{module}"), name)
    return peer
