from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import math
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from support import virtual_clock
from support.serving import CHAT, KEY, ask, failure, serving

from cometstream import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ChatCompletion,
    ChatStream,
    CometError,
    CometSession,
    ConfigurationError,
    InternalServerError,
    InvalidRequestError,
    ParameterWarning,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StreamTruncatedError,
    StreamUnterminatedError,
    Timeouts,
    UsageError,
)
from cometstream.config import MAX_EVENT_SIZE
from cometstream.request.providers import WARNED
from cometstream.testing import DONE, MODELS, MockResponse, Reply, SimulatedServer, chunk
from cometstream.views.models import Model

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5.4",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "unknown": {"kept": True},
}


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeouts": 30}, r"timeouts must be Timeouts\(...\), .* got 30"),
        ({"timeouts": aiohttp.ClientTimeout(5)}, "got ClientTimeout"),
        ({"retry": "twice"}, "retry must be .* got 'twice'"),
        ({"retry": True}, "retry must be .* got True"),
        ({"retry": 1.5}, "retry must be .* got 1.5"),
        ({"retry": -1}, "retry must be .* got -1"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, r"headers\['X-A'\]"),
        ({"headers": {"X A": "a"}}, "'X A' is not a header name"),
        ({"headers": {"X-A": 1}}, r"headers\['X-A'\] must be a str; got int"),
        ({"headers": ["X-A"]}, "headers must be a mapping of names to strings; got list"),
        ({"headers": {"X-A": "\ud800"}}, r"headers\['X-A'\]"),
        *(({"max_event_size": value}, "max_event_size must be ") for value in (1023, 2048.0, True, "1 MB", None)),
    ],
)
async def test_an_option_of_a_session_or_a_call_that_cannot_be_used_gives_one_clear_line_and_nothing_is_sent(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        CometSession(api_key=KEY, **options)
    assert "\n" not in str(caught.value)
    async with serving() as (server, session):
        with pytest.raises(ConfigurationError, match=message):
            session.stream(**CHAT, **options)
        with pytest.raises(ConfigurationError, match=message):
            await session.complete(**CHAT, **options)
        assert server.connections_seen == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"max_connections": value}, "max_connections must be ") for value in (0, -1, 1.5, "10", True)),
        *(({"validate": value}, "validate must be True or False") for value in (None, 1, "no")),
        *(
            ({"client": value}, "client must be an aiohttp.ClientSession or None; got ")
            for value in ("http", object(), aiohttp)
        ),
    ],
)
def test_an_option_of_a_session_that_cannot_be_used_gives_one_clear_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CometSession(api_key=KEY, **options)


# Values of any type, for a type checker to let pass.
BAD_PACES: list[Any] = [-0.1, math.nan, math.inf, "1", None, True]
BAD_ENDINGS: list[Any] = ["ignore", None, True, []]
BAD_FALLBACKS: list[Any] = ["b", None, 5, [1], [""], iter(["b"]), {"b"}]
BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    *(({"pace": value}, "pace must be seconds") for value in BAD_PACES),
    *(({"on_incomplete": value}, "on_incomplete must be 'raise' or 'return'") for value in BAD_ENDINGS),
    *(({"split_think": value}, "split_think must be True or False") for value in (None, 1, "yes")),
    *(({"fallback_models": value}, "fallback_models must be a list of model ids") for value in BAD_FALLBACKS),
]


@pytest.mark.parametrize(("options", "message"), BAD_CALLS)
async def test_an_option_of_a_call_that_cannot_be_used_gives_one_clear_line_and_nothing_is_sent(
    options: dict[str, Any], message: str
) -> None:
    async with serving() as (server, session):
        with pytest.raises(ConfigurationError, match=message):
            session.stream(**CHAT, **options)
        assert server.connections_seen == 0


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temprature": 1}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"metadata": {"when": object()}}, "metadata.when"),
        ({"extra_body": {"when": object()}}, "when"),
        ({"extra_body": {"top_k": math.nan}}, "top_k"),
        ({"extra_body": {1: 2}}, "keys must be strings"),
        ({"extra_body": "top_k=3"}, "extra_body"),
        ({"extra_body": [("top_k", 3)]}, "extra_body"),
    ],
)
async def test_a_request_that_breaks_the_specification_or_json_lists_its_problems_and_nothing_is_sent(
    params: dict[str, Any], problem: str
) -> None:
    async with serving() as (server, session):
        with pytest.raises(InvalidRequestError) as caught:
            session.stream(**{**CHAT, **params})
        assert any(problem in line for line in caught.value.problems)
        with pytest.raises(InvalidRequestError):
            await session.complete(**{**CHAT, **params})
        assert server.connections_seen == 0


async def test_validate_false_sends_what_it_is_given() -> None:
    async with serving(Reply.text("ok"), Reply.text("ok"), validate=False) as (server, session):
        await ask(session, temperature=7, temprature=1, stream_options="odd")
        body = server.requests[0].json
        assert (body["temperature"], body["temprature"], body["stream_options"]) == (7, 1, "odd")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await ask(session, model="claude-opus-4-5", logprobs=True)
        unsendable: dict[str, Any] = {**CHAT, "temperature": object()}
        with pytest.raises(InvalidRequestError, match="JSON"):
            session.stream(**unsendable)


# What is sent


async def test_parameters_that_are_none_are_not_sent() -> None:
    async with serving() as (server, session):
        await ask(session, temperature=None, stop=None, tools=None, stream_options=None)
        assert server.requests[0].json == {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        await session.complete(**CHAT, temperature=None, seed=7)
        assert server.requests[1].json == {**CHAT, "seed": 7}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": False}),
        ({"include_usage": True}, {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
    ],
)
async def test_usage_is_asked_for_unless_the_caller_says_no(given: dict[str, bool], sent: dict[str, bool]) -> None:
    async with serving() as (server, session):
        await ask(session, stream_options=given)
        assert server.requests[0].json["stream_options"] == sent


async def test_extra_body_is_merged_over_everything_and_never_read() -> None:
    extra = {"top_k": 3, "temperature": 99, "nothing": None, "stream_options": {"include_usage": False}}
    async with serving(Reply.text("ok")) as (server, session):
        await ask(session, temperature=0.5, extra_body=extra)
        assert server.requests[0].json == {**CHAT, "stream": True, **extra}


async def test_what_the_caller_gave_is_not_changed() -> None:
    messages = [dict(message) for message in CHAT["messages"]]
    options: dict[str, Any] = {"include_obfuscation": False}
    extra = {"top_k": 1}
    headers = {"X-A": "1"}
    async with serving(Reply.text("ok")) as (_, session):
        await ask(session, messages=messages, stream_options=options, extra_body=extra, headers=headers)
    assert (messages, options, extra, headers) == (
        CHAT["messages"],
        {"include_obfuscation": False},
        {"top_k": 1},
        {"X-A": "1"},
    )


async def test_an_answers_message_can_be_sent_back_as_it_is() -> None:
    first = Reply.sse(
        chunk({"role": "assistant", "content": "Hi", "reasoning_content": "Hm", "x_signature": "s"}),
        chunk(finish_reason="stop"),
        DONE,
    )
    async with serving(first) as (server, session):
        answer = (await ask(session)).message
        assert answer is not None
        for messages in ([*CHAT["messages"], answer], collections.deque([*CHAT["messages"], answer])):
            await ask(session, messages=messages)
            sent = server.requests[-1].json["messages"]
            assert sent == [*CHAT["messages"], answer.to_dict()]
            assert sent[1]["reasoning_content"] == "Hm"
            assert sent[1]["x_signature"] == "s"


@pytest.fixture
def unwarned() -> Iterator[None]:
    """Forget for a test which parameters were warned of."""
    warned = set(WARNED)
    WARNED.clear()
    yield
    WARNED.clear()
    WARNED.update(warned)


@pytest.mark.usefixtures("unwarned")
async def test_a_parameter_warning_blames_the_callers_line() -> None:
    async with serving(Reply.text("ok"), Reply.json(COMPLETION)) as (_, session):
        with pytest.warns(ParameterWarning) as caught:
            stream = session.stream(model="claude-opus-4-5", messages=CHAT["messages"], logprobs=True)
        assert [warning.filename for warning in caught] == [__file__]
        async with stream:
            await stream.until_done()
        WARNED.clear()
        with pytest.warns(ParameterWarning) as caught:
            await session.complete(model="claude-opus-4-5", messages=CHAT["messages"], logprobs=True)
        assert [warning.filename for warning in caught] == [__file__]


# The session's life


async def test_a_session_is_entered_or_opened_by_its_first_request_and_neither_leaves_a_warning() -> None:
    async with SimulatedServer(api_key=KEY) as server:
        async with CometSession(api_key=KEY, base_url=server.base_url) as entered:
            assert (await ask(entered)).content
        lazy = CometSession(api_key=KEY, base_url=server.base_url)
        assert (await ask(lazy)).content
        await lazy.aclose()
        await CometSession(api_key=KEY).aclose()
        CometSession(api_key=KEY)
        del entered, lazy
        gc.collect()
        await asyncio.sleep(0)
        await server.until_unconnected()


async def test_closing_twice_is_once_and_a_closed_session_says_so() -> None:
    async with serving() as (server, session):
        stream = session.stream(**CHAT)
        await session.aclose()
        await session.aclose()
        with pytest.raises(UsageError, match="closed"):
            session.stream(**CHAT)
        with pytest.raises(UsageError, match="closed"):
            await stream.__aenter__()
        with pytest.raises(UsageError, match="closed"):
            await session.complete(**CHAT)
        with pytest.raises(UsageError, match="closed"):
            await session.models()
        with pytest.raises(UsageError, match="closed"):
            await session.__aenter__()
        assert "closed" in repr(session)
        assert server.connections_seen == 0


async def test_a_session_can_be_made_where_no_loop_runs_yet() -> None:
    session = await asyncio.to_thread(CometSession, api_key=KEY)
    await session.aclose()


def test_closing_with_streams_open_ends_their_readers_at_once() -> None:
    async def main() -> None:
        async with serving(retry=5) as (server, session):
            server.always(Reply.sse(chunk({"content": "Hel"})).stall())
            async with session.stream(**CHAT) as first, session.stream(**CHAT) as second:
                assert [text async for text in _first(first)] == ["Hel"]
                readers = [asyncio.create_task(failure_in(first)), asyncio.create_task(failure_in(second))]
                await asyncio.sleep(1)
                await session.aclose()
                for error in await asyncio.gather(*readers):
                    assert isinstance(error, StreamTruncatedError)
                    assert error.partial is not None
                    assert error.partial.content == "Hel"
            await server.until_unconnected()
            assert len(server.requests) == 2

    virtual_clock.run(main())


async def _first(stream: ChatStream) -> AsyncIterator[str]:
    async for text in stream.text():
        yield text
        return


async def failure_in(stream: Any) -> CometError:
    try:
        await stream.until_done()
    except CometError as error:
        return error
    raise AssertionError("no error")


async def test_closing_is_done_even_where_it_is_cancelled() -> None:
    async with serving() as (server, session):
        await ask(session)
        closing = asyncio.create_task(session.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(UsageError):
            session.stream(**CHAT)
        await server.until_unconnected()


def test_max_connections_bounds_the_connections_and_not_the_streams() -> None:
    async def main() -> None:
        async with serving(max_connections=3) as (server, session):
            highest = 0

            def answer(request: object) -> Reply:
                nonlocal highest
                highest = max(highest, server.connections_open)
                return Reply.text("Hello").after(0.5)

            server.always(answer)
            completions = await asyncio.gather(*(ask(session) for _ in range(20)))
            assert all(completion.content == "Hello" for completion in completions)
            assert highest == 3

    virtual_clock.run(main())


def test_connections_are_unlimited_unless_told() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply.sse().stall())
            streams = [session.stream(**CHAT) for _ in range(150)]
            await asyncio.gather(*(stream.__aenter__() for stream in streams))
            assert server.connections_open == 150
            for stream in streams:
                await stream.aclose()

    virtual_clock.run(main())


async def test_the_environment_is_read_once_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedServer(api_key=KEY) as server:
        monkeypatch.setenv("COMETAPI_KEY", KEY)
        monkeypatch.setenv("COMETAPI_BASE_URL", f"{server.base_url}/")
        async with CometSession() as session:
            for name in ("COMETAPI_KEY", "COMETAPI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, "http://127.0.0.1:1")
            assert (await ask(session)).content
            assert session.base_url == server.base_url


async def test_netrc_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with serving() as (server, session):
        await ask(session)
        assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with SimulatedServer(api_key=KEY) as server:
        server.script(Reply.text("ok").with_headers({"Set-Cookie": "id=1; Path=/"}))
        # Of an address aiohttp takes no cookies anyway.
        async with CometSession(api_key=KEY, base_url=server.base_url.replace("127.0.0.1", "localhost")) as session:
            await ask(session)
            await ask(session)
        assert "Cookie" not in server.requests[1].headers


async def test_a_request_leaves_nothing_in_its_tasks_context() -> None:
    async with serving() as (_, session):
        await ask(session)
    assert not [variable for variable in contextvars.copy_context() if variable.name.startswith("cometstream")]


# A client of the caller's own


async def test_a_callers_own_client_is_used_and_never_closed() -> None:
    async with aiohttp.ClientSession() as client:
        async with serving(client=client) as (server, session):
            assert (await ask(session)).content
            await session.aclose()
            assert not client.closed
        assert not client.closed
        async with SimulatedServer() as server, client.get(server.base_url) as response:
            assert response.status == 401


async def test_settings_of_a_callers_own_client_do_not_matter() -> None:
    async with SimulatedServer(api_key=KEY) as server:
        client = aiohttp.ClientSession(
            "http://127.0.0.1:1",
            raise_for_status=True,
            timeout=aiohttp.ClientTimeout(total=0.001, sock_read=0.001),
            headers={"Authorization": "Bearer another", "User-Agent": "another", "X-Mine": "yes"},
        )
        async with client:
            session = CometSession(api_key=KEY, base_url=server.base_url, client=client, retry=None)
            server.script(Reply.text("Hello", "you").paced(0.01))
            assert (await ask(session)).content == "Helloyou"
            headers = server.requests[0].headers
            assert headers.getall("Authorization") == [f"Bearer {KEY}"]
            assert headers["User-Agent"].startswith("cometstream/")
            assert headers["X-Mine"] == "yes"
            server.script(
                Reply.error(429), Reply.plain(b"", content_type="a/b", status=307).with_headers({"Location": "/"})
            )
            assert type(await failure(session)) is RateLimitError
            assert "redirect" in str(await failure(session))
            assert len(server.requests) == 3


async def test_a_callers_own_client_that_is_closed_says_so() -> None:
    client = aiohttp.ClientSession()
    await client.close()
    session = CometSession(api_key=KEY, client=client)
    with pytest.raises(UsageError, match="client= is closed"):
        await ask(session)
    with pytest.raises(UsageError, match="client= is closed"):
        await session.models()


def test_a_callers_own_client_that_is_closed_meanwhile_ends_the_request() -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as client, serving(Reply.raw().stall(), client=client) as (_, session):
            waiting = asyncio.create_task(failure(session))
            await asyncio.sleep(1)
            await client.close()
            error = await waiting
            assert type(error) is UsageError
            assert "closed" in str(error)

    virtual_clock.run(main())


def test_traces_of_a_callers_own_client_are_left_alone() -> None:
    seen: list[Any] = []

    async def on_request_start(session: Any, context: Any, params: Any) -> None:
        seen.append(context.trace_request_ctx)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_request_start)

    async def main() -> None:
        async with aiohttp.ClientSession(trace_configs=[trace]) as client, serving(client=client) as (_, session):
            await ask(session)

    virtual_clock.run(main())
    assert seen == [None]


# The size of an event


async def test_the_size_of_an_event_is_the_calls_or_the_sessions() -> None:
    small, large = 2048, 200_000
    answer = Reply.text("x" * 50_000)
    async with serving(max_event_size=small, retry=None) as (server, session):
        server.always(answer)
        assert type(await failure(session)) is ProtocolError
        assert (await ask(session, max_event_size=large)).content == "x" * 50_000
        assert (await session.complete(**CHAT, max_event_size=large)).content == "x" * 50_000
        with pytest.raises(ProtocolError):
            await session.complete(**CHAT)
    async with serving(retry=None) as (server, session):
        server.always(answer)
        assert session.max_event_size == MAX_EVENT_SIZE
        assert (await ask(session)).content == "x" * 50_000
        assert type(await failure(session, max_event_size=small)) is ProtocolError


# With aioresponses


URL = "https://api.cometapi.com/v1/chat/completions"


async def test_a_stream_and_a_completion_work_under_aioresponses() -> None:
    body = Reply.text("Hello", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}).content
    with aioresponses() as mocked:
        mocked.post(URL, body=body, content_type="text/event-stream", response_class=MockResponse)
        mocked.post(URL, payload=COMPLETION, response_class=MockResponse)
        mocked.get("https://api.cometapi.com/v1/models", payload={"data": [{"id": "a"}]}, response_class=MockResponse)
        async with CometSession(api_key=KEY) as session:
            async with session.stream(**CHAT) as stream:
                assert "".join([text async for text in stream.text()]) == "Hello"
            assert stream.outcome == "complete"
            assert (await session.complete(**CHAT)).to_dict() == COMPLETION
            assert [model.id for model in await session.models()] == ["a"]


async def test_errors_come_through_aioresponses() -> None:
    with aioresponses() as mocked:
        mocked.post(URL, status=401, payload={"error": {"message": "invalid token"}}, response_class=MockResponse)
        mocked.post(URL, exception=aiohttp.ClientConnectionError("gone"))
        mocked.post(URL, exception=asyncio.TimeoutError())
        async with CometSession(api_key=KEY, retry=None) as session:
            assert type(await failure(session)) is AuthenticationError
            assert type(await failure(session)) is APIConnectionError
            assert type(await failure(session)) is APIConnectionError


# complete()


async def test_complete_returns_the_completion_as_the_server_wrote_it() -> None:
    async with serving(Reply.json(COMPLETION)) as (server, session):
        completion = await session.complete(**CHAT, temperature=0.5, extra_body={"top_k": 1}, headers={"X-A": "1"})
        assert isinstance(completion, ChatCompletion)
        assert completion.to_dict() == COMPLETION
        assert completion.content == "Hello"
        assert completion.usage is not None
        assert completion.usage.total_tokens == 3
        assert completion.normalizations == {}
        request = server.requests[0]
        assert request.json == {**CHAT, "temperature": 0.5, "top_k": 1}
        assert request.headers["Accept"] == "application/json"
        assert request.headers["X-A"] == "1"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_complete_decodes_a_compressed_body(encoding: Any) -> None:
    async with serving(Reply.json(COMPLETION).compressed(encoding)) as (_, session):
        assert (await session.complete(**CHAT)).content == "Hello"


async def test_complete_takes_an_event_stream_where_the_server_sends_one() -> None:
    async with serving(Reply.text("Hello")) as (_, session):
        assert (await session.complete(**CHAT)).content == "Hello"


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json(COMPLETION).cut(20),
        Reply.json(COMPLETION).reset(20),
        Reply(body=(b'{"choices":[{',), framing="close"),
        Reply.plain(b"", content_type="application/json"),
        Reply.json(COMPLETION, status=503),
    ],
)
def test_complete_asks_again_where_the_answer_is_cut(reply: Reply) -> None:
    async def main() -> None:
        async with serving(reply, Reply.json(COMPLETION)) as (server, session):
            assert (await session.complete(**CHAT)).content == "Hello"
            assert len(server.requests) == 2

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply.error(401), AuthenticationError),
        (Reply.error(502), InternalServerError),
        (Reply.json({"error": {"code": 429, "message": "slow down"}}), RateLimitError),
        (Reply.plain(b"<html><title>Sign in</title></html>", content_type="text/html"), ProtocolError),
        (Reply.plain(b"not json", content_type="application/json"), CometError),
        (Reply.json({"fine": True}), ProtocolError),
        (Reply.text("Hello", finish_reason=None), StreamUnterminatedError),
        (Reply.json(COMPLETION).cut(20), StreamTruncatedError),
        (Reply.raw(b"nonsense"), ProtocolError),
    ],
)
async def test_complete_raises_what_the_answer_is(reply: Reply, expected: type[CometError]) -> None:
    async with serving(reply, retry=None) as (_, session):
        with pytest.raises(expected):
            await session.complete(**CHAT)


def test_complete_runs_first_content_until_the_answer_begins_and_total_over_all() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(first_content=10, total=100)
        async with serving(retry=None, timeouts=timeouts) as (server, session):
            for reply in (Reply.json(COMPLETION).after(500), Reply.json(COMPLETION).stall(0)):
                server.script(reply)
                began = loop.time()
                with pytest.raises(APITimeoutError) as caught:
                    await session.complete(**CHAT)
                assert caught.value.clock == "first_content"
                assert loop.time() - began == pytest.approx(10, abs=0.1)
            server.script(Reply.json(COMPLETION).after(500))
            with pytest.raises(APITimeoutError) as caught:
                await session.complete(**CHAT, timeouts=Timeouts(first_content=None))
            assert caught.value.clock == "total"

    virtual_clock.run(main())


# models()


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"object": "list", "data": [{"id": "a"}, {"id": "b", "owned_by": "x"}]}, ["a", "b"]),
        ([{"id": "a"}], ["a"]),
        ({"data": []}, []),
        ({"success": True, "message": "", "data": [{"id": "a"}, None, "odd"]}, ["a"]),
    ],
)
async def test_models_takes_a_list_however_it_is_wrapped(document: Any, ids: list[str]) -> None:
    async with serving(Reply.json(document)) as (server, session):
        assert [model.id for model in await session.models()] == ids
        request = server.requests[0]
        assert (request.method, request.path, request.body) == ("GET", "/v1/models", b"")
        assert request.headers["Authorization"] == f"Bearer {KEY}"


async def test_models_lists_what_the_server_has() -> None:
    async with serving() as (_, session):
        assert tuple(model.id for model in await session.models()) == MODELS


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ({"id": "a", "object": "model", "created": 1, "owned_by": "b"}, ("a", "model", 1, "b")),
        ({"id": "a", "created": "yesterday"}, ("a", "model", None, None)),
        ({"id": 7, "object": None, "created": "7", "owned_by": ["b"]}, ("", "model", 7, None)),
        ({"created": True, "owned_by": None}, ("", "model", None, None)),
    ],
)
def test_a_models_fields_have_their_types_whatever_came(raw: dict[str, Any], fields: tuple[Any, ...]) -> None:
    model = Model(raw)
    assert (model.id, model.object, model.created, model.owned_by) == fields
    assert model.raw == raw


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply.error(401), AuthenticationError),
        (Reply.error(503), InternalServerError),
        (Reply.json({"error": {"code": 401, "message": "invalid token"}}), AuthenticationError),
        (Reply.json({"success": False, "message": "no access"}), CometError),
        (Reply.json({"fine": True}), ProtocolError),
        (Reply.json("text"), CometError),
        (Reply.plain(b"", content_type="application/json"), ProtocolError),
        (Reply.plain(b"not json", content_type="application/json"), ProtocolError),
        (Reply.plain(b"{not json}", content_type="application/json"), ProtocolError),
        (Reply.plain(b"<html>Sign in</html>", content_type="text/html"), ProtocolError),
        (Reply.text("Hello"), ProtocolError),
    ],
)
async def test_models_raises_what_the_answer_is(reply: Reply, expected: type[CometError]) -> None:
    async with serving(reply, retry=None) as (_, session):
        with pytest.raises(expected) as caught:
            await session.models()
    assert "\n" not in str(caught.value)


# Plain facts


async def test_timeouts_and_retry_of_a_call_go_over_the_sessions() -> None:
    async with serving(Reply.error(503), Reply.error(503), timeouts=Timeouts(connect=1, total=50), retry=None) as (
        _,
        session,
    ):
        assert session.clocks.total == 50
        assert session.retry == RetryPolicy(max_retries=0)
        assert type(await failure(session)) is InternalServerError
        assert (await ask(session, retry=RetryPolicy(initial_delay=0))).content


async def test_the_repr_tells_the_base_url() -> None:
    session = CometSession(api_key=KEY)
    assert repr(session) == "<CometSession https://api.cometapi.com/v1>"
    await session.aclose()


@pytest.mark.parametrize("status", [200, 503])
async def test_a_body_whose_framing_breaks_holds_nobody_up(status: int) -> None:
    # aiohttp's parser in C forgets such a body; without clocks nothing else would wake the reader.
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    broken = Reply.raw(head, b'5\r\n{"dat\r\n', b"<html>bad gateway</html>\r\n\r\n")
    async with serving(broken, retry=None, timeouts=None) as (_, session):
        with pytest.raises(CometError) as caught:
            await asyncio.wait_for(session.models(), 4)
    assert isinstance(caught.value, APIConnectionError if status == 200 else APIStatusError)


async def test_what_goes_on_over_a_session_is_told_first_when_it_closes() -> None:
    told: list[str] = []
    session = CometSession(api_key=KEY)
    session.on_close(lambda: told.append(f"closed: {session.closed}"))
    session.on_close(lambda: told.append("never"))()
    assert not session.closed
    await session.aclose()
    await session.aclose()
    assert told == ["closed: True"]
