"""Ask in one of the ways, against one fault, and tell what a caller sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import aiohttp
import orjson
from support.ports import free_port
from support.serving import CHAT, KEY
from support.tls import client_context, server_context

from cometstream import APITimeoutError, CometError, CometSession, RetryPolicy, Timeouts, fan_out
from cometstream import errors as error_classes
from faults.kinds import KINDS, Kind, Strike, act
from faults.server import Server
from faults.table import Row

__all__ = ["RETRIES", "WAYS", "CountedRetries", "Seen", "look", "look_at_a_retry", "scene", "shown"]

RETRIES = 2

# Seconds of a batch's pace: short beside its clocks.
PACE = 0.02


@dataclass(frozen=True)
class CountedRetries(RetryPolicy):
    """Retries at once, and counts them: not every fault has a server that could."""

    max_retries: int = RETRIES
    initial_delay: float = 0.0
    granted: list[int] = field(default_factory=list)

    def delay(self, retry: int, error: CometError, jitter: float) -> float | None:
        self.granted.append(retry)
        return super().delay(retry, error, jitter)


@dataclass
class Told:
    """What a caller was told, and by which means.

    Attributes:
        text: The content that he was handed, piece by piece.
        chunks: The chunks that he was handed.
        kept: The content that he still holds afterwards; None where nothing holds any.
        where: ``"entering"``, ``"reading"``, ``"in band"`` for what was relayed, or ``"result"`` of a row.
    """

    text: str = ""
    chunks: int = 0
    kept: str | None = None
    where: str | None = None
    error: type[CometError] | None = None
    retryable: bool | None = None
    clock: str | None = None
    outcome: str | None = None

    def that(self, error: CometError, where: str) -> None:
        self.error, self.where, self.retryable = type(error), where, error.retryable
        self.clock = error.clock if isinstance(error, APITimeoutError) else None
        self.kept = None if error.partial is None else error.partial.content or ""


@dataclass(frozen=True)
class Seen:
    """What came of one cell.

    Attributes:
        row: The row as it should stand in the table; what the way does not show is None.
        where: Where the caller was told of the error.
        text: The content that was handed over.
        sent: Bytes that the server could send.
        memory: Bytes that this process held at most, above what it held before; 0 where that was not watched.
    """

    row: Row
    where: str | None
    text: str
    sent: int
    memory: int


async def stream(session: CometSession, *, turns_before_reading: int = 0) -> Told:
    told = Told()
    answer = session.stream(**CHAT)
    where = "entering"
    try:
        async with answer:
            where = "reading"
            for _ in range(turns_before_reading):
                await asyncio.sleep(0)
            async for chunk in answer:
                told.text += chunk.choices[0].delta.content or ""
                told.chunks += 1
        told.kept = answer.completion.content
    except CometError as error:
        told.that(error, where)
    told.outcome = answer.outcome
    return told


async def complete(session: CometSession) -> Told:
    told = Told()
    try:
        completion = await session.complete(**CHAT)
    except CometError as error:
        told.that(error, "entering")
    else:
        told.text = told.kept = completion.content or ""
        told.outcome = "complete"
    return told


async def relay(session: CometSession) -> Told:
    told = Told()
    answer = session.stream(**CHAT)
    pieces: list[bytes] = []
    try:
        async with answer:
            pieces = [piece async for piece in answer.relay()]
    except CometError as error:
        told.that(error, "entering")
    else:
        _read_relayed(b"".join(pieces), told)
        told.kept = answer.completion.content or ""
    told.outcome = answer.outcome
    return told


async def batch(session: CometSession) -> Told:
    told = Told()
    async with fan_out(session, [CHAT], concurrency=1, pace=PACE, retry=session.retry) as rows:
        (result,) = [result async for result in rows]
    if result.error is not None:
        told.that(result.error, "result")
    told.outcome = result.outcome
    if result.completion is not None:
        told.text = told.kept = result.completion.content or ""
    if result.outcome == "complete" and result.metrics is not None:
        told.chunks = result.metrics.chunks
    return told


def _read_relayed(relayed: bytes, told: Told) -> None:
    """Read what the browser was sent: it must end with [DONE] or one error frame, and hold neither before."""
    *frames, last, rest = relayed.split(b"\n\n")
    assert not rest
    sent = [orjson.loads(frame[6:]) for frame in frames if frame.startswith(b"data: ")]
    assert not any("error" in frame for frame in sent)
    told.chunks = len(sent)
    told.text = "".join(frame["choices"][0]["delta"].get("content") or "" for frame in sent)
    if last != b"data: [DONE]":
        error = orjson.loads(last[6:])["error"]
        told.error, told.where = getattr(error_classes, error["type"]), "in band"
        assert "timeouts." not in error["message"]  # a browser is not told which clock it was


WAYS: dict[str, Callable[[CometSession], Awaitable[Told]]] = {
    "stream": stream,
    # Begins to read when the fault has struck already, and the answer waits behind it.
    "stream, late": functools.partial(stream, turns_before_reading=40),
    "complete": complete,
    "relay": relay,
    "fan_out": batch,
}


async def look(row: Row, way: str, unit: float, *, watch_memory: bool = False) -> Seen:
    """Ask in one way while every request meets the fault.

    Args:
        row: The fault and its moment.
        way: A name in WAYS.
        unit: Seconds of the shortest clocks.
        watch_memory: Watch how much memory is taken.
    """
    kind, retries = KINDS[row.fault], CountedRetries()
    async with scene(kind, row, way, unit, retry=retries) as (server, session):
        memory = 0
        if watch_memory:
            tracemalloc.start()
        try:
            told = await WAYS[way](session)
        finally:
            if watch_memory:
                memory = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        tries = 1 + len(retries.granted)
        if kind.do is not None:
            assert server.served == tries, (server.served, tries)
        connection = await _connection(kind, server, session)
        sent = server.sent
    found = replace(
        row,
        error=told.error,
        retry=told.retryable,
        tries=tries,
        kept=told.kept,
        clock=told.clock,
        outcome=told.outcome,
        connection=connection,
    )
    return Seen(found, told.where, told.text, sent, memory)


async def look_at_a_retry(row: Row, way: str, unit: float) -> tuple[Told, int]:
    """Ask in one way while only the first request meets the fault; return what was told, and the attempts."""
    async with scene(KINDS[row.fault], row, way, unit, times=1, retry=CountedRetries()) as (server, session):
        told = await WAYS[way](session)
        return told, server.served


@contextlib.asynccontextmanager
async def scene(
    kind: Kind, row: Row, way: str, unit: float, *, times: int | None = None, **options: Any
) -> AsyncIterator[tuple[Server, CometSession]]:
    do = act(kind, Strike(row.moment, streamed=way != "complete", pause=unit / 8))
    context = server_context() if "TLS" in kind.scene else None
    # `total` leaves time for every attempt to run into another clock.
    clocks = Timeouts(connect=unit / 2, first_content=unit, content_idle=unit, total=(RETRIES + 2.5) * unit)
    async with Server(do, on_connect=kind.on_connect, times=times, context=context) as server:
        url, proxy, client = f"http://127.0.0.1:{server.port}/v1", "", None
        if kind.scene in ("TLS", "untrusted TLS"):
            url = url.replace("http:", "https:")
        elif kind.scene == "nobody":
            url = f"http://127.0.0.1:{free_port()}/v1"
        elif kind.scene == "no name":
            asyncio.get_running_loop().getaddrinfo = _no_such_name  # type: ignore[method-assign] # this loop alone finds no name
            url = "https://gateway.invalid/v1"
        elif kind.scene in ("proxy", "no proxy"):
            url = "https://gateway.invalid/v1"
            proxy = f"http://127.0.0.1:{server.port if kind.scene == 'proxy' else free_port()}"
        if kind.scene == "TLS":
            client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context()))
        with mock.patch.dict(os.environ, {"HTTPS_PROXY": proxy}):
            session = CometSession(api_key=KEY, base_url=url, timeouts=clocks, client=client, **options)
        async with session:
            yield server, session
        if client is not None:
            await client.close()


async def _connection(kind: Kind, server: Server, session: CometSession) -> str:
    """Tell what became of the last connection that met the fault."""
    if kind.do is None:
        assert not server.connections
        return "none"
    met = list(server.connections)
    if not kind.on_connect:
        server.behave()
        count = met[-1].served
        async with session.stream(**CHAT, timeouts=None) as answer:
            assert (await answer.until_done()).content
        if met[-1].served > count:
            return "reused"
    try:
        await asyncio.wait_for(asyncio.gather(*[one.gone.wait() for one in met]), 2)
    except asyncio.TimeoutError:
        return "left open"
    return "closed"


async def _no_such_name(*args: object, **kwargs: object) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def shown(row: Row, way: str, where: str | None) -> Row:
    """Return a row with only what one way of asking shows of it."""
    if way == "complete" and row.error is not None:
        row = replace(row, outcome=None)  # there is no stream to ask
    if where == "in band":
        row = replace(row, retry=None, clock=None)  # a browser is told the class and a sentence of its own
    return row
