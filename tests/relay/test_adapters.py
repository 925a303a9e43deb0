"""Relays behind real web servers: what a browser gets, and what happens when it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from fastapi import FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware
from support.browsing import Browser, data_of, serving_aiohttp, serving_asgi
from support.serving import CHAT, serving

from cometstream import CometSession, RetryPolicy, UsageError
from cometstream.relay import ASGIRelay, EndingRelays, RelayEnd, end_relays, relay
from cometstream.relay.aiohttp import relay_response
from cometstream.relay.starlette import RelayResponse
from cometstream.testing import Reply, SimulatedServer

Options = dict[str, Any]
Adapter = Callable[[CometSession, Options], contextlib.AbstractAsyncContextManager[int]]

HALF = Reply.text("half", finish_reason=None, done=False)

# The promise; and how often it may be missed by a machine that does other work.
FREED, TRIES = 0.1, 5


@contextlib.asynccontextmanager
async def fastapi(session: CometSession, options: Options, *, layers: int = 0) -> AsyncIterator[int]:
    app = FastAPI()

    async def passes(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    async def reads(request: Request, call_next: Any) -> Any:
        await request.body()
        return await call_next(request)

    for layer in range(layers):
        app.add_middleware(BaseHTTPMiddleware, dispatch=reads if layer % 2 else passes)

    @app.get("/chat")
    @app.post("/chat")
    async def chat() -> RelayResponse:
        return RelayResponse(session.stream(**CHAT), **options)

    async with serving_asgi(app) as port:
        yield port


def behind_middlewares(session: CometSession, options: Options) -> contextlib.AbstractAsyncContextManager[int]:
    return fastapi(session, options, layers=3)


@contextlib.asynccontextmanager
async def asgi(session: CometSession, options: Options) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await ASGIRelay(session.stream(**CHAT), **options)(scope, receive, send)

    async with serving_asgi(app) as port:
        yield port


@contextlib.asynccontextmanager
async def litestar(session: CometSession, options: Options) -> AsyncIterator[int]:
    module = pytest.importorskip("litestar", reason="needs litestar")

    @module.asgi("/chat", is_mount=False, copy_scope=True)
    async def chat(scope: Any, receive: Any, send: Any) -> None:
        await ASGIRelay(session.stream(**CHAT), **options)(scope, receive, send)

    async with serving_asgi(module.Litestar([chat], openapi_config=None, logging_config=None)) as port:
        yield port


@contextlib.asynccontextmanager
async def quart(session: CometSession, options: Options) -> AsyncIterator[int]:
    module = pytest.importorskip("quart", reason="needs quart")
    app = module.Quart("tests", root_path=".")

    @app.route("/chat")
    async def chat() -> Any:
        body = relay(session.stream(**CHAT), **options)
        status, headers = await body.head()
        return module.Response(body, status=status, headers=dict(headers))

    async with serving_asgi(app) as port:
        yield port


@contextlib.asynccontextmanager
async def aiohttp_web(session: CometSession, options: Options, **settings: Any) -> AsyncIterator[int]:
    async def chat(request: web.Request) -> web.StreamResponse:
        return await relay_response(request, session.stream(**CHAT), **options)

    async with serving_aiohttp(chat, **settings) as port:
        yield port


def aiohttp_cancelling(session: CometSession, options: Options) -> contextlib.AbstractAsyncContextManager[int]:
    return aiohttp_web(session, options, handler_cancellation=True)


def aiohttp_shielding(session: CometSession, options: Options) -> contextlib.AbstractAsyncContextManager[int]:
    @web.middleware
    async def shields(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await asyncio.shield(handler(request))
        return response

    return aiohttp_web(session, options, handler_cancellation=True, middlewares=[shields])


PUSHED = [fastapi, behind_middlewares, asgi, aiohttp_web, aiohttp_cancelling, aiohttp_shielding, litestar]
each_adapter = pytest.mark.parametrize("adapter", [*PUSHED, quart], ids=lambda adapter: adapter.__name__)
each_pushed = pytest.mark.parametrize("adapter", PUSHED, ids=lambda adapter: adapter.__name__)


@each_adapter
async def test_an_answer_arrives_with_headers_that_keep_proxies_from_holding_it(adapter: Adapter) -> None:
    async with serving(Reply.text("Hello", " you")) as (_, session), adapter(session, {"protocol": "ui"}) as port:
        status, headers, body = await (await Browser.ask(port)).answer()
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert "content-length" not in headers
    assert [part["delta"] for part in data_of(body)[:-1] if part["type"] == "text-delta"] == ["Hello", " you"]
    assert body.endswith(b"data: [DONE]\n\n")


@each_adapter
@pytest.mark.parametrize(
    ("reply", "status", "retry_after"),
    [
        (Reply.error(401, "bad key of acme"), 502, None),
        (Reply.error(403, "quota of acme"), 502, None),
        (Reply.error(429, "slow down, acme", retry_after=7), 429, "7"),
        (Reply.error(503, "acme is down"), 502, None),
        (Reply.error(504, "acme is late"), 504, None),
        (Reply.error(400, "acme does not like it"), 400, None),
        (Reply.json({"error": {"code": 401, "message": "bad key of acme"}}), 502, None),
    ],
)
async def test_an_error_before_the_first_byte_is_a_status_with_a_public_message(
    adapter: Adapter, reply: Reply, status: int, retry_after: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(reply, retry=None) as (server, session), adapter(session, {}) as port:
        got, headers, body = await (await Browser.ask(port)).answer()
    assert (got, headers.get("retry-after")) == (status, retry_after)
    for secret in (b"acme", b"key", b"COMETAPI", server.base_url.encode()):
        assert secret not in body
    error = orjson.loads(body)["error"]
    (record,) = [record for record in caplog.records if record.name == "cometstream.relay"]
    assert error["reference"] in record.getMessage()
    assert "acme" in record.getMessage()


async def leaves_while(
    adapter: Adapter, reply: Reply, pause: float, options: Options
) -> tuple[float, SimulatedServer, list[RelayEnd]]:
    """Let a browser leave after a pause; return the seconds until the request upstream was closed."""
    ends: list[RelayEnd] = []
    async with serving(reply, retry=RetryPolicy(2)) as (server, session):
        async with adapter(session, {**options, "on_end": ends.append}) as port:
            browser = await Browser.ask(port)
            await asyncio.wait_for(_until(lambda: server.requests), 10)
            await asyncio.sleep(pause)
            loop = asyncio.get_running_loop()
            began = loop.time()
            browser.leave()
            await asyncio.wait_for(server.requests[0].finished.wait(), 10)
            took = loop.time() - began
            while not ends:  # noqa: ASYNC110 - what is waited for sets no event
                await asyncio.sleep(0.001)
    return took, server, ends


@each_pushed
@pytest.mark.parametrize("protocol", ["raw", "ui"])
@pytest.mark.parametrize(
    "reply",
    [Reply.text("late").after(30.0), Reply.text("a", 30.0, "b"), HALF.forever(b": PING\n\n", 0.01)],
    ids=["before the head", "in the middle", "between keep-alives"],
)
async def test_a_browser_that_leaves_ends_the_request_upstream(adapter: Adapter, reply: Reply, protocol: str) -> None:
    took = 0.0
    for _ in range(TRIES):
        took, server, (end,) = await leaves_while(adapter, reply, 0.1, {"protocol": protocol})
        assert server.requests[0].disconnected.is_set()
        assert (end.outcome, end.error) == ("cancelled", None)
        if took < FREED:
            return
    raise AssertionError(f"the request upstream was closed after {took:.3f} s, at the last of {TRIES} tries")


@each_pushed
async def test_a_browser_that_leaves_between_two_tries_is_not_paid_for_again(adapter: Adapter) -> None:
    async with serving(Reply.error(429, retry_after=0.3)) as (server, session):
        ends: list[RelayEnd] = []
        async with adapter(session, {"on_end": ends.append}) as port:
            browser = await Browser.ask(port)
            await asyncio.wait_for(_until(lambda: len(server.requests) == 1), 5)
            await asyncio.sleep(0.05)
            browser.leave()
            await asyncio.wait_for(_until(lambda: ends), 5)
            await asyncio.sleep(0.4)
        assert len(server.requests) == 1


@each_pushed
async def test_silence_before_the_head_is_filled_and_an_error_after_it_is_in_band(adapter: Adapter) -> None:
    async with serving(Reply.error(401).after(0.5), retry=None) as (_, session):
        async with adapter(session, {"protocol": "ui", "heartbeat": 0.1}) as port:
            status, _, body = await (await Browser.ask(port)).answer()
    assert status == 200
    assert 2 <= body.count(b": keep-alive\n\n") <= 5
    (error,) = data_of(body)
    assert error["type"] == "error"
    assert "the answer could not be completed" in error["errorText"]


@each_pushed
async def test_a_slow_browser_holds_upstream_back(adapter: Adapter) -> None:
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 16_000 + b'"}}]}\n\n'
    async with serving(Reply.sse().forever(piece)) as (server, session), adapter(session, {}) as port:
        browser = await Browser.ask(port)
        await browser.reader.readuntil(b"\r\n\r\n")
        browser.reader._transport.pause_reading()  # type: ignore[attr-defined]
        seen, now = -1, 0
        while seen != now:
            seen = now
            await asyncio.sleep(0.2)
            now = _sent(server)
        browser.leave()
        await asyncio.wait_for(server.requests[0].finished.wait(), 5)


def _sent(server: SimulatedServer) -> int:
    (connection,) = server._web.connections  # type: ignore[union-attr]
    return connection.transport.get_write_buffer_size() if connection.transport else 0


@each_pushed
async def test_a_server_that_stops_ends_answers_in_band(adapter: Adapter) -> None:
    async with serving(HALF.stall()) as (server, session), adapter(session, {"protocol": "ui"}) as port:
        browser = await Browser.ask(port)
        await asyncio.wait_for(_until(lambda: server.requests), 5)
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await end_relays(grace=0.2)
        assert 0.1 < asyncio.get_running_loop().time() - began < 1.0
        _, _, body = await browser.answer()
    *_, delta, error = data_of(body)
    assert delta["delta"] == "half"
    assert error == {"type": "error", "errorText": "the server is restarting: ask again"}


async def test_uvicorn_that_cancels_its_tasks_lets_them_say_so() -> None:
    async with serving(HALF.stall()) as (server, session):

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await ASGIRelay(session.stream(**CHAT), protocol="ui")(scope, receive, send)

        async with serving_asgi(app, timeout_graceful_shutdown=0) as port:
            browser = await Browser.ask(port)
            reading = asyncio.create_task(browser.answer())
            await asyncio.wait_for(_until(lambda: server.requests), 5)
            await asyncio.sleep(0.1)
        _, _, body = await reading
        assert server.requests[0].disconnected.is_set()
    assert data_of(body)[-1] == {"type": "error", "errorText": "the server is restarting: ask again"}


@pytest.mark.parametrize("adapter", [fastapi, behind_middlewares])
async def test_a_signal_ends_answers_in_band_and_reaches_the_server(adapter: Any) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        async with serving(HALF.stall()) as (server, session), adapter(session, {"protocol": "ui"}) as port:
            async with EndingRelays(grace=0.1):
                browser = await Browser.ask(port)
                await asyncio.wait_for(_until(lambda: server.requests), 5)
                os.kill(os.getpid(), signal.SIGTERM)
                _, _, body = await browser.answer()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert data_of(body)[-1] == {"type": "error", "errorText": "the server is restarting: ask again"}


async def test_headers_of_your_own_are_added() -> None:
    async with serving(Reply.text("Hello")) as (_, session):
        async with fastapi(session, {"headers": {"X-Mine": "1"}}) as port:
            _, headers, _ = await (await Browser.ask(port)).answer()
            assert headers["x-mine"] == "1"
        async with aiohttp_web(session, {"headers": {"X-Mine": "1"}}) as port:
            _, headers, _ = await (await Browser.ask(port)).answer()
            assert headers["x-mine"] == "1"


async def test_a_stream_whose_block_was_left_is_an_error_in_the_server() -> None:
    async with serving() as (_, session):
        async with session.stream(**CHAT) as stream:
            pass
        with pytest.raises(UsageError, match="`async with` block was left"):
            await relay(stream).head()


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.001)
