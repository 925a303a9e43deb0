"""What each workaround does, and that it is still needed: a test of the plain library fails once it was mended there."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support.loops import Run, on_each_loop, turns_until
from support.raw_server import CHUNKED, DONE, END, HEAD, STOP, answer, http_chunk, raw_server, reset, text
from support.serving import CHAT, KEY, ask, serving
from support.tls import CERTIFICATE, client_context

from cometstream import CometSession
from cometstream.testing import Reply, chunk, frame
from cometstream.transport.quirks import (
    Connector,
    KeptConnectionLost,
    _Handler,
    client_timeout,
    missing_package,
    receive_less,
    request_body,
)

ROOM = 64 * 1024
RECORD = 16 * 1024


class Room:
    """In the place of the attribute that tells a transport how much to receive; keeps what it is set to."""

    def __init__(self) -> None:
        self.set: list[int] = []

    def __get__(self, transport: Any, cls: Any) -> int:
        return transport.__dict__.get("max_size", 256 * 1024)

    def __set__(self, transport: Any, size: int) -> None:
        self.set.append(size)
        transport.__dict__["max_size"] = size


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    async with serving() as (server, _):
        host, port = server.base_url.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        cls = type(writer.transport)
        writer.close()
    if not hasattr(cls, "max_size"):
        pytest.skip("this event loop's transports have no such attribute")
    room = Room()
    monkeypatch.setattr(cls, "max_size", room)
    return room


async def test_each_connection_of_a_session_receives_less_from_its_first_answer_on(room: Room) -> None:
    async with serving() as (_, session):
        await ask(session)
        assert room.set == [ROOM]
        await ask(session)
        assert room.set == [ROOM]  # the same connection


async def test_so_does_a_connection_of_the_callers_own_client_that_streams(room: Room) -> None:
    go_on = asyncio.Event()
    reply = Reply((frame(chunk({"content": "Comets"})), go_on, frame(chunk(finish_reason="stop")), DONE))
    async with serving(reply) as (server, _), aiohttp.ClientSession() as client:
        async with CometSession(api_key=KEY, base_url=server.base_url, client=client) as session:
            async with session.stream(**CHAT) as stream:
                assert room.set == [ROOM]
                go_on.set()
                assert (await stream.until_done()).content == "Comets"


@on_each_loop
def test_an_answer_larger_than_the_room_comes_whole(run: Run) -> None:
    async def main() -> None:
        text = "x" * (5 * ROOM)
        async with serving(Reply((frame(chunk({"content": text})), frame(chunk(finish_reason="stop")), DONE))) as (
            _,
            session,
        ):
            assert (await ask(session)).content == text

    run(main())


@on_each_loop
@pytest.mark.parametrize("compressed", [False, True])
def test_a_connection_that_is_paused_for_a_slow_reader_goes_on_when_he_does(run: Run, compressed: bool) -> None:
    async def main() -> None:
        pieces = [f"{number} " for number in range(20_000)]
        reply = Reply(
            (*(frame(chunk({"content": piece})) for piece in pieces), frame(chunk(finish_reason="stop")), DONE)
        )
        async with serving(reply.compressed("gzip") if compressed else reply) as (_, session):
            async with session.stream(**CHAT) as stream:
                await anext(stream)
                await asyncio.sleep(0.3)  # by then the server has filled every buffer between
                assert (await stream.until_done()).content == "".join(pieces)

    run(main())


async def test_a_connection_that_was_not_paused_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("pause_reading", "resume_reading"):
        monkeypatch.setattr(ResponseHandler, name, lambda *_, name=name: calls.append(name))
    monkeypatch.setattr("cometstream.transport.quirks._KNOWN", True)
    handler = _Handler(asyncio.get_running_loop())
    handler.resume_reading()
    assert calls == []
    handler.pause_reading()
    handler.resume_reading()
    handler.resume_reading()
    assert calls == ["pause_reading", "resume_reading"]
    monkeypatch.setattr("cometstream.transport.quirks._KNOWN", False)
    handler.resume_reading()
    assert calls == ["pause_reading", "resume_reading", "resume_reading"]


async def test_a_session_reads_through_such_connections() -> None:
    connector = Connector(limit=0, tls=None)
    factory: Any = connector._factory
    assert isinstance(factory(), _Handler)
    await connector.close()


def test_a_transport_that_makes_less_room_or_does_not_tell_is_left_alone() -> None:
    small: Any = SimpleNamespace(max_size=100)
    receive_less(small)
    assert small.max_size == 100
    other: Any = SimpleNamespace()
    receive_less(other)
    assert vars(other) == {}
    receive_less(None)


needs_a_large_buffer = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="CPython 3.10's TLS layer has no buffer of its own"
)


@needs_a_large_buffer
async def test_tls_connections_of_a_loop_share_one_buffer_and_make_room_for_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await turns_until(lambda: len(server.requests) == 3)
        writer.write(answer("Hello"))
        return True

    async with (
        raw_server(answering, tls=True) as server,
        CometSession(api_key=KEY, base_url=server.base_url) as session,
    ):
        await asyncio.gather(*(ask(session) for _ in range(3)))
        connector: Any = session._pool.client().connector
        layers = [handler.transport._ssl_protocol for handler in connector._connected]
        assert len(layers) == 3
        assert {id(layer._ssl_buffer) for layer in layers} == {id(connector._room.obj)}
        assert {len(layer._ssl_buffer) for layer in layers} == {ROOM}
        assert {layer.max_size for layer in layers} == {RECORD}


@needs_a_large_buffer
async def test_so_do_connections_of_the_callers_own_client_but_share_nothing() -> None:
    async def answering(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(CHUNKED + http_chunk(text("Hello")))
        await reader.read()
        return False

    async with (
        raw_server(answering, tls=True) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context())) as client,
        CometSession(api_key=KEY, base_url=server.base_url, client=client) as session,
    ):
        buffers = []
        for _ in range(2):
            async with session.stream(**CHAT) as stream:
                incoming: Any = stream._incoming
                layer = incoming._transport
                assert len(layer._ssl_protocol._ssl_buffer) == RECORD
                buffers.append(layer._ssl_protocol._ssl_buffer)
        assert buffers[0] is not buffers[1]


@on_each_loop
def test_large_answers_over_tls_at_the_same_time_are_not_mixed_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main() -> None:
        async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(CHUNKED)
            for place in range(40):
                writer.write(http_chunk(text(f"{number}:{place};" + "abcdefghij"[number % 10] * 9_000)))
                await asyncio.sleep(0)
            writer.write(http_chunk(STOP + DONE) + END)
            return True

        async with (
            raw_server(answering, tls=True) as server,
            CometSession(api_key=KEY, base_url=server.base_url) as session,
        ):
            for content in [answer.content for answer in await asyncio.gather(*(ask(session) for _ in range(9)))]:
                assert content is not None
                number = int(content.partition(":")[0])
                letters = "abcdefghij"[number] * 9_000
                assert content == "".join(f"{number}:{place};{letters}" for place in range(40))

    run(main())


# What follows asks the plain library, without us. A test that fails tells that a workaround may go.


async def plain_read(base_url: str, **options: Any) -> bytes:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context())) as client:
        async with client.get(base_url, **options) as response:
            return await response.read()


async def test_still_needed_asyncio_makes_room_for_256_kib() -> None:
    async with serving() as (server, _):
        host, port = server.base_url.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert getattr(writer.transport, "max_size", 0) == 256 * 1024
        writer.close()


@needs_a_large_buffer
async def test_still_needed_a_tls_layer_has_a_large_buffer_of_its_own() -> None:
    async def answering(_: int, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> bool:
        return False

    async with raw_server(answering, tls=True) as server:
        host, port = server.base_url.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=client_context())
        layer: Any = writer.transport
        assert layer._ssl_protocol.max_size == len(layer._ssl_protocol._ssl_buffer) == 256 * 1024
        writer.transport.abort()


async def test_still_needed_aiohttp_does_not_keep_connections_alive() -> None:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(CHUNKED)
        await asyncio.sleep(1)
        return False

    async with raw_server(answering) as server, aiohttp.ClientSession() as client:
        async with client.get(server.base_url) as response:
            assert response.connection is not None
            assert response.connection.transport is not None
            sock = response.connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


async def test_still_needed_aiohttp_warns_of_a_large_body() -> None:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer("x"))
        return True

    large = b"x" * (2**20 + 1)
    assert request_body(large[:-1]) == large[:-1]
    async with raw_server(answering) as server, aiohttp.ClientSession() as client:
        with pytest.warns(ResourceWarning, match="large body"):
            await client.post(server.base_url, data=large)
        await client.post(server.base_url, data=request_body(large))  # a warning is an error


def test_still_needed_aiohttps_own_limits_end_a_request_and_are_rounded() -> None:
    assert aiohttp.client.DEFAULT_TIMEOUT.total == 300
    assert aiohttp.ClientTimeout().ceil_threshold == 5
    ours = client_timeout(2.5, queues=False)
    assert (ours.total, ours.connect, ours.sock_read) == (None, 2.5, None)
    assert client_timeout(2.5, queues=True).connect is None


async def test_still_needed_an_exception_withholds_what_came_before_it() -> None:
    handler = ResponseHandler(asyncio.get_running_loop())
    content = aiohttp.StreamReader(handler, 2**16, loop=asyncio.get_running_loop())
    content.feed_data(b"came before")
    content.set_exception(ValueError())
    with pytest.raises(ValueError):
        await content.readany()


class Resumed(ResponseHandler):
    calls = 0

    def resume_reading(self, resume_parser: bool = True) -> None:
        Resumed.calls += 1
        super().resume_reading(resume_parser)


async def test_still_needed_aiohttp_resumes_what_was_not_paused() -> None:
    handler = Resumed(asyncio.get_running_loop())
    content = aiohttp.StreamReader(handler, 2**16, loop=asyncio.get_running_loop())
    content.feed_data(b"1")
    await content.readany()
    assert Resumed.calls == 1


async def test_still_needed_no_read_of_a_compressed_body_waits() -> None:
    body = gzip.compress(b"\n" * 20_000_000)

    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return True

    async with raw_server(answering) as server, aiohttp.ClientSession() as client:
        async with client.get(server.base_url) as response:
            await asyncio.sleep(0.1)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(count())
            while await response.content.readany():
                pass
            assert turns < 5
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)


class Still(asyncio.Transport):
    """A transport over which nothing comes by itself."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: Any) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


def asked() -> tuple[_Handler, asyncio.Future[Any]]:
    """Return a connection that has served before and is asked once more, and what waits for the head."""
    handler = _Handler(asyncio.get_running_loop())
    handler.connection_made(Still())
    handler.ask(b"").cancel()
    return handler, handler.ask(b"")


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_connection_is_paused_by_what_waits_for_its_reader_and_goes_on_once_that_is_read(pieces: int) -> None:
    handler, coming = asked()
    handler.data_received(CHUNKED)
    _, body = await coming
    for size in (*[1000] * 1000, 600_000, 1000):
        for _ in range(pieces):
            handler.data_received(b"%x\r\n%b\r\n" % (size, b"x" * size))
        assert handler._is_held is (size == 600_000)
        assert len(await body.readany()) == pieces * size
        assert handler._is_held is False


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize("before", [b"", EARLY, b"\r\n\n", EARLY + b"\r\n" + EARLY])
@pytest.mark.parametrize("head", [CHUNKED, CHUNKED.replace(b"\r\n", b"\n")])
async def test_a_head_is_parsed_alone_wherever_it_was_cut(before: bytes, head: bytes) -> None:
    heads = before + head
    for cut in range(len(heads)):
        handler, coming = asked()
        handler.data_received(heads[:cut])
        handler.data_received(heads[cut:] + b"4\r\nbody\r\nno size of a chunk")
        message, body = await coming
        assert message.code == 200
        assert body.read_nowait() == b"body"


@pytest.mark.parametrize("came", [b"H", EARLY, EARLY + b"HTTP/1.1 2"])
async def test_a_connection_of_which_anything_was_heard_is_not_told_as_a_lost_kept_one(came: bytes) -> None:
    for heard, is_lost in ((b"", True), (came, False)):
        handler, coming = asked()
        handler.data_received(heard)
        handler.connection_lost(ConnectionResetError())
        with pytest.raises((aiohttp.ClientError, OSError)) as caught:
            await coming
        assert isinstance(caught.value, KeptConnectionLost) is is_lost


async def test_still_needed_stray_bytes_take_the_answer_away() -> None:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer("Hello") + b"upstream died")
        return True

    async with raw_server(answering) as server:
        with pytest.raises(aiohttp.ClientResponseError):
            await plain_read(server.base_url)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="CPython 3.10's TLS layer also warns of what the peer closed")
@on_each_loop
def test_still_needed_the_tls_layer_drops_what_it_holds(run: Run) -> None:
    async def main() -> None:
        body = b"".join(http_chunk(text("x" * 200)) for _ in range(4000))

        async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(CHUNKED + body)
            await asyncio.sleep(0.2)
            reset(writer)
            return False

        async with raw_server(answering, tls=True) as server:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context())) as client:
                async with client.get(server.base_url) as response:
                    assert response.connection is not None
                    transport = response.connection.transport
                    assert transport is not None
                    transport.pause_reading()
                    before = response.content.total_bytes
                    await asyncio.sleep(0.4)
                    tls = transport.get_extra_info("ssl_object")
                    assert response.content.total_bytes == before  # nobody was given what this reads:
                    assert len(tls.read(1000)) == 1000

    run(main())


async def test_still_needed_an_idle_connection_is_not_looked_at() -> None:
    async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer(str(number)))
        await asyncio.sleep(0.02)
        writer.write(answer("a stranger's"))
        return True

    async with raw_server(answering) as server, aiohttp.ClientSession() as client:

        async def post() -> bytes:
            async with client.post(server.base_url) as response:
                return await response.read()

        await post()
        await asyncio.sleep(0.05)
        assert b"a stranger's" in await post()


async def test_still_needed_a_kept_connection_that_is_dead_fails_as_any_other() -> None:
    async def answering(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer(str(number)))
        await reader.readexactly(1)
        return False

    async with raw_server(answering) as server, aiohttp.ClientSession() as client:
        await (await client.post(server.base_url)).read()
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await client.post(server.base_url)


@on_each_loop
def test_still_needed_closing_under_tls_waits_for_the_peer(run: Run) -> None:
    async def main() -> None:
        async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            transport: Any = writer.transport
            transport.pause_reading()  # it never says goodbye
            writer.write(CHUNKED)
            await asyncio.sleep(0.5)
            return False

        async with raw_server(answering, tls=True) as server:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_context())) as client:
                response = await client.get(server.base_url)
                assert response.connection is not None
                transport = response.connection.transport
                closed = response.connection.protocol.closed if response.connection.protocol is not None else None
                assert transport is not None
                assert closed is not None
                response.close()
                await asyncio.sleep(0.1)
                assert not closed.done()
                transport.abort()
                await asyncio.sleep(0.01)
                assert closed.done()

    run(main())


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ("Can not decode content-encoding: brotli (br). Please install `Brotli`", ("br", "brotli")),
        ("Can not decode content-encoding: zstandard (zstd). Please install", ("zstd", "backports.zstd")),
        ("Can not decode content-encoding: br", ("br", "brotli")),
        ("Can not decode content-encoding: gzip", None),
    ],
)
def test_a_package_that_is_missing_is_read_from_the_message(message: str, missing: tuple[str, str] | None) -> None:
    assert missing_package(message) == missing


async def test_still_needed_a_body_with_broken_framing_never_ends() -> None:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(CHUNKED + http_chunk(text("a")))
        await asyncio.sleep(0.02)
        writer.write(b"<html>502</html>")
        await asyncio.sleep(0.05)
        return False

    async with raw_server(answering) as server:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(plain_read(server.base_url, timeout=aiohttp.ClientTimeout()), 0.5)


def test_still_needed_a_transport_whose_loop_is_closed_warns() -> None:
    left, other = socket.socketpair()
    loop = asyncio.new_event_loop()

    async def main() -> asyncio.BaseTransport:
        return (await loop.create_connection(asyncio.Protocol, sock=left))[0]

    transport = loop.run_until_complete(main())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(RuntimeError, match="closed"):
            transport.close()
        del transport
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in caught)
    other.close()


async def test_still_needed_aiohttp_has_no_way_to_ask_for_a_fresh_connection() -> None:
    keywords = aiohttp.ClientSession._request.__kwdefaults__
    assert keywords is not None
    assert "fresh" not in " ".join(keywords)
    assert hasattr(aiohttp.TCPConnector, "_get")  # what ours stands before
