"""A request over a connection that was used before, and the bytes of an answer that came beside others."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.loops import Run, on_each_loop
from support.raw_server import (
    CHUNKED,
    DONE,
    END,
    HEAD,
    STOP,
    Answering,
    answer,
    delivered,
    http_chunk,
    raw_server,
    reset,
    text,
)
from support.serving import CHAT, KEY, ask
from support.tls import CERTIFICATE
from support.ways import way

from cometstream import CometError, CometSession, ProtocolError, StreamTruncatedError

over_plain_tcp_and_tls = pytest.mark.parametrize("tls", [pytest.param(False, id="tcp"), pytest.param(True, id="tls")])


pytestmark = pytest.mark.usefixtures(way.__name__)


@pytest.fixture(autouse=True)
def _trust_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


STRAY = [
    pytest.param(b"stray", id="garbage"),
    pytest.param(b"HTTP/1.1 2", id="the beginning of an answer"),
    pytest.param(answer("a stranger's"), id="a whole answer"),
    pytest.param(HEAD + b"Content-Length: 99\r\n\r\n" + text("a stranger's"), id="a part of an answer"),
    pytest.param(None, id="the end"),
]


@over_plain_tcp_and_tls
@on_each_loop
@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("when", ["at once", "later", "while the loop is busy"])
def test_an_idle_connection_that_is_not_silent_is_not_used_again(
    run: Run, tls: bool, stray: bytes | None, when: str
) -> None:
    async def main() -> None:
        written = asyncio.Event()

        async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            if number > 1 or (when == "at once" and stray is not None):
                writer.write(answer(str(number)) + (stray or b""))
                return True
            writer.write(answer(str(number)))
            await asyncio.sleep(0.02)
            if stray is None:
                writer.close()
            else:
                writer.write(stray)
                if when == "while the loop is busy":
                    time.sleep(0.02)  # noqa: ASYNC251 - the client shares the loop: it does not see what has come
            written.set()
            return stray is not None

        async with (
            raw_server(answering, tls=tls) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            assert (await ask(session)).content == "1"
            if when != "at once":
                await written.wait()
            if when == "later":
                await asyncio.sleep(0.02)
            async with session.stream(**CHAT) as stream:
                assert (await stream.until_done()).content == "2"
            assert stream.metrics.attempts == 1
            assert server.requests == [1, 2]

    run(main())


@over_plain_tcp_and_tls
@on_each_loop
def test_a_silent_connection_is_used_again(run: Run, tls: bool) -> None:
    async def main() -> None:
        async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(answer(str(number)))
            return True

        async with (
            raw_server(answering, tls=tls) as server,
            CometSession(api_key=KEY, base_url=server.base_url) as session,
        ):
            for number in range(1, 4):
                assert (await ask(session)).content == str(number)
            assert server.connections == 1

    run(main())


async def closes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


@over_plain_tcp_and_tls
@on_each_loop
@pytest.mark.parametrize("dies", [closes, resets])
@pytest.mark.parametrize("size", [10, 8_000_000])
def test_a_kept_connection_that_fails_before_the_answer_is_replaced_and_nobody_counts_it(
    run: Run, tls: bool, dies: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], size: int
) -> None:
    async def main() -> None:
        died = 0

        async def answering(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            nonlocal died
            writer.write(answer(str(number)))
            await asyncio.sleep(0.02)
            if number > 4:
                return True
            await reader.readexactly(1)  # half of the next request at most
            died += 1
            await dies(reader, writer)
            return False

        async with (
            raw_server(answering, tls=tls) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            await asyncio.gather(*(ask(session) for _ in range(4)))
            options: dict[str, Any] = {**CHAT, "messages": [{"role": "user", "content": "x" * size}]}
            async with session.stream(**options) as stream:
                await stream.until_done()
            assert stream.metrics.attempts == 1
            assert died == 1
            assert server.connections == 5

    run(main())


async def test_a_fresh_connection_that_fails_is_an_attempt() -> None:
    async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if number == 1:
            writer.write(answer("1"))
        return number == 1

    async with (
        raw_server(answering) as server,
        CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
    ):
        await ask(session)
        with pytest.raises(CometError, match="no answer from"):
            await ask(session)
        assert server.requests == [1, 1, 2]


async def test_a_kept_connection_that_fails_within_the_answer_is_an_attempt() -> None:
    async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer("1") if number == 1 else b"HTTP/1.1 200 O")
        return number == 1

    async with (
        raw_server(answering) as server,
        CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
    ):
        await ask(session)
        with pytest.raises(CometError):
            await ask(session)
        assert server.requests == [1, 1]


BODY = text("Hello") + STOP + DONE
LARGE_BODY = b": still here\n\n" * 500 + BODY
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@on_each_loop
@pytest.mark.parametrize("body", [pytest.param(BODY, id="small"), pytest.param(LARGE_BODY, id="large")])
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda body: [CHUNKED + http_chunk(body) + END], id="nothing"),
        pytest.param(lambda body: [CHUNKED + http_chunk(body) + END + b"upstream died"], id="chunked"),
        pytest.param(lambda body: [HEAD + b"Content-Length: %d\r\n\r\n%boops" % (len(body), body)], id="with a length"),
        pytest.param(
            lambda body: [EARLY + EARLY + CHUNKED + http_chunk(body) + END + b"\x00"], id="after interim heads"
        ),
        pytest.param(
            lambda body: [EARLY * 1500 + CHUNKED + http_chunk(body) + END + b"\x00"], id="after many interim heads"
        ),
        *(
            pytest.param(
                lambda body, cut=cut: [CHUNKED[:cut], CHUNKED[cut:] + http_chunk(body) + END + b"junk"],
                id=f"a head cut at {cut}",
            )
            for cut in (1, -5, -4, -3, -2, -1)
        ),
        pytest.param(
            lambda body: [EARLY[:-1], EARLY[-1:] + CHUNKED[:-2], CHUNKED[-2:] + http_chunk(body) + END + b"junk"],
            id="two heads in three reads",
        ),
        pytest.param(
            lambda body: [b"\r\n\n" * 100 + CHUNKED + http_chunk(body) + END + b"junk"], id="after empty lines"
        ),
        pytest.param(
            lambda body: [(CHUNKED + http_chunk(body)).replace(b"\r\n", b"\n", 3) + END + b"junk"], id="bare line feeds"
        ),
        pytest.param(lambda body: [CHUNKED + http_chunk(body) + END + answer("a stranger's")], id="another answer"),
    ],
)
def test_bytes_behind_an_answer_take_nothing_from_it(
    run: Run, written: Callable[[bytes], list[bytes]], body: bytes
) -> None:
    pieces = written(body)

    async def main() -> None:
        async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            return True

        async with (
            raw_server(answering) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            for _ in range(2):
                assert (await ask(session)).content == "Hello"
            assert server.connections == (1 if pieces == [CHUNKED + http_chunk(body) + END] else 2)

    run(main())


@on_each_loop
@pytest.mark.parametrize("head", [b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n", b"HTTP/9 OK\n\n"])
@pytest.mark.parametrize("body", [b"", b"x" * 10_000, b"\r\n\r\n" * 5_000])
def test_a_head_that_is_none_is_told_once_whatever_comes_behind_it(run: Run, head: bytes, body: bytes) -> None:
    async def main() -> None:
        async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(head + body)
            return True

        async with (
            raw_server(answering) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            for _ in range(2):
                with pytest.raises(ProtocolError, match="not HTTP"):
                    await ask(session)
            assert server.connections == 2

    run(main())


def slow_loss(how: str, count: int, gone: asyncio.Event) -> Answering:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(CHUNKED + http_chunk(text("first")))
        await asyncio.sleep(0.05)
        for place in range(count):
            writer.write(http_chunk(text(f"{place}:" + "x" * 200)))
            if place % 50 == 49:
                await asyncio.sleep(0.001)
        if how == "reset":
            await delivered(writer)
        await asyncio.sleep(0.1)
        if how != "close":
            reset(writer)
        gone.set()
        return False

    return answering


@over_plain_tcp_and_tls
@on_each_loop
@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_slow_reader_is_given_every_event_that_had_come_before_the_connection_was_lost(
    run: Run, tls: bool, how: str
) -> None:
    async def main() -> None:
        # More than a body holds; under TLS its layer has room for the rest, and sees the loss while the reader is away.
        count = 2300 if tls else 2000
        gone = asyncio.Event()
        async with (
            raw_server(slow_loss(how, count, gone), tls=tls) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            got = []
            async with session.stream(**CHAT) as stream:
                with pytest.raises(StreamTruncatedError):  # noqa: PT012 - what came before the error counts
                    async for content in stream.text():
                        got.append(content.partition(":")[0])
                        if len(got) == 1:
                            await gone.wait()
                            await asyncio.sleep(0.1)  # all has come and the connection is lost by then
            assert got == ["first", *map(str, range(count))]

    run(main())


@over_plain_tcp_and_tls
@on_each_loop
def test_leaving_a_stream_whose_lost_connection_is_not_read_leaves_nothing_open(run: Run, tls: bool) -> None:
    async def main() -> None:
        gone = asyncio.Event()
        async with (
            raw_server(slow_loss("reset at once", 4000, gone), tls=tls) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
                await gone.wait()
                await asyncio.sleep(0.1)
            assert stream.outcome == "cancelled"

    run(main())


@over_plain_tcp_and_tls
@on_each_loop
def test_closing_the_session_of_a_slow_reader_does_not_wait_for_him(run: Run, tls: bool) -> None:
    async def main() -> None:
        async def answering(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(CHUNKED + http_chunk(text("first")) + http_chunk(text("x" * 200)) * 20_000)
            await reader.read()
            return False

        async with raw_server(answering, tls=tls) as server:
            session = CometSession(api_key=KEY, base_url=server.base_url, retry=None)
            async with session.stream(**CHAT) as stream:
                await stream.__anext__()
                await asyncio.sleep(0.2)  # the connection is paused by now
                await asyncio.wait_for(session.aclose(), 5)

    run(main())


@on_each_loop
@pytest.mark.parametrize("unit", [b":\n\n", b"\n"])
def test_a_compressed_answer_lets_others_run(run: Run, unit: bytes) -> None:
    async def main() -> None:
        body = gzip.compress(text("a") + unit * (2_000_000 // len(unit)) + STOP + DONE)

        async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            return True

        async with (
            raw_server(answering) as server,
            CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session,
        ):
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(count())
            assert (await ask(session)).content == "a"
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
            assert turns > 9  # 2 MB in pieces of 192 KiB

    run(main())
