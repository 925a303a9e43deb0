"""One stream: entering, reading, holding, repeating; bodies that are no event stream; what it tells of itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aioresponses import aioresponses
from support import virtual_clock
from support.loops import Run, on_each_loop, turns_until
from support.serving import CHAT, KEY, ask, failure, failure_of, serving

from cometstream import (
    BadRequestError,
    ChatStream,
    CometError,
    CometSession,
    EmptyStreamError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StreamServerError,
    StreamTruncatedError,
    UsageError,
)
from cometstream.attempts import Attempts
from cometstream.request.chat import ChatRequest
from cometstream.testing import DONE, MockResponse, Reply, chunk, frame

URL = "https://api.cometapi.com/v1/chat/completions"
AT_ONCE = RetryPolicy(max_retries=2, initial_delay=0.0)

ROLE = chunk({"role": "assistant", "content": ""})
TEXT = chunk({"content": "Hello"})
STOP = chunk(finish_reason="stop")
USAGE = {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
WHOLE = Reply.sse(ROLE, TEXT, STOP, USAGE, DONE)
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5.4",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": USAGE["usage"],
}


# Entering and reading


async def test_nothing_is_sent_before_entering_and_nothing_can_be_read() -> None:
    async with serving(WHOLE) as (server, session):
        stream = session.stream(**CHAT)
        for read in (stream, stream.text(), stream.events(), stream.relay()):
            with pytest.raises(UsageError, match="async with"):
                await read.__anext__()
        with pytest.raises(UsageError, match="async with"):
            await stream.until_done()
        with pytest.raises(UsageError, match="async with"):
            _ = stream.response
        assert (stream.outcome, stream.metrics.attempts, stream.metrics.duration) == (None, 0, 0.0)
        assert server.requests == []
        async with stream:
            assert (await stream.until_done()).content == "Hello"


async def test_entering_twice_is_a_usage_error_and_leaves_the_stream_alone() -> None:
    async with serving(WHOLE) as (server, session):
        async with session.stream(**CHAT) as stream:
            with pytest.raises(UsageError, match=r"session.stream\(\) again"):
                await stream.__aenter__()
            assert (await stream.until_done()).content == "Hello"
        assert len(server.requests) == 1


async def test_entering_waits_for_the_head_so_that_a_backend_can_choose_its_own_status() -> None:
    async with serving(Reply.error(429), Reply.sse().stall(), retry=None) as (server, session):
        stream = session.stream(**CHAT)
        with pytest.raises(RateLimitError) as caught:
            await stream.__aenter__()
        assert caught.value.partial is None
        assert stream.outcome == "error"
        async with session.stream(**CHAT) as stream:
            assert stream.response.status == 200
            assert stream.outcome is None
        await server.until_unconnected()


async def test_every_chunk_comes_as_it_was_sent_and_adds_up() -> None:
    async with serving(WHOLE) as (_, session), session.stream(**CHAT) as stream:
        chunks = [item async for item in stream]
    assert [item.raw for item in chunks] == [ROLE, TEXT, STOP, USAGE]
    assert stream.completion.content == "Hello"
    assert stream.completion.choices[0].finish_reason == "stop"
    assert stream.completion.usage is not None
    assert stream.completion.usage.total_tokens == 3


async def test_a_token_comes_as_soon_as_it_is_there() -> None:
    async with serving() as (server, session):
        more = [asyncio.Event() for _ in range(3)]
        server.script(Reply.sse(ROLE, more[0], TEXT, more[1], TEXT, more[2], STOP, DONE))
        async with session.stream(**CHAT) as stream:
            more[0].set()
            for after in more[1:]:
                async for text in stream.text():
                    assert text == "Hello"
                    after.set()
                    break
            assert (await stream.until_done()).content == "HelloHello"


async def test_one_reader_after_another_is_fine() -> None:
    async with serving(Reply.sse(*[TEXT] * 4, STOP, DONE)) as (_, session), session.stream(**CHAT) as stream:
        assert (await stream.__anext__()).raw == TEXT
        assert await stream.text().__anext__() == "Hello"
        assert [event.type async for event in stream.events()][:2] == ["chunk", "content.delta"]
        assert [frame async for frame in stream.relay()] == [DONE]
        assert (await stream.until_done()).content == "Hello" * 4


async def read_it(stream: ChatStream) -> object:
    return await stream.__anext__()


async def text_of_it(stream: ChatStream) -> object:
    return await stream.text().__anext__()


async def relay_it(stream: ChatStream) -> object:
    return await stream.relay().__anext__()


@pytest.mark.parametrize("second", [read_it, text_of_it, relay_it])
@pytest.mark.parametrize(
    ("replies", "retry"),
    [
        pytest.param([Reply.sse(1.0, TEXT, STOP, DONE)], None, id="waiting for bytes"),
        pytest.param([Reply.sse(), WHOLE], RetryPolicy(1, initial_delay=10.0), id="waiting to try again"),
        pytest.param([Reply.sse(), WHOLE.after(1.0)], AT_ONCE, id="opening another attempt"),
    ],
)
def test_two_readers_at_the_same_time_are_told_so_and_the_first_goes_on(
    replies: list[Reply], retry: Any, second: Callable[[ChatStream], Awaitable[object]]
) -> None:
    async def main() -> None:
        async with serving(*replies, retry=retry) as (server, session):
            async with session.stream(**CHAT) as stream:
                first = asyncio.ensure_future(stream.until_done())
                await turns_until(lambda: len(server.requests) == len(replies) or stream.metrics.bytes == 0)
                await asyncio.sleep(0.001)
                with pytest.raises(UsageError, match="one reader"):
                    await second(stream)
                assert (await first).content == "Hello"
            assert stream.outcome == "complete"
            assert len(server.requests) == len(replies)

    virtual_clock.run(main())


def test_reading_while_another_task_still_enters_is_told_so() -> None:
    async def main() -> None:
        async with serving(WHOLE.after(1.0)) as (_, session):
            stream = session.stream(**CHAT)
            entering = asyncio.ensure_future(stream.__aenter__())
            await asyncio.sleep(0.5)
            with pytest.raises(UsageError, match="one reader"):
                await stream.__anext__()
            await entering
            assert (await stream.until_done()).content == "Hello"
            await stream.aclose()

    virtual_clock.run(main())


def test_two_readers_of_what_has_arrived_share_it() -> None:
    async def main() -> None:
        async with (
            serving(Reply.sse(frame(TEXT) * 4 + frame(STOP) + DONE)) as (_, session),
            session.stream(**CHAT) as stream,
        ):
            await stream.__anext__()
            counts = await asyncio.gather(*(stream.__anext__() for _ in range(4)))
            assert len(counts) == 4

    virtual_clock.run(main())


# Repeating


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Reply.raw().reset(), id="reset before the head"),
        pytest.param(Reply.error(503), id="a status"),
        pytest.param(Reply.sse(), id="nothing"),
        pytest.param(Reply.sse(DONE), id="only [DONE]"),
        pytest.param(Reply.sse(ROLE).reset(), id="a role, then a reset"),
        pytest.param(Reply.sse(ROLE, ROLE, b": PING\n\n").cut(), id="keep-alives, then a cut"),
        pytest.param(Reply.sse(ROLE, {"error": {"code": 502, "message": "x"}}), id="an error frame"),
        pytest.param(Reply.sse(ROLE, {"error": {"code": 429, "message": "x"}}, DONE), id="a rate limit in a frame"),
        pytest.param(Reply.sse(ROLE, chunk(finish_reason="error")), id="finish_reason error"),
        pytest.param(Reply.json({"error": {"message": "x", "code": 503}}), id="an error object under 200"),
        pytest.param(Reply.plain(b'{"choices":[{"mess', content_type="application/json"), id="half a document"),
    ],
)
async def test_an_attempt_that_dies_before_the_first_content_is_repeated_unseen(first: Reply) -> None:
    async with serving(first, first, WHOLE, retry=AT_ONCE) as (server, session), session.stream(**CHAT) as stream:
        assert [item.raw async for item in stream] == [ROLE, TEXT, STOP, USAGE]
        assert stream.outcome == "complete"
        assert stream.metrics.attempts == len(server.requests) == 3
        assert stream.metrics.chunks == 4
        assert stream.completion.normalizations == {}


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (Reply.sse(TEXT), StreamTruncatedError),
        (Reply.sse(ROLE, chunk({"reasoning_content": "Hm"})).reset(), StreamTruncatedError),
        (Reply.sse(TEXT, {"error": {"code": 502, "message": "x"}}), StreamServerError),
        (Reply.sse(chunk({"tool_calls": [{"index": 0, "id": "a"}]})).cut(), StreamTruncatedError),
    ],
)
async def test_after_the_first_content_nothing_is_repeated(first: Reply, error: type[CometError]) -> None:
    async with serving(first, retry=AT_ONCE) as (server, session):
        assert type(await failure(session)) is error
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (Reply.sse(ROLE, b"data: {half\n\n"), ProtocolError),
        (Reply.sse(ROLE, {"error": {"code": "invalid_request", "message": "x"}}), BadRequestError),
        (Reply.sse({"error": {"code": "insufficient_user_quota", "message": "x"}}), CometError),
    ],
)
async def test_what_another_attempt_cannot_mend_is_not_repeated(first: Reply, error: type[CometError]) -> None:
    async with serving(first, retry=AT_ONCE) as (server, session):
        assert isinstance(await failure(session), error)
    assert len(server.requests) == 1


async def test_the_last_attempts_failure_is_the_one_that_is_raised() -> None:
    replies = (Reply.sse(ROLE), Reply.error(503), Reply.sse(ROLE, {"error": {"code": 500, "message": "the last"}}))
    async with serving(*replies, retry=AT_ONCE) as (_, session), session.stream(**CHAT) as stream:
        got = []
        with pytest.raises(InternalServerError, match="the last"):
            got.extend([item.raw async for item in stream.__aiter__()])
        assert stream.metrics.attempts == 3
        assert stream.metrics.chunks == 1


async def test_the_stop_of_an_answer_without_content_is_not_repeated() -> None:
    async with serving(Reply.sse(ROLE, STOP), retry=AT_ONCE) as (server, session):
        assert (await ask(session)).choices[0].finish_reason == "stop"
    assert len(server.requests) == 1


# Bodies that are no event stream


@pytest.mark.parametrize("label", ["application/json", "text/event-stream", "text/html", ""])
@pytest.mark.parametrize("lead", [b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
async def test_a_completion_in_json_is_a_stream_of_one_chunk_whatever_its_label(label: str, lead: bytes) -> None:
    body = lead + orjson.dumps(COMPLETION)
    reply = Reply(body=(body,), headers=(("Content-Type", label),) if label else ())
    async with serving(reply, reply.split(1), retry=None) as (_, session):
        for _ in range(2):
            async with session.stream(**CHAT) as stream:
                assert stream.completion.content is None
                (item,) = [item async for item in stream]
            assert item.choices[0].delta.content == "Hello"
            assert item.object == "chat.completion.chunk"
            assert stream.completion.raw == COMPLETION
            assert stream.completion.normalizations == {"json_body": 1}
            assert stream.outcome == "complete"


async def test_a_single_chunk_in_json_is_that_chunk() -> None:
    single = chunk({"content": "Hello"}, finish_reason="stop")
    async with serving(Reply.json(single), Reply.json(TEXT), retry=None) as (_, session):
        async with session.stream(**CHAT) as stream:
            assert [item.raw async for item in stream] == [single]
        assert stream.outcome == "complete"
        assert stream.completion.content == "Hello"
        error = await failure(session)
    assert type(error) is StreamTruncatedError
    assert error.partial is not None
    assert error.partial.content == "Hello"


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b'{"error":{"code":429,"message":"slow down"}}', RateLimitError, "slow down"),
        (b'{"error":{"type":"new_api_error","code":"insufficient_user_quota","message":"no"}}', CometError, "no"),
        (b'{"error":"upstream is down"}', StreamServerError, "upstream is down"),
        (b'{"detail":"not found"}', StreamServerError, "not found"),
        (b'{"object":"list"}', ProtocolError, "neither a completion nor an error"),
        (b"[1, 2]", ProtocolError, "neither"),
        (b'{"choices":[{"mess', StreamTruncatedError, "middle"),
        (b'{"choices":[{"message":{"content":"caf\xc3', StreamTruncatedError, "middle"),
        (b'{"choices":}', ProtocolError, "neither an event stream nor"),
        (b"<html><title>502 Bad Gateway</title><body>cloud</body></html>", ProtocolError, "502 Bad Gateway"),
        (b" \n <!DOCTYPE html><p>Just a moment", ProtocolError, "Just a moment"),
        (b"upstream connect error", EmptyStreamError, "upstream connect error"),
        (b"", EmptyStreamError, "without a choice"),
    ],
)
@pytest.mark.parametrize("label", ["application/json", "text/event-stream"])
async def test_any_other_body_is_a_typed_error(body: bytes, error: type[CometError], words: str, label: str) -> None:
    for reply in (Reply.plain(body, content_type=label), Reply.plain(body, content_type=label).split(3)):
        caught = await failure_of(reply)
        assert isinstance(caught, error)
        assert words in str(caught)


async def test_no_error_shows_the_key_that_a_body_echoes() -> None:
    for body in (f"<html>{KEY}</html>", f'{{"error":"{KEY}"}}', KEY, f'{{"object":"{KEY}"}}'):
        caught = await failure_of(Reply.plain(body.encode(), content_type="text/html"))
        assert KEY not in str(caught) + repr(caught)


# Encodings


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_encoded_stream_is_decoded_as_it_comes(encoding: Any) -> None:
    more = asyncio.Event()
    reply = Reply.sse(ROLE, TEXT, more, TEXT, STOP, DONE).compressed(encoding)
    async with serving(reply, retry=None) as (server, session), session.stream(**CHAT) as stream:
        async for _ in stream.text():
            more.set()
        assert stream.completion.content == "HelloHello"
        assert stream.outcome == "complete"
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("ending", [Reply.stall, Reply.cut, Reply.reset])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_corrupt_encoding_is_an_error_on_one_line_and_no_hang(
    encoding: Any, ending: Callable[[Reply], Reply]
) -> None:
    good = Reply.sse(TEXT).compressed(encoding).body[0]
    for body in ((b"neither " * 20,), (good, b"\xff" * 90)):
        reply = ending(Reply(body=body, headers=(("Content-Encoding", encoding),)))

        async def main(reply: Reply = reply) -> CometError:
            return await failure_of(reply, timeouts=None)

        error = virtual_clock.run(main())
        assert type(error) is StreamTruncatedError
        assert "\n" not in str(error)


async def test_an_encoded_stream_that_is_cut_gives_what_came_whole() -> None:
    reply = Reply.sse(TEXT, TEXT, TEXT).compressed("gzip")
    cut = sum(len(piece) for piece in reply.body[:2] if isinstance(piece, bytes)) + 3
    error = await failure_of(reply.cut(at=cut))
    assert type(error) is StreamTruncatedError
    assert error.partial is not None
    assert error.partial.content == "HelloHello"


async def test_an_encoding_without_its_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiohttp.http_parser.HAS_BROTLI", False)
    error = await failure_of(Reply.sse(TEXT).with_headers({"Content-Encoding": "br"}))
    assert type(error) is ProtocolError
    assert "brotli" in str(error)


async def test_a_long_stream_is_read_through_aiohttps_flow_control() -> None:
    count = 3000
    events = b"".join(frame(chunk({"content": f"{place} " + "x" * 400})) for place in range(count))
    replies = [Reply.sse(events, STOP, DONE), Reply.sse(events, STOP, DONE).compressed("gzip")]
    async with serving(*replies, retry=None) as (_, session):
        for _ in replies:
            async with session.stream(**CHAT) as stream:
                await turns_until(lambda stream=stream: stream.metrics.bytes > 100_000)
                places = [int(text.split()[0]) async for text in stream.text()]
            assert places == list(range(count))
            assert stream.outcome == "complete"


# The connection


@on_each_loop
def test_twenty_streams_one_after_another_use_one_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(*[Reply.sse(frame(TEXT), frame(STOP) + DONE)] * 10) as (server, session):
            for _ in range(20):
                assert (await ask(session)).content
            assert server.connections_seen == 1
            assert len(server.requests) == 20

    run(main())


def test_a_connection_whose_end_comes_late_is_used_again_and_one_that_lingers_is_not() -> None:
    async def main() -> None:
        late, lingering = Reply.sse(TEXT, STOP, DONE, 0.2), Reply.sse(TEXT, STOP, DONE).stall()
        async with serving(late, lingering, WHOLE) as (server, session):
            await ask(session)
            await ask(session)
            assert server.connections_seen == 1
            await server.requests[1].disconnected.wait()
            await ask(session)
            assert server.connections_seen == 2

    virtual_clock.run(main())


def test_framing_that_breaks_off_after_done_takes_nothing_from_the_answer() -> None:
    async def main() -> None:
        body = frame(TEXT) + frame(STOP) + DONE
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = Reply.raw(head + b"%x\r\n%b\r\n" % (len(body), body), 0.01, b"no size\r\n")
        async with serving(reply, timeouts=None) as (_, session):
            assert (await ask(session)).content == "Hello"

    virtual_clock.run(main())


@on_each_loop
def test_a_connection_that_breaks_in_the_pool_is_nobodys_error(run: Run) -> None:
    async def main() -> None:
        body = frame(TEXT) + frame(STOP) + DONE
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        connections: list[asyncio.StreamWriter] = []

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r")[0]))
                    writer.write(answer[:-9])
                    await asyncio.sleep(0.01)  # the head is read before the end of the body
                    writer.write(answer[-9:])
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with aiohttp.ClientSession() as client:
            session = CometSession(api_key=KEY, base_url=base_url, client=client, retry=None)
            for _ in range(3):
                assert (await ask(session)).content == "Hello"
            # With a linger time of zero, close() sends RST instead of FIN.
            sock = connections[0].get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connections[0].transport.abort()
            await asyncio.sleep(0.05)  # the loop hears of it
            assert (await ask(session)).content == "Hello"
            gc.collect()
        server.close()
        await asyncio.sleep(0.01)

    run(main())


async def test_who_leaves_after_a_piece_with_the_whole_answer_in_it_is_told_how_that_ended() -> None:
    error = {"error": {"message": "simulated", "code": 429}}
    reply = Reply.sse(b"".join(map(frame, (ROLE, STOP, error, USAGE))) + DONE)
    async with serving(reply) as (_, session):
        async with session.stream(**CHAT) as stream:
            assert b'"finish_reason":"stop"' in await anext(stream.relay())
        assert stream.outcome == "error"


async def test_an_open_stream_holds_nothing_of_its_request_while_it_waits_for_more() -> None:
    reply = Reply.sse(ROLE, TEXT).stall()
    async with serving(reply) as (_, session):
        gc.collect()
        others = _alive(Attempts, ChatRequest)
        async with session.stream(**CHAT) as stream:
            assert _alive(Attempts, ChatRequest) == others + 2
            await anext(stream)
            await anext(stream)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(stream), 0.05)
            assert _alive(Attempts, ChatRequest) == others
        assert stream.outcome == "cancelled"


def _alive(*types: type) -> int:
    return sum(type(each) in types for each in gc.get_objects())


# What a stream tells of itself


async def test_metrics_and_response_tell_what_the_stream_cost() -> None:
    reply = WHOLE.with_headers({"x-request-id": "req-7", "X-Other": "1"})
    async with serving(Reply.error(503), reply, retry=AT_ONCE) as (_, session), session.stream(**CHAT) as stream:
        assert stream.response == (200, stream.response.headers, "req-7")
        assert stream.response.headers["x-other"] == "1"
        before = stream.metrics
        assert (before.chunks, before.time_to_first_content, before.usage) == (0, None, None)
        await stream.until_done()
    metrics = stream.metrics
    assert metrics.request_id == "req-7"
    assert metrics.attempts == 2
    assert metrics.chunks == 4
    assert metrics.bytes == len(reply.content)
    assert metrics.usage == stream.completion.usage
    assert metrics == stream.metrics


def test_times_run_from_entering() -> None:
    async def main() -> None:
        async with serving(Reply.sse(1.0, ROLE, 2.0, TEXT, 3.0, STOP, DONE).after(4.0)) as (_, session):
            stream = session.stream(**CHAT)
            await asyncio.sleep(50)
            async with stream:
                assert stream.metrics.duration == pytest.approx(4.0, abs=0.01)
                await stream.until_done()
                await asyncio.sleep(50)
            assert stream.metrics.time_to_first_content == pytest.approx(7.0, abs=0.01)
            assert stream.metrics.duration == pytest.approx(10.0, abs=0.01)

    virtual_clock.run(main())


async def test_the_completion_can_be_read_at_any_time_and_holds_what_was_handed_over() -> None:
    async with serving(Reply.sse(b"".join(map(frame, (ROLE, TEXT, TEXT, STOP))) + DONE)) as (_, session):
        async with session.stream(**CHAT) as stream:
            seen = [stream.completion.content]
            async for _ in stream:
                seen.append(stream.completion.content)  # noqa: PERF401 - it is read as it grows, chunk by chunk
        assert seen == [None, "", "Hello", "HelloHello", "HelloHello"]


async def test_repr_tells_where_the_stream_is() -> None:
    async with serving(WHOLE) as (_, session):
        stream = session.stream(**CHAT)
        assert repr(stream) == "<ChatStream new, 0 chunks>"
        async with stream:
            assert repr(stream) == "<ChatStream open, 0 chunks>"
            await stream.until_done()
            assert repr(stream) == "<ChatStream complete, 4 chunks>"


# Without a socket


async def test_under_aioresponses_streams_completions_and_errors_work() -> None:
    body = b"".join(map(frame, (ROLE, TEXT, STOP, USAGE))) + DONE
    with aioresponses() as mocked:
        mocked.post(URL, body=body, response_class=MockResponse, headers={"x-request-id": "req-7"})
        mocked.post(URL, payload=COMPLETION, response_class=MockResponse)
        mocked.post(URL, status=429, payload={"error": {"message": "slow down"}}, response_class=MockResponse)
        mocked.post(URL, body=frame(TEXT), response_class=MockResponse)
        mocked.post(URL, body=body, response_class=MockResponse)
        async with CometSession(api_key=KEY, retry=None) as session:
            async with session.stream(**CHAT) as stream:
                assert [item.raw async for item in stream] == [ROLE, TEXT, STOP, USAGE]
            assert stream.outcome == "complete"
            assert stream.metrics.request_id == "req-7"
            assert stream.metrics.bytes == len(body)
            assert (await session.complete(**CHAT)).content == "Hello"
            with pytest.raises(RateLimitError, match="slow down"):
                await ask(session)
            with pytest.raises(StreamTruncatedError):
                await ask(session)
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
            assert stream.outcome == "cancelled"


# In full flow


@pytest.mark.parametrize("before", [1, 3])
async def test_a_second_reader_is_refused_and_the_first_goes_on(before: int) -> None:
    more = asyncio.Event()
    async with serving(Reply.sse(*[TEXT] * before, more, TEXT, STOP, DONE)) as (_, session):
        async with session.stream(**CHAT) as stream:
            for _ in range(before):
                await stream.__anext__()
            first = asyncio.ensure_future(stream.until_done())
            await asyncio.sleep(0.05)
            with pytest.raises(UsageError, match="one reader"):
                await stream.__anext__()
            more.set()
            assert (await first).content == "Hello" * (before + 1)
        assert stream.outcome == "complete"


def test_an_answer_that_ends_with_an_error_is_not_waited_for() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        failed = Reply.sse(TEXT, 1.0, TEXT, 1.0, chunk({"content": "!"}, finish_reason="error")).stall()
        async with serving(failed) as (_, session):
            async with session.stream(**CHAT) as stream:
                began = loop.time()
                with pytest.raises(StreamServerError):
                    await stream.until_done()
                assert loop.time() - began < 5
            assert (stream.outcome, stream.completion.content) == ("error", "HelloHello!")

    virtual_clock.run(main())
