from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from cometstream.answer.accumulate import Accumulator
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.completion import ChatCompletion, CompletionChoice, ToolCall, completion_as_chunk

WHOLE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "gpt-5.4",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "reasoning_content": "Hm.",
                "refusal": None,
                "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
                "function_call": {"name": "g", "arguments": "{}"},
                "audio": {"id": "audio_1"},
                "annotations": [{"type": "url_citation"}],
            },
            "logprobs": {"content": [{"token": "Hello"}]},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
}


def test_a_call_of_a_custom_tool_has_a_text_in_place_of_arguments() -> None:
    raw = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    call = ToolCall(raw)
    assert call.custom is not None
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "sql", "select 1")
    assert call.executable
    assert not ToolCall(raw, complete=False).executable
    assert not ToolCall({"type": "custom", "custom": None}).executable
    with pytest.raises(ProtocolError, match=r"its text is in call\.custom\.input"):
        call.parse()
    assert ToolCall({"id": "c", "function": {"name": "f"}}).custom is None


def test_a_completion_reads_by_openais_names_and_by_short_ones() -> None:
    whole = ChatCompletion(WHOLE)
    assert (whole.id, whole.object, whole.created, whole.model) == (
        "chatcmpl-1",
        "chat.completion",
        1700000000,
        "gpt-5.4",
    )
    assert (whole.service_tier, whole.system_fingerprint) == ("default", "fp_1")
    (choice,) = whole.choices
    assert (choice.index, choice.finish_reason) == (0, "tool_calls")
    assert choice.logprobs is not None
    assert choice.logprobs.to_dict() == {"content": [{"token": "Hello"}]}
    message = choice.message
    assert (message.role, message.content, message.reasoning, message.refusal) == ("assistant", "Hello", "Hm.", None)
    assert message.reasoning_content == "Hm."
    assert message.audio is not None
    assert message.audio.id == "audio_1"
    assert [annotation.type for annotation in message.annotations] == ["url_citation"]
    assert message.function_call is not None
    assert (message.function_call.name, message.function_call.arguments) == ("g", "{}")
    assert whole.message == message
    assert (whole.content, whole.reasoning, whole.refusal, whole.finish_reason) == ("Hello", "Hm.", None, "tool_calls")
    assert whole.logprobs == choice.logprobs
    (call,) = whole.tool_calls
    assert (call.id, call.type, call.function.name, call.function.arguments) == ("call_a", "function", "f", '{"a":1}')
    assert whole.usage is not None
    assert (whole.usage.total_tokens, whole.usage_source, whole.normalizations) == (3, "reported", {})


def test_nothing_reads_as_nothing() -> None:
    empty = ChatCompletion({})
    assert (empty.message, empty.content, empty.reasoning, empty.refusal, empty.finish_reason, empty.logprobs) == (
        None,
    ) * 6
    assert (empty.tool_calls, empty.choices, empty.usage, empty.usage_source) == ([], [], None, "unknown")
    assert CompletionChoice({}).message.tool_calls is None
    assert ToolCall({}).function.name == ""


def test_a_message_of_parts_reads_as_text_and_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hello"}]
    message = CompletionChoice({"message": {"content": parts}}).message
    assert (message.content, message.reasoning) == ("Hello", "Hm.")


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [('{"a": 1}', {"a": 1}), ("", {}), (" \n", {}), (None, {}), ("null", {}), ({"a": 1}, {"a": 1}), ({}, {})],
)
def test_arguments_parse_to_a_dict(arguments: Any, parsed: dict[str, Any]) -> None:
    call = ToolCall({"function": {"name": "f", "arguments": arguments}})
    assert call.parse() == parsed
    assert call.executable


@pytest.mark.parametrize(
    "arguments", ['{"a":', "{'a': 1}", "[1]", "5", '"x"', '{"a": NaN}', "{}{}", '{"a": "\ud800"}', [1]]
)
def test_arguments_that_are_no_json_object_are_never_executed(arguments: Any) -> None:
    call = ToolCall({"function": {"name": "f", "arguments": arguments}})
    assert not call.executable
    with pytest.raises(ProtocolError, match=r"tool call 'f' .*do not execute it") as caught:
        call.parse()
    assert caught.value.raw


def test_a_call_without_a_name_is_never_executed() -> None:
    with pytest.raises(ProtocolError, match="no function name: do not execute"):
        ToolCall({"function": {"arguments": "{}"}}).parse()


@pytest.mark.parametrize(
    "finish", [None, "", "length", "content_filter", "error", "max_tokens", "MAX_TOKENS", "abort", "sensitive"]
)
def test_a_call_of_an_answer_that_was_cut_is_never_executed(finish: str | None) -> None:
    raw = {
        "message": {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        "finish_reason": finish,
    }
    message = CompletionChoice(raw).message
    assert message.tool_calls is not None
    assert not message.tool_calls[0].executable
    with pytest.raises(ProtocolError, match=r"cut before its end.*: do not execute"):
        message.tool_calls[0].parse()


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "end_turn", "tool_use", "STOP"])
def test_a_call_of_an_answer_that_ended_is_executed(finish: str) -> None:
    raw = {
        "message": {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        "finish_reason": finish,
    }
    message = CompletionChoice(raw).message
    assert message.tool_calls is not None
    assert message.tool_calls[0].executable


def test_normalizations_survive_copying_and_are_not_the_callers_to_change() -> None:
    bent = ChatCompletion(WHOLE, {"delta_null": 2})
    bent.normalizations["delta_null"] = 3
    for twin in (bent, copy.copy(bent), copy.deepcopy(bent), pickle.loads(pickle.dumps(bent))):
        assert twin.normalizations == {"delta_null": 2}


def test_a_completion_as_one_chunk_adds_up_to_itself() -> None:
    accumulator = Accumulator()
    chunk = ChatCompletionChunk(completion_as_chunk(WHOLE))
    assert chunk.object == "chat.completion.chunk"
    assert accumulator.add(chunk)
    assert accumulator.completion.to_dict() == WHOLE
    assert completion_as_chunk({"choices": None})["choices"] == []


# -- which endings let a call run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "finish",
    [
        "refusal",
        "pause_turn",
        "malformed_function_call",
        "content-filter",
        "other",
        "a_word_of_tomorrow",
        "null",
        "None",
    ],
)
@pytest.mark.parametrize("arguments", ["", '{"a":1}'])
def test_an_ending_that_is_not_known_to_let_calls_run_proves_none(finish: str, arguments: str) -> None:
    raw = {"message": {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}, "finish_reason": finish}
    (call,) = CompletionChoice(raw).message.tool_calls or []
    assert not call.executable


@pytest.mark.parametrize("finish", ["Tool-Calls", "end turn", "eos", "FINISH_REASON_STOP", "COMPLETE", "stop_sequence"])
def test_an_ending_is_known_in_other_spellings(finish: str) -> None:
    raw = {"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": finish}
    (call,) = CompletionChoice(raw).message.tool_calls or []
    assert call.executable


# -- what goes back -------------------------------------------------------------------------------------------------------------

CALL = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(message: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    view = CompletionChoice({"message": message, "finish_reason": finish}).message
    for twin in (pickle.loads(pickle.dumps(view)), copy.copy(view)):
        assert twin.to_dict() == view.to_dict() == view.model_dump()
    assert view.raw is message
    return view.to_dict()


ASSISTANT = {"role": "assistant"}


@pytest.mark.parametrize(
    ("message", "goes_back"),
    [
        ({}, {"content": ""}),
        ({"content": None, "refusal": None}, {"content": "", "refusal": None}),
        ({"content": None, "refusal": "no"}, {"content": None, "refusal": "no"}),
        ({"content": "a", "refusal": {}}, {"content": "a", "refusal": None}),
        ({"content": 5}, {"content": ""}),
        ({"content": None, "images": ["x"]}, {"content": "", "images": ["x"]}),
        (
            {"content": None, "audio": {"id": "1", "data": "A", "expires_at": 9}},
            {"content": None, "audio": {"id": "1"}},
        ),
        ({"content": None, "audio": {"data": "A", "transcript": "Hi"}}, {"content": "Hi"}),
        ({"content": None, "audio": {"data": "A"}}, {"content": ""}),
        ({"content": None, "tool_calls": [CALL]}, {"content": None, "tool_calls": [CALL]}),
        ({"content": "a", "tool_calls": []}, {"content": "a"}),
        (
            {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, "x"]},
            {
                "content": None,
                "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
        ),
        (
            {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
            {"content": None, "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        ),
        (
            {"content": None, "function_call": {"name": "f", "arguments": '{}{"a":1}'}},
            {"content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        ),
        ({"content": "a", "function_call": {}}, {"content": "a"}),
        (
            {"content": ["a", {"text": "b"}, {"thinking": "c"}, {"type": "x"}, {"y": 1}, 5]},
            {
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "text", "text": "b"},
                    {"type": "thinking", "thinking": "c"},
                    {"type": "x"},
                ]
            },
        ),
        ({"content": [5, {"type": "text"}, {"type": "image_url", "image_url": "u"}, {"text": 5}]}, {"content": ""}),
        ({"content": [{"type": "input_audio", "input_audio": {"data": "A"}}]}, {"content": ""}),
        (
            {
                "content": [
                    {"type": "image_url", "image_url": {"url": "u", "detail": 1}},
                    {"type": "file", "file": {"x": 1}},
                ]
            },
            {"content": [{"type": "image_url", "image_url": {"url": "u"}}, {"type": "file", "file": {"x": 1}}]},
        ),
        ({"content": "a", "name": 1.5}, {"content": "a"}),
        ({"content": "a", "name": ""}, {"content": "a"}),
        ({"content": "a", "name": "n"}, {"content": "a", "name": "n"}),
    ],
)
def test_a_message_goes_back_as_providers_take_it(message: dict[str, Any], goes_back: dict[str, Any]) -> None:
    assert sent(message) == {**ASSISTANT, **goes_back}


@pytest.mark.parametrize("finish", [None, "length", "refusal"])
def test_a_message_that_was_cut_goes_back_without_its_calls(finish: str | None) -> None:
    half = {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": '{"a'}}
    assert sent({"content": "a", "tool_calls": [CALL, half]}, finish) == {**ASSISTANT, "content": "a"}
    assert sent({"content": None, "function_call": half["function"]}, finish) == {**ASSISTANT, "content": ""}
