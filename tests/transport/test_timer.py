"""The second promise: four clocks, on the clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from support import virtual_clock
from support.serving import CHAT, serving

from cometstream import APITimeoutError, ChatStream, CometSession, RetryPolicy, Timeouts
from cometstream.answer.sse import SSEParser
from cometstream.testing import DONE, Reply, SimulatedServer, chunk, frame

ROLE = chunk({"role": "assistant", "content": ""})
TEXT = chunk({"content": "Hello"})
EMPTY = chunk({})
STOP = chunk(finish_reason="stop")
PING = b": PING\n\n"
WHOLE = Reply.sse(ROLE, TEXT, STOP, DONE)
AT_ONCE = RetryPolicy(max_retries=1, initial_delay=0.0)


async def now() -> float:
    return asyncio.get_running_loop().time()


async def timed(session: CometSession, **options: Any) -> tuple[ChatStream, APITimeoutError | None, float]:
    """Read a stream to its end: the stream, the clock's error, and the seconds that it took."""
    began = await now()
    stream = session.stream(**{**CHAT, **options})
    try:
        async with stream:
            await stream.until_done()
    except APITimeoutError as error:
        return stream, error, await now() - began
    return stream, None, await now() - began


def stream_of(reply: Reply, **options: Any) -> tuple[ChatStream, APITimeoutError | None, float]:
    async def main() -> Any:
        async with serving(reply, retry=None) as (server, session):
            result = await timed(session, **options)
            if result[1] is not None:
                await server.until_unconnected()
        return result

    return virtual_clock.run(main())


@pytest.mark.parametrize("pace", [0.0, 0.7])
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(WHOLE.after(1000), id="no head"),
        pytest.param(Reply.sse().stall(), id="nothing"),
        pytest.param(Reply.sse(ROLE).stall(), id="a role"),
        pytest.param(Reply.sse().forever(PING, 1.5), id="keep-alives"),
        pytest.param(Reply.sse(ROLE).forever(frame(EMPTY), 0.3), id="empty chunks"),
        pytest.param(Reply.sse(ROLE).forever(b"data: null\n\n", 1.0), id="nulls"),
        pytest.param(Reply.sse().forever(b" \n", 0.4), id="white space"),
        pytest.param(Reply.sse(b'data: {"choices":[').forever(b" ", 0.4), id="an event that never ends"),
        pytest.param(Reply.sse(2.5, PING, 2.5, PING).stall(), id="two keep-alives"),
        pytest.param(Reply.sse(2.0).after(4.0).stall(), id="a late head"),
    ],
)
def test_first_content_runs_from_the_request_and_only_content_stops_it(reply: Reply, pace: float) -> None:
    stream, error, took = stream_of(reply, timeouts=Timeouts(first_content=5, content_idle=1), pace=pace)
    assert error is not None
    assert error.clock == "first_content"
    assert "timeouts.first_content" in str(error)
    assert "5 s" in str(error)
    assert isinstance(error, TimeoutError)
    assert error.retryable
    assert 5 <= took < 5.2
    assert stream.outcome == "error"


@pytest.mark.parametrize("pace", [0.0, 0.3])
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply.sse(ROLE, 1.0, TEXT).stall(), id="silence"),
        pytest.param(Reply.sse(ROLE, 1.0, TEXT).forever(PING, 0.4), id="keep-alives"),
        pytest.param(Reply.sse(ROLE, 1.0, TEXT).forever(frame(EMPTY), 0.4), id="empty chunks"),
        pytest.param(Reply.sse(ROLE, 1.0, TEXT, b'data: {"cho').forever(b"i", 0.4), id="an event that never ends"),
    ],
)
def test_content_idle_runs_from_one_content_to_the_next(reply: Reply, pace: float) -> None:
    stream, error, took = stream_of(reply, timeouts=Timeouts(first_content=60, content_idle=3), pace=pace)
    assert error is not None
    assert error.clock == "content_idle"
    assert 4 <= took < 4.5 + pace
    assert stream.completion.content == "Hello"
    assert error.partial == stream.completion
    assert stream.outcome == "error"


@pytest.mark.parametrize(
    "content",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"reasoning": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1"}}]},
        {"function_call": {"arguments": "1"}},
        {"audio": {"data": "AAAA"}},
    ],
)
def test_every_kind_of_content_stops_first_content_and_starts_content_idle_anew(content: dict[str, Any]) -> None:
    steps = [step for _ in range(4) for step in (2.0, chunk(content))]
    _, error, took = stream_of(Reply.sse(*steps, 2.0, STOP, DONE), timeouts=Timeouts(first_content=3, content_idle=3))
    assert error is None
    assert took == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("pace", [0.0, 0.3])
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(WHOLE.after(1000), id="no head"),
        pytest.param(Reply.sse().forever(PING, 0.4), id="keep-alives"),
        pytest.param(Reply.sse().forever(frame(TEXT), 0.4), id="content"),
        pytest.param(Reply.sse(TEXT).stall(), id="silence"),
    ],
)
def test_total_ends_everything(reply: Reply, pace: float) -> None:
    stream, error, took = stream_of(reply, timeouts=Timeouts(total=3), pace=pace)
    assert error is not None
    assert error.clock == "total"
    assert not error.retryable
    assert 3 <= took < 3.2
    assert stream.outcome == "error"


def test_total_covers_retries_and_their_waits() -> None:
    async def main() -> None:
        retry = RetryPolicy(max_retries=9, initial_delay=0.0)
        async with serving(retry=retry) as (server, session):
            server.always(Reply.sse(ROLE, 2.0))  # ends before the first content
            stream, error, took = await timed(session, timeouts=Timeouts(total=5))
            assert error is not None
            assert error.clock == "total"
            assert 5 <= took < 5.1
            assert stream.metrics.attempts == len(server.requests) == 3

    virtual_clock.run(main())


def test_first_content_runs_anew_for_each_attempt() -> None:
    async def main() -> None:
        late = Reply.sse(4.0, TEXT, STOP, DONE)
        async with serving(Reply.sse(ROLE).stall(), Reply.sse().stall(), late) as (_, session):
            clocks = Timeouts(first_content=5)
            stream, error, took = await timed(session, timeouts=clocks, retry=RetryPolicy(2, initial_delay=0.0))
            assert error is None
            assert 14 <= took < 14.1
            assert stream.metrics.attempts == 3

    virtual_clock.run(main())


def test_none_is_off() -> None:
    async def main() -> None:
        slow = Reply.sse(10_000.0, PING, 10_000.0, TEXT, 10_000.0, STOP, 10_000.0, DONE).after(10_000)
        async with serving(slow, slow, timeouts=None) as (_, session):
            _, error, took = await timed(session)
            assert error is None
            assert took == pytest.approx(50_000, abs=1)
            off = Timeouts(first_content=None, content_idle=None)
            assert (await timed(session, timeouts=off))[1] is None

    virtual_clock.run(main())


def test_the_defaults_are_the_documented_ones() -> None:
    async def main() -> None:
        replies = (Reply.sse().forever(PING, 10.0), Reply.sse(TEXT).forever(PING, 10.0))
        async with serving(*replies, retry=None) as (_, session):
            for clock, seconds in (("first_content", 300), ("content_idle", 120)):
                _, error, took = await timed(session)
                assert error is not None
                assert error.clock == clock
                assert seconds <= took < seconds + 0.1

    virtual_clock.run(main())


def test_a_call_changes_only_the_clocks_that_it_gives() -> None:
    async def main() -> None:
        stall = Reply.sse(TEXT).stall()
        silence = Reply.sse().stall()
        clocks = Timeouts(first_content=7, content_idle=5)
        async with serving(stall, stall, silence, silence, timeouts=clocks, retry=None) as (_, session):
            for timeouts, expected in (
                (Timeouts(content_idle=2), 2),
                (Timeouts(first_content=1), 5),
                (Timeouts(content_idle=2), 7),
                (Timeouts(first_content=None, total=50), 50),
            ):
                _, error, took = await timed(session, timeouts=timeouts)
                assert error is not None
                assert expected <= took < expected + 0.1

    virtual_clock.run(main())


@pytest.mark.parametrize("pace", [0.0, 0.5])
def test_a_slow_consumer_trips_no_clock(pace: float) -> None:
    async def main() -> None:
        steps = [step for _ in range(5) for step in (frame(TEXT), 1.0)]
        async with serving(Reply.sse(0.5, *steps, STOP, DONE), retry=None) as (_, session):
            await asyncio.sleep(0)
            async with session.stream(**CHAT, timeouts=Timeouts(first_content=2, content_idle=2), pace=pace) as stream:
                await asyncio.sleep(100)
                async for _ in stream:
                    await asyncio.sleep(100)
            assert stream.outcome == "complete"

    virtual_clock.run(main())


def test_the_time_between_reads_is_not_waited() -> None:
    async def main() -> None:
        reply = Reply.sse(TEXT).stall()
        async with (
            serving(reply, retry=None) as (_, session),
            session.stream(**CHAT, timeouts=Timeouts(content_idle=5)) as stream,
        ):
            await stream.__anext__()
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.__anext__(), 1.5)  # waits 1.5 s of the 5
                await asyncio.sleep(100)
            began = await now()
            with pytest.raises(APITimeoutError):
                await stream.__anext__()
            assert 0.5 <= await now() - began < 0.6

    virtual_clock.run(main())


def test_total_runs_on_while_the_consumer_is_busy_but_takes_nothing_that_came() -> None:
    async def main() -> None:
        async with serving(Reply.sse(*[TEXT] * 50).stall(), retry=None) as (_, session):
            stream, got = session.stream(**CHAT, timeouts=Timeouts(total=5)), 0
            async with stream:
                await asyncio.sleep(1)
                with contextlib.suppress(APITimeoutError):
                    async for _ in stream:
                        got += 1
                        await asyncio.sleep(1)
            assert got == 50
            assert stream.outcome == "error"

    virtual_clock.run(main())


async def pass_time() -> None:
    """Let time pass with every turn of a loop that never comes to rest."""
    loop: Any = asyncio.get_running_loop()
    while True:
        loop._jumping.now += 0.0003
        await asyncio.sleep(0)


@pytest.mark.parametrize("pace", [0.0, 0.02])
@pytest.mark.parametrize("rests", [False, True])
@pytest.mark.parametrize(
    ("clock", "first", "endless"),
    [
        ("first_content", b"", PING),
        ("first_content", b"", b" \n"),
        ("first_content", b"", frame(EMPTY)),
        ("content_idle", frame(TEXT), PING),
        ("content_idle", frame(TEXT), frame(EMPTY)),
        ("total", b"", PING),
        ("total", b"", frame(TEXT)),
    ],
)
def test_a_server_that_sends_without_a_pause_holds_no_clock_up(
    clock: str, first: bytes, endless: bytes, rests: bool, pace: float
) -> None:
    async def main() -> None:
        async with (
            serving(Reply.sse(first).forever(endless), retry=None) as (_, session),
            session.stream(**CHAT, timeouts=Timeouts(**{clock: 0.3}), pace=pace) as stream,
        ):
            passing = asyncio.ensure_future(pass_time())
            began = await now()
            relay = [piece async for piece in stream.relay() if not rests or await asyncio.sleep(0) is None]
            assert b'"type":"APITimeoutError"' in relay[-1]
            passing.cancel()
            assert 0.29 <= await now() - began < 0.4

    virtual_clock.run(main())


@pytest.mark.parametrize("clock", ["first_content", "content_idle", "total"])
@pytest.mark.parametrize("pace", [0.0, 0.5])
def test_what_came_before_a_busy_loop_looked_at_its_clock_is_read_first(clock: str, pace: float) -> None:
    """A loop that was blocked past the clock has bytes waiting in the kernel: a turn reads them, and the clock was no such news."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        blocked = asyncio.Event()
        before = [] if clock == "first_content" else [TEXT]
        after = [frame(TEXT) + frame(STOP) + DONE] if clock == "total" else [TEXT, 1.0, STOP, DONE]
        reply = Reply.sse(*before, blocked, *after)
        async with serving(reply, retry=None, timeouts=Timeouts(**{clock: 5})) as (_, session):
            async with session.stream(**CHAT, pace=pace) as stream:
                if before:
                    await stream.__anext__()
                reading = asyncio.ensure_future(stream.until_done())
                await asyncio.sleep(1)
                blocked.set()
                loop._jumping.now += 4.0  # the loop stands still for four seconds
                completion = await reading
            assert stream.outcome == "complete"
            assert completion.content == "Hello" * (len(before) + 1)

    virtual_clock.run(main())


@pytest.mark.parametrize("pace", [0.0, 0.5])
def test_total_closes_the_connection_also_where_the_read_that_waited_ends_with_bytes(pace: float) -> None:
    """The caller is busy with what that read brought, and nobody reads who could see that the time is over."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        blocked = asyncio.Event()
        reply = Reply.sse(TEXT, blocked, TEXT).stall()
        async with serving(reply, retry=None) as (server, session):
            async with session.stream(**CHAT, timeouts=Timeouts(total=5), pace=pace) as stream:
                await stream.__anext__()
                reading = asyncio.ensure_future(stream.__anext__())
                await asyncio.sleep(1)
                blocked.set()
                loop._jumping.now += 4.0  # the loop stands still until the clock is due
                await reading
                await asyncio.wait_for(server.requests[0].disconnected.wait(), 1)
                with pytest.raises(APITimeoutError):
                    await stream.__anext__()

    virtual_clock.run(main())


@pytest.mark.parametrize(("clocks", "most"), [(Timeouts(total=100), 1), (Timeouts(), 2)])
def test_one_timer_a_stream_not_one_a_token(clocks: Timeouts, most: int) -> None:
    """Where `total` is on a second one closes the connection; the change from first_content to content_idle sets another."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[str] = []
        call_at = loop.call_at

        def counted(when: float, callback: Any, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            made.append(getattr(callback, "__qualname__", ""))
            return call_at(when, callback, *args, **kwargs)

        loop.call_at = counted  # type: ignore[method-assign] # to see what sets a timer
        tokens = [step for _ in range(50) for step in (TEXT, 0.1)]  # each comes in a read of its own
        async with serving(Reply.sse(*tokens, STOP, DONE), retry=None) as (_, session):
            stream, error, _ = await timed(session, timeouts=clocks)
        assert error is None
        assert stream.metrics.chunks == 51
        assert 1 <= made.count("ReadTimer._tick") <= most
        assert made.count("ReadTimer._close") == (1 if clocks.total == 100 else 0)

    virtual_clock.run(main())


def read_timers() -> list[asyncio.TimerHandle]:
    """Return the timers of streams that may still fire."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled() and "ReadTimer." in repr(timer)]


@pytest.mark.parametrize("pace", [0.0, 0.5])
@pytest.mark.parametrize("leaves", [True, False])
def test_no_timer_outlives_the_stream(leaves: bool, pace: float) -> None:
    async def main() -> None:
        replies = (Reply.sse(ROLE, 1.0), Reply.sse(TEXT, 1.0, TEXT, STOP, DONE))  # the first attempt is repeated
        async with serving(*replies, retry=AT_ONCE) as (_, session):
            async with session.stream(**CHAT, timeouts=Timeouts(total=100), pace=pace) as stream:
                async for _ in stream.text():
                    assert read_timers()
                    assert len(read_timers()) <= 2
                    if leaves:
                        break
                assert leaves or read_timers() == []
            assert read_timers() == []

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("reply", "clock", "seconds"),
    [
        pytest.param(Reply.sse(b'{"choices":[').stall(), "content_idle", 3.0, id="stalls"),
        pytest.param(Reply.sse().forever(b" ", 1.0), "first_content", 5.0, id="only space"),
    ],
)
def test_for_one_json_document_first_content_runs_until_it_begins(reply: Reply, clock: str, seconds: float) -> None:
    async def main() -> None:
        begun = Reply.sse(4.0, b'{"choices":[{"message":{"content":"Hello"},', 4.0, b'"finish_reason":"stop"}]}')
        clocks = Timeouts(first_content=5, content_idle=5)
        async with serving(begun, begun, retry=None, timeouts=clocks) as (server, session):
            assert (await session.complete(**CHAT)).content == "Hello"
            assert (await timed(session))[1] is None
            server.script(reply)
            _, error, took = await timed(session, timeouts=Timeouts(content_idle=3))
            assert error is not None
            assert error.clock == clock
            assert seconds <= took < seconds + 0.1

    virtual_clock.run(main())


def test_the_clocks_of_thousands_of_streams_are_each_their_own() -> None:
    async def main() -> None:
        async with SimulatedServer() as server:
            server.always(lambda request: Reply.sse(float(request.json["seed"]), TEXT, STOP, DONE))
            async with CometSession(api_key="sk", base_url=server.base_url, retry=None) as session:
                results = await asyncio.gather(
                    *(timed(session, seed=seed, timeouts=Timeouts(first_content=10.5)) for seed in range(1, 21))
                )
        assert [error is None for _, error, _ in results] == [seed <= 10 for seed in range(1, 21)]

    virtual_clock.run(main())


@pytest.mark.parametrize("started", [False, True])
def test_the_time_that_reading_keep_alives_takes_is_the_clocks_too(
    started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = SSEParser.feed

    def slow(self: SSEParser, data: bytes) -> Any:
        loop: Any = asyncio.get_running_loop()
        loop._jumping.now += 1.0
        return feed(self, data)

    monkeypatch.setattr(SSEParser, "feed", slow)
    reply = Reply.sse(*([TEXT] if started else [])).forever(PING)
    clocks = Timeouts(first_content=20, content_idle=20)
    _, error, seconds = stream_of(reply, timeouts=clocks)
    assert error is not None
    assert error.clock == ("content_idle" if started else "first_content")
    assert 20 <= seconds < 25


def test_a_slow_caller_gets_what_waits_though_total_ran_out_between_two_chunks_of_one_read() -> None:
    async def main() -> int:
        reply = Reply.sse(frame(TEXT) + frame(EMPTY)).forever(frame(TEXT), 1.0)
        async with serving(reply, retry=None, timeouts=Timeouts(total=20)) as (_, session):
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
                await asyncio.sleep(50)
                with pytest.raises(APITimeoutError, match="total"):
                    await stream.until_done()
            return stream.metrics.chunks

    assert virtual_clock.run(main()) >= 20


@pytest.mark.parametrize("pace", [0.0, 0.5])
@pytest.mark.parametrize("read_before", [0, 1])
@pytest.mark.parametrize("ends", [False, True])
def test_total_closes_the_connection_while_nobody_reads_and_what_had_arrived_is_handed_over(
    ends: bool, read_before: int, pace: float
) -> None:
    async def main() -> None:
        steps = [TEXT, 1.0, TEXT, TEXT, *([STOP] if ends else [])]
        reply = Reply.sse(*steps).forever(PING, 0.5)
        async with serving(reply, retry=None, timeouts=Timeouts(total=5)) as (server, session):
            began = await now()
            async with session.stream(**CHAT, pace=pace) as stream:
                for _ in range(read_before):
                    await stream.__anext__()
                await asyncio.wait_for(server.until_unconnected(), 60)
                assert 5 <= await now() - began < 5.6
                assert stream.outcome is None
                await asyncio.sleep(100)
                error = None
                try:
                    await stream.until_done()
                except APITimeoutError as raised:
                    error = raised
            assert stream.metrics.chunks == 3 + ends
            assert stream.completion.content == "Hello" * 3
            assert stream.outcome == ("complete" if ends else "error")
            assert (error is None) is ends
            assert error is None or (error.clock, error.partial) == ("total", stream.completion)

    virtual_clock.run(main())
