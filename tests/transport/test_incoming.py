"""The open body of an answer, over a connection that is new and over one that served before, sent by the library or by aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from support import virtual_clock
from support.loops import turns_until
from support.serving import CHAT, ask, serving
from support.ways import way

from cometstream import CometSession
from cometstream.policy import Clocks
from cometstream.testing import DONE, Reply, chunk, frame
from cometstream.testing.server import Script, SimulatedServer
from cometstream.transport.incoming import HTTPIncoming, Interrupted
from cometstream.transport.opening import OpeningClock

pytestmark = pytest.mark.usefixtures(way.__name__)

HELLO = frame(chunk({"content": "Hello"}))
STOP = frame(chunk(finish_reason="stop"))


@contextlib.asynccontextmanager
async def opened(*replies: Script, kept: bool = True) -> AsyncIterator[tuple[HTTPIncoming, SimulatedServer]]:
    """The body of the first of these replies, and the server; over a connection that served before, or a new one."""
    async with serving() as (server, session):
        if kept:
            await ask(session)
        server.script(*replies)
        yield await opened_by(session), server


async def opened_by(session: CometSession) -> HTTPIncoming:
    session.stream(**CHAT)  # makes the endpoint
    endpoint = next(iter(session._endpoints.values()))
    body = orjson.dumps({**CHAT, "stream": True})
    incoming = await endpoint.send("POST", body, OpeningClock(Clocks(), math.inf, traced=False), "an-id", {})
    assert isinstance(incoming, HTTPIncoming)
    return incoming


new_and_kept = pytest.mark.parametrize("kept", [False, True])


@new_and_kept
async def test_it_is_read_as_it_comes(kept: bool) -> None:
    go_on = asyncio.Event()
    reply = Reply((HELLO, go_on, STOP, DONE)).with_headers({"x-request-id": "r-1"})
    async with opened(reply, kept=kept) as (incoming, _):
        assert incoming.status == 200
        assert incoming.headers["X-Request-Id"] == incoming.request_id == "r-1"
        assert incoming.at_hand() is None  # more is to come
        assert await incoming.read() == HELLO
        assert incoming.bytes == len(HELLO)
        go_on.set()
        rest = b""
        while data := await incoming.read():
            rest += data
        assert rest == STOP + DONE
        assert await incoming.read() == b""
        assert incoming.at_hand() == b""
        incoming.close()  # it is back in the pool
        assert incoming.bytes == len(HELLO + STOP + DONE)


@new_and_kept
async def test_a_short_answer_is_at_hand_once_it_has_come(kept: bool) -> None:
    async with opened(Reply((HELLO, STOP, DONE)), kept=kept) as (incoming, _):
        while incoming.at_hand() is None:  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)
        assert await incoming.read() == b""
        assert incoming.gate() is None or not incoming.gate().is_shut  # type: ignore[union-attr]


@new_and_kept
async def test_an_interrupted_read_loses_nothing(kept: bool) -> None:
    go_on = asyncio.Event()
    async with opened(Reply((HELLO, go_on, STOP)).stall(), kept=kept) as (incoming, server):
        assert await incoming.read() == HELLO
        reading = asyncio.ensure_future(_read(incoming))
        await asyncio.sleep(0)
        incoming.interrupt()
        with pytest.raises(Interrupted):
            await reading
        assert incoming.rescue() == b""
        go_on.set()
        await turns_until(lambda: incoming.bytes > len(HELLO))
        incoming.interrupt()
        with pytest.raises(Interrupted):
            await incoming.read()
        assert incoming.rescue() == STOP
        incoming.close()
        await server.until_unconnected()


@new_and_kept
async def test_a_cancelled_read_loses_nothing(kept: bool) -> None:
    go_on = asyncio.Event()
    async with opened(Reply((HELLO, go_on, STOP)).stall(), kept=kept) as (incoming, _):
        await incoming.read()
        reading = asyncio.ensure_future(_read(incoming))
        await asyncio.sleep(0)
        go_on.set()
        await turns_until(lambda: incoming.bytes > len(HELLO))
        reading.cancel()  # in the turn in which its bytes came
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await incoming.read() == STOP
        incoming.close()


@new_and_kept
async def test_closing_wakes_the_reader_and_ends_the_connection(kept: bool) -> None:
    async with opened(Reply((HELLO,)).stall(), kept=kept) as (incoming, server):
        await incoming.read()
        reading = asyncio.ensure_future(_read(incoming))
        await asyncio.sleep(0)
        incoming.close()
        incoming.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await reading
        await server.until_unconnected()


@new_and_kept
async def test_two_reads_at_the_same_time_are_refused(kept: bool) -> None:
    async with opened(Reply((HELLO,)).stall(), kept=kept) as (incoming, _):
        await incoming.read()
        reading = asyncio.ensure_future(_read(incoming))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another coroutine"):
            await incoming.read()
        incoming.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await reading


@new_and_kept
async def test_after_a_drain_the_connection_is_used_again(kept: bool) -> None:
    async with opened(Reply((HELLO, STOP, DONE, 0.01, b"\n")), kept=kept) as (incoming, server):
        seen = server.connections_seen
        await incoming.read()
        await incoming.drain()
        incoming.close()
        assert server.connections_open == 1
        await incoming.drain()  # there is nothing left to wait for
        assert server.connections_seen == seen


@new_and_kept
def test_a_drain_waits_a_quarter_of_a_second_and_takes_64_kib_at_most(kept: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for reply in (Reply((DONE,)).stall(), Reply((DONE,)).forever(b":" * 10_000 + b"\n")):
            async with opened(reply, kept=kept) as (incoming, server):
                began = loop.time()
                await incoming.drain()
                assert loop.time() - began < 0.3
                assert incoming.bytes < 400_000
                incoming.close()
                await server.until_unconnected()

    virtual_clock.run(main())


@new_and_kept
async def test_closing_ends_a_drain(kept: bool) -> None:
    async with opened(Reply((DONE,)).stall(), kept=kept) as (incoming, server):
        draining = asyncio.ensure_future(incoming.drain())
        await asyncio.sleep(0)
        incoming.close()
        await asyncio.wait_for(draining, 5)
        await server.until_unconnected()


async def test_a_server_that_sends_each_byte_as_a_chunk_does_not_fill_the_memory() -> None:
    """What waits for a slow reader is bounded with what a piece takes beside its byte."""
    async with opened(Reply((HELLO,)).forever(b"\n" * 100_000)) as (incoming, _):
        content: Any = incoming.response.content
        for _ in range(200_000):
            if incoming.response.connection.protocol._is_held:  # type: ignore[union-attr]
                break
            content.feed_data(b"x")
        assert len(content._buffer) < 12_000 or type(content) is aiohttp.StreamReader
        incoming.close()


async def _read(incoming: HTTPIncoming) -> bytes:
    return await incoming.read()
