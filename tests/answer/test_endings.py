"""The first promise, a verified ending, and the third, nothing lost and nothing twice, at every place where an answer can break."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp.http_exceptions import TransferEncodingError
from support import virtual_clock
from support.bodies import Read, wrap_reads
from support.loops import Run, on_each_loop, turns_until
from support.serving import CHAT, ask, serving
from support.wire_reading import CONTEXT, read_wire

from cometstream import (
    Accumulator,
    APITimeoutError,
    ChatCompletionChunk,
    ChatStream,
    CometError,
    EmptyStreamError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
    Timeouts,
)
from cometstream.answer.budget import GRACE, Budget
from cometstream.answer.machine import Answer
from cometstream.policy import Clocks
from cometstream.testing import DONE, Reply, chunk, frame

AT_ONCE = RetryPolicy(max_retries=1, initial_delay=0.0)

# Every kind of event, written as different gateways do; each with its end as it stands on the wire.
EVENTS = (
    (b": PING", b"\n\n"),
    (b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}', b"\n\n"),
    (b'data:{"choices":[{"index":0,"delta":{"content":"Caf\xc3\xa9"}}]}', b"\r\n\r\n"),
    (b'data: {"choices":[{"index":0,\ndata: "delta":{"content":" \xe2\x80\xa8now"}}]}', b"\n\n"),
    (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', b"\n\n"),
    (b'data: {"choices":[],"usage":{"total_tokens":3}}', b"\n\n"),
    (b"data: [DONE]", b"\n\n"),
)
WIRE = b"".join(event + end for event, end in EVENTS)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
FINISH = 4  # the place in EVENTS of the finish_reason
CONTENT = 2  # and of the first content


def events_in(size: int) -> int:
    """How many of EVENTS came whole with the first bytes of WIRE; the last one counts without its blank line (A7)."""
    come = end = 0
    for event, blank in EVENTS:
        if end + len(event) > size:
            break
        end += len(event) + len(blank)
        come += 1
    return come


def chunks_of(come: int) -> list[Any]:
    """What the first of EVENTS say, parsed by the letter."""
    texts = [event.replace(b"\ndata:", b"\n").partition(b":")[2] for event, _ in EVENTS[:come]]
    return [orjson.loads(text) for text in texts if b"{" in text]


def framed(framing: str) -> tuple[bytes, list[tuple[bytes, int]]]:
    """A response's head, and its body in single bytes, each with the size of WIRE that has come with it."""
    if framing == "length":
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(WIRE), [
            (WIRE[at : at + 1], at + 1) for at in range(len(WIRE))
        ]
    if framing == "close":
        return HEAD + b"Connection: close\r\n\r\n", [(WIRE[at : at + 1], at + 1) for at in range(len(WIRE))]
    coded: list[tuple[bytes, int]] = []
    size = 0
    for start in range(0, len(WIRE), 61):  # cuts events, and a character
        piece = WIRE[start : start + 61]
        coded += [(bytes([byte]), size) for byte in b"%x\r\n" % len(piece)]
        for byte in piece:
            size += 1
            coded.append((bytes([byte]), size))
        coded += [(b"\r", size), (b"\n", size)]
    coded += [(bytes([byte]), size) for byte in b"0\r\n\r\n"]
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n", coded


def replies(framing: str) -> list[tuple[Reply, int]]:
    """The response cut after every byte of its body, each with the size of WIRE that has come."""
    head, coded = framed(framing)
    body, cuts = head, [(Reply.raw(head), 0)]
    for byte, size in coded:
        body += byte
        cuts.append((Reply.raw(body), size))
    return cuts


class Responses(list[aiohttp.ClientResponse]):
    """The answers that an aiohttp session gave, so that a test can see what has arrived while nobody reads."""

    async def keep(self, session: Any, context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        self.append(params.response)

    def client(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self.keep)
        return aiohttp.ClientSession(trace_configs=[trace])

    async def until_all_came(self) -> None:
        content = self[-1].content
        await turns_until(lambda: content.is_eof() or content.exception() is not None)


async def read_promptly(stream: ChatStream, responses: Responses) -> AsyncIterator[ChatCompletionChunk]:
    async for item in stream:
        yield item


async def read_late(stream: ChatStream, responses: Responses) -> AsyncIterator[ChatCompletionChunk]:
    await responses.until_all_came()
    async for item in stream:
        yield item


async def read_slowly(stream: ChatStream, responses: Responses) -> AsyncIterator[ChatCompletionChunk]:
    async for item in stream:
        yield item
        for _ in range(5):
            await asyncio.sleep(0)


Reader = Callable[[ChatStream, Responses], AsyncIterator[ChatCompletionChunk]]


async def read(
    stream: ChatStream, reader: Reader, responses: Responses
) -> tuple[list[ChatCompletionChunk], CometError | None]:
    """The chunks and the error of one stream, which has been entered."""
    got: list[ChatCompletionChunk] = []
    try:
        async for item in reader(stream, responses):
            got.append(item)  # noqa: PERF401 - kept where an error ends the loop
    except CometError as error:
        return got, error
    return got, None


def check(stream: ChatStream, got: list[ChatCompletionChunk], error: CometError | None, come: int) -> None:
    """Compare with what must be read of an answer of which so many EVENTS came."""
    accumulator = Accumulator()
    for item in got:
        accumulator.add(item)
    assert [item.raw for item in got] == chunks_of(come)
    assert stream.completion == accumulator.completion
    if come > FINISH:
        assert (stream.outcome, error) == ("complete", None)
    else:
        assert stream.outcome == "truncated"
        assert isinstance(error, StreamTruncatedError if got else (StreamTruncatedError, EmptyStreamError))
        assert error.partial == accumulator.completion
        assert error.retryable


@pytest.mark.slow
@pytest.mark.parametrize("reader", [read_promptly, read_late, read_slowly])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@on_each_loop
def test_an_answer_cut_after_any_byte_gives_every_event_that_came_whole(run: Run, framing: str, reader: Reader) -> None:
    async def main() -> None:
        responses = Responses()
        # Every byte on asyncio's own loop; a sample on the other, whose transports alone are different.
        cuts = replies(framing)[:: 1 if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) else 7]
        async with responses.client() as client, serving(retry=None, client=client) as (server, session):
            for reply, size in cuts:
                server.script(reply)
                async with session.stream(**CHAT) as stream:
                    got, error = await read(stream, reader, responses)
                check(stream, got, error, events_in(size))
        assert server.connections_seen == len(cuts)

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("reader", [read_promptly, read_late, read_slowly])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@on_each_loop
def test_a_reset_loses_nothing_that_had_come(run: Run, framing: str, reader: Reader) -> None:
    async def main() -> None:
        responses = Responses()
        async with responses.client() as client, serving(retry=None, client=client) as (server, session):
            for reply, size in replies(framing)[::7]:
                arrived = asyncio.Event()
                server.script(reply.then(arrived).reset())
                async with session.stream(**CHAT) as stream:
                    watch = asyncio.ensure_future(_arrival(responses[-1], size, arrived))
                    got, error = await read(stream, reader, responses)
                    await watch
                check(stream, got, error, events_in(size))

    run(main())


async def _arrival(response: aiohttp.ClientResponse, size: int, arrived: asyncio.Event) -> None:
    await turns_until(lambda: response.content.total_bytes >= size)
    arrived.set()


async def test_an_attempt_is_repeated_unseen_before_the_first_content_and_never_after() -> None:
    async with serving(retry=AT_ONCE) as (server, session):
        server.always(Reply.sse(WIRE))
        for reply, size in replies("chunked"):
            come = events_in(size)
            server.script(reply)
            asked = len(server.requests)
            async with session.stream(**CHAT) as stream:
                got, error = await read(stream, read_promptly, Responses())
            repeated = come <= CONTENT
            check(stream, got, error, len(EVENTS) if repeated else come)
            assert stream.metrics.attempts == len(server.requests) - asked == (2 if repeated else 1)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_a_last_attempt_that_dies_hands_over_what_was_held_and_then_the_error(framing: str) -> None:
    reply = next(reply for reply, size in replies(framing) if events_in(size) == CONTENT)
    async with serving(reply, reply, retry=AT_ONCE) as (server, session), session.stream(**CHAT) as stream:
        got, error = await read(stream, read_promptly, Responses())
    check(stream, got, error, CONTENT)
    assert len(server.requests) == 2


ROLE = chunk({"role": "assistant", "content": ""})
TEXT = chunk({"content": "Hello"})
STOP = chunk(finish_reason="stop")
TEXT_1 = chunk({"content": "Hi"}, index=1)
STOP_1 = chunk(finish_reason="stop", index=1)
ERROR = {"error": {"code": 502, "message": "upstream"}}
USAGE = {"choices": [], "usage": {"total_tokens": 3}}

COMPLETE = (
    ("as documented", Reply.text("Hello")),
    ("D1 no [DONE]", Reply.text("Hello", done=False)),
    ("the finish, then a cut", Reply.sse(TEXT, STOP).cut()),
    ("the finish, then a reset", Reply.sse(TEXT, STOP).reset()),
    ("the finish, then half an event", Reply.sse(TEXT, STOP, b'data: {"choi').cut()),
    ("the finish, then no JSON", Reply.sse(TEXT, STOP, b"data: {half\n\n", DONE)),
    ("the finish, then silence", Reply.sse(TEXT, STOP).stall()),
    ("the finish, then keep-alives for ever", Reply.sse(TEXT, STOP).forever(b": PING\n\n", 5.0)),
    ("D7 content after the finish, and another finish", Reply.sse(TEXT, STOP, TEXT, STOP, DONE)),
    ("D7 content after the finish, another finish, a clean end", Reply.sse(TEXT, STOP, TEXT, STOP)),
    ("D9 another spelling", Reply.sse(TEXT, STOP, b"data: [done]\n\n")),
    ("D6 Gemini's spelling", Reply.sse({"choices": [{"delta": {"content": "Hello"}, "finishReason": "STOP"}]}, DONE)),
    ("A10 bytes after [DONE]", Reply.sse(TEXT, STOP, DONE, ERROR, b"data: {half\n\n", TEXT)),
    ("A10 a server that lingers", Reply.sse(TEXT, STOP, DONE).stall()),
    ("A10 a server that goes on and on", Reply.sse(TEXT, STOP, DONE).forever(b": PING\n\n", 0.01)),
    ("a reset after [DONE]", Reply.sse(TEXT, STOP, DONE).reset()),
    ("keep-alives and named events between", Reply.sse(TEXT, b": PING\n\n", b"event: x\n" + frame(TEXT), STOP, DONE)),
    ("two choices", Reply.sse(TEXT_1, TEXT, STOP_1, STOP, DONE)),
    ("an empty text", Reply.sse(ROLE, STOP, DONE)),
    ("C13 another reason", Reply.sse(TEXT, chunk(finish_reason="content_filter"))),
    ("an error that is null", Reply.sse({**TEXT, "error": None}, {**STOP, "error": None}, DONE)),
)

UNTERMINATED = (
    ("D3 [DONE] without a finish", Reply.text("Hello", finish_reason=None)),
    ("D5 an empty finish", Reply.sse(chunk({"content": "Hello"}, finish_reason=""), DONE)),
    ("[DONE], one choice of two finished", Reply.sse(TEXT, TEXT_1, STOP, DONE)),
    ("[DONE], then a reset", Reply.sse(TEXT, DONE).reset()),
    ("[DONE] without its blank line", Reply.sse(TEXT, b"data: [DONE]")),
)

TRUNCATED = (
    ("D2 a clean end", Reply.sse(TEXT)),
    ("D4 a cut inside the chunked body", Reply.sse(TEXT).cut()),
    ("a reset", Reply.sse(TEXT, 0.1).reset()),
    ("one choice of two finished", Reply.sse(TEXT, TEXT_1, STOP)),
    ("half an event", Reply.sse(TEXT, b'data: {"choices":')),
    ("half of [DONE]", Reply.sse(TEXT, b"data: [DO")),
    ("a chunk size that is no number", Reply.raw(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(frame(TEXT)),
                                                frame(TEXT), b"\r\n", 0.01, b"HTTP/1.1 502 Bad Gateway\r\n\r\n").stall()),
)  # fmt: skip

FAILED = (
    ("E1 an error frame", Reply.sse(TEXT, ERROR), StreamServerError),
    ("E9 an error frame and [DONE]", Reply.sse(TEXT, ERROR, DONE), StreamServerError),
    (
        "E2 an error frame with a finish",
        Reply.sse(TEXT, {**chunk(finish_reason="error"), **ERROR}, DONE),
        StreamServerError,
    ),
    ("E3 finish_reason error alone", Reply.sse(TEXT, chunk(finish_reason="error"), DONE), StreamServerError),
    ("an error frame after the finish", Reply.sse(TEXT, STOP, ERROR, DONE), StreamServerError),
    ("E4 an error event", Reply.sse(TEXT, STOP, b'event: error\ndata: {"message":"x"}\n\n'), StreamServerError),
    ("an error frame, then silence", Reply.sse(TEXT, ERROR).stall(), StreamServerError),
    ("A8 half a JSON", Reply.sse(TEXT, b'data: {"choices":\n\n', STOP, DONE), ProtocolError),
    ("A11 no data field but JSON", Reply.sse(TEXT, b"data: [1]\n\n", STOP, DONE), ProtocolError),
    ("silence", Reply.sse(TEXT).stall(), APITimeoutError),
)


def outcome_of(reply: Reply, **options: Any) -> tuple[ChatStream, list[ChatCompletionChunk], CometError | None, float]:
    """Read one answer without retries: the stream, its chunks, its error, and the seconds that it took."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        async with serving(reply, retry=None) as (server, session):
            async with session.stream(**CHAT, **options) as stream:
                assert stream.outcome is None
                began = loop.time()
                got, error = await read(stream, read_promptly, Responses())
                took = loop.time() - began
                outcome = stream.outcome
            assert stream.outcome == outcome, "leaving must not change it"
            connections = server.connections_open
        assert connections <= 1
        return stream, got, error, took

    return virtual_clock.run(main())


def in_one_write(reply: Reply) -> Reply:
    """The same reply, with what stands between two waits in one piece, so that one read brings many events."""
    body: list[Any] = []
    for step in reply.body:
        if body and isinstance(step, bytes) and isinstance(body[-1], bytes):
            body[-1] += step
        else:
            body.append(step)
    return replace(reply, body=tuple(body))


at_once_or_one_by_one = pytest.mark.parametrize(
    "arrange", [pytest.param(in_one_write, id="at once"), pytest.param(lambda r: r, id="one by one")]
)


def named(*cases: tuple[Any, ...]) -> Any:
    return [pytest.param(*case[1:], id=case[0]) for case in cases]


@at_once_or_one_by_one
@pytest.mark.parametrize("reply", named(*COMPLETE))
def test_complete_only_where_every_choice_gave_a_finish_reason_and_nothing_but_an_error_frame_changes_it(
    arrange: Callable[[Reply], Reply],
    reply: Reply,
) -> None:
    stream, got, error, _ = outcome_of(arrange(reply))
    assert (stream.outcome, error) == ("complete", None)
    assert all(choice.finish_reason for choice in stream.completion.choices)
    assert stream.metrics.chunks == len(got) > 0


@at_once_or_one_by_one
@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
@pytest.mark.parametrize("reply", named(*UNTERMINATED))
def test_done_without_a_finish_reason_is_unterminated(
    arrange: Callable[[Reply], Reply], reply: Reply, on_incomplete: str
) -> None:
    stream, got, error, _ = outcome_of(arrange(reply), on_incomplete=on_incomplete)
    assert stream.outcome == "unterminated"
    assert stream.completion.content == "Hello"
    assert got
    if on_incomplete == "raise":
        assert type(error) is StreamUnterminatedError
        assert error.partial == stream.completion
    else:
        assert error is None


@at_once_or_one_by_one
@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
@pytest.mark.parametrize("reply", named(*TRUNCATED))
def test_an_end_before_it_is_truncated(arrange: Callable[[Reply], Reply], reply: Reply, on_incomplete: str) -> None:
    stream, got, error, took = outcome_of(arrange(reply), on_incomplete=on_incomplete)
    assert stream.outcome == "truncated"
    assert stream.completion.content == "Hello"
    assert got
    assert took < 1, "a connection that is gone is no wait for a clock"
    if on_incomplete == "raise":
        assert type(error) is StreamTruncatedError
        assert error.partial == stream.completion
    else:
        assert error is None


@at_once_or_one_by_one
@pytest.mark.parametrize("on_incomplete", ["raise", "return"])
@pytest.mark.parametrize(("reply", "cls"), named(*FAILED))
def test_an_error_frame_a_bad_frame_or_a_clock_is_an_error(
    arrange: Callable[[Reply], Reply], reply: Reply, cls: type[CometError], on_incomplete: str
) -> None:
    stream, got, error, _ = outcome_of(arrange(reply), on_incomplete=on_incomplete)
    assert stream.outcome == "error"
    assert type(error) is cls
    assert error is not None
    assert error.partial == stream.completion
    assert error.partial is not None
    assert error.partial.content == "Hello"
    assert got


@pytest.mark.parametrize(
    ("reply", "outcome"),
    named(
        ("D8 zero bytes", Reply.sse(), "truncated"),
        ("D8 only [DONE]", Reply.sse(DONE), "unterminated"),
        ("only keep-alives", Reply.sse(b": PING\n\n"), "truncated"),
        ("B1 only a chunk without choices", Reply.sse({"choices": [], "prompt_filter_results": []}), "truncated"),
        ("only usage", Reply.sse(USAGE, DONE), "unterminated"),
    ),
)
def test_an_answer_without_one_choice_is_an_empty_stream(reply: Reply, outcome: str) -> None:
    stream, _, error, _ = outcome_of(reply)
    assert type(error) is EmptyStreamError
    assert stream.outcome == outcome
    assert error.partial == stream.completion
    assert outcome_of(reply, on_incomplete="return")[2] is None


def test_a_body_that_is_no_protocol_shows_how_it_begins() -> None:
    _, _, error, _ = outcome_of(Reply.plain(b"no healthy upstream", content_type="text/plain"))
    assert type(error) is EmptyStreamError
    assert "no healthy upstream" in str(error)


@pytest.mark.parametrize(
    ("reply", "cls"),
    [
        (Reply.sse(ROLE, {"error": {"code": 429, "message": "slow down"}}), RateLimitError),
        (Reply.sse(ROLE, {"error": {"message": "x"}}), StreamServerError),
        (Reply.sse({**ROLE, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}), StreamServerError),
        (Reply.sse(ROLE, b"data: {half\n\n"), ProtocolError),
        (Reply.sse(ROLE, DONE), StreamUnterminatedError),
    ],
)
def test_an_error_before_the_first_content_comes_after_what_was_held(reply: Reply, cls: type[CometError]) -> None:
    stream, got, error, _ = outcome_of(reply)
    assert len(got) == 1
    assert type(error) is cls
    assert stream.outcome == ("unterminated" if cls is StreamUnterminatedError else "error")
    assert error is not None
    assert error.partial == stream.completion


def test_an_error_in_the_stream_bears_the_request_id_of_the_head() -> None:
    _, _, error, _ = outcome_of(Reply.sse(TEXT).with_headers({"x-request-id": "req-1"}))
    assert error is not None
    assert error.request_id == "req-1"


async def test_whatever_aiohttp_raises_ends_the_answer_and_not_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[bool] = []

    def breaking(readany: Read) -> Read:
        async def breaks(self: aiohttp.StreamReader) -> bytes:
            if armed:
                self.set_exception(TransferEncodingError("as its parser in Python does"))
            return await readany(self)

        return breaks

    wrap_reads(monkeypatch, breaking)
    async with serving(Reply.sse(TEXT, TEXT).stall(), retry=None) as (server, session):
        async with session.stream(**CHAT) as stream:
            await turns_until(lambda: stream.metrics.bytes == 2 * len(frame(TEXT)))
            armed.append(True)
            _, error = await read(stream, read_promptly, Responses())
        assert type(error) is StreamTruncatedError
        assert stream.completion.content == "HelloHello"
        await server.until_unconnected()


def test_the_same_error_is_raised_again_by_a_further_read_and_none_after_leaving() -> None:
    async def main() -> None:
        async with serving(Reply.sse(TEXT), retry=None) as (_, session):
            async with session.stream(**CHAT) as stream:
                assert (await stream.__anext__()).choices[0].delta.content == "Hello"
                for _ in range(2):
                    with pytest.raises(StreamTruncatedError):
                        await stream.__anext__()
            with pytest.raises(StopAsyncIteration):
                await stream.__anext__()
            assert stream.outcome == "truncated"

    virtual_clock.run(main())


def test_leaving_early_is_cancelled_but_not_after_the_finish() -> None:
    async def main() -> None:
        async with serving(Reply.sse(TEXT, STOP).stall(), Reply.sse(TEXT, STOP).stall()) as (_, session):
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
            assert stream.outcome == "cancelled"
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
                await stream.__anext__()
                assert stream.outcome is None
            assert stream.outcome == "complete"

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("reply", "at_least", "at_most"),
    [
        (Reply.sse(TEXT, STOP, DONE).stall(), 0.25, 0.26),
        (Reply.sse(TEXT, STOP, DONE).forever(b": PING\n\n", 0.1), 0.25, 0.26),
        (Reply.sse(TEXT, STOP, DONE, 0.1), 0.1, 0.11),
        (Reply.sse(TEXT, STOP, DONE, 0.1).reset(), 0.1, 0.11),
        (Reply.sse(TEXT, STOP, DONE), 0.0, 0.01),
    ],
)
def test_the_drain_after_done_ends_with_the_response_or_after_a_quarter_of_a_second(
    reply: Reply, at_least: float, at_most: float
) -> None:
    _, _, error, took = outcome_of(reply)
    assert error is None
    assert at_least <= took <= at_most


def test_the_outcome_is_known_while_the_connection_is_drained() -> None:
    async def main() -> None:
        async with serving(Reply.sse(TEXT, STOP, DONE).stall()) as (server, session), session.stream(**CHAT) as stream:
            reading = asyncio.ensure_future(stream.until_done())
            await turns_until(lambda: stream.outcome)
            assert not reading.done()
            assert stream.outcome == "complete"
            await reading
            await server.requests[0].disconnected.wait()

    virtual_clock.run(main())


def test_what_comes_last_before_a_retry_refused_is_the_refusal() -> None:
    async def main() -> None:
        async with serving(Reply.sse(ROLE), Reply.error(429), retry=AT_ONCE) as (_, session):
            async with session.stream(**CHAT) as stream:
                got, error = await read(stream, read_promptly, Responses())
            assert len(got) == 1
            assert type(error) is RateLimitError
            assert stream.outcome == "error"

    virtual_clock.run(main())


@pytest.mark.parametrize("at", ["silence", "keep-alives"])
def test_no_clock_changes_a_finished_answer(at: str) -> None:
    reply = Reply.sse(TEXT, STOP)
    reply = reply.stall() if at == "silence" else reply.forever(b":\n\n", 1.0)
    for clocks in (Timeouts(content_idle=3), Timeouts(total=3)):
        stream, _, error, took = outcome_of(reply, timeouts=clocks)
        assert (stream.outcome, error) == ("complete", None)
        assert 3 <= took < 4.1


@pytest.mark.parametrize("timeouts", [Timeouts(content_idle=5), Timeouts(total=5)], ids=["content_idle", "total"])
def test_a_document_that_came_whole_is_not_lost_with_the_clock(timeouts: Timeouts) -> None:
    whole = Reply.json({"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]})
    reply = Reply(body=whole.body, headers=whole.headers, framing="chunked").stall()

    async def main() -> str | None:
        async with serving(reply, retry=None) as (_, session):
            return (await session.complete(**CHAT, timeouts=timeouts)).content

    assert virtual_clock.run(main()) == "Hello"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("timeouts", [Timeouts(content_idle=5), Timeouts(total=5)], ids=["content_idle", "total"])
@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param(b'{"choices": oops, "usage', ProtocolError, "neither an event stream nor one JSON", id="broken"),
        pytest.param(b'{"x": 1}', ProtocolError, "neither a completion nor an error", id="another document"),
        pytest.param(b'{"choices": [{"index": 0, "mess', APITimeoutError, "timeouts.", id="not at its end"),
    ],
)
def test_a_document_that_is_broken_when_a_clock_runs_out_is_told_as_broken_and_only_one_that_is_not_whole_as_late(
    body: bytes, error: type[CometError], words: str, timeouts: Timeouts, streamed: bool
) -> None:
    async def main() -> None:
        reply = Reply(body=(body,), headers=Reply.json({}).headers, framing="chunked").stall()
        async with serving(reply, retry=None) as (server, session):
            with pytest.raises(error, match=words) as raised:
                await (ask(session, timeouts=timeouts) if streamed else session.complete(**CHAT, timeouts=timeouts))
            assert type(raised.value) is error
            await server.until_unconnected()

    virtual_clock.run(main())


async def test_a_document_that_is_no_json_is_told_so_and_not_asked_for_again() -> None:
    async with serving(Reply.plain(b"no healthy upstream", content_type="text/plain")) as (server, session):
        with pytest.raises(ProtocolError, match="not JSON: no healthy upstream"):
            await session.complete(**CHAT)
        assert len(server.requests) == 1


async def test_chunks_without_content_are_not_held_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cometstream.answer.machine._MAX_HELD", 20_000)
    async with serving(Reply.sse().forever(frame(chunk({"role": "assistant"})) * 10), retry=2) as (server, session):
        with pytest.raises(ProtocolError, match="too many chunks came without content") as raised:
            await ask(session)
        assert len(server.requests) == 1
        assert raised.value.partial is not None
        await server.until_unconnected()


async def test_what_follows_done_is_read_up_to_a_bound_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cometstream.transport.incoming._DRAIN", math.inf)
    body = Reply.sse(chunk({"content": "Hello"}, finish_reason="stop"), DONE).forever(b": more\n\n" * 1000)
    async with serving(body) as (server, session):
        async with session.stream(**CHAT) as stream:
            await stream.until_done()
        assert stream.outcome == "complete"
        assert stream.metrics.bytes < 1_000_000
        await server.until_unconnected()


# -- found by tests/simulation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False])
def test_a_choice_that_goes_on_after_its_finish_as_before_is_not_complete_with_done(fast: bool) -> None:
    wire = b"".join(
        [
            *[frame(chunk({"content": f"{number}"})) for number in range(12)],
            frame(chunk({}, finish_reason="stop")),
            frame(chunk({"content": "and more"})),
            DONE,
        ]
    )
    assert read_wire([wire], fast=fast).outcome == "unterminated"


def test_what_is_long_and_unfinished_behind_an_error_frame_gives_the_server_no_more_time() -> None:
    """Its clock is nobody's: there is no length to tell, and no other one begins."""
    budget = Budget(Clocks(content_idle=None))
    answer = Answer(CONTEXT, budget)
    wire = frame(chunk({"content": "a"})) + frame({"error": {"message": "no more", "code": 503}})
    for piece in (wire, b'data: {"usage": "' + b"x" * 5000):
        budget.wait_begins(0.0)
        answer.receive(piece, 0.0)
        answer.skim()
    assert answer.state == "failed"
    assert budget.wait_begins(0.0) == GRACE
    answer.receive(b"", GRACE)
    answer.skim()
    assert answer.outcome == "error"
    assert isinstance(answer.failure, StreamServerError)
