"""``pace``: arrivals gather, many events a read, and nothing is later than that nor lost by it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import anyio
import pytest
from aioresponses import aioresponses
from support import virtual_clock
from support.bodies import Read, wrap_reads
from support.loops import Run, on_each_loop
from support.serving import CHAT, KEY, serving
from support.tls import serving_tls

from cometstream import CometSession, StreamTruncatedError
from cometstream.testing import DONE, MockResponse, Reply, SimulatedServer, chunk, frame
from cometstream.transport.gate import Gate

Serving = Callable[..., AbstractAsyncContextManager[tuple[SimulatedServer, CometSession]]]

over_plain_tcp_and_tls = pytest.mark.parametrize(
    "serve", [pytest.param(serving, id="tcp"), pytest.param(serving_tls, id="tls")]
)

STOP = chunk(finish_reason="stop")


def text(content: Any) -> dict[str, Any]:
    return chunk({"content": str(content)})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each read of a body."""
    sizes: list[int] = []

    def counting(readany: Read) -> Read:
        async def counted(self: aiohttp.StreamReader) -> bytes:
            data = await readany(self)
            sizes.append(len(data))
            return data

        return counted

    wrap_reads(monkeypatch, counting)
    return sizes


def steps(count: int, pause: float) -> list[Any]:
    return [step for place in range(count) for step in (pause, text(f"{place} "))]


@over_plain_tcp_and_tls
def test_a_pace_makes_one_read_of_many_events_and_no_event_later_than_that(serve: Serving, reads: list[int]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reply = Reply.sse(*steps(100, 0.01), STOP, DONE)
        counts = []
        async with serve(reply, reply, retry=None) as (_, session):
            for pace in (0.0, 0.1):
                reads.clear()
                async with session.stream(**CHAT, pace=pace) as stream:
                    began = loop.time()
                    place = 0
                    async for content in stream.text():
                        place = int(content)
                        late = loop.time() - began - 0.01 * (place + 1)
                        assert late < pace + 0.02
                assert place == 99
                assert stream.outcome == "complete"
                counts.append(len(reads))
        assert counts[0] >= 100
        assert counts[1] <= 15

    virtual_clock.run(main())


@over_plain_tcp_and_tls
@on_each_loop
def test_no_event_is_lost_where_time_is_real(run: Run, serve: Serving, reads: list[int]) -> None:
    async def main() -> None:
        async with (
            serve(Reply.sse(*steps(60, 0.001), STOP, DONE)) as (_, session),
            session.stream(**CHAT, pace=0.03) as stream,
        ):
            got = [int(content) async for content in stream.text()]
        assert got == list(range(60))
        assert stream.outcome == "complete"
        assert len(reads) < 50

    run(main())


@over_plain_tcp_and_tls
def test_more_than_the_kernel_holds_back_comes_at_once(serve: Serving, reads: list[int]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        big = frame(text("x" * 200_000))
        async with (
            serve(Reply.sse(text("first"), 0.001, *[big] * 20, STOP, DONE)) as (_, session),
            session.stream(**CHAT, pace=0.5, timeouts=None) as stream,
        ):
            began = loop.time()
            completion = await stream.until_done()
            assert loop.time() - began < 1.1
        assert len(completion.content or "") == 5 + 20 * 200_000

    virtual_clock.run(main())


@over_plain_tcp_and_tls
def test_the_first_events_do_not_wait(serve: Serving) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with (
            serve(Reply.sse(1.0, text("a"), 30.0, text("b"), STOP, DONE)) as (_, session),
            session.stream(**CHAT, pace=5.0) as stream,
        ):
            began = loop.time()
            times = [loop.time() - began async for _ in stream.text()]
        assert times == pytest.approx([1.0, 31.0], abs=0.05)

    virtual_clock.run(main())


@over_plain_tcp_and_tls
def test_what_comes_before_content_keeps_no_content_back(serve: Serving) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        role = chunk({"role": "assistant", "content": ""})
        async with (
            serve(Reply.sse(role, 1.0, role, 1.0, text("a"), 1.0, text("b"), STOP, DONE)) as (_, session),
            session.stream(**CHAT, pace=5.0) as stream,
        ):
            began = loop.time()
            times = [loop.time() - began async for _ in stream.text()]
        first = stream.metrics.time_to_first_content
        assert first == pytest.approx(2.0, abs=0.05)
        assert times[0] == pytest.approx(2.0, abs=0.05)
        assert times[1] > 3.5

    virtual_clock.run(main())


@over_plain_tcp_and_tls
def test_the_connection_goes_back_to_the_pool_open(serve: Serving) -> None:
    async def main() -> None:
        async with serve(retry=None) as (server, session):
            server.always(Reply.sse(text("a"), 0.02, text("b"), STOP, DONE))
            for pace in (0.1, 0.1, 0.0, 0.1, 0.0):
                async with session.stream(**CHAT, pace=pace) as stream:
                    assert (await stream.until_done()).content == "ab"
            assert server.connections_seen == 1

    virtual_clock.run(main())


def test_an_end_that_comes_in_the_read_before_the_gate_would_shut_leaves_the_connection_open() -> None:
    async def main() -> None:
        async with serving(retry=None) as (server, session):
            server.always(Reply.sse(b"".join(map(frame, (text("a"), STOP))) + DONE))
            for _ in range(5):
                async with session.stream(**CHAT, pace=60.0) as stream:
                    await stream.until_done()
            assert server.connections_seen == 1

    virtual_clock.run(main())


async def in_a_shut_gate(stream: Any) -> asyncio.Task[Any]:
    """Read what comes first, then wait behind the gate."""
    await stream.__anext__()
    reading = asyncio.ensure_future(stream.__anext__())
    await asyncio.sleep(0.05)
    return reading


@over_plain_tcp_and_tls
@on_each_loop
def test_closing_ends_a_reader_behind_a_shut_gate_at_once(run: Run, serve: Serving) -> None:
    async def main() -> None:
        async with serve(Reply.sse(text("a"), text("b")).stall()) as (server, session):
            async with session.stream(**CHAT, pace=1000.0, timeouts=None) as stream:
                reading = await in_a_shut_gate(stream)
                await stream.aclose()
                with contextlib.suppress(StopAsyncIteration):
                    await asyncio.wait_for(reading, 5)
                await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)
            assert stream.outcome == "cancelled"

    run(main())


@over_plain_tcp_and_tls
@on_each_loop
def test_cancelling_ends_a_read_behind_a_shut_gate_at_once_and_a_further_read_finds_what_came(
    run: Run, serve: Serving
) -> None:
    async def main() -> None:
        more = asyncio.Event()
        async with serve(Reply.sse(text("a"), more, text("b"), STOP, DONE)) as (server, session):
            async with session.stream(**CHAT, pace=1000.0, timeouts=None) as stream:
                reading = await in_a_shut_gate(stream)
                more.set()
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
                # The gate opens with the end of the read: what comes meanwhile is let in.
                await asyncio.wait_for(server.requests[0].finished.wait(), 5)
                await asyncio.sleep(0.05)
                with anyio.fail_after(5):
                    assert [content async for content in stream.text()] == ["b"]
            assert stream.outcome == "complete"

    run(main())


@over_plain_tcp_and_tls
def test_leaving_and_cancelling_behind_a_shut_gate_close_the_connection(serve: Serving) -> None:
    async def main() -> None:
        async with serve(Reply.sse(text("a")).stall()) as (server, session):
            with anyio.move_on_after(0.5) as scope:
                async with session.stream(**CHAT, pace=1000.0, timeouts=None) as stream:
                    await stream.until_done()
            assert scope.cancelled_caught
            await server.requests[0].disconnected.wait()

    virtual_clock.run(main())


@over_plain_tcp_and_tls
def test_a_reset_behind_the_gate_is_seen_one_pace_after_what_came_before_it_and_loses_nothing(serve: Serving) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reply = Reply.sse(text("a"), 0.2, text("b"), 0.2, text("c"), 0.01).cut()
        async with serve(reply, retry=None) as (_, session), session.stream(**CHAT, pace=1.0) as stream:
            began = loop.time()
            got = []
            with contextlib.suppress(StreamTruncatedError):
                async for content in stream.text():
                    got.append(content)  # noqa: PERF401 - kept where an error ends the loop
            assert stream.outcome == "truncated"
            assert got == ["a", "b", "c"]
            assert loop.time() - began < 2.1

    virtual_clock.run(main())


def test_nothing_is_paced_where_there_is_no_connection() -> None:
    async def main() -> None:
        with aioresponses() as mocked:
            body = frame(text("a")) + frame(STOP) + DONE
            mocked.post("https://api.cometapi.com/v1/chat/completions", body=body, response_class=MockResponse)
            async with CometSession(api_key=KEY) as session, session.stream(**CHAT, pace=0.5) as stream:
                assert stream.response.status == 200
                assert (await stream.until_done()).content == "a"

    virtual_clock.run(main())


def test_a_body_that_came_with_its_head_needs_no_gate() -> None:
    async def main() -> None:
        body = b"".join(map(frame, (text("a"), STOP))) + DONE
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with serving(Reply.raw(head + body)) as (_, session), session.stream(**CHAT, pace=0.5) as stream:
            assert (await stream.until_done()).content == "a"

    virtual_clock.run(main())


class Transport(asyncio.Transport):
    """A transport that writes down what is asked of it."""

    def __init__(self, *, tls: bool = False, sock: Any = None, closing: bool = False) -> None:
        super().__init__({"sslcontext": object() if tls else None, "socket": sock})
        self.asked: list[str] = []
        self.closing = closing

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")


class Socket:
    def __init__(self, refuses: bool) -> None:
        self.refuses = refuses
        self.options: list[int] = []

    def setsockopt(self, level: int, name: int, value: int) -> None:
        if self.refuses:
            raise OSError("protocol not available")
        assert (level, name) == (socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        self.options.append(value)


def shut_and_open(transport: Transport) -> None:
    gate = Gate(transport)
    gate.open()
    assert not gate.is_shut
    for _ in range(2):
        gate.shut()
        assert gate.is_shut
        gate.open()
        assert not gate.is_shut


def test_plain_tcp_is_paused_and_tls_is_given_a_low_water_mark() -> None:
    plain = Transport(sock=Socket(refuses=False))
    shut_and_open(plain)
    assert plain.asked == ["pause", "resume"] * 2
    kernel = Socket(refuses=False)
    tls = Transport(tls=True, sock=kernel)
    shut_and_open(tls)
    assert tls.asked == []
    assert kernel.options[1::2] == [1, 1]
    assert min(kernel.options[0::2]) > 1


@pytest.mark.parametrize("sock", [Socket(refuses=True), None])
def test_tls_without_a_low_water_mark_is_paused(sock: Any) -> None:
    transport = Transport(tls=True, sock=sock)
    shut_and_open(transport)
    assert transport.asked == ["pause", "resume"] * 2


def test_a_transport_that_closes_is_left_alone() -> None:
    transport = Transport(closing=True)
    gate = Gate(transport)
    gate.shut()
    assert not gate.is_shut
    transport.closing = False
    gate.shut()
    transport.closing = True
    gate.open()
    assert transport.asked == ["pause"]
