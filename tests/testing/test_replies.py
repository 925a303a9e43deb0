from __future__ import annotations

from typing import Any

import orjson
import pytest
from support.serving import ask, serving

from cometstream import ChatCompletion, ConfigurationError
from cometstream.testing import Reply

PARIS = ("get_weather", {"city": "Paris"})
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


async def read(reply: Reply) -> ChatCompletion:
    async with serving(reply) as (_, session):
        return await ask(session)


@pytest.mark.parametrize("options", [{}, {"fragment": 1}, {"fragment": 3, "interleaved": True}])
async def test_tool_calls_are_scripted_in_one_line(options: dict[str, Any]) -> None:
    reply = Reply.tool_calls("get_time", PARIS, ("find", '{"q": "é"}', "call_x"), text="Wait.", usage=USAGE, **options)
    completion = await read(reply)
    assert [(call.id, call.function.name, call.parse()) for call in completion.tool_calls] == [
        ("call_0", "get_time", {}),
        ("call_1", "get_weather", {"city": "Paris"}),
        ("call_x", "find", {"q": "é"}),
    ]
    assert (completion.content, completion.finish_reason) == ("Wait.", "tool_calls")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 8


async def test_arguments_go_out_as_they_are_also_where_they_are_malformed() -> None:
    completion = await read(Reply.tool_calls(("get_weather", '{"city": '), ("get_weather", "[1]"), ("get_time", "")))
    assert [call.executable for call in completion.tool_calls] == [False, False, True]
    assert completion.tool_calls[0].function.arguments == '{"city": '


async def test_a_cut_call_is_not_executable() -> None:
    async with serving(Reply.tool_calls(PARIS, finish_reason=None, done=False).cut(), retry=None) as (_, session):
        async with session.stream(
            model="gpt-5.4", messages=[{"role": "user", "content": "Hello"}], on_incomplete="return"
        ) as stream:
            completion = await stream.until_done()
    assert [call.executable for call in completion.tool_calls] == [False]


def test_fragments_take_turns_where_they_are_interleaved() -> None:
    reply = Reply.tool_calls(("a", "12"), ("b", "3456"), fragment=2, interleaved=True)
    events = [orjson.loads(piece[6:]) for piece in reply.body if isinstance(piece, bytes) and b'tool_calls":[' in piece]
    calls = [event["choices"][0]["delta"]["tool_calls"][0] for event in events]
    assert [call["index"] for call in calls] == [0, 1, 0, 1, 1]
    assert [call["function"]["arguments"] for call in calls] == ["", "", "12", "34", "56"]


@pytest.mark.parametrize("call", [5, None, b"x", (), (5,), ("f", {}, "id", "more"), ("f", object()), ("f", {"a": {1}})])
def test_a_call_that_is_none_is_refused(call: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"a call must be|the arguments of 'f' cannot be written as JSON"):
        Reply.tool_calls(call)


@pytest.mark.parametrize("fragment", [0, -1, True, "4", 1.5])
def test_a_fragment_has_a_number_of_characters(fragment: Any) -> None:
    with pytest.raises(ConfigurationError, match="fragment must be a number of characters"):
        Reply.tool_calls("f", fragment=fragment)
