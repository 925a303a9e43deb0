"""Whatever a conversation is given, no error but a ``CometError`` leaves it, and what it holds can be sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support import virtual_clock
from support.odd_values import ODD, PRINTABLE, arguments, each, in_turn, only_ours
from support.serving import KEY

from cometstream import CometSession, Conversation
from cometstream.conversation import audio, file, image, tool_result
from cometstream.request.chat import chat_request
from cometstream.request.params import ChatParams
from cometstream.testing import Reply, SimulatedServer

TURN = (
    "session",
    "model",
    "unfinished",
    "messages",
    "timeouts",
    "headers",
    "fallback_models",
    "extra_body",
    "temprature",
)


def sendable(chat: Conversation) -> None:
    if chat.messages:
        chat_request({"model": "gpt-5.4", "messages": chat.messages})
    assert Conversation.from_json(chat.to_json()).messages == chat.messages


def make(options: dict[str, Any], *said: Any) -> None:
    with only_ours():
        chat = Conversation(**options)
        sendable(chat)
        for value in said:
            with only_ours():
                chat.add(value)
        sendable(chat)
        for value in said:
            for call in (chat.messages_for, chat.fork, Conversation.from_json):
                with only_ours():
                    call(value)
            with only_ours():
                chat.system = value
            with only_ours():
                chat.messages = value
            for count in (value, lambda message, value=value: value):
                with only_ours():
                    chat.trim(value if count is not value else 5, count=count)
        chat.rewind()
        sendable(chat)


def test_a_conversation_takes_or_refuses_each_odd_value() -> None:
    for options in each("messages", "system", "developer"):
        make(options)
    for value in ODD:
        make({}, value)


@in_turn
@given(arguments("messages", "system", "developer"), st.lists(st.sampled_from(PRINTABLE), max_size=3))
def test_a_conversation_takes_or_refuses_any_arguments(options: dict[str, Any], said: list[Any]) -> None:
    make(options, *said)


def test_parts_take_or_refuse_each_odd_value() -> None:
    calls: list[Any] = [
        *((call, options) for call in (image, audio, file) for options in each("source", "max_size")),
        *((image, options) for options in each("detail")),
        *((audio, options) for options in each("format")),
        *((file, options) for options in each("filename", "mime", "file_id")),
    ]
    for call, options in calls:
        with only_ours():
            call(**{"source": b"\x89PNG\r\n\x1a\n....", **options})
    for value in ODD:
        with only_ours():
            tool_result(value, "4")
        with only_ours():
            tool_result("call_1", value)


def run_turns(every: list[dict[str, Any]]) -> None:
    async def main() -> None:
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello"))
            async with CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session:
                for options in every:
                    chat = Conversation(["Hello"])
                    call: Any = {"session": session, "model": "gpt-5.4", **options}
                    with only_ours():
                        async with chat.turn(**call) as stream:
                            await stream.until_done()
                    with only_ours():
                        await chat.complete(**call)
                    sendable(chat)

    virtual_clock.run(main())


def test_turns_answer_or_refuse_each_odd_value() -> None:
    run_turns(each(*TURN))


@in_turn
@given(st.lists(arguments(*TURN, *ChatParams.__annotations__), min_size=1, max_size=2))
def test_turns_answer_or_refuse_any_arguments(every: list[dict[str, Any]]) -> None:
    run_turns(every)
