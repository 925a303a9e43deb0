from __future__ import annotations

from typing import Any

import orjson
import pytest

from cometstream import ChatCompletion, ConfigurationError, Conversation, InvalidRequestError
from cometstream.conversation import tool_result
from cometstream.request.chat import chat_request

CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
ASKS = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def completion(message: dict[str, Any], finish_reason: str = "stop") -> ChatCompletion:
    return ChatCompletion({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def chat_with_a_tool() -> Conversation:
    return Conversation(["What is the weather?", ASKS, tool_result("call_1", "clear"), "Thanks"], system="Be brief.")


def test_texts_parts_messages_and_answers_are_taken() -> None:
    whole = completion({"content": "Hi", "reasoning_content": "Hm"})
    assert whole.message is not None
    chat = Conversation(["Hello", {"role": "assistant", "content": "Hi"}])
    chat.add(["Look:", {"type": "text", "text": "here"}], whole, whole.message)
    assert [message["role"] for message in chat.messages] == ["user", "assistant", "user", "assistant", "assistant"]
    assert chat.messages[2]["content"] == [{"type": "text", "text": "Look:"}, {"type": "text", "text": "here"}]
    assert chat.messages[3] == chat.messages[4] == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"}


def test_the_messages_are_always_what_a_request_takes() -> None:
    chat = chat_with_a_tool()
    chat.add(
        completion({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": None}}]}, "tool_calls")
    )
    chat.add(tool_result(chat.pending[0], None))
    payload = orjson.loads(chat_request({"model": "gpt-5.4", "messages": chat.messages}).payload)
    assert payload["messages"] == list(chat.messages)


def test_what_is_refused_changes_nothing() -> None:
    chat = Conversation(["Hello"])
    odd: Any = [{"role": "user"}, {"role": "user", "content": 5}, 7]
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.content: is 5.*messages\[2\]: is 7"):
        chat.add("fine", *odd[1:])
    with pytest.raises(InvalidRequestError, match="a completion without a choice"):
        chat.add(ChatCompletion({}))
    with pytest.raises(InvalidRequestError, match="messages: is a string; it must be a list"):
        chat.messages = "Hello"
    assert len(chat.messages) == 1


def test_the_messages_are_a_copy() -> None:
    given = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    chat = Conversation([given])
    given["content"] = "changed"
    chat.messages[0]["content"].append("changed")
    chat.fork().messages[0]["content"].clear()
    assert chat.messages == ({"role": "user", "content": [{"type": "text", "text": "Hello"}]},)


def test_instructions_are_read_replaced_and_taken_away() -> None:
    chat = Conversation(["Hello"], system="Be brief.")
    assert chat.system == "Be brief."
    chat.system = "Be long."
    assert chat.messages[0] == {"role": "system", "content": "Be long."}
    chat.system = None
    assert chat.system is None
    assert [message["role"] for message in chat.messages] == ["user"]
    chat.system = "Be kind."
    assert chat.messages[0] == {"role": "system", "content": "Be kind."}
    assert Conversation(developer="Be brief.").messages_for("claude-sonnet-4-6")[0]["role"] == "developer"
    with pytest.raises(ConfigurationError, match="give system= or developer=, not both"):
        Conversation(system="a", developer="b")
    with pytest.raises(ConfigurationError, match="system must be a text or None; got 5"):
        Conversation(system=5)  # type: ignore[arg-type]


def test_the_history_of_a_tool_loop_can_be_set_and_keeps_the_role_of_the_instructions() -> None:
    chat = Conversation(["Hello"], system="Be brief.")
    sent = [*chat.messages_for("gpt-5.4"), {"role": "assistant", "content": "Hi"}]
    assert sent[0]["role"] == "developer"
    chat.messages = sent
    assert chat.messages[0] == {"role": "system", "content": "Be brief."}
    assert chat.messages[-1]["content"] == "Hi"
    chat.messages = [{"role": "developer", "content": "Other."}]
    assert chat.messages[0]["role"] == "developer"


def test_a_fork_goes_its_own_way() -> None:
    chat = chat_with_a_tool()
    fork = chat.fork()
    fork.add("More")
    assert len(fork.messages) == len(chat.messages) + 1
    assert [message["role"] for message in chat.fork(2).messages] == ["system", "user"]
    assert chat.fork(0).messages == ()
    with pytest.raises(InvalidRequestError, match=r"messages\[3\]: stands between a tool call and its result"):
        chat.fork(3)
    for at in (-1, 6, True, "2"):
        with pytest.raises(ConfigurationError, match="at must be a number of messages from 0 to 5, or None; got"):
            chat.fork(at)  # type: ignore[arg-type]


def test_rewinding_takes_the_answer_back_and_leaves_the_question() -> None:
    chat = chat_with_a_tool()
    chat.add({"role": "assistant", "content": "You are welcome"})
    assert [message["content"] for message in chat.rewind()] == ["You are welcome"]
    assert chat.messages[-1]["content"] == "Thanks"
    assert chat.rewind() == ()
    empty = Conversation(system="Be brief.")
    assert empty.rewind() == ()
    assert len(empty.messages) == 1


def test_trimming_returns_what_it_drops() -> None:
    chat = chat_with_a_tool()
    dropped = chat.trim(2, count=lambda message: 1)
    assert [message["role"] for message in dropped] == ["user", "assistant", "tool"]
    assert [message["content"] for message in chat.messages] == ["Be brief.", "Thanks"]
    with pytest.raises(ConfigurationError, match="count must be a function"):
        chat.trim(2, count=5)  # type: ignore[arg-type]


def test_a_conversation_comes_back_from_json() -> None:
    chat = chat_with_a_tool()
    text = chat.to_json()
    assert "\n" not in text
    back = Conversation.from_json(text)
    assert back.messages == chat.messages
    assert back.system == "Be brief."
    assert Conversation.from_json(text.encode()).to_json() == text
    assert Conversation.from_json(Conversation().to_json()).messages == ()


STORED: dict[str, Any] = {"format": "cometstream.conversation", "version": 1, "messages": []}


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("{", "is not JSON"),
        (None, "is not JSON"),
        ([], "is not a conversation"),
        ({"messages": []}, "is not a conversation: it has no format 'cometstream.conversation'"),
        ({**STORED, "version": 2}, "has version 2, and this cometstream reads version 1: update it"),
        ({**STORED, "version": True}, "has version True"),
        ({**STORED, "messages": None}, "has no list of messages"),
        ({**STORED, "messages": ["Hello"]}, "has a message that is not an object"),
        ({**STORED, "messages": [{"role": 5}]}, r"cannot be sent: messages\[0\].role: is 5; it must be a string"),
        ({**STORED, "messages": [{}] * 9}, r"messages\[2\].role: is missing; it must be a string; and 6 more$"),
    ],
)
def test_other_json_is_refused_in_one_line(stored: Any, told: str) -> None:
    text: Any = stored if stored is None or isinstance(stored, str) else orjson.dumps(stored).decode()
    with pytest.raises(ConfigurationError, match=told) as caught:
        Conversation.from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_models_of_a_turn_are_texts() -> None:
    with pytest.raises(ConfigurationError, match="messages_for needs the ids of models"):
        Conversation().messages_for(None)  # type: ignore[arg-type]
