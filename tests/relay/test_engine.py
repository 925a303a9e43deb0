"""One answer on its way: what is sent when, who is told of its end, and what is closed."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
from support import virtual_clock
from support.browsing import data_of
from support.relaying import FakeSource, event, relayed
from support.serving import CHAT, serving

from cometstream import (
    APITimeoutError,
    ConfigurationError,
    RetryPolicy,
    StreamTruncatedError,
    Timeouts,
    UsageError,
)
from cometstream.relay import RelayEnd, end_relays, relay
from cometstream.relay.engine import Engine
from cometstream.testing import Reply
from cometstream.testing.replies import DONE, chunk

BEAT = b": keep-alive\n\n"
HALF = Reply.text("half", finish_reason=None, done=False)


class Outlet:
    """Keeps what it is given; ``wait`` is called before each write."""

    def __init__(self, wait: Any = None) -> None:
        self.gone = False
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.written: list[tuple[float, bytes]] = []
        self._wait = wait

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        assert self.status is None
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        assert self.status is not None
        if self._wait is not None:
            await self._wait(data)
        self.written.append((asyncio.get_running_loop().time() - 1000, data))

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        assert in_band
        await self.start(status, headers)
        await self.write(body)

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.written)


def test_silence_is_filled_from_before_the_head_on_and_nothing_else_is() -> None:
    async def main() -> None:
        reply = Reply.text("a", 1.0, "b", 3.5, "c", 1.5, "d").after(4.5)
        async with serving(reply) as (_, session):
            outlet = Outlet()
            await Engine(session.stream(**CHAT), {"protocol": "raw", "heartbeat": 2.0}).serve(outlet)
        beats = [round(at, 1) for at, data in outlet.written if data == BEAT]
        assert beats == [2.0, 4.0, 7.5]
        assert outlet.status == 200

    virtual_clock.run(main())


def test_an_answer_that_keeps_talking_has_no_comments_in_it() -> None:
    async def main() -> None:
        reply = Reply.text(*[0.5, "x"] * 40)
        async with serving(reply) as (_, session):
            outlet = Outlet()
            await Engine(session.stream(**CHAT), {"protocol": "ui", "heartbeat": 2.0}).serve(outlet)
        assert BEAT not in outlet.body

    virtual_clock.run(main())


def test_no_heartbeat_where_none_is_wanted_and_none_while_the_browser_is_slow() -> None:
    async def main() -> None:
        async with serving(Reply.text("a").after(100.0)) as (_, session):
            outlet = Outlet()
            await Engine(session.stream(**CHAT, timeouts=None), {"heartbeat": None}).serve(outlet)
            assert BEAT not in outlet.body

        async def slow(data: bytes) -> None:
            await asyncio.sleep(10.0)

        async with serving(Reply.text("a")) as (_, session):
            outlet = Outlet(slow)
            await Engine(session.stream(**CHAT), {"heartbeat": 1.0}).serve(outlet)
            assert BEAT not in outlet.body

    virtual_clock.run(main())


def test_a_heartbeat_that_waits_for_the_browser_comes_before_what_follows() -> None:
    async def main() -> None:
        async def slow(data: bytes) -> None:
            if data == BEAT:
                await asyncio.sleep(5.0)

        async with serving(Reply.text("a").after(2.0)) as (_, session):
            outlet = Outlet(slow)
            await Engine(session.stream(**CHAT), {"heartbeat": 1.0}).serve(outlet)
        assert outlet.body.startswith(BEAT + b"data: {")
        async with serving(Reply.error(500).after(2.0), retry=None) as (_, session):
            outlet = Outlet(slow)
            await Engine(session.stream(**CHAT), {"heartbeat": 1.0}).serve(outlet)
        assert outlet.status == 200
        assert outlet.body.startswith(BEAT + b'data: {"error"')

    virtual_clock.run(main())


def test_silence_between_two_tries_is_filled() -> None:
    async def main() -> None:
        async with serving(
            Reply.sse(), Reply.text("a").after(3.0), retry=RetryPolicy(1, initial_delay=2.0, max_delay=2.0)
        ) as (_, session):
            outlet = Outlet()
            await Engine(session.stream(**CHAT), {"heartbeat": 1.0}).serve(outlet)
        assert outlet.body.count(BEAT) >= 3
        assert b'"a"' in outlet.body
        assert outlet.body.endswith(b"data: [DONE]\n\n")

    virtual_clock.run(main())


async def test_what_comes_together_with_a_keep_alive_of_the_server_is_not_lost() -> None:
    together = b": PING\n\n:\n\n" + b"".join(
        b"data: " + orjson.dumps(chunk({"content": text})) + b"\n\n" for text in "ab"
    )
    async with serving(Reply.sse(together, chunk(finish_reason="stop"), DONE)) as (_, session):
        head, body = await relayed(session)
    assert head.status == 200
    assert "".join(data["choices"][0]["delta"].get("content", "") for data in data_of(body)[:-1]) == "ab"


def test_a_keep_alive_of_the_server_does_not_give_up_the_choice_of_a_status() -> None:
    async def main() -> None:
        async with serving(Reply.sse(b": PING\n\n", 1.0, {"error": {"code": 429, "message": "x"}}), retry=None) as (
            _,
            session,
        ):
            head, body = await relayed(session)
        assert head.status == 429
        assert data_of(b"data: " + body + b"\n\n")[0]["error"]["message"] == "too many requests: try again later"

    virtual_clock.run(main())


def test_on_end_is_told_once_on_every_path() -> None:
    ends: list[RelayEnd] = []

    async def keep(end: RelayEnd) -> None:
        await asyncio.sleep(0.1)
        ends.append(end)

    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}

    async def main() -> None:
        replies = Reply.text("Hello", usage=usage), HALF.cut(), Reply.error(401), HALF.stall()
        async with serving(*replies, retry=None) as (_, session):
            for _ in range(3):
                await relayed(session, "ui", on_end=keep)
            task = asyncio.create_task(relayed(session, "ui", on_end=keep))
            await asyncio.sleep(1.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(1.0)

    virtual_clock.run(main())
    assert [end.outcome for end in ends] == ["complete", "truncated", "error", "cancelled"]
    assert [end.completion.content for end in ends] == ["Hello", "half", None, "half"]
    assert ends[0].completion.usage is not None
    assert type(ends[1].error) is StreamTruncatedError
    assert [end.error is None for end in ends] == [True, False, False, True]


async def test_an_on_end_that_fails_is_logged_and_harms_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fails(end: RelayEnd) -> None:
        raise KeyError("mine")

    async with serving(Reply.text("Hello")) as (_, session):
        _, body = await relayed(session, on_end=fails)
    assert body.endswith(b"data: [DONE]\n\n")
    assert "on_end of a relay raised KeyError" in caplog.text


def test_a_stream_that_was_entered_is_relayed_too_and_one_that_is_stopped_says_so() -> None:
    async def main() -> None:
        async with serving(HALF.stall()) as (server, session), session.stream(**CHAT) as stream:
            asyncio.get_running_loop().call_later(1.0, lambda: asyncio.ensure_future(stream.aclose()))
            body = b"".join([piece async for piece in relay(stream, protocol="ui")])
            await server.requests[0].disconnected.wait()
        assert data_of(body)[-1] == {"type": "error", "errorText": "the answer was stopped"}

    virtual_clock.run(main())


@pytest.mark.parametrize("moment", ["new", "before the head", "in the middle"])
def test_a_server_that_stops_says_so(moment: str) -> None:
    async def main() -> None:
        reply = HALF.stall() if moment == "in the middle" else HALF.after(60.0)
        async with serving(reply) as (_, session):
            outlet = Outlet()
            task = asyncio.create_task(Engine(session.stream(**CHAT), {"protocol": "ui"}).serve(outlet))
            await asyncio.sleep(0 if moment == "new" else 1.0)
            await end_relays(grace=2.0)
            await task
        if moment == "in the middle":
            assert data_of(outlet.body)[-1] == {"type": "error", "errorText": "the server is restarting: ask again"}
        else:
            assert (outlet.status, outlet.headers["Retry-After"]) == (503, "1")
            assert outlet.body == b"the server is restarting: ask again"

    virtual_clock.run(main())


def test_an_answer_that_ends_within_the_grace_is_whole() -> None:
    async def main() -> None:
        async with serving(Reply.text("a", 1.0, "b")) as (_, session):
            outlet = Outlet()
            task = asyncio.create_task(Engine(session.stream(**CHAT), {}).serve(outlet))
            await asyncio.sleep(0.5)
            await end_relays(grace=2.0)
            assert task.done()
        assert outlet.body.endswith(b"data: [DONE]\n\n")
        await end_relays()  # nothing is open

    virtual_clock.run(main())


def test_a_cancelled_relay_closes_upstream_first_and_waits_only_a_moment_for_the_browser() -> None:
    async def main() -> None:
        async def never(data: bytes) -> None:
            if b"restarting" in data:
                assert server.requests[0].disconnected.is_set() or stream.outcome == "cancelled"
                await asyncio.sleep(60.0)

        async with serving(HALF.stall()) as (server, session):
            stream = session.stream(**CHAT)
            task = asyncio.create_task(Engine(stream, {"protocol": "ui"}).serve(Outlet(never)))
            await asyncio.sleep(1.0)
            began = asyncio.get_running_loop().time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert asyncio.get_running_loop().time() - began <= 1.0

    virtual_clock.run(main())


async def test_a_browser_that_is_gone_ends_the_relay_quietly() -> None:
    ends: list[RelayEnd] = []

    async def broken(data: bytes) -> None:
        raise ConnectionResetError("gone")

    async with serving(Reply.text("Hello")) as (_, session):
        await Engine(session.stream(**CHAT), {"on_end": ends.append}).serve(Outlet(broken))
    assert [end.outcome for end in ends] == ["cancelled"]


def test_a_smooth_relay_spreads_a_burst_and_keeps_the_order() -> None:
    async def main() -> None:
        burst = chunk({"content": "one two three four"})
        call = {"index": 0, "id": "c", "function": {"name": "look", "arguments": "{}"}}
        reply = Reply.sse(
            chunk({"reasoning_content": "Hm hm"}),
            1.0,
            burst,
            chunk({"tool_calls": [call]}),
            chunk(finish_reason="stop"),
            DONE,
        )
        for protocol, kind in (("ui", "text-delta"), ("ag-ui", "TEXT_MESSAGE_CONTENT")):
            async with serving(reply) as (_, session):
                outlet = Outlet()
                await Engine(session.stream(**CHAT), {"protocol": protocol, "smooth": 0.4}).serve(outlet)  # type: ignore[typeddict-item]
            deltas = [
                (at, part["delta"])
                for at, data in outlet.written
                for part in data_of(data)
                if part != "[DONE]" and part["type"] == kind
            ]
            assert [delta for _, delta in deltas] == ["one", " two", " three", " four"]
            assert deltas[-1][0] - deltas[0][0] == pytest.approx(0.3)
            types = [part if part == "[DONE]" else part["type"] for part in data_of(outlet.body)]
            assert types.index(kind) < types.index("tool-input-start" if protocol == "ui" else "TOOL_CALL_START")
        async with serving(Reply.sse(burst, 0.1).cut(), retry=None) as (_, session):
            with pytest.raises(ConfigurationError, match="raw passes events on"):
                relay(session.stream(**CHAT), smooth=0.1)
            outlet = Outlet()
            await Engine(session.stream(**CHAT), {"protocol": "ui", "smooth": 60.0}).serve(outlet)
        assert "".join(part.get("delta", "") for part in data_of(outlet.body)) == "one two three four"

    virtual_clock.run(main())


# A source that is no stream.


async def test_another_source_of_the_same_events_is_relayed() -> None:
    source = FakeSource(
        event("content.delta", delta="Hi", choice_index=0),
        event("round.finished", number=1),
        event("content.delta", delta="other", choice_index=1),
    )
    body = b"".join([piece async for piece in relay(source, protocol="ui")])
    assert [part["delta"] for part in data_of(body)[:-1] if "delta" in part] == ["Hi"]
    assert source.closed


async def test_an_error_of_a_source_that_is_not_ours_is_told_without_a_word_and_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    source = FakeSource(event("content.delta", delta="Hi"), error=ZeroDivisionError("secret"))
    body = relay(source, protocol="ui")
    pieces: list[bytes] = []
    with pytest.raises(ZeroDivisionError):
        await _read(body, pieces)
    told = data_of(b"".join(pieces))[-1]
    assert told["type"] == "error"
    assert "secret" not in told["errorText"]
    assert told["errorText"].partition("reference ")[2].rstrip(")") in caplog.text
    source = FakeSource(error=ZeroDivisionError("secret"))
    with pytest.raises(ZeroDivisionError):
        await relay(source, protocol="ui").head()


async def _read(body: AsyncIterator[bytes], pieces: list[bytes]) -> None:
    async for piece in body:
        pieces.append(piece)  # noqa: PERF401 - those before an error are looked at


# Pulled


def test_a_pulled_relay_that_is_left_closes_upstream() -> None:
    async def main() -> None:
        async with serving(*[HALF.stall()] * 4) as (server, session):
            # By closing it,
            body = relay(session.stream(**CHAT))
            assert (await body.head()).status == 200
            async for _ in body:
                break
            await body.aclose()
            await body.aclose()
            await server.requests[0].disconnected.wait()
            # by dropping it,
            body = relay(session.stream(**CHAT))
            async for _ in body:
                break
            del body
            gc.collect()
            await server.requests[1].disconnected.wait()
            # by cancelling a read.
            body = relay(session.stream(**CHAT))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(_read(body, []), 1.0)
            await server.requests[2].disconnected.wait()
            assert [piece async for piece in body] == []
            await relay(session.stream(**CHAT)).aclose()  # nothing was sent

    virtual_clock.run(main())


async def test_a_pulled_relay_is_never_more_than_a_piece_ahead() -> None:
    taken = 0

    def texts() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield event("content.delta", delta="x")

    source = FakeSource()
    source._events = texts()
    body = relay(source, protocol="ui")
    for number in range(1, 20):
        await body.__anext__()
        for _ in range(10):
            await asyncio.sleep(0)
        assert taken <= number + 2
    await body.aclose()


async def test_each_relay_is_for_one_request() -> None:
    async with serving(Reply.text("Hello")) as (_, session):
        engine = Engine(session.stream(**CHAT), {})
        await engine.serve(Outlet())
        with pytest.raises(UsageError, match="relayed before"):
            await engine.serve(Outlet())


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "sse"},
        {"protocol": None},
        {"protocol": []},
        {"heartbeat": 0},
        {"heartbeat": -1},
        {"heartbeat": "15"},
        {"heartbeat": float("nan")},
        {"on_end": 7},
        {"message_id": ""},
        {"thread_id": 7},
        {"heart_beat": 7},
    ],
)
async def test_options_that_cannot_be_used_are_refused_before_anything_is_sent(options: Any) -> None:
    async with serving() as (server, session):
        with pytest.raises(ConfigurationError) as caught:
            relay(session.stream(**CHAT), **options)
        assert str(next(iter(options))) in caught.value.message
        for odd in (None, 7, session):
            with pytest.raises(ConfigurationError, match=r"session\.stream"):
                relay(odd)
        assert not server.requests


async def test_a_clock_before_the_head_is_504() -> None:
    async def main() -> None:
        async with serving(HALF.after(60.0), retry=None, timeouts=Timeouts(first_content=1)) as (_, session):
            ends: list[RelayEnd] = []
            head, body = await relayed(session, "ui", on_end=ends.append)
        assert head.status == 504
        assert body.startswith(b"the model did not answer in time (reference ")
        assert type(ends[0].error) is APITimeoutError

    await main()
