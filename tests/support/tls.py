"""TLS before the simulated server, and a session that trusts its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from cometstream import CometSession
from cometstream.testing import SimulatedServer
from cometstream.testing.server import Script
from support.serving import KEY, serving

# A key and a certificate for 127.0.0.1 that only it itself vouches for.
CERTIFICATE = Path(__file__).parent / "data" / "loopback.pem"


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@contextlib.asynccontextmanager
async def serving_tls(*replies: Script, **options: Any) -> AsyncIterator[tuple[SimulatedServer, CometSession]]:
    """As ``serving``, with TLS between the session and the server."""
    connections: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async with serving(*replies) as (server, _):
        url = URL(server.base_url)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection(url.host, url.port)
            await asyncio.gather(forward(reader, inner_writer), forward(inner_reader, writer))

        front = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context())
        port = front.sockets[0].getsockname()[1]
        connector = aiohttp.TCPConnector(ssl=client_context())
        base_url = f"https://127.0.0.1:{port}/v1"
        try:
            async with aiohttp.ClientSession(connector=connector) as client:
                yield server, CometSession(api_key=KEY, base_url=base_url, client=client, **options)
        finally:
            front.close()
            for writer in connections:
                writer.transport.abort()
            await server.until_unconnected()
            await asyncio.sleep(0)
