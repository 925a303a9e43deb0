"""The other ways to read a stream: its text, typed events, and SSE bytes for a browser."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, Literal

import orjson
import pytest
from support import virtual_clock
from support.serving import CHAT, serving

from cometstream import (
    ChatStream,
    CometError,
    ConfigurationError,
    RateLimitError,
    RetryPolicy,
    SSEParser,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
    Timeouts,
    UsageError,
)
from cometstream.answer.events import ContentDeltaEvent
from cometstream.answer.sse import Comment, Event
from cometstream.testing import DONE, Reply, chunk, frame

AT_ONCE = RetryPolicy(max_retries=1, initial_delay=0.0)

ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk(finish_reason="stop")


def text(content: Any, **fields: Any) -> dict[str, Any]:
    return chunk({"content": str(content)}, **fields)


async def collect(reader: Any) -> tuple[list[Any], CometError | None]:
    got: list[Any] = []
    try:
        async for item in reader:
            got.append(item)  # noqa: PERF401 - kept where an error ends the loop
    except CometError as error:
        return got, error
    return got, None


# text()


async def test_text_is_the_first_choices_and_nothing_else() -> None:
    steps = [
        ROLE,
        text("A"),
        text("no", index=1),
        chunk({"reasoning_content": "Hm"}),
        chunk({"content": None}),
        {"choices": [text("B")["choices"][0], text("no", index=1)["choices"][0], text("C")["choices"][0]]},
        {"choices": []},
        STOP,
        chunk(finish_reason="stop", index=1),
        DONE,
    ]
    async with serving(Reply.sse(*steps)) as (_, session), session.stream(**CHAT) as stream:
        assert [piece async for piece in stream.text()] == ["A", "BC"]
        assert stream.completion.content == "ABC"
        assert stream.outcome == "complete"


async def test_text_raises_what_ended_the_stream_after_the_text_that_came() -> None:
    async with serving(Reply.sse(text("A"), text("B")), retry=None) as (_, session), session.stream(**CHAT) as stream:
        got, error = await collect(stream.text())
    assert got == ["A", "B"]
    assert type(error) is StreamTruncatedError


def test_smooth_text_spreads_a_burst_in_small_pieces() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        burst = "Comets are time capsules:\n\n their ice has kept the dust.  " + "x" * 30
        async with (
            serving(Reply.sse(text("One"), 1.0, text(burst), STOP, DONE)) as (_, session),
            session.stream(**CHAT) as stream,
        ):
            began = loop.time()
            got = [(piece, loop.time() - began) async for piece in stream.text(smooth=0.5)]
        pieces, times = [piece for piece, _ in got], [when for _, when in got]
        assert "".join(pieces) == "One" + burst
        assert max(map(len, pieces)) <= 15
        assert times[:2] == pytest.approx([0.0, 1.0], abs=0.05)
        steps = [after - before for before, after in pairwise(times[1:])]
        assert steps == pytest.approx([0.5 / (len(steps) + 1)] * len(steps))

    virtual_clock.run(main())


def test_smooth_text_is_never_late_however_much_arrives() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        bursts = [part for number in range(20) for part in (f"burst {number} of words. ", 0.1)]
        async with serving(Reply.text(*bursts)) as (_, session), session.stream(**CHAT) as stream:
            began, shown = loop.time(), 0
            async for piece in stream.text(smooth=0.3):
                shown += len(piece)
                due = max(0, int((loop.time() - began - 0.35) / 0.1))  # bursts that must have been shown by now
                assert shown >= len("".join(part for part in bursts[: 2 * due] if isinstance(part, str)))
            assert loop.time() - began < 2.5

    virtual_clock.run(main())


def test_smooth_text_hands_over_the_rest_at_once_before_an_error() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reply = Reply.sse(text("a b c d e"), 1.0).cut()
        async with serving(reply, retry=None) as (_, session), session.stream(**CHAT) as stream:
            began, got, reader = loop.time(), "", stream.text(smooth=60.0, by="grapheme")
            while len(got) < 9:
                got += await reader.__anext__()
            assert (got, round(loop.time() - began)) == ("a b c d e", 1)
            with pytest.raises(StreamTruncatedError):
                await reader.__anext__()

    virtual_clock.run(main())


async def test_smooth_text_refuses_what_is_no_time_and_no_unit() -> None:
    async with serving(Reply.text("A")) as (_, session), session.stream(**CHAT) as stream:
        odd: list[Any] = [{"smooth": -1}, {"smooth": "1"}, {"by": "letter"}, {"by": 1}]
        for options in odd:
            with pytest.raises(ConfigurationError):
                stream.text(**options)
        with pytest.raises(ConfigurationError):
            stream.events(chunks=1)  # type: ignore[arg-type]
        for heartbeat in (0, "1", float("inf")):
            with pytest.raises(ConfigurationError):
                stream.relay(heartbeat=heartbeat)  # type: ignore[arg-type]


def test_smooth_text_stops_with_the_stream() -> None:
    async def main() -> None:
        async with serving(Reply.sse(text("a b c d e f")).stall()) as (_, session), session.stream(**CHAT) as stream:
            got = []
            async for piece in stream.text(smooth=60.0):
                got.append(piece)
                if len(got) == 3:
                    await stream.aclose()
        assert got == ["a", " b", " c"]

    virtual_clock.run(main())


def test_a_cancelled_pause_of_smooth_text_loses_nothing() -> None:
    async def main() -> None:
        async with serving(Reply.sse(text("a b c d"), STOP, DONE)) as (_, session), session.stream(**CHAT) as stream:
            reader, got = stream.text(smooth=4.0), ""
            for _ in range(3):
                got += await reader.__anext__()
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.__anext__(), 0.6)  # a pause is a second
            got += "".join([piece async for piece in reader])
        assert got == "a b c d"

    virtual_clock.run(main())


# events()


async def test_events_are_typed_in_order_and_show_keep_alives() -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    steps = [
        b": PING\n\n",
        ROLE,
        b":\n\n",
        chunk({"reasoning": "Hm"}),
        text("A"),
        b": \xff\n\n",
        chunk({"tool_calls": [call]}),
        chunk(finish_reason="tool_calls"),
        DONE,
    ]
    async with serving(Reply.sse(*steps)) as (_, session), session.stream(**CHAT) as stream:
        events = [event async for event in stream.events()]
    assert [event.type for event in events] == [
        "keep_alive",
        "keep_alive",
        "chunk",
        "chunk",
        "reasoning.delta",
        "chunk",
        "reasoning.done",
        "content.delta",
        "keep_alive",
        "chunk",
        "content.done",
        "tool_calls.function.arguments.delta",
        "chunk",
        "tool_calls.function.arguments.done",
    ]
    assert [event.comment for event in events if event.type == "keep_alive"] == ["PING", "", "\ufffd"]


async def test_events_of_a_repeated_attempt_are_those_of_the_last() -> None:
    first = Reply.sse(b": PING\n\n", ROLE)
    async with (
        serving(first, Reply.sse(ROLE, text("A"), STOP, DONE), retry=AT_ONCE) as (_, session),
        session.stream(**CHAT) as stream,
    ):
        events = [event async for event in stream.events()]
    assert [event.type for event in events] == [
        "keep_alive",
        "chunk",
        "chunk",
        "content.delta",
        "chunk",
        "content.done",
    ]
    assert isinstance(events[3], ContentDeltaEvent)
    assert events[3].snapshot == "A"


async def test_events_raise_what_ended_the_stream() -> None:
    async with serving(Reply.sse(text("A"), DONE), retry=None) as (_, session), session.stream(**CHAT) as stream:
        got, error = await collect(stream.events())
    assert [event.type for event in got] == ["chunk", "content.delta"]
    assert type(error) is StreamUnterminatedError


# relay()


async def relayed(stream: ChatStream) -> bytes:
    return b"".join([piece async for piece in stream.relay()])


def parsed(body: bytes) -> list[Any]:
    """What a browser would make of it."""
    items = SSEParser().feed(body)
    return [orjson.loads(item.data) if isinstance(item, Event) and item.data != b"[DONE]" else item for item in items]


async def test_relay_passes_events_on_as_they_came() -> None:
    odd = (
        b'data: {"choices": [{"index":0, "delta":{"content":"\\u00e9 \xe2\x80\xa8"}}], "x":1.0}\n\n'
        b'event: message\nid: 7\ndata: {"choices":[{"index":0,\ndata: "delta":{"content":"B"}}]}\n\n'
        b': PING\n\nevent: completion\ndata: {"choices":[{"index":0,"delta":{}, "finish_reason":"stop"}]}\n\n'
    )
    async with serving(Reply.sse(odd, DONE)) as (_, session), session.stream(**CHAT) as stream:
        body = await relayed(stream)
        assert stream.completion.content == "\u00e9 \u2028B"
    assert body == odd.replace(b"event: message\n", b"") + DONE
    assert SSEParser().feed(body) == SSEParser().feed(odd + DONE)


async def test_what_a_gateway_adds_to_the_protocol_is_not_relayed() -> None:
    wire = (
        b"data: null\n\ndata: : OPENROUTER\n\n"
        + frame(text("A"))
        + frame(STOP)
        + b"data: [done]\n\n"
        + frame(text("B"))
    )
    async with serving(Reply.sse(wire)) as (_, session), session.stream(**CHAT) as stream:
        assert await relayed(stream) == frame(text("A")) + frame(STOP) + DONE


def test_relay_passes_keep_alives_on_at_once_also_while_chunks_are_held() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with (
            serving(Reply.sse(ROLE, 1.0, b": PING\n\n", 1.0, b":\n\n", 1.0, text("A"), STOP, DONE)) as (
                _,
                session,
            ),
            session.stream(**CHAT) as stream,
        ):
            began = loop.time()
            got = [(round(loop.time() - began, 1), piece) async for piece in stream.relay()]
        assert got[:2] == [(1.0, b": PING\n\n"), (2.0, b":\n\n")]
        assert {at for at, _ in got[2:]} == {3.0}
        assert b"".join(piece for _, piece in got[2:]) == frame(ROLE) + frame(text("A")) + frame(STOP) + DONE

    virtual_clock.run(main())


async def test_relay_repeats_an_attempt_unseen() -> None:
    async with (
        serving(Reply.sse(ROLE, b": PING\n\n"), Reply.sse(ROLE, text("A"), STOP, DONE), retry=AT_ONCE) as (
            _,
            session,
        ),
        session.stream(**CHAT) as stream,
    ):
        assert await relayed(stream) == b": PING\n\n" + frame(ROLE) + frame(text("A")) + frame(STOP) + DONE


@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
@pytest.mark.parametrize(
    ("reply", "outcome", "kind", "code", "words"),
    [
        (Reply.sse(text("A")), "truncated", "StreamTruncatedError", None, "cut off"),
        (Reply.sse(text("A")).reset(), "truncated", "StreamTruncatedError", None, "cut off"),
        (Reply.sse(text("A"), DONE), "unterminated", "StreamUnterminatedError", None, "may lack its end"),
        (
            Reply.sse(text("A"), {"error": {"code": 502, "message": "x"}}),
            "error",
            "StreamServerError",
            "502",
            "could not be completed",
        ),
        (
            Reply.sse(text("A"), STOP, {"error": "x"}, DONE),
            "error",
            "StreamServerError",
            None,
            "could not be completed",
        ),
        (Reply.sse(text("A"), b"data: {half\n\n", DONE), "error", "ProtocolError", None, "could not be completed"),
        (Reply.sse(text("A")).stall(), "error", "APITimeoutError", None, "in time"),
        (Reply.sse(), "truncated", "EmptyStreamError", None, "empty"),
        (Reply.json({"error": {"code": 429, "message": "x"}}), "error", "RateLimitError", "429", "too many requests"),
        (Reply.plain(b"<p>no", content_type="text/html"), "error", "ProtocolError", None, "could not be completed"),
    ],
)
def test_relay_tells_in_band_how_an_answer_ended_that_did_not_end_well(
    reply: Reply, outcome: str, kind: str, code: str | None, words: str, on_incomplete: Literal["raise", "return"]
) -> None:
    async def main() -> None:
        async with serving(reply, retry=None) as (_, session):
            async with session.stream(**CHAT, on_incomplete=on_incomplete, timeouts=Timeouts(content_idle=1)) as stream:
                relay = stream.relay()
                body = b"".join([piece async for piece in relay])
                with pytest.raises(StopAsyncIteration):
                    await relay.__anext__()
            assert b"[DONE]" not in body.replace(b"[DONE] came", b"")
            error = parsed(body)[-1]["error"]
            assert (error["type"], error["outcome"], error["code"]) == (kind, outcome, code)
            assert words in error["message"]
            assert stream.outcome == outcome
            if stream.metrics.chunks:
                assert parsed(body)[0] == text("A")

    virtual_clock.run(main())


async def test_relay_tells_a_browser_nothing_that_is_meant_for_the_operator() -> None:
    secret = {"code": 401, "message": "bad key of acme at 10.0.0.7", "type": "acme_error"}
    replies = [
        Reply.sse(ROLE, {"error": secret}),
        Reply.sse(text("A"), {**text("B"), "error": secret}, DONE),
        Reply.sse(text("A"), {"choices": [{"index": 0, "delta": {"content": "B"}, "error": secret}]}, DONE),
        Reply.json({"error": secret}),
    ]
    for reply in replies:
        async with serving(reply, retry=None) as (server, session), session.stream(**CHAT) as stream:
            body = await relayed(stream)
        for word in (b"acme", b"10.0.0.7", b"bad key", server.base_url.encode(), b"api_key", b"COMETAPI"):
            assert word not in body
        assert stream.completion.content in (None, "", "AB")


async def test_relay_tells_of_a_retry_that_was_refused() -> None:
    async with (
        serving(Reply.sse(ROLE), Reply.error(429), retry=AT_ONCE) as (_, session),
        session.stream(**CHAT) as stream,
    ):
        held, error = parsed(await relayed(stream))
    assert held == ROLE
    assert error["error"]["type"] == RateLimitError.__name__


def test_relay_never_raises_even_where_the_session_was_closed_meanwhile() -> None:
    async def main() -> None:
        async with serving(Reply.sse(0.5), retry=RetryPolicy(1, initial_delay=0.0)) as (_, session):
            async with session.stream(**CHAT) as stream:
                asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(session.aclose()))
                (told,) = parsed(await relayed(stream))
            assert told["error"]["type"] == "UsageError"

    virtual_clock.run(main())


def test_relay_of_a_stream_that_was_stopped_says_so() -> None:
    async def main() -> None:
        async with serving(Reply.sse(text("A")).stall()) as (server, session):
            async with session.stream(**CHAT) as stream:
                asyncio.get_running_loop().call_later(1.0, lambda: asyncio.ensure_future(stream.aclose()))
                body = await relayed(stream)
            await server.requests[0].disconnected.wait()
        assert parsed(body)[-1] == {
            "error": {"message": "the stream was stopped", "type": "cancelled", "code": None, "outcome": "cancelled"}
        }

    virtual_clock.run(main())


async def test_relay_of_one_json_document_is_one_event() -> None:
    document = {"choices": [{"index": 0, "message": {"content": "A"}, "finish_reason": "stop"}]}
    async with serving(Reply.json(document)) as (_, session), session.stream(**CHAT) as stream:
        event, done = parsed(await relayed(stream))
    assert event["choices"][0]["delta"]["content"] == "A"
    assert done == Event(b"[DONE]")


async def test_relay_keeps_the_unfinished_last_event_of_a_cut_answer_whole() -> None:
    async with (
        serving(Reply.sse(text("A"), frame(text("B"))[:-2]).cut(), retry=None) as (_, session),
        session.stream(**CHAT) as stream,
    ):
        first, second, error = parsed(await relayed(stream))
    assert (first, second) == (text("A"), text("B"))
    assert error["error"]["outcome"] == "truncated"


async def test_odd_fields_do_not_break_the_relay() -> None:
    wire = b"event: a b\nid: 1\0\nretry: 5\n" + frame(text("A")) + frame(STOP) + DONE
    async with serving(Reply.sse(wire)) as (_, session), session.stream(**CHAT) as stream:
        assert [item["choices"][0]["delta"] for item in parsed(await relayed(stream))[:2]] == [{"content": "A"}, {}]
    assert not any(isinstance(item, Comment) for item in parsed(wire))


def test_relay_fills_silence_also_between_two_tries_and_loses_nothing() -> None:
    async def main() -> None:
        replies = Reply.sse(ROLE), Reply.sse(2.5, text("A"), STOP, DONE)
        async with serving(*replies, retry=RetryPolicy(1, initial_delay=1.5)) as (_, session):
            async with session.stream(**CHAT) as stream:
                got = [piece async for piece in stream.relay(heartbeat=1.0)]
        assert 2 <= got.count(b": keep-alive\n\n") <= 4
        assert b"".join(piece for piece in got if piece[:1] != b":") == frame(text("A")) + frame(STOP) + DONE
        async with serving(Reply.sse(text("A")).stall()) as (_, session), session.stream(**CHAT) as stream:
            relay = stream.relay(heartbeat=1.0)
            assert await relay.__anext__() == frame(text("A"))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(relay.__anext__(), 0.5)
            assert await relay.__anext__() == b": keep-alive\n\n"

    virtual_clock.run(main())


async def test_relay_leaves_out_what_only_the_library_asked_for() -> None:
    usage = {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    reply = Reply.sse(text("A"), STOP, usage, DONE)
    async with serving(reply, reply) as (_, session):
        async with session.stream(**CHAT) as stream:
            assert await relayed(stream) == frame(text("A")) + frame(STOP) + DONE
            assert stream.completion.usage is not None
        async with session.stream(**CHAT, stream_options={"include_usage": True}) as stream:
            assert await relayed(stream) == frame(text("A")) + frame(STOP) + frame(usage) + DONE


@pytest.mark.parametrize("read", ["text", "events", "relay", "__aiter__"])
async def test_a_stream_whose_block_was_left_says_so_to_its_reader(read: str) -> None:
    async with serving(Reply.text("A").stall(), Reply.text("A"), Reply.text("A")) as (_, session):
        async with session.stream(**CHAT) as stream:
            reader = getattr(stream, read)()
        with pytest.raises(UsageError, match="block was left"):
            await reader.__anext__()
        # The stop button ends a loop quietly, and so does an answer that was read.
        async with session.stream(**CHAT) as stream:
            await stream.aclose()
        if read != "relay":
            assert [item async for item in getattr(stream, read)()] == []
        async with session.stream(**CHAT) as stream:
            await stream.until_done()
        assert stream.error is None
        if read != "relay":
            assert [item async for item in getattr(stream, read)()] == []


# until_done()


async def test_until_done_returns_the_completion_and_again() -> None:
    async with serving(Reply.text("Hello")) as (_, session), session.stream(**CHAT) as stream:
        completion = await stream.until_done()
        assert completion.content == "Hello"
        assert await stream.until_done() == completion


async def test_until_done_raises_with_what_came_or_returns_it_as_asked() -> None:
    cut = Reply.sse(text("A"))
    async with serving(cut, cut, Reply.sse(text("A"), {"error": "x"}), retry=None) as (_, session):
        async with session.stream(**CHAT) as stream:
            with pytest.raises(StreamTruncatedError) as caught:
                await stream.until_done()
        assert caught.value.partial == stream.completion
        async with session.stream(**CHAT, on_incomplete="return") as stream:
            assert (await stream.until_done()).content == "A"
        assert stream.outcome == "truncated"
        async with session.stream(**CHAT, on_incomplete="return") as stream:
            with pytest.raises(StreamServerError):
                await stream.until_done()
