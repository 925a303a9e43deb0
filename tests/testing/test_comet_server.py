"""The server in a thread: each line of a script is one answer, in the form that was asked for; and what was asked can be told."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest
from support.serving import CHAT, ask, failure

from cometstream import (
    APIConnectionError,
    CometError,
    CometSession,
    InternalServerError,
    RateLimitError,
    StreamServerError,
    StreamTruncatedError,
    Timeouts,
)
from cometstream.errors import ConfigurationError, UsageError
from cometstream.openai import AsyncOpenAI
from cometstream.testing import CometServer, RecordedRequest, Reply


@pytest.fixture
def server() -> Any:
    with CometServer() as server:
        yield server


def session_of(server: CometServer, **options: Any) -> CometSession:
    return CometSession(**{"api_key": server.api_key, "base_url": server.base_url, "retry": None, **options})


async def outcome(
    server: CometServer, *, streamed: bool = True, **options: Any
) -> tuple[str | None, CometError | None]:
    """The content of an answer as far as it came, and the error."""
    async with session_of(server, **options) as session:
        if not streamed:
            try:
                return (await session.complete(**CHAT)).content, None
            except CometError as error:
                return None, error
        stream = session.stream(**CHAT)
        try:
            async with stream:
                await stream.until_done()
        except CometError as error:
            return stream.completion.content, error
        return stream.completion.content, None


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_reply_comes_in_the_form_that_was_asked_for(server: CometServer, streamed: bool) -> None:
    server.reply("Hello ", "you")
    assert await outcome(server, streamed=streamed) == ("Hello you", None)


async def test_a_reply_is_what_the_gateway_would_send(server: CometServer) -> None:
    server.reply("Hello ", "you", reasoning="Greet.", finish_reason="length")
    async with session_of(server) as session:
        async with session.stream(**CHAT) as stream:
            chunks = [chunk.to_dict() async for chunk in stream]
        completion = stream.completion
    assert (completion.reasoning, completion.finish_reason) == ("Greet.", "length")
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 3
    assert stream.response.request_id == server.last_request.id
    assert all("obfuscation" in chunk for chunk in chunks if chunk["choices"])


async def test_each_choice_that_is_asked_for_gets_the_reply(server: CometServer) -> None:
    server.reply("Hello")
    async with session_of(server) as session:
        completion = await ask(session, n=2)
    assert [choice.message.content for choice in completion.choices] == ["Hello", "Hello"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_tools_are_called(server: CometServer, streamed: bool) -> None:
    server.tool_calls("get_time", ("get_weather", {"city": "Paris"}), text="Let me see.", fragment=4)
    async with session_of(server) as session:
        completion = await (ask(session) if streamed else session.complete(**CHAT))
    calls = completion.message.tool_calls
    assert calls is not None
    assert [(call.function.name, call.parse()) for call in calls] == [
        ("get_time", {}),
        ("get_weather", {"city": "Paris"}),
    ]
    assert completion.content == "Let me see."
    assert completion.finish_reason == "tool_calls"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_refusal_has_the_requests_id_in_its_head_and_its_message(server: CometServer, streamed: bool) -> None:
    server.rate_limited(retry_after=3)
    _, error = await outcome(server, streamed=streamed)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 3
    assert error.request_id == server.last_request.id == error.headers["X-Cometapi-Request-Id"]
    assert f"(request id: {error.request_id})" in str(error)


async def test_a_fault_happens_as_often_as_it_says_and_a_retry_gets_past_it(server: CometServer) -> None:
    server.rate_limited(retry_after=0).overloaded(retry_after=0, times=2).reply("Hello")
    assert server.unused == 4
    assert await outcome(server, retry=3) == ("Hello", None)
    assert (len(server.requests), server.unused) == (4, 0)


async def test_an_error_is_what_its_line_says(server: CometServer) -> None:
    server.error(503, "no channel", code="model_not_found")
    _, error = await outcome(server)
    assert isinstance(error, InternalServerError)
    assert (error.status, error.code) == (503, "model_not_found")
    assert "no channel (request id: " in str(error)


@pytest.mark.parametrize("fault", ["cut_after", "reset_after"])
async def test_a_stream_breaks_off_after_its_texts(server: CometServer, fault: str) -> None:
    getattr(server, fault)("Hel", "lo")
    content, error = await outcome(server)
    assert content == "Hello"
    assert isinstance(error, StreamTruncatedError)


@pytest.mark.parametrize("fault", ["cut_after", "reset_after"])
async def test_a_document_breaks_off_in_its_middle(server: CometServer, fault: str) -> None:
    getattr(server, fault)("Hello")
    content, error = await outcome(server, streamed=False)
    assert content is None
    assert isinstance(error, StreamTruncatedError)


async def test_an_error_frame_ends_the_stream(server: CometServer) -> None:
    server.error_after("Hel", message="the model is gone", code="gone")
    content, error = await outcome(server)
    assert content == "Hel"
    assert isinstance(error, StreamServerError)
    assert (error.code, error.request_id) == ("gone", server.last_request.id)
    server.error_after("Hel", message="the model is gone", code="gone")
    _, error = await outcome(server, streamed=False)
    assert isinstance(error, InternalServerError)
    assert error.code == "gone"


async def test_the_connection_is_reset_before_any_answer(server: CometServer) -> None:
    server.reset(times=2)
    async with session_of(server) as session:
        assert isinstance(await failure(session), APIConnectionError)
    assert server.unused == 1


async def test_silence_lasts_until_the_client_leaves(server: CometServer) -> None:
    server.stall_after("Hel").stall()
    async with session_of(server, timeouts=Timeouts(content_idle=0.02)) as session:
        assert getattr(await failure(session), "clock", None) == "content_idle"
        await asyncio.to_thread(server.wait_until_left)
    async with session_of(server, timeouts=Timeouts(first_content=0.02)) as session:
        assert getattr(await failure(session), "clock", None) == "first_content"


async def test_waits_are_kept(server: CometServer) -> None:
    server.reply("a", "b", delay=0.02, pace=0.01)
    async with session_of(server) as session:
        async with session.stream(**CHAT) as stream:
            reads = [text async for text in stream.text()]
    assert reads == ["a", "b"]
    assert stream.metrics.time_to_first_byte is not None
    assert stream.metrics.time_to_first_byte >= 0.02
    assert stream.metrics.duration >= 0.04


async def test_a_request_that_the_gateway_refuses_gets_no_scripted_answer(server: CometServer) -> None:
    server.reply("Hello").reply("Hello")
    async with session_of(server, validate=False) as session:
        error = await failure(session, messages=[])
        assert (getattr(error, "status", None), error.code) == (500, "invalid_request")
        assert (await ask(session, model="a-model-of-tomorrow")).content == "Hello"  # any model is scripted


async def test_other_routes_are_never_scripted(server: CometServer) -> None:
    server.reply("Hello")
    server.models = ("m-1",)
    async with session_of(server) as session:
        assert [model.id for model in await session.models()] == ["m-1"]
        assert (await ask(session)).content == "Hello"
    async with AsyncOpenAI(api_key=server.api_key, base_url=server.base_url) as client:
        assert (await client.models.retrieve("m-1")).id == "m-1"
    assert server.models == ("m-1",)


async def test_without_a_script_the_model_answers_and_knows_its_models(server: CometServer) -> None:
    content, _ = await outcome(server)
    assert content is not None
    assert "comets" in content
    async with session_of(server) as session:
        error = await failure(session, model="gpt-9")
    assert (getattr(error, "status", None), error.code) == (503, "model_not_found")


async def test_a_script_is_a_reply_or_a_function(server: CometServer) -> None:
    server.script(Reply.text("as it is"), lambda request: Reply.text(str(request.prompt)), lambda _: None)
    assert await outcome(server) == ("as it is", None)
    assert await outcome(server) == (CHAT["messages"][0]["content"], None)
    content, _ = await outcome(server)
    assert "comets" in (content or "")


def test_a_script_that_fails_fails_the_block_around_the_server() -> None:
    errors = []

    def run() -> None:
        with CometServer() as server:
            server.script(lambda _: Reply.text(str(1 / 0)))
            errors.append(asyncio.run(outcome(server))[1])

    with pytest.raises(ZeroDivisionError):
        run()
    assert errors[0] is not None
    assert errors[0].code == "script_failed"


async def test_what_always_answers_comes_after_the_script(server: CometServer) -> None:
    server.always(Reply.text("always")).reply("first")
    assert [await outcome(server) for _ in range(3)] == [("first", None), ("always", None), ("always", None)]
    server.always(None)
    content, _ = await outcome(server)
    assert "comets" in (content or "")


async def test_what_was_asked_can_be_told(server: CometServer) -> None:
    async with session_of(server) as session:
        await ask(session, temperature=0.2)
        await ask(session, temperature=0.7)
        await session.models()
    asked = server.assert_asked(model="gpt-5.4", temperature=0.2, prompt=CHAT["messages"][0]["content"])
    assert asked is server.requests[0]
    assert (asked.model, asked.messages) == ("gpt-5.4", CHAT["messages"])
    assert repr(asked) == ("<POST /v1/chat/completions, model 'gpt-5.4', prompt 'a prompt that nobody else may read'>")
    assert repr(server.last_request) == "<GET /v1/models>"
    assert (server.last_request.model, server.last_request.messages, server.last_request.prompt) == (None, [], None)
    with pytest.raises(AssertionError) as caught:
        server.assert_asked(temperature=0.5, top_p=1)
    assert str(caught.value).splitlines() == [
        "none of 3 requests was asked with temperature=0.5, top_p=1",
        "  1. POST /v1/chat/completions: temperature is 0.2, top_p is missing",
        "  2. POST /v1/chat/completions: temperature is 0.7, top_p is missing",
        "  3. GET /v1/models: temperature is missing, top_p is missing",
    ]


def test_the_prompt_is_the_users_last_message_in_any_shape(server: CometServer) -> None:
    def prompt(*messages: Any) -> str | None:
        return RecordedRequest("r", "POST", "/", {}, b"", {"messages": [*messages]}).prompt  # type: ignore[arg-type] # no headers

    user = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, "odd"]}
    assert prompt(user, {"role": "assistant", "content": "b"}) == "a [image_url]"
    assert prompt({"role": "user", "content": 5}) == ""
    assert prompt("odd", {"role": "system", "content": "b"}) is None


def test_no_request_is_told_with_a_hint(server: CometServer) -> None:
    for look in (lambda: server.last_request, lambda: server.assert_asked(model="x")):
        with pytest.raises(
            AssertionError, match=r"COMETAPI_BASE_URL when it is made: one that is made while its module"
        ):
            look()


def test_a_client_that_stays_is_told(server: CometServer) -> None:
    asyncio.run(outcome(server))
    with pytest.raises(AssertionError, match=r"has not left within 0\.01 s: it got its whole answer"):
        server.wait_until_left(0.01)


def test_the_environment_leads_past_a_proxy(server: CometServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "internal.example.com")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    assert server.environment["NO_PROXY"].endswith(",internal.example.com")

    async def main() -> str | None:
        async with CometSession() as session:
            return (await ask(session)).content

    server.reply("Hello")
    assert asyncio.run(main()) == "Hello"


def test_it_runs_once_and_leaves_no_thread() -> None:
    server = CometServer(models=["m"], token_rate=100.0)
    assert repr(server) == "<CometServer not started, 0 requests>"
    with pytest.raises(UsageError):
        _ = server.base_url
    with server:
        assert repr(server) == f"<CometServer {server.base_url}, 0 requests>"
        with pytest.raises(UsageError, match="was started before"):
            server.start()
    server.close()
    assert "comet_server" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(AssertionError):
        server.wait_until_left()


async def test_a_server_that_was_closed_has_nothing_to_wait_for(server: CometServer) -> None:
    await outcome(server)
    server.close()
    with pytest.raises(UsageError, match="does not run"):
        server.wait_until_left()


def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise OSError("no address is left")

    monkeypatch.setattr("cometstream.testing.server.SimulatedServer.start", refuse)
    with pytest.raises(OSError, match="no address is left"):
        CometServer().start()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda server: server.reply(5), "what the model says must be text; got 5"),
        (lambda server: server.reply("a", reasoning=None), "what the model says must be text; got None"),
        (lambda server: server.reply("\ud800"), "what the model says cannot be sent"),
        (lambda server: server.error(500, "\ud800"), "message must be text"),
        (lambda server: server.reply("a", finish_reason=None), "finish_reason must be text; got None"),
        (lambda server: server.reply("a", delay=-1), "delay must be seconds, 0 or more; got -1"),
        (lambda server: server.reply("a", pace="1"), "pace must be seconds, 0 or more; got '1'"),
        (lambda server: server.tool_calls(5), r"a call must be a tool's name, .*; got 5"),
        (lambda server: server.error(200), "status must be 400 to 599; got 200"),
        (lambda server: server.error(500, 5), "message must be text; got 5"),
        (lambda server: server.error(500, code=5), "code must be text; got 5"),
        (lambda server: server.rate_limited(-1), "retry_after must be seconds, an HTTP date or None; got -1"),
        (lambda server: server.overloaded(times=0), "times must be a whole number from 1 to 1,000,000; got 0"),
        (lambda server: server.error_after("a", message=5), "message must be text; got 5"),
        (lambda server: server.script("Hello"), "a script must be a Reply or a function that makes one; got 'Hello'"),
        (lambda server: server.always(5), "a script must be a Reply or a function that makes one; got 5"),
    ],
)
def test_a_line_that_cannot_be_used_says_so_at_once(server: CometServer, script: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        script(server)
    assert server.unused == 0


async def test_arguments_that_are_no_json_go_out_as_they_are(server: CometServer) -> None:
    server.tool_calls(("f", "{half"))
    async with session_of(server) as session:
        calls = (await ask(session)).message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == "{half"
    assert orjson.loads(server.last_request.body) == server.last_request.json
