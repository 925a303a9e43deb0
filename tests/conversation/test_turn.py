from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from support.serving import serving
from typing_extensions import assert_type

from cometstream import (
    AuthenticationError,
    BadRequestError,
    CometSession,
    ConfigurationError,
    Conversation,
    InvalidRequestError,
    StreamTruncatedError,
    UsageError,
)
from cometstream.conversation import image, tool_result
from cometstream.testing import Reply
from cometstream.tools import run_tools, tool

MODEL: Any = {"model": "gpt-5.4"}
CUT = Reply.text("It is", " a", finish_reason=None, done=False).cut()
ENDLESS = Reply.text("on", " and", finish_reason=None, done=False).stall()
TOOLS: Any = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "get_time")]
EVERY_CALL = {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}


def roles(chat: Conversation) -> list[str]:
    return [message["role"] for message in chat.messages]


async def test_a_whole_answer_stands_in_the_history_and_goes_with_the_next_turn() -> None:
    async with serving(Reply.text("Hi", "!"), Reply.text("Bye")) as (server, session):
        chat = Conversation(system="You are brief.")
        async with chat.turn(session, "Hello", **MODEL) as stream:
            assert "".join([text async for text in stream.text()]) == "Hi!"
            assert roles(chat) == ["system"]  # until the turn is over
        assert roles(chat) == ["system", "user", "assistant"]
        assert chat.messages[-1]["content"] == "Hi!"
        completion = await chat.complete(session, "And now?", **MODEL)
        assert completion.content == chat.messages[-1]["content"] == "Bye"
    assert server.requests[1].json["messages"] == [
        {"role": "developer", "content": "You are brief."},
        *[dict(message) for message in chat.messages[1:4]],
    ]


@pytest.mark.parametrize(
    ("models", "role"),
    [
        (["gpt-5.4"], "developer"),
        (["gpt-4.1"], "developer"),
        (["claude-sonnet-4-6"], "system"),
        (["gpt-5.4", "gemini-2.5-flash"], "system"),
        (["gpt-5.4", "gpt-5.4-mini"], "developer"),
    ],
)
async def test_the_instructions_have_the_role_that_all_models_of_the_turn_want(models: list[str], role: str) -> None:
    async with serving(Reply.text("Hi")) as (server, session):
        chat = Conversation(system="You are brief.")
        async with chat.turn(session, "Hello", model=models[0], fallback_models=models[1:]) as stream:
            await stream.until_done()
    assert server.requests[0].json["messages"][0] == {"role": role, "content": "You are brief."}
    assert chat.messages[0]["role"] == "system"


@pytest.mark.parametrize("unfinished", ["drop", "keep"])
async def test_a_cut_turn_leaves_no_trace_or_what_had_come_as_the_caller_says(unfinished: Any) -> None:
    async with serving(CUT, retry=None) as (_, session):
        chat = Conversation()
        with pytest.raises(StreamTruncatedError):
            async with chat.turn(session, "What is a comet?", unfinished=unfinished, **MODEL) as stream:
                await stream.until_done()
    texts = [message["content"] for message in chat.messages]
    assert texts == ([] if unfinished == "drop" else ["What is a comet?", "It is a"])


@pytest.mark.parametrize("unfinished", ["drop", "keep"])
async def test_a_turn_that_is_left_early_is_unfinished(unfinished: Any) -> None:
    async with serving(ENDLESS) as (_, session):
        chat = Conversation()
        async with chat.turn(session, "Go", unfinished=unfinished, **MODEL) as stream:
            async for text in stream.text():
                assert text == "on"
                break
        assert stream.outcome == "cancelled"
    assert [message["content"] for message in chat.messages] == ([] if unfinished == "drop" else ["Go", "on"])


@pytest.mark.parametrize("unfinished", ["drop", "keep"])
async def test_a_cancelled_turn_is_unfinished_and_the_next_one_can_begin(unfinished: Any) -> None:
    async with serving(ENDLESS, Reply.text("Hi")) as (_, session):
        chat = Conversation()
        said = asyncio.Event()

        async def talk() -> None:
            async with chat.turn(session, "Go", unfinished=unfinished, **MODEL) as stream:
                async for _ in stream.text():
                    said.set()

        task = asyncio.create_task(talk())
        await said.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        before = len(chat.messages)
        assert before == (0 if unfinished == "drop" else 2)
        await chat.complete(session, "Hello", **MODEL)
        assert len(chat.messages) == before + 2


@pytest.mark.parametrize("unfinished", ["drop", "keep"])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_refused_turn_keeps_the_question_only_where_the_caller_says(unfinished: Any, whole: bool) -> None:
    async with serving(Reply.error(401)) as (_, session):
        chat = Conversation()
        turn = chat.turn(session, "Hello", unfinished=unfinished, **MODEL)
        with pytest.raises(AuthenticationError):
            await (chat.complete(session, "Hello", unfinished=unfinished, **MODEL) if whole else turn.__aenter__())
    assert roles(chat) == ([] if unfinished == "drop" else ["user"])


async def test_an_answer_without_content_that_was_cut_is_not_kept() -> None:
    reasoning = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": None}]}
    async with serving(Reply.sse(reasoning).cut(), retry=None) as (_, session):
        chat = Conversation()
        with pytest.raises(StreamTruncatedError):
            async with chat.turn(session, "Hello", unfinished="keep", **MODEL) as stream:
                await stream.until_done()
    assert roles(chat) == ["user"]


async def test_an_answer_that_is_whole_is_kept_although_the_block_raised() -> None:
    async with serving(Reply.text("Hi")) as (_, session):
        chat = Conversation()

        async def relay() -> None:
            async with chat.turn(session, "Hello", **MODEL) as stream:
                await stream.until_done()
                raise ConnectionError("the browser has left")

        with pytest.raises(ConnectionError):
            await relay()
    assert roles(chat) == ["user", "assistant"]


async def test_tool_calls_wait_for_their_results_and_then_the_answer_comes() -> None:
    async with serving() as (server, session):
        chat = Conversation()
        async with chat.turn(session, "What is the weather?", **EVERY_CALL, **MODEL) as stream:
            await stream.until_done()
        (call,) = chat.pending
        assert call.function.name == "get_weather"
        assert call.executable
        with pytest.raises(InvalidRequestError, match=r"messages\[2\]: tool call '.*' \('get_weather'\) has no result"):
            chat.turn(session, "Well?", **MODEL)
        await chat.complete(session, tool_result(call, {"sky": "clear"}), **MODEL)
        assert chat.pending == []
    assert roles(chat) == ["user", "assistant", "tool", "assistant"]
    assert chat.messages[-1]["content"] == 'The tool says: {"sky":"clear"}'
    assert len(server.requests) == 2


async def test_a_result_without_its_call_is_refused_before_anything_is_sent() -> None:
    async with serving() as (server, session):
        chat = Conversation(["Hello"])
        with pytest.raises(InvalidRequestError, match="answers 'call_9', which is not a tool call"):
            chat.turn(session, tool_result("call_9", "4"), **MODEL)
    assert not server.requests


async def test_parts_and_messages_are_said_together() -> None:
    async with serving(Reply.text("A comet")) as (server, session):
        chat = Conversation()
        await chat.complete(session, ["What is this?", image("https://example.com/a.png")], "Be brief.", **MODEL)
    assert server.requests[0].json["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {"role": "user", "content": "Be brief."},
    ]


async def test_one_turn_at_a_time_and_no_change_within_it() -> None:
    async with serving(ENDLESS, Reply.text("Hi")) as (_, session):
        chat = Conversation()
        late = chat.turn(session, "Late", **MODEL)
        async with chat.turn(session, "Go", **MODEL):
            with pytest.raises(UsageError, match="a turn of this conversation is open"):
                async with late:
                    pass
            with pytest.raises(UsageError, match="is open"):
                await chat.complete(session, "Hello", **MODEL)
            for change in (lambda: chat.add("x"), chat.rewind, lambda: chat.trim(9, count=lambda _: 1)):
                with pytest.raises(UsageError, match="is open"):
                    change()
            assert repr(chat) == "<Conversation of 0 messages, in a turn>"
            await chat.fork().complete(session, "Hello", **MODEL)
        assert roles(chat) == []


async def test_a_turn_that_was_made_before_a_change_is_refused() -> None:
    async with serving() as (server, session):
        chat = Conversation()
        turn = chat.turn(session, "Hello", **MODEL)
        chat.add("Something else")
        with pytest.raises(UsageError, match="the conversation has changed since turn"):
            async with turn:
                pass
        again = chat.turn(session, **MODEL)
        async with again as stream:
            await stream.until_done()
        with pytest.raises(UsageError, match="entered before"):
            async with again:
                pass
    assert len(server.requests) == 1
    assert roles(chat) == ["user", "assistant"]


async def test_bad_options_are_refused_at_once() -> None:
    async with serving() as (server, session):
        chat = Conversation(["Hello"])
        odd: Any = {"unfinished": "forget"}
        with pytest.raises(ConfigurationError, match="unfinished must be 'drop' or 'keep'; got 'forget'"):
            chat.turn(session, **MODEL, **odd)
        no_session: Any = "session"
        with pytest.raises(ConfigurationError, match="session must be a CometSession; got a string"):
            chat.turn(no_session, **MODEL)
        wrong: Any = {"messages": []}
        with pytest.raises(ConfigurationError, match="messages: give them before model="):
            chat.turn(session, **MODEL, **wrong)
        with pytest.raises(InvalidRequestError, match="temperature"):
            chat.turn(session, temperature=3, **MODEL)
        with pytest.raises(InvalidRequestError):
            await chat.complete(session, "x", temperature=3, unfinished="keep", **MODEL)
    assert not server.requests
    assert roles(chat) == ["user"]


async def test_a_closed_session_is_told_of_and_nothing_is_kept() -> None:
    async with serving() as (_, session):
        pass
    assert isinstance(session, CometSession)
    chat = Conversation()
    with pytest.raises(UsageError, match="closed"):
        await chat.complete(session, "Hello", unfinished="keep", **MODEL)
    assert chat.messages == ()


async def test_a_question_that_the_server_refuses_can_be_asked_again() -> None:
    async with serving(Reply.error(400), Reply.text("Hi")) as (_, session):
        chat = Conversation()
        with pytest.raises(BadRequestError):
            await chat.complete(session, "Hello", unfinished="keep", **MODEL)
        await chat.complete(session, **MODEL)
    assert roles(chat) == ["user", "assistant"]


@dataclasses.dataclass
class Comet:
    name: str


async def test_a_turn_gives_the_value_that_a_type_asks_for() -> None:
    pytest.importorskip("pydantic")
    async with serving() as (_, session):
        chat = Conversation()
        async with chat.turn(session, "Name one comet.", response_format=Comet, **MODEL) as stream:
            completion = await stream.until_done()
        assert_type(completion.parsed, Comet)
        assert completion.parsed == Comet("comet")
        again = await chat.complete(session, "Another one.", response_format=Comet, model="gpt-5.4")
        assert_type(again.parsed, Comet)
    assert [message["content"] for message in chat.messages[1::2]] == ['{"name":"comet"}'] * 2


async def test_a_tool_loop_goes_on_from_a_conversation_and_gives_it_back() -> None:
    for package in ("pydantic", "docstring_parser"):
        pytest.importorskip(package)

    @tool
    def get_weather(city: str) -> str:
        """Tell the weather."""
        return f"clear in {city}"

    async with serving(Reply.tool_calls(("get_weather", {"city": "Paris"}))) as (server, session):
        chat = Conversation(["What is the weather?"], system="Be brief.")
        async with run_tools(session, messages=chat.messages_for("gpt-5.4"), tools=[get_weather], **MODEL) as run:
            async for _ in run:
                pass
        chat.messages = run.messages
        assert roles(chat) == ["system", "user", "assistant", "tool", "assistant"]
        assert chat.messages[-1]["content"] == "The tool says: clear in Paris"
        await chat.complete(session, "Thanks", **MODEL)
    assert server.requests[-1].json["messages"][0]["role"] == "developer"
