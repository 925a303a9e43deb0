"""Each fault, at the level of the bytes that a bare socket sees."""

from __future__ import annotations

import asyncio
import gc
import selectors
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import orjson
import pytest

from cometstream.testing import DONE, Reply, SimulatedServer

T = TypeVar("T")

HELLO = Reply.sse(b"data: one\n\n", b"data: two\n\n")
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
ONE = b"b\r\ndata: one\n\n\r\n"
TWO = b"b\r\ndata: two\n\n\r\n"
END = b"0\r\n\r\n"


@asynccontextmanager
async def asking(
    *replies: Reply, headers: str = "", version: str = "1.1"
) -> AsyncIterator[tuple[SimulatedServer, asyncio.StreamReader]]:
    """A server that is to give these replies, and the reader of a bare connection that asked for the first."""
    async with SimulatedServer() as server:
        server.script(*replies)
        host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /v1/chat/completions HTTP/{version}\r\nHost: x\r\n{headers}Content-Length: 2\r\n\r\n{{}}".encode()
        )
        try:
            yield server, reader
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def soon(wait: Awaitable[T]) -> T:
    """What is awaited, or a failure where it would hang."""
    return await asyncio.wait_for(wait, 10)


async def read_until_reset(reader: asyncio.StreamReader) -> bytes:
    """All bytes before the reset, which must come."""
    seen = b""
    try:
        while data := await soon(reader.read(65536)):
            seen += data
    except ConnectionResetError:
        return seen
    pytest.fail("the connection ended with FIN")


async def test_a_whole_reply_keeps_the_connection() -> None:
    async with asking(HELLO) as (server, reader):
        assert await soon(reader.readexactly(len(HEAD + ONE + TWO + END))) == HEAD + ONE + TWO + END
        await soon(server.requests[0].finished.wait())
        assert server.connections_open == 1
        assert not server.requests[0].disconnected.is_set()


async def test_a_client_that_asks_to_close_is_closed() -> None:
    async with asking(HELLO, headers="Connection: close\r\n") as (_, reader):
        head, _, body = (await soon(reader.read())).partition(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in head
        assert body == ONE + TWO + END


async def test_an_http_1_0_client_gets_no_chunks() -> None:
    async with asking(HELLO, version="1.0") as (_, reader):
        head, _, body = (await soon(reader.read())).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == HELLO.content


async def test_each_piece_is_a_read_of_its_own() -> None:
    pieces = (b"data: o", b"n", b"e\n", b"\n")
    async with asking(Reply.sse(*pieces).cut()) as (_, reader):
        seen = []
        while data := await soon(reader.read(65536)):
            seen.append(data)
    assert seen == [HEAD, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)]


async def test_split_writes_the_same_bytes_at_other_boundaries() -> None:
    assert HELLO.split(5).content == HELLO.content
    assert HELLO.split(5).body == (b"data:", b" one\n", b"\ndata", b": two", b"\n\n")


@pytest.mark.parametrize("at", range(len(HELLO.content) + 1))
async def test_a_cut_sends_exactly_that_many_body_bytes_and_fin(at: int) -> None:
    one, two = HELLO.content[:at][:11], HELLO.content[:at][11:]
    async with asking(HELLO.cut(at)) as (_, reader):
        assert await soon(reader.read()) == HEAD + b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (one, two) if part
        )


async def test_a_reply_without_length_is_cut_without_a_trace() -> None:
    reply = Reply(body=(b"Hello",), framing="close")
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    async with asking(reply.cut(3)) as (_, reader):
        assert await soon(reader.read()) == head + b"Hel"
    async with asking(reply) as (_, reader):
        assert await soon(reader.read()) == head + b"Hello"


async def test_a_cut_leaves_a_content_length_unfulfilled() -> None:
    async with asking(Reply.json({"a": 1}).cut(3)) as (_, reader):
        head, _, body = (await soon(reader.read())).partition(b"\r\n\r\n")
        assert b"Content-Length: 7" in head
        assert body == b'{"a'


async def test_a_reset_comes_after_that_many_body_bytes() -> None:
    async with asking(HELLO.reset(at=11)) as (server, reader):
        assert await read_until_reset(reader) == HEAD + ONE
        await soon(server.requests[0].finished.wait())
        assert not server.requests[0].disconnected.is_set()


async def test_a_reset_before_the_head_sends_nothing() -> None:
    async with asking(Reply.raw().reset()) as (_, reader):
        assert await read_until_reset(reader) == b""


async def test_a_close_before_the_head_sends_nothing() -> None:
    async with asking(Reply.raw()) as (_, reader):
        assert await soon(reader.read()) == b""


async def test_a_half_close_sends_fin_while_the_server_goes_on_reading() -> None:
    async with asking(HELLO.half_close(at=11)) as (server, reader):
        assert await soon(reader.read()) == HEAD + ONE
        assert server.connections_open == 1
        assert not server.requests[0].finished.is_set()
    assert server.requests[0].finished.is_set()


async def test_a_stall_lasts_until_the_client_leaves() -> None:
    async with SimulatedServer() as server:
        server.script(HELLO.stall(at=11))
        async with aiohttp.ClientSession() as session:
            response = await session.post(server.base_url)
            assert await response.content.readany() == b"data: one\n\n"
            assert not server.requests[0].disconnected.is_set()
            response.close()
            await soon(server.requests[0].disconnected.wait())
        await soon(server.until_unconnected())
        assert server.requests[0].finished.is_set()


async def test_a_connection_lingers_after_done() -> None:
    async with asking(Reply.text("Hello").stall()) as (server, reader):
        await soon(reader.readuntil(DONE))
        assert not reader.at_eof()
        assert not server.requests[0].finished.is_set()


async def test_keep_alives_go_on_for_ever() -> None:
    async with asking(HELLO.forever(b": PING\n\n")) as (_, reader):
        await soon(reader.readexactly(len(HEAD + ONE + TWO)))
        ping = b"8\r\n: PING\n\n\r\n"
        assert await soon(reader.readexactly(50 * len(ping))) == 50 * ping


async def test_an_event_holds_the_head_and_another_the_next_piece() -> None:
    head, piece = asyncio.Event(), asyncio.Event()
    async with asking(Reply.sse(b"data: one\n\n", piece, b"data: two\n\n").after(head)) as (_, reader):
        read = asyncio.ensure_future(reader.readexactly(len(HEAD + ONE)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not read.done()
        head.set()
        assert await read == HEAD + ONE
        read = asyncio.ensure_future(reader.readexactly(len(TWO)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not read.done()
        piece.set()
        assert await read == TWO


async def test_raw_bytes_are_the_whole_response() -> None:
    pieces = (b"HTTP/1.1 200 Fi", b"ne\r\nX: y\r\n\r\nnot ", b"\xff a protocol")
    async with asking(Reply.raw(*pieces)) as (_, reader):
        seen = []
        while data := await soon(reader.read(65536)):
            seen.append(data)
    assert seen == list(pieces)


async def test_status_headers_and_frames_are_as_scripted() -> None:
    error = {"error": {"code": 502, "message": "upstream died"}}
    reply = (
        Reply.text("Hi", finish_reason=None, done=False)
        .then(b"data: {half\n\n", error)
        .with_headers({"content-type": "x/y"})
    )
    async with asking(reply) as (_, reader):
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert b"\r\ncontent-type: x/y\r\n" in head
        assert b"text/event-stream" not in head
        body = await soon(reader.readuntil(END))
    assert b"data: {half\n\n\r\n" in body
    assert b'data: {"error":{"code":502,"message":"upstream died"}}\n\n' in body
    assert b'"content":"Hi"' in body
    assert b'"finish_reason":"' not in body
    assert DONE not in body


@pytest.mark.parametrize(("encoding", "wbits"), [("gzip", 31), ("deflate", 15)])
async def test_a_compressed_stream_can_be_decoded_write_by_write(encoding: Any, wbits: int) -> None:
    reply = HELLO.compressed(encoding)
    decoder = zlib.decompressobj(wbits=wbits)
    decoded = [decoder.decompress(piece) for piece in reply.body if isinstance(piece, bytes)]
    assert decoded == [b"data: one\n\n", b"data: two\n\n", b""]
    assert decoder.eof
    async with SimulatedServer() as server, aiohttp.ClientSession() as session:
        server.script(reply)
        async with session.post(server.base_url) as response:
            assert response.headers["Content-Encoding"] == encoding
            assert await response.read() == HELLO.content


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "Too Many Requests"), (500, "Internal Server Error"), (529, "Unassigned")]
)
async def test_an_error_has_the_gateways_body(status: int, reason: str) -> None:
    async with asking(Reply.error(status, "no", code="c", param="p", retry_after=2, request_id="r9")) as (_, reader):
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(f"HTTP/1.1 {status} {reason}\r\n".encode())
        assert b"\r\nRetry-After: 2\r\n" in head
        body = await soon(reader.readuntil(b"}}"))
    assert orjson.loads(body) == {
        "error": {"message": "no (request id: r9)", "type": "comet_api_error", "code": "c", "param": "p"}
    }


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which waiting takes no time: where nothing is ready, its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        self._loop.now += timeout
        return ready


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_delays_run_on_the_loops_clock() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with asking(Reply.sse(30.0, b"data: one\n\n", 3600, b"data: two\n\n").after(7)) as (_, reader):
            times = []
            for part in (HEAD, ONE, TWO, END):
                assert await reader.readexactly(len(part)) == part
                times.append(round(loop.now, 3))
        assert times == [7, 37, 3637, 3637]

    run_virtually(main)


def test_a_text_can_wait_before_its_first_token() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with asking(Reply.text(30.0, "Hello", usage={"total_tokens": 3})) as (_, reader):
            await reader.readuntil(b'"role":"assistant"')
            assert loop.now == 0
            await reader.readuntil(b'"content":"Hello"')
            assert round(loop.now, 3) == 30
            assert b'"choices":[],"usage":{"total_tokens":3}' in await reader.readuntil(DONE)

    run_virtually(main)


def test_pace_and_token_rate_run_on_the_loops_clock() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with asking(HELLO.paced(0.5)) as (_, reader):
            await reader.readexactly(len(HEAD + ONE + TWO))
        assert round(loop.now, 3) == 1.0
        async with SimulatedServer(token_rate=10) as server, aiohttp.ClientSession() as session:
            body = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "comets"}], "max_tokens": 20}
            headers = {"Authorization": f"Bearer {server.api_key}"}
            async with session.post(f"{server.base_url}/chat/completions", json=body, headers=headers) as response:
                await response.read()
            assert round(loop.now, 3) == 3.0

    run_virtually(main)


async def test_nothing_is_left_behind_a_fault() -> None:
    replies = [
        HELLO.cut(3),
        HELLO.reset(3),
        HELLO.half_close(3),
        Reply.raw(),
        HELLO.stall(3),
        HELLO.forever(b":\n\n", 60),
    ]
    for reply in replies:
        async with asking(reply) as (server, reader):
            await asyncio.gather(reader.read(1), return_exceptions=True)
        assert server.connections_open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
