"""The key is shown nowhere, however a request fails; the prompt and the key reach nobody but the endpoint."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import gc
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from support.ports import free_port
from support.serving import CHAT, KEY, ask, failure, serving

import cometstream
from cometstream import CometError, CometSession, Timeouts, errors
from cometstream.config import find_secrets, longest_first
from cometstream.testing import DONE, RecordedRequest, Reply, Script, SimulatedServer, chunk, frame

Scenario = Callable[[], Awaitable[None]]

# A server that echoes what it was sent, as a careless one does.
_ECHOED = f"Authorization: Bearer {KEY} is not known"


def replying(*replies: Reply, pairs: tuple[tuple[str, Any], ...] = ()) -> Scenario:
    async def play() -> None:
        async with serving(*replies, **{"retry": None, **dict(pairs)}) as (_, session):
            await ask(session)

    return play


def asking(**options: Any) -> Scenario:
    async def play() -> None:
        async with CometSession(**{"api_key": KEY, "retry": None, **options}) as session:
            await ask(session)

    return play


async def refused() -> None:
    await asking(base_url=f"http://127.0.0.1:{free_port()}/v1")()


async def no_tls() -> None:
    async with SimulatedServer() as server:
        await asking(base_url=server.base_url.replace("http:", "https:"))()


async def closed() -> None:
    async with serving() as (_, session):
        await session.aclose()
        await ask(session)


async def two_readers() -> None:
    async with serving(Reply.sse(chunk({"content": "Hi"})).stall()) as (_, session), session.stream(**CHAT) as stream:
        await stream.__anext__()
        reader = asyncio.create_task(stream.until_done())
        await asyncio.sleep(0)
        try:
            await stream.until_done()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def models(reply: Reply) -> None:
    async with serving(reply, retry=None) as (_, session):
        await session.models()


async def complete(reply: Reply) -> None:
    async with serving(reply, retry=None) as (_, session):
        await session.complete(**CHAT)


async def parsed(answer: dict[str, Any]) -> None:
    """Read a value from an answer, whose own text an error may hold in `partial` but does not show."""
    async with serving(Reply.sse(answer, DONE)) as (_, session):
        async with session.stream(**CHAT, response_format={"type": "json_object"}) as stream:
            await stream.until_done()
            try:
                _ = stream.completion.parsed
            except CometError as error:
                error.partial = None
                raise


def echo(status: int) -> Reply:
    return Reply.error(status, _ECHOED).with_headers({"X-Echo": _ECHOED, "Location": f"https://a.example/?key={KEY}"})


CONTENT = chunk({"content": "Hi"})

SCENARIOS: list[tuple[str, type[CometError], Scenario]] = [
    *(
        (f"status {status}", expected, replying(echo(status)))
        for status, expected in [
            (302, errors.APIStatusError),
            (307, errors.APIStatusError),
            (400, errors.BadRequestError),
            (401, errors.AuthenticationError),
            (402, errors.APIStatusError),
            (403, errors.PermissionDeniedError),
            (404, errors.NotFoundError),
            (429, errors.RateLimitError),
            (500, errors.InternalServerError),
            (529, errors.InternalServerError),
        ]
    ),
    ("text", errors.BadRequestError, replying(Reply.plain(_ECHOED.encode(), content_type="text/plain", status=400))),
    (
        "HTML",
        errors.InternalServerError,
        replying(Reply.plain(f"<html><p>{_ECHOED}</p>".encode(), content_type="text/html", status=502)),
    ),
    (
        "nested JSON",
        errors.APIStatusError,
        replying(Reply.json({"detail": [{KEY: _ECHOED}, [_ECHOED]]}, status=422)),
    ),
    (
        "escaped JSON",
        errors.AuthenticationError,
        replying(
            Reply.plain(
                ('{"error":{"message":"' + "".join(f"\\u{ord(letter):04x}" for letter in KEY) + '"}}').encode(),
                content_type="application/json",
                status=401,
            )
        ),
    ),
    ("after retries", errors.InternalServerError, replying(*[echo(503)] * 3, pairs=(("retry", 2),))),
    ("HTML under 200", errors.ProtocolError, replying(Reply.plain(f"<p>{_ECHOED}".encode(), content_type="text/html"))),
    ("JSON under 200", errors.ProtocolError, replying(Reply.json({"fine": KEY}))),
    ("error under 200", errors.AuthenticationError, replying(Reply.json({"error": {"code": 401, "message": _ECHOED}}))),
    ("error frame first", errors.RateLimitError, replying(Reply.sse({"error": {"code": 429, "message": _ECHOED}}))),
    (
        "error frame later",
        errors.StreamServerError,
        replying(Reply.sse(CONTENT, {"error": {"code": 502, "message": _ECHOED}})),
    ),
    (
        "error event",
        errors.StreamServerError,
        replying(Reply.sse(CONTENT, b"event: error\n" + frame({"message": _ECHOED}))),
    ),
    ("bad frame", errors.ProtocolError, replying(Reply.sse(CONTENT, f"data: {{{KEY}\n\n".encode()))),
    ("garbage", errors.ProtocolError, replying(Reply.raw(f"{_ECHOED}\r\n\r\n".encode()))),
    ("cut", errors.StreamTruncatedError, replying(Reply.sse(CONTENT).cut())),
    ("reset", errors.StreamTruncatedError, replying(Reply.sse(CONTENT).reset())),
    ("no finish", errors.StreamUnterminatedError, replying(Reply.sse(CONTENT, DONE))),
    ("empty", errors.EmptyStreamError, replying(Reply.sse(f"data: {KEY}\n\n".encode().replace(b"data", b"x"), DONE))),
    ("no head", errors.APIConnectionError, replying(Reply.raw().reset())),
    ("refused", errors.APIConnectionError, refused),
    ("no TLS", errors.APIConnectionError, no_tls),
    (
        "a clock",
        errors.APITimeoutError,
        replying(Reply.raw().stall(), pairs=(("timeouts", Timeouts(first_content=0.01)),)),
    ),
    (
        "another clock",
        errors.APITimeoutError,
        replying(Reply.sse(CONTENT).stall(), pairs=(("timeouts", Timeouts(content_idle=0.01)),)),
    ),
    ("closed", errors.UsageError, closed),
    ("two readers", errors.UsageError, two_readers),
    ("key with a newline", errors.ConfigurationError, asking(api_key=f"{KEY}\n")),
    ("key with a space", errors.ConfigurationError, asking(api_key=f"Bearer {KEY}")),
    ("key as URL", errors.ConfigurationError, asking(base_url=KEY)),
    ("key in the URL", errors.ConfigurationError, asking(base_url=f"https://{KEY}@a.example/v1")),
    ("key in the query", errors.ConfigurationError, asking(base_url=f"https://a.example/v1?key={KEY}")),
    ("key in a header", errors.ConfigurationError, asking(headers={"X-Key": f"{KEY}\r\n"})),
    ("bad request", errors.InvalidRequestError, replying(pairs=(("headers", {"X-A": "1"}),))),
    ("models", errors.AuthenticationError, lambda: models(echo(401))),
    (
        "models, a page",
        errors.ProtocolError,
        lambda: models(Reply.plain(f"<p>{KEY}".encode(), content_type="text/html")),
    ),
    ("models, cut", errors.APIConnectionError, lambda: models(Reply.json({"data": []}).cut(3))),
    ("refused in words", errors.OutputRefusedError, lambda: parsed(chunk({"refusal": _ECHOED}, finish_reason="stop"))),
    ("cut output", errors.OutputCutError, lambda: parsed(chunk({"content": "{"}, finish_reason="length"))),
    (
        "bad output",
        errors.OutputInvalidError,
        lambda: parsed(chunk({"content": f'{{"{KEY}": {KEY}'}, finish_reason="stop")),
    ),
    ("complete", errors.PermissionDeniedError, lambda: complete(echo(403))),
    ("complete, cut", errors.StreamTruncatedError, lambda: complete(Reply.json({"choices": []}).cut(3))),
]


async def bad_request() -> None:
    async with serving() as (_, session):
        session.stream(**CHAT, temperature=9)


@pytest.fixture
async def log(caplog: pytest.LogCaptureFixture) -> AsyncIterator[pytest.LogCaptureFixture]:
    """Everything that any logger says, with asyncio in its debug mode."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    with caplog.at_level(logging.DEBUG):
        yield caplog
    loop.set_debug(False)


async def caught(scenario: Scenario) -> CometError:
    try:
        await scenario()
    except CometError as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("expected", "scenario"),
    [
        pytest.param(expected, bad_request if name == "bad request" else scenario, id=name)
        for name, expected, scenario in SCENARIOS
    ],
)
async def test_no_error_shows_the_key(
    expected: type[CometError], scenario: Scenario, log: pytest.LogCaptureFixture
) -> None:
    error = await caught(scenario)
    assert type(error) is expected
    shown = [
        str(error),
        repr(error),
        repr(error.args),
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        repr(getattr(error, "body", None)),
        repr(getattr(error, "headers", None)),
        repr(copy.copy(error)),
        str(pickle.loads(pickle.dumps(error))),
        repr(error.partial),
    ]
    # As a task that nobody awaits would be reported.
    asyncio.get_running_loop().call_exception_handler({"message": "never retrieved", "exception": error})
    shown.append(log.text)
    shown += [record.getMessage() + repr(record.args) for record in log.records]
    for text in shown:
        assert KEY not in text


@pytest.mark.parametrize(("expected", "scenario"), [(expected, scenario) for _, expected, scenario in SCENARIOS[:26]])
async def test_no_error_of_aiohttps_is_chained_to_ours(expected: type[CometError], scenario: Scenario) -> None:
    chained: BaseException | None = await caught(scenario)
    while chained is not None:
        assert not type(chained).__module__.startswith("aiohttp")
        chained = chained.__cause__ if chained.__suppress_context__ else chained.__context__


def test_every_class_of_error_is_among_the_scenarios() -> None:
    bases = {"CometError", "StreamError", "OutputError"}
    of_tools = {"ToolError", "ToolCallError", "ToolStateError"}  # made of what a tool, a model or a stored state says
    assert {expected.__name__ for _, expected, _ in SCENARIOS} == set(errors.__all__) - bases - of_tools


async def test_nothing_that_is_alive_while_a_stream_runs_shows_the_key() -> None:
    before = gc.get_objects()
    known = set(map(id, before))
    async with serving(Reply.sse(CONTENT).stall()) as (_, session), session.stream(**CHAT) as stream:
        await stream.__anext__()
        fresh = session.stream(**CHAT)
        ours = [
            item
            for item in gc.get_objects()
            if id(item) not in known
            and str(type(item).__module__).startswith("cometstream")
            and "testing" not in type(item).__module__
        ]
        assert {"CometSession", "ChatStream", "Attempts", "Endpoint", "ErrorContext"} <= {
            type(item).__name__ for item in ours
        }
        for item in [*ours, fresh, stream.metrics, stream.response, stream.completion]:
            assert KEY not in repr(item)
            assert KEY not in str(item)


async def test_a_stream_that_works_logs_no_key(log: pytest.LogCaptureFixture) -> None:
    async with serving() as (_, session):
        await ask(session)
        await session.complete(**CHAT)
        await session.models()
    assert "cometstream" in {record.name for record in log.records}
    for record in log.records:
        assert KEY not in record.getMessage() + repr(record.args)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_neither_key_nor_prompt_follows_a_redirect(status: int) -> None:
    received = bytearray()

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())
        writer.close()

    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    target = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/v1/chat/completions"
    redirect = Reply.plain(b"moved", content_type="text/plain", status=status).with_headers({"Location": target})
    async with serving() as (server, session):
        server.always(redirect)
        for call in (ask(session), session.complete(**CHAT), session.models()):
            with pytest.raises(errors.APIStatusError, match="redirect to") as caught_error:
                await call
            assert target in str(caught_error.value)
        assert len(server.requests) == 3
    other.close()
    with contextlib.suppress(asyncio.CancelledError):
        await other.wait_closed()
    assert received == b""


def test_the_library_prints_and_logs_nothing_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with serving() as (_, session):
            await ask(session)

    asyncio.run(main())
    assert capfd.readouterr() == ("", "")
    for name in logging.root.manager.loggerDict:
        if name.startswith(cometstream.__name__):
            assert not logging.getLogger(name).handlers


async def test_the_relay_of_an_error_shows_a_browser_no_key() -> None:
    frames = Reply.sse(CONTENT, {"error": {"code": 502, "message": _ECHOED}})
    async with serving(frames) as (_, session), session.stream(**CHAT) as stream:
        sent = [piece async for piece in stream.relay()]
    assert KEY.encode() not in b"".join(sent)
    assert orjson.loads(sent[-1].removeprefix(b"data: "))["error"]["type"] == "StreamServerError"


# Secrets of every origin

OTHER = "tenant-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BASIC = base64.b64encode(f"someone:{OTHER}".encode()).decode()

CARRIERS: list[tuple[str, str]] = [
    ("Authorization", f"Bearer {OTHER}"),
    ("authorization", OTHER),
    ("Authorization", f"Basic {BASIC}"),
    ("api-key", OTHER),
    ("X-API-Key", OTHER),
    ("X-Goog-Api-Key", OTHER),
    ("Proxy-Authorization", f"Basic {BASIC}"),
    ("X-Auth-Token", OTHER),
    ("CF-Access-Client-Secret", OTHER),
    ("Cookie", f"session={OTHER}; theme=dark"),
]


def echoing(request: RecordedRequest) -> Reply:
    """Every header of the request, in the message, the body, the headers and the request id of a refusal."""
    told = " | ".join(f"{name}: {value}" for name, value in request.headers.items() if name != "Content-Length")
    decoded = base64.b64decode(BASIC).decode() if BASIC in told else ""
    body = {"error": {"message": f"not allowed: {told} {decoded}", "type": told, "param": [told], "code": 403}, told: 1}
    return Reply.json(body, status=403).with_headers({"X-Echo": told, "X-Request-Id": told})


def breaking(request: RecordedRequest) -> Reply:
    """An answer that breaks off, with every header of the request in its request id and its last event."""
    told = " | ".join(request.headers.values())
    return Reply.sse(CONTENT, {"error": {"message": told}}).with_headers({"X-Request-Id": told})


def everything_shown(error: CometError) -> str:
    return " ".join(
        [
            str(error),
            repr(error.args),
            "".join(traceback.format_exception(type(error), error, error.__traceback__)),
            repr(error.__dict__),
            repr(dict(getattr(error, "headers", {}))),
            repr(error.request_id),
            str(pickle.loads(pickle.dumps(error)).__dict__),
        ]
    )


@pytest.mark.parametrize("name", ["X-Debug-Authorization", "x-request-id"])
async def test_a_header_of_a_good_answer_that_says_the_key_again_is_shown_without_it(name: str) -> None:
    async with serving(Reply.text("Hello").with_headers({name: f"req-{KEY}-1"}), retry=None) as (_, session):
        async with session.stream(**CHAT) as stream:
            assert stream.response.headers[name.upper()].startswith("req-")
            for shown in (stream.response, stream.response.headers, stream.response.request_id, stream.metrics):
                assert KEY not in repr(shown)
            await stream.until_done()


@pytest.mark.parametrize("script", [echoing, breaking])
@pytest.mark.parametrize("of", ["session", "call"])
@pytest.mark.parametrize(("name", "value"), CARRIERS)
async def test_a_secret_in_any_header_is_shown_nowhere(name: str, value: str, of: str, script: Script) -> None:
    given: dict[str, Any] = {"headers": {name: value}}
    unchanged: dict[str, Any] = {}
    async with serving(retry=None, **(given if of == "session" else unchanged)) as (server, session):
        server.always(script)
        stream = session.stream(**CHAT, **(given if of == "call" else unchanged))
        with pytest.raises(CometError) as caught:
            async with stream:
                await stream.until_done()
        # Of the server's answer itself something is left.
        assert "User-Agent" in str(caught.value) or script is breaking
        for text in (everything_shown(caught.value), repr(session), repr(stream), repr(stream.metrics)):
            assert OTHER not in text
            assert BASIC not in text
            assert KEY not in text


async def test_a_call_that_brings_its_own_key_leaves_nothing_of_it_to_the_next() -> None:
    async with serving(retry=None) as (server, session):
        server.always(echoing)
        error = await failure(session, headers={"Authorization": f"Bearer {OTHER}"})
        assert isinstance(error, errors.PermissionDeniedError)
        server.always(Reply.error(401, f"{OTHER} {KEY}"))
        told = str(await failure(session))
        assert KEY not in told
        assert OTHER in told  # whoever knows it now has got it from the server
        assert "The key came from api_key=" in told
        told = str(await failure(session, headers={"authorization": f"Bearer {OTHER}"}))
        assert OTHER not in told
        assert "api_key=" not in told
        assert "Authorization" in told


async def test_a_default_header_of_a_callers_own_client_is_shown_nowhere() -> None:
    async with aiohttp.ClientSession(headers={"X-Api-Key": OTHER}) as client:
        async with serving(retry=None, client=client) as (server, session):
            server.always(echoing)
            error = await failure(session)
    assert "X-Api-Key" in str(error)
    assert OTHER not in everything_shown(error)


@pytest.mark.parametrize(
    ("proxy", "secrets"),
    [
        ("http://user:hunter2@", ("hunter2",)),
        ("http://user:p%40ss-word@", ("p%40ss-word", "p@ss-word", base64.b64encode(b"user:p@ss-word").decode())),
        ("http://token-0123456789@", ("token-0123456789",)),
        ("user:hunter2@", ("hunter2",)),
    ],
)
async def test_the_userinfo_of_a_proxy_is_shown_nowhere(
    proxy: str, secrets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = f"you said {' '.join(head.split())} and I say {' '.join(secrets)}".encode()
        writer.write(b"HTTP/1.1 403 No\r\nX-Echo: %s\r\nContent-Length: %d\r\n\r\n%s" % (body, len(body), body))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    monkeypatch.setenv("HTTP_PROXY", f"{proxy}127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.warns(UserWarning, match="clear text"):
        session = CometSession(api_key=KEY, base_url="http://a.example/v1", retry=None)
    async with session:
        error = await failure(session)
    server.close()
    assert isinstance(error, errors.PermissionDeniedError)
    for secret in (KEY, *secrets):
        assert secret not in everything_shown(error)


def test_short_values_and_harmless_headers_are_not_replaced() -> None:
    harmless = {"X-Token": "abc", "X-Title": "a title", "X-Author": "Shakespeare", "X-Max-Tokens": "4096", "A": "b"}
    assert find_secrets(harmless) == set()
    assert longest_first(["sk-a"], {"a sk-a b"}, ["sk-a"]) == ("a sk-a b", "sk-a")
    assert find_secrets({"Authorization": "Basic !!"}) == set()
    assert find_secrets({"Authorization": "Basic AAAA//"}) == {"AAAA//"}
