"""Leaving, closing and cancelling, at any moment: the upstream is closed at once, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import aiohttp
import anyio
import pytest
from support import virtual_clock
from support.loops import Run, on_each_loop, turns_until
from support.serving import CHAT, KEY, serving
from support.tls import client_context, server_context, serving_tls

from cometstream import ChatCompletionChunk, ChatStream, CometError, CometSession, RetryPolicy, StreamTruncatedError
from cometstream.answer.machine import Answer
from cometstream.answer.typed_errors import ErrorContext
from cometstream.policy import Clocks
from cometstream.testing import DONE, Reply, SimulatedServer, chunk, frame
from cometstream.transport.incoming import HTTPIncoming, Incoming

Serving = Callable[..., AbstractAsyncContextManager[tuple[SimulatedServer, CometSession]]]

over_plain_tcp_and_tls = pytest.mark.parametrize(
    "serve", [pytest.param(serving, id="tcp"), pytest.param(serving_tls, id="tls")]
)

TEXT = chunk({"content": "Hello"})
STOP = chunk(finish_reason="stop")
WHOLE = Reply.sse(TEXT, STOP, DONE)


@over_plain_tcp_and_tls
@on_each_loop
def test_leaving_early_closes_the_upstream_at_once(run: Run, serve: Serving) -> None:
    async def main() -> None:
        async with serve(retry=None) as (server, session):
            server.always(Reply.sse(TEXT).stall())
            async with session.stream(**CHAT, timeouts=None):
                pass
            async with session.stream(**CHAT, timeouts=None) as stream:
                async for _ in stream:
                    break
            with contextlib.suppress(ZeroDivisionError):
                async with session.stream(**CHAT, timeouts=None) as stream:
                    raise ZeroDivisionError
            assert stream.outcome == "cancelled"
            for request in server.requests:
                await asyncio.wait_for(request.disconnected.wait(), 5)
            await asyncio.wait_for(server.until_unconnected(), 5)

    run(main())


class DeafTls:
    """A TLS server that says one thing, and from then on answers nothing, a close neither."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server_context().wrap_bio(received, sent, server_side=True)

        async def take(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                    return
                except ssl.SSLWantReadError:
                    writer.write(sent.read())
                    received.write(await reader.read(65536))
                finally:
                    writer.write(sent.read())

        await take(tls.do_handshake)
        await take(lambda: tls.read(65536))
        await take(lambda: tls.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + frame(TEXT)))
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        self.gone.set()
        writer.close()


async def leave(stream: ChatStream) -> None:
    await stream.__aexit__(None, None, None)


async def close_while_it_is_read(stream: ChatStream) -> None:
    reading = asyncio.ensure_future(stream.until_done())
    await asyncio.sleep(0.01)
    await stream.aclose()
    await reading


async def cancel_a_read_and_leave(stream: ChatStream) -> None:
    with anyio.move_on_after(0.01):
        await stream.until_done()
    await leave(stream)


@pytest.mark.parametrize("go", [leave, close_while_it_is_read, cancel_a_read_and_leave])
@on_each_loop
def test_a_tls_server_that_never_answers_the_close_holds_nobody_up(
    run: Run, go: Callable[[ChatStream], Awaitable[None]]
) -> None:
    async def main() -> None:
        deaf = DeafTls()
        server = await asyncio.start_server(deaf.handle, "127.0.0.1", 0)
        base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        connector = aiohttp.TCPConnector(ssl=client_context())
        async with aiohttp.ClientSession(connector=connector) as client:
            session = CometSession(api_key=KEY, base_url=base_url, client=client, retry=None)
            stream = await session.stream(**CHAT, timeouts=None).__aenter__()
            await stream.__anext__()
            await go(stream)
            assert stream.outcome == "cancelled"
            await asyncio.wait_for(deaf.gone.wait(), 5)
        server.close()
        await asyncio.sleep(0)

    run(main())


async def reading(stream: ChatStream, server: SimulatedServer) -> None:
    """Wait until the stream waits for bytes."""
    await turns_until(lambda: stream.metrics.chunks)
    await asyncio.sleep(0.1)


async def for_the_head(stream: ChatStream, server: SimulatedServer) -> None:
    await turns_until(lambda: server.requests)


async def for_the_next_attempt(stream: ChatStream, server: SimulatedServer) -> None:
    await turns_until(lambda: server.requests and server.requests[0].finished.is_set())
    await asyncio.sleep(0.1)


async def for_the_next_head(stream: ChatStream, server: SimulatedServer) -> None:
    await turns_until(lambda: len(server.requests) == 2)


async def for_the_drain(stream: ChatStream, server: SimulatedServer) -> None:
    await turns_until(lambda: stream.outcome)


SLOW_RETRY = RetryPolicy(max_retries=1, initial_delay=100.0)
RETRY_AT_ONCE = RetryPolicy(max_retries=1, initial_delay=0.0)

MOMENTS = [
    pytest.param(reading, [Reply.sse(TEXT).stall()], None, id="reading"),
    pytest.param(for_the_head, [WHOLE.after(1000)], None, id="connecting"),
    pytest.param(for_the_next_attempt, [Reply.error(503, retry_after=50)], SLOW_RETRY, id="in the wait before a retry"),
    pytest.param(
        for_the_next_attempt, [Reply.sse(STOP | {"choices": []}), WHOLE], SLOW_RETRY, id="in the wait, entered"
    ),
    pytest.param(for_the_next_head, [Reply.sse(), WHOLE.after(1000)], RETRY_AT_ONCE, id="connecting again"),
    pytest.param(for_the_drain, [Reply.sse(TEXT, STOP, DONE).stall()], None, id="draining"),
]


@pytest.mark.parametrize(("until", "replies", "retry"), MOMENTS)
def test_aclose_from_another_task_ends_the_loop_quietly(
    until: Callable[[ChatStream, SimulatedServer], Awaitable[None]], replies: list[Reply], retry: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)  # the whole of each wait

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(*replies, timeouts=None, retry=retry) as (server, session):
            stream = session.stream(**CHAT)
            got: list[ChatCompletionChunk] = []

            async def read() -> None:
                async with stream:
                    got.extend([item async for item in stream])

            task = asyncio.ensure_future(read())
            await until(stream, server)
            began = loop.time()
            assert not task.done()
            await stream.aclose()
            await stream.aclose()
            await task
            assert loop.time() == began
            assert stream.outcome == ("complete" if until is for_the_drain else "cancelled")
            with pytest.raises(StopAsyncIteration):
                await stream.__anext__()
            await server.until_unconnected()

    virtual_clock.run(main())


@pytest.mark.parametrize(("until", "replies", "retry"), MOMENTS)
@pytest.mark.parametrize("twice", [False, True])
def test_a_cancelled_task_leaves_no_connection_wherever_it_was(
    until: Callable[[ChatStream, SimulatedServer], Awaitable[None]],
    replies: list[Reply],
    retry: Any,
    twice: bool,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(*replies, timeouts=None, retry=retry) as (server, session):
            stream = session.stream(**CHAT)

            async def read() -> None:
                async with stream:
                    await stream.until_done()

            task = asyncio.ensure_future(read())
            await until(stream, server)
            began = loop.time()
            task.cancel()
            if twice:
                await asyncio.sleep(0)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.time() == began
            assert stream.outcome == ("complete" if until is for_the_drain else "cancelled")
            await server.until_unconnected()

    virtual_clock.run(main())


async def test_aclose_before_entering_sends_nothing() -> None:
    async with serving() as (server, session):
        stream = session.stream(**CHAT)
        await stream.aclose()
        assert stream.outcome == "cancelled"
        assert stream.metrics.duration == 0.0
        with pytest.raises(CometError):
            await stream.__aenter__()
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        assert server.requests == []


async def test_an_attempt_that_opens_in_the_moment_of_closing_is_closed() -> None:
    class Connector:
        async def __call__(self, failure: CometError | None, total_due: float) -> Incoming:
            response = await client.get(server.base_url, headers={"Authorization": "Bearer none"})
            await stream.aclose()
            return HTTPIncoming(response, ErrorContext(server.base_url, "", ()), 0.0)

        def cancel(self) -> None:
            """Too late: the attempt is open."""

    async with serving() as (server, _), aiohttp.ClientSession() as client:
        server.script(Reply.sse(TEXT).stall())
        stream = ChatStream(Connector(), partial(Answer, ErrorContext(server.base_url, "", ())), clocks=Clocks())
        async with stream:
            assert [item async for item in stream] == []
        assert stream.outcome == "cancelled"
        await server.until_unconnected()


async def test_aclose_in_the_loops_own_body_drops_what_had_arrived() -> None:
    async with serving(Reply.sse(frame(TEXT) * 3).stall()) as (server, session):
        async with session.stream(**CHAT) as stream:
            count = 0
            async for _ in stream:
                count += 1
                await stream.aclose()
        assert count == stream.metrics.chunks == 1
        assert stream.outcome == "cancelled"
        await server.until_unconnected()


async def test_aclose_after_the_end_changes_nothing() -> None:
    async with serving(WHOLE, Reply.sse(TEXT), retry=None) as (_, session):
        async with session.stream(**CHAT) as stream:
            await stream.until_done()
            await stream.aclose()
        assert stream.outcome == "complete"
        async with session.stream(**CHAT) as stream:
            with pytest.raises(StreamTruncatedError):
                await stream.until_done()
            await stream.aclose()
        assert stream.outcome == "truncated"


def test_closing_the_session_ends_a_reader_and_its_connection() -> None:
    async def main() -> None:
        async with serving(Reply.sse(TEXT).stall(), timeouts=None) as (server, session):
            async with session.stream(**CHAT) as stream:
                task = asyncio.ensure_future(stream.until_done())
                await reading(stream, server)
                await session.aclose()
                with pytest.raises(StreamTruncatedError):
                    await task
            assert stream.outcome == "truncated"
            await server.until_unconnected()

    virtual_clock.run(main())


@pytest.mark.parametrize("give_up", ["wait_for", "move_on_after"])
@pytest.mark.parametrize("seed", range(5))
def test_a_cancelled_read_can_be_repeated_and_loses_nothing(give_up: str, seed: int) -> None:
    async def patient(read: Awaitable[ChatCompletionChunk], seconds: float) -> ChatCompletionChunk | None:
        if give_up == "wait_for":
            with contextlib.suppress(asyncio.TimeoutError):
                return await asyncio.wait_for(read, seconds)
            return None
        with anyio.move_on_after(seconds):
            return await read
        return None

    async def main() -> None:
        dice = random.Random(seed)
        content = b"".join(frame(chunk({"content": f"{place} "})) for place in range(40)) + frame(STOP) + DONE
        cuts = sorted(dice.sample(range(len(content)), 80))
        pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        steps = [step for piece in pieces for step in (dice.random() * 0.1, piece)]
        tries = 0
        async with serving(Reply.sse(*steps), retry=None) as (_, session):
            async with session.stream(**CHAT, pace=dice.choice([0.0, 0.1])) as stream:
                got: list[str] = []
                while stream.outcome is None:
                    tries += 1
                    with contextlib.suppress(StopAsyncIteration):
                        item = await patient(stream.__anext__(), dice.random() * 0.1)
                        got += [choice.delta.content or "" for choice in item.choices] if item else []
            assert "".join(got).split() == [str(place) for place in range(40)]
            assert stream.outcome == "complete"
            assert tries > 60

    virtual_clock.run(main())


def test_a_read_cancelled_in_the_wait_before_a_retry_can_be_repeated() -> None:
    async def main() -> None:
        async with serving(Reply.sse(), WHOLE, retry=RetryPolicy(max_retries=5, initial_delay=1.0)) as (
            server,
            session,
        ):
            async with session.stream(**CHAT) as stream:
                with anyio.move_on_after(0.000001):
                    await stream.__anext__()
                assert (await stream.until_done()).content == "Hello"
            assert len(server.requests) == 2
            assert stream.metrics.chunks == 2

    virtual_clock.run(main())


REPLIES = (
    WHOLE,
    WHOLE.after(0.005),
    Reply.sse(TEXT).stall(),
    Reply.sse(TEXT).reset(),
    Reply.sse(TEXT, STOP, DONE).stall(),
    Reply.sse(*[frame(TEXT)] * 50, STOP, DONE).paced(0.001),
    Reply.sse(TEXT).forever(b": PING\n\n", 0.001),
    Reply.raw().reset(),
    Reply.error(503),
    Reply.json({"error": {"message": "no", "code": 503}}).after(0.003),
)


async def one_of_thousands(session: CometSession, dice: random.Random) -> None:
    async def read() -> None:
        with contextlib.suppress(CometError):
            async with session.stream(**CHAT, pace=dice.choice([0.0, 0.0, 0.005])) as stream:
                async for _ in stream:
                    await asyncio.sleep(dice.choice([0.0, 0.0, 0.002]))

    task = asyncio.ensure_future(read())
    await asyncio.sleep(dice.random() * 0.1)
    task.cancel()
    if dice.random() < 0.5:
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])


@pytest.mark.slow
@on_each_loop
def test_two_thousand_streams_cancelled_at_random_moments_leave_nothing_behind(run: Run) -> None:
    async def main() -> None:
        dice = random.Random(1986)
        retry = RetryPolicy(max_retries=3, initial_delay=0.005)
        # Nothing goes back to this pool, so that every connection which is still open is one that was left behind.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            serving(retry=retry, client=client) as (server, session),
        ):
            server.always(lambda _: dice.choice(REPLIES))
            for _ in range(8):
                await asyncio.gather(*(one_of_thousands(session, dice) for _ in range(250)))
            await asyncio.wait_for(server.until_unconnected(), 5)
            assert server.connections_seen > 1000
        gc.collect()

    run(main())
    gc.collect()
