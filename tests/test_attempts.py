from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import re
import resource
import socket
import ssl
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support import virtual_clock
from support.ports import free_port
from support.serving import CHAT, KEY, ask, failure, failure_of, serving

from cometstream import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    CometSession,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    Timeouts,
    UsageError,
)
from cometstream.testing import Reply, SimulatedServer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# A key and a certificate for 127.0.0.1 that only it itself vouches for.
CERTIFICATE = Path(__file__).parent / "support" / "data" / "loopback.pem"


@contextlib.asynccontextmanager
async def listening(handler: Handler, *, tls: bool = False) -> AsyncIterator[int]:
    """A server that does what `handler` does, on the port that is given; connections still open at the end are cut."""
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def session_for(port: int, scheme: str = "http", **options: Any) -> CometSession:
    return CometSession(**{"api_key": KEY, "base_url": f"{scheme}://127.0.0.1:{port}/v1", "retry": None, **options})


# Statuses


@pytest.mark.parametrize(
    ("status", "code", "expected", "retryable"),
    [
        (301, "", APIStatusError, False),
        (302, "", APIStatusError, False),
        (307, "", APIStatusError, False),
        (308, "", APIStatusError, False),
        (400, "", BadRequestError, False),
        (400, "context_length_exceeded", BadRequestError, False),
        (401, "", AuthenticationError, False),
        (402, "", APIStatusError, False),
        (403, "", PermissionDeniedError, False),
        (403, "insufficient_user_quota", PermissionDeniedError, False),
        (404, "", NotFoundError, False),
        (408, "", APIStatusError, True),
        (409, "", APIStatusError, True),
        (413, "", APIStatusError, False),
        (422, "", APIStatusError, False),
        (429, "", RateLimitError, True),
        (429, "insufficient_quota", RateLimitError, False),
        (500, "", InternalServerError, True),
        (500, "invalid_request", BadRequestError, False),
        (500, "channel:no_available_key", InternalServerError, False),
        (502, "", InternalServerError, True),
        (503, "", InternalServerError, True),
        (503, "model_not_found", InternalServerError, False),
        (504, "", InternalServerError, True),
        *((status, "", InternalServerError, True) for status in (520, 521, 522, 523, 524, 529)),
    ],
)
def test_a_status_becomes_its_typed_error_with_all_that_the_server_said(
    status: int, code: str, expected: type[APIStatusError], retryable: bool
) -> None:
    reply = Reply.error(status, "what is wrong", code=code, type="some_type", param="messages", request_id="req-7")
    error = virtual_clock.run(failure_of(reply.with_headers({"X-Extra": "yes"})))
    assert type(error) is expected
    assert error.status == status
    assert error.code == (code or None)
    assert error.type == "some_type"
    assert error.param == "messages"
    assert error.body == {
        "error": {
            "message": "what is wrong (request id: req-7)",
            "type": "some_type",
            "code": code,
            "param": "messages",
        }
    }
    assert error.headers["x-extra"] == error.headers["X-EXTRA"] == "yes"
    assert error.request_id == "req-7"
    assert error.retry_after is None
    assert error.retryable is retryable
    assert error.partial is None
    assert f"{status}: what is wrong" in str(error)


def test_the_request_id_of_a_header_comes_before_that_of_the_message() -> None:
    for name in ("X-Cometapi-Request-Id", "x-request-id", "X-Oneapi-Request-Id", "Request-Id"):
        reply = Reply.error(400, request_id="in-message").with_headers({name: "in-header"})
        assert virtual_clock.run(failure_of(reply)).request_id == "in-header"


@pytest.mark.parametrize(
    ("body", "content_type", "message", "kept"),
    [
        (b'{"detail":"no such field"}', "application/json", "no such field", {"detail": "no such field"}),
        (b'{"detail":[{"loc":["body"]}]}', "text/plain", '[{"loc":["body"]}]', {"detail": [{"loc": ["body"]}]}),
        (b'{"message":"too long"}', "text/html", "too long", {"message": "too long"}),
        (b'{"error":"just text"}', "application/json", "just text", {"error": "just text"}),
        (b'[{"error":{"message":"listed"}}]', "application/json", "listed", {"error": {"message": "listed"}}),
        (b'{"error":{}}', "application/json", '{"error":{}}', {"error": {}}),
        (b'"text"', "application/json", "text", "text"),
        (b"null", "application/json", "null", None),
        (b"upstream  connect\nerror", "text/plain", "upstream connect error", "upstream  connect\nerror"),
        (b"\xef\xbb\xbfabc", "text/plain", "abc", "abc"),
        (b"\xff\xfe", "application/json", "\ufffd\ufffd", "\ufffd\ufffd"),
        (
            b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>",
            "application/json",
            "502 Bad Gateway: nginx",
            "<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>",
        ),
        ("无可用渠道".encode(), "text/plain", "无可用渠道", "无可用渠道"),
        (b"", "application/json", "no message", ""),
    ],
)
def test_an_error_body_of_any_shape_gives_its_best_message_and_is_kept(
    body: bytes, content_type: str, message: str, kept: Any
) -> None:
    error = virtual_clock.run(failure_of(Reply.plain(body, content_type=content_type, status=422)))
    assert type(error) is APIStatusError
    assert str(error) == f"422: {message}"
    assert error.body == kept


def test_a_huge_error_body_is_read_and_kept_only_in_part() -> None:
    async def main() -> None:
        async with serving(Reply.plain(b"x" * 2**20, content_type="text/plain", status=418), retry=None) as (
            server,
            session,
        ):
            error = await failure(session)
            assert isinstance(error, APIStatusError)
            assert error.body == "x" * 65536
            assert len(str(error)) < 400
            await asyncio.sleep(0.1)
            assert server.connections_open == 0

    virtual_clock.run(main())


@pytest.mark.parametrize("fault", [Reply.stall, Reply.cut, Reply.reset])
@pytest.mark.parametrize("timeouts", [Timeouts(), None])
def test_an_error_body_that_never_ends_does_not_keep_its_status_back(
    fault: Callable[..., Reply], timeouts: Timeouts | None
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        error = await failure_of(fault(Reply.error(403, "no access to this"), at=20), timeouts=timeouts)
        assert isinstance(error, PermissionDeniedError)
        assert error.body == '{"error":{"message":'
        assert loop.time() - began < 6

    virtual_clock.run(main())


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_error_body_is_decoded(encoding: Any) -> None:
    error = virtual_clock.run(failure_of(Reply.error(403, "no access to this").compressed(encoding)))
    assert "no access to this" in str(error)


def test_401_says_where_the_key_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error = virtual_clock.run(failure_of(Reply.error(401)))
    assert "api_key=" in str(error)
    assert "http://127.0.0.1" in str(error)
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    error = virtual_clock.run(failure_of(Reply.error(401), api_key=None))
    assert "COMETAPI_KEY" in str(error)


@pytest.mark.parametrize("reply", [Reply.error(404), Reply.error(503, "no channel", code="model_not_found")])
def test_an_unknown_model_names_the_models_page_and_the_base_url(reply: Reply) -> None:
    error = virtual_clock.run(failure_of(reply))
    assert "Models page" in str(error)
    assert "http://127.0.0.1" in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After": "Thu, 01 Jan 1970 00:16:45 GMT"}, 5.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"Retry-After-Ms": "250"}, 0.25),
        ({"Retry-After": "9", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    error = virtual_clock.run(failure_of(Reply.error(429).with_headers(headers)))
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


def test_no_redirect_is_followed_and_the_error_names_its_target() -> None:
    async def main(status: int) -> None:
        async with SimulatedServer() as elsewhere:
            target = f"{elsewhere.base_url}/chat/completions"
            error = await failure_of(
                Reply.plain(b"", content_type="text/html", status=status).with_headers({"Location": target})
            )
            assert type(error) is APIStatusError
            assert error.status == status
            assert target in str(error)
            assert not error.retryable
            assert elsewhere.connections_seen == 0

    for status in (301, 302, 303, 307, 308):
        virtual_clock.run(main(status))


# An answer that is none


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 two hundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 20000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
async def test_garbage_instead_of_http_is_a_protocol_error_on_one_line(answer: bytes) -> None:
    error = await failure_of(Reply.raw(answer))
    assert type(error) is ProtocolError
    assert "not HTTP" in str(error)
    assert "http://127.0.0.1" in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    assert not error.retryable


def test_a_head_that_never_ends_is_given_up() -> None:
    head = Reply.raw(b"HTTP/1.1 200 OK\r\n").forever(0.01, b"X-Again: and again\r\n")
    error = virtual_clock.run(failure_of(head, timeouts=Timeouts(first_content=20)))
    # aiohttp counts the headers; its older versions leave it to the clock.
    assert isinstance(error, (ProtocolError, APITimeoutError))


@pytest.mark.parametrize("encoding", ["br", "zstd"])
async def test_an_encoding_that_cannot_be_decoded_names_the_package(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if encoding == "zstd" and not hasattr(aiohttp.http_parser, "HAS_ZSTD"):
        pytest.skip("this aiohttp knows no zstd")
    monkeypatch.setattr("aiohttp.http_parser.HAS_BROTLI", False)
    monkeypatch.setattr("aiohttp.http_parser.HAS_ZSTD", False, raising=False)
    monkeypatch.setattr("aiohttp.compression_utils.HAS_BROTLI", False)
    error = await failure_of(Reply.text("Hi").with_headers({"Content-Encoding": encoding}))
    assert type(error) is ProtocolError
    assert {"br": "brotli", "zstd": "zstd"}[encoding] in str(error)


@pytest.mark.parametrize("reply", [Reply.raw().cut(), Reply.raw().reset(), Reply.raw(b"HTTP/1.1 200 OK\r\nX-").cut()])
async def test_a_connection_that_ends_before_the_head_is_a_retryable_connection_error(reply: Reply) -> None:
    error = await failure_of(reply)
    assert type(error) is APIConnectionError
    assert "no answer from http://127.0.0.1" in str(error)
    assert error.retryable


# No connection


async def test_a_refused_connection_names_the_base_url() -> None:
    async with session_for(port := free_port()) as session:
        error = await failure(session)
    assert type(error) is APIConnectionError
    assert f"http://127.0.0.1:{port}/v1" in str(error)
    assert error.retryable
    assert isinstance(error, ConnectionError)


async def test_a_name_that_is_not_found_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_name(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_such_name)
    async with CometSession(api_key=KEY, base_url="https://nowhere.invalid/v1", retry=None) as session:
        error = await failure(session)
    assert type(error) is APIConnectionError
    assert "nowhere.invalid" in str(error)


async def test_tls_with_a_server_that_speaks_none_fails_for_good() -> None:
    async with SimulatedServer() as server:
        async with CometSession(api_key=KEY, base_url=server.base_url.replace("http:", "https:")) as session:
            stream = session.stream(**CHAT)
            with pytest.raises(APIConnectionError, match=r"TLS with https://127\.0\.0\.1") as caught:
                await stream.__aenter__()
        assert not caught.value.retryable
        assert stream.metrics.attempts == 1
        assert server.requests == []


async def test_a_certificate_that_is_not_trusted_fails_for_good_and_gets_no_prompt() -> None:
    read = io.BytesIO()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.write(await reader.read())

    async with listening(handler, tls=True) as port, session_for(port, "https") as session:
        error = await failure(session)
    assert type(error) is APIConnectionError
    assert "certificate of https://127.0.0.1" in str(error)
    assert "not trusted" in str(error)
    assert not error.retryable
    assert read.getvalue() == b""


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], None]]:
    """A function that takes every file descriptor that this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def take() -> None:
        highest = os.open(os.devnull, os.O_RDONLY)
        taken.append(highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, highest + 8), hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))

    yield take
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in taken:
        os.close(descriptor)


async def test_a_process_without_file_descriptors_is_told_of_ulimit(no_descriptors: Callable[[], None]) -> None:
    async with serving(retry=None) as (_, session):
        no_descriptors()
        error = await failure(session)
    assert type(error) is APIConnectionError
    assert "ulimit -n" in str(error)
    assert "max_connections" in str(error)
    assert not error.retryable


# Clocks


async def never(*args: Any, **kwargs: Any) -> Any:
    await asyncio.get_running_loop().create_future()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("step", ["getaddrinfo", "sock_connect", "TLS"])
def test_the_connect_clock_covers_the_name_the_connection_and_tls(step: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with listening(silent) as port:
            url = f"https://127.0.0.1:{port}/v1"
            if step == "getaddrinfo":
                url = "https://nowhere.invalid/v1"
            if step != "TLS":
                setattr(loop, step, never)
            began = loop.time()
            async with CometSession(api_key=KEY, base_url=url, retry=None, timeouts=Timeouts(connect=3)) as session:
                error = await failure(session)
        assert isinstance(error, APITimeoutError)
        assert error.clock == "connect"
        assert error.retryable
        assert loop.time() - began == pytest.approx(3, abs=0.1)
        assert str(error) == f"no connection to {url} within 3 s (timeouts.connect)"
        await asyncio.sleep(0)

    virtual_clock.run(main())


def test_the_connect_clock_covers_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with listening(silent) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            async with session_for(443, "https", timeouts=Timeouts(connect=3)) as session:
                error = await failure(session)
        assert isinstance(error, APITimeoutError)
        assert error.clock == "connect"

    virtual_clock.run(main())


def test_the_connect_clock_runs_in_a_callers_own_client_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        setattr(loop, "sock_connect", never)  # noqa: B010 - a method is not assignable
        async with aiohttp.ClientSession() as client:
            session = session_for(9, client=client, timeouts=Timeouts(connect=3))
            error = await failure(session)
        assert isinstance(error, APITimeoutError)
        assert error.clock == "connect"
        assert "within 3 s" in str(error)

    virtual_clock.run(main())


@pytest.mark.parametrize("mine", [True, False])
def test_a_silent_server_trips_first_content_and_no_wait_for_it_is_counted_as_connecting(mine: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with SimulatedServer() as server, aiohttp.ClientSession() as client:
            server.always(Reply.text("late").after(1000))
            options: dict[str, Any] = {} if mine else {"client": client}
            timeouts = Timeouts(connect=1, first_content=20)
            async with CometSession(
                api_key=KEY, base_url=server.base_url, retry=None, timeouts=timeouts, **options
            ) as session:
                began = loop.time()
                error = await failure(session)
        assert isinstance(error, APITimeoutError)
        assert error.clock == "first_content"
        assert "within 20 s" in str(error)
        assert loop.time() - began == pytest.approx(20, abs=0.1)

    virtual_clock.run(main())


def test_waiting_for_a_place_in_the_pool_is_on_no_clock_but_total() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()
        timeouts = Timeouts(connect=1, first_content=5)
        async with serving(timeouts=timeouts, retry=None, max_connections=1) as (server, session):
            server.script(Reply.sse(b": hold\n\n", gate), Reply.text("second").after(3), Reply.text("third"))
            async with session.stream(**CHAT, timeouts=Timeouts(first_content=None)) as first:
                waiting = asyncio.create_task(ask(session))
                impatient = asyncio.create_task(failure(session, timeouts=Timeouts(total=60)))
                began = loop.time()
                error = await impatient
                assert isinstance(error, APITimeoutError)
                assert error.clock == "total"
                assert loop.time() - began == pytest.approx(60, abs=0.1)
                await asyncio.sleep(1000)
                assert not waiting.done()
                await first.aclose()
            completion = await waiting
            assert completion.content == "second"
            assert len(server.requests) == 2

    virtual_clock.run(main())


def test_first_content_runs_from_the_place_in_the_pool() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(timeouts=Timeouts(first_content=5), retry=None, max_connections=1) as (server, session):
            server.script(Reply.sse().stall(), Reply.raw().stall())
            async with session.stream(**CHAT):
                waiting = asyncio.create_task(failure(session))
                await asyncio.sleep(100)
            began = loop.time()
            error = await waiting
            assert isinstance(error, APITimeoutError)
            assert error.clock == "first_content"
            assert loop.time() - began == pytest.approx(5, abs=0.1)

    virtual_clock.run(main())


# Proxies


class Proxy:
    """A forward proxy that notes what it is asked, and answers a request with `refusal` where it has one."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.heads: list[str] = []
        self._refusal = refusal

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        method, target = head.split()[:2]
        if self._refusal:
            writer.write(self._refusal)
            await writer.drain()
            return
        address = target.split(b"/")[2] if b"/" in target else target
        host, _, port = address.decode().partition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = b"/" + b"/".join(target.split(b"/")[3:])
            there_writer.write(head.replace(target, path, 1))
        try:
            await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))
        finally:
            there_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(proxy := Proxy()) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{port}")
        async with SimulatedServer(api_key=KEY) as server:
            with pytest.warns(UserWarning, match="set NO_PROXY=127.0.0.1"):
                session = CometSession(api_key=KEY, base_url=server.base_url)
            monkeypatch.delenv("HTTP_PROXY")  # read once, when the session is made
            assert (await ask(session)).content
            assert (await ask(session)).content
            assert len(server.requests) == 2
            await session.aclose()
        assert proxy.heads[0].startswith(f"POST {server.base_url}/chat/completions HTTP/1.1")
        assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in proxy.heads[0]


async def test_an_https_request_goes_through_a_tunnel_of_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(silent, tls=True) as port, listening(proxy := Proxy()) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy_port}")
        async with session_for(port, "https") as session:
            error = await failure(session)
        # Behind the tunnel stands a certificate that nobody signed.
        assert "certificate" in str(error)
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1")
        assert KEY not in proxy.heads[0]


async def test_no_proxy_exempts_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    async with serving() as (_, session):
        assert (await ask(session)).content


async def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter2@127.0.0.1:{(port := free_port())}")
    with pytest.warns(UserWarning, match="clear text"):
        error = await failure_of()
    assert type(error) is APIConnectionError
    assert f"the proxy http://127.0.0.1:{port} cannot be reached" in str(error)
    assert "hunter2" not in str(error)
    assert error.retryable


@pytest.mark.parametrize(("status", "retryable"), [(407, False), (403, False), (502, True), (503, True)])
async def test_a_proxy_that_refuses_the_tunnel_is_named_without_its_password(
    status: int, retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(f"HTTP/1.1 {status} Not you\r\nContent-Length: 0\r\n\r\n".encode())
    async with listening(proxy) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
        async with session_for(443, "https") as session:
            error = await failure(session)
    assert type(error) is APIConnectionError
    assert str(error) == f"the proxy http://127.0.0.1:{port} refused the connection: {status} Not you"
    assert error.retryable is retryable


async def test_a_proxy_of_the_callers_own_client_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter2@127.0.0.1:{free_port()}")
    async with aiohttp.ClientSession(trust_env=True) as client:
        error = await failure_of(client=client)
    assert "the proxy of your aiohttp session cannot be reached" in str(error)
    assert "hunter2" not in str(error)


# What is sent


def ids_of(server: SimulatedServer) -> list[str]:
    return [request.headers["X-Client-Request-Id"] for request in server.requests]


def test_closing_a_stream_that_asks_again_ends_it_quietly() -> None:
    """Nobody is told what the attempt before died of: who closes a stream wants no error of it."""

    async def scenario() -> tuple[str | None, int]:
        replies = Reply.error(503), Reply.error(503).after(60.0)
        async with serving(*replies, retry=RetryPolicy(1, 0.0)) as (_, session):
            stream = session.stream(**CHAT)
            entering = asyncio.ensure_future(stream.__aenter__())
            await asyncio.sleep(1.0)
            await stream.aclose()
            await entering
            return stream.outcome, stream.metrics.attempts

    assert virtual_clock.run(scenario()) == ("cancelled", 2)


async def test_the_attempts_of_a_request_share_an_id_that_no_other_request_has() -> None:
    quick = RetryPolicy(max_retries=2, initial_delay=0)
    async with serving(Reply.error(503), Reply.error(400, "stream_options?"), retry=quick) as (server, session):
        await ask(session, fallback_models=["gpt-4.1"])
        await ask(session)
        await session.complete(**CHAT)
        await session.models()
        ids = ids_of(server)
    assert len(ids) == 6
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", sent) for sent in ids)


async def test_a_callers_own_id_takes_its_place() -> None:
    mine = {"x-client-request-id": "mine"}
    async with serving() as (server, session):
        await ask(session, headers=mine)
        await session.models(headers=mine)
        assert ids_of(server) == ["mine", "mine"]
        assert len(server.requests[0].headers.getall("X-Client-Request-Id")) == 1
    async with serving(headers=mine) as (server, session):
        await ask(session)
        assert ids_of(server) == ["mine"]
    async with aiohttp.ClientSession(headers=mine) as client, serving(client=client) as (server, session):
        await ask(session)
        assert ids_of(server) == ["mine"]


async def test_the_request_is_what_the_endpoint_documents() -> None:
    async with serving(headers={"X-Team": "batch"}) as (server, session):
        await ask(session, temperature=0.5, top_p=None, headers={"X-Job": "7"})
        request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.json == {**CHAT, "stream": True, "temperature": 0.5, "stream_options": {"include_usage": True}}
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "text/event-stream"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("cometstream/")
    assert request.headers["Content-Length"] == str(len(request.body))
    assert (request.headers["X-Team"], request.headers["X-Job"]) == ("batch", "7")


async def test_a_callers_header_takes_the_place_of_the_same_header_however_it_is_written() -> None:
    async with serving(headers={"user-agent": "mine/1", "x-a": "session"}) as (server, session):
        await ask(session, headers={"authorization": f"Bearer {KEY}", "X-A": "call"})
        headers = server.requests[0].headers
    assert headers.getall("Authorization") == [f"Bearer {KEY}"]
    assert headers.getall("User-Agent") == ["mine/1"]
    assert headers.getall("X-A") == ["call"]


async def test_a_prompt_of_megabytes_is_sent_without_a_warning_and_again_in_a_retry() -> None:
    messages = [{"role": "user", "content": "x" * 3_000_000}]
    async with serving(Reply.error(429, retry_after=0), Reply.text("long")) as (server, session):
        assert (await ask(session, messages=messages)).content == "long"
        assert [request.json["messages"] for request in server.requests] == [messages, messages]
        assert server.requests[0].headers["Content-Type"] == "application/json"
        assert "Content-Length" in server.requests[0].headers


async def test_twenty_streams_one_after_another_use_one_connection() -> None:
    async with serving() as (server, session):
        for _ in range(20):
            await ask(session)
        assert server.connections_seen == 1


async def test_what_aiohttp_cannot_send_is_a_configuration_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client = aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "hunter2"))
    async with client, serving(client=client) as (server, session):
        with pytest.raises(ConfigurationError, match="could not be sent") as caught:
            await ask(session)
        assert server.requests == []
        assert "hunter2" not in str(caught.value)


# Closing meanwhile


@pytest.mark.parametrize("retry", [0, 5])
@pytest.mark.parametrize("reply", [Reply.raw().stall(), Reply.error(503).after(1000)])
def test_closing_the_session_ends_a_request_that_waits(reply: Reply, retry: int) -> None:
    async def main() -> None:
        async with serving(reply, retry=retry) as (server, session):
            waiting = asyncio.create_task(failure(session))
            await asyncio.sleep(1)
            assert len(server.requests) == 1
            await session.aclose()
            error = await waiting
            assert isinstance(error, UsageError), error
            assert "closed" in str(error)

    virtual_clock.run(main())


def test_closing_the_session_ends_a_request_that_waits_for_the_pool_without_cancelling_its_task() -> None:
    async def main() -> None:
        async with serving(Reply.sse().stall(), max_connections=1, retry=None) as (_, session), session.stream(**CHAT):
            waiting = asyncio.create_task(failure(session))
            await asyncio.sleep(1)
            await session.aclose()
            error = await waiting
            assert type(error) is UsageError
            assert "closed" in str(error)

    virtual_clock.run(main())


def test_a_task_that_is_cancelled_while_it_waits_for_the_pool_is_cancelled() -> None:
    async def main() -> None:
        async with serving(Reply.sse().stall(), max_connections=1) as (_, session), session.stream(**CHAT):
            waiting = asyncio.create_task(ask(session))
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    virtual_clock.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task does not tell yet whether it was cancelled")
def test_a_task_that_is_cancelled_while_the_session_is_closed_is_cancelled() -> None:
    async def main() -> None:
        async with serving(Reply.sse().stall(), max_connections=1) as (_, session), session.stream(**CHAT):
            waiting = asyncio.create_task(ask(session))
            await asyncio.sleep(1)
            waiting.cancel()
            await session.aclose()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    virtual_clock.run(main())


def test_closing_the_session_leaves_no_retry() -> None:
    async def main() -> None:
        async with serving(Reply.error(429, retry_after=30)) as (server, session):
            waiting = asyncio.create_task(failure(session))
            await asyncio.sleep(1)
            await session.aclose()
            assert type(await waiting) is UsageError
            assert len(server.requests) == 1

    virtual_clock.run(main())


@pytest.mark.parametrize("reply", [Reply.raw().stall(), Reply.error(500).stall(10)])
def test_cancelling_before_the_head_closes_the_connection(reply: Reply) -> None:
    async def main() -> None:
        async with serving(reply) as (server, session):
            waiting = asyncio.create_task(ask(session))
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await server.until_unconnected()

    virtual_clock.run(main())


# Documents


@pytest.mark.parametrize("reply", [Reply.json({"data": []}).stall(4), Reply.json({"data": []}).stall(0)])
def test_a_document_that_stalls_trips_content_idle(reply: Reply) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(reply, retry=None, timeouts=Timeouts(content_idle=30)) as (server, session):
            began = loop.time()
            with pytest.raises(APITimeoutError, match="within 30 s") as caught:
                await session.models()
            assert caught.value.clock == "content_idle"
            assert loop.time() - began == pytest.approx(30, abs=0.1)
            await server.until_unconnected()

    virtual_clock.run(main())


def test_a_document_that_drips_for_ever_trips_total() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        drip = Reply(body=(b"[",)).forever(5.0, b"1,")
        async with serving(drip, timeouts=Timeouts(total=60)) as (_, session):
            began = loop.time()
            with pytest.raises(APITimeoutError) as caught:
                await session.models()
            assert caught.value.clock == "total"
            assert loop.time() - began == pytest.approx(60, abs=0.1)

    virtual_clock.run(main())


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json({"data": []}).cut(4),
        Reply.json({"data": []}).reset(4),
        Reply(body=(b'{"data"',), framing="close"),
        Reply(body=(b'{"data"',)),
    ],
)
def test_a_document_that_is_cut_is_asked_for_again(reply: Reply) -> None:
    async def main() -> None:
        async with serving(reply) as (server, session):
            assert await session.models()
            assert len(server.requests) == 2
        async with serving(reply, retry=None) as (server, session):
            with pytest.raises(APIConnectionError) as caught:
                await session.models()
            assert caught.value.retryable

    virtual_clock.run(main())


def test_a_document_that_is_cancelled_closes_its_connection() -> None:
    async def main() -> None:
        async with serving(Reply.json({"data": []}).stall(4)) as (server, session):
            waiting = asyncio.create_task(session.models())
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await server.until_unconnected()

    virtual_clock.run(main())


def test_errors_of_the_transport_that_have_no_text_are_named_by_their_class() -> None:
    async def main() -> CometError:
        loop = asyncio.get_running_loop()

        async def broken(*args: Any) -> None:
            raise OSError(errno.EPERM, "")

        setattr(loop, "sock_connect", broken)  # noqa: B010 - a method is not assignable
        async with session_for(9) as session:
            return await failure(session)

    assert "Error" in str(virtual_clock.run(main()))
