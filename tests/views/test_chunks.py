from __future__ import annotations

from typing import Any

import pytest

from cometstream.views.chunks import ChatCompletionChunk, Choice, ChoiceDelta, ChoiceDeltaToolCall, is_error_reason


def delta(**fields: Any) -> ChoiceDelta:
    return ChoiceDelta(fields)


def chunk_of(**fields: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk({"choices": [{"index": 0, "delta": fields}]})


def test_the_documented_chunk_reads_by_openais_names() -> None:
    chunk = ChatCompletionChunk(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "gpt-5.4",
            "service_tier": "default",
            "system_fingerprint": "fp_1",
            "choices": [
                {
                    "index": 1,
                    "delta": {
                        "role": "assistant",
                        "content": "Hi",
                        "refusal": "No",
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "call_a",
                                "type": "function",
                                "function": {"name": "f", "arguments": "{"},
                            }
                        ],
                        "function_call": {"name": "g", "arguments": "}"},
                        "audio": {"id": "audio_1"},
                        "annotations": [{"type": "url_citation"}, None],
                    },
                    "logprobs": {"content": []},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "total_tokens": 14,
                "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 1},
                "completion_tokens_details": {
                    "reasoning_tokens": 4,
                    "audio_tokens": 3,
                    "accepted_prediction_tokens": 2,
                    "rejected_prediction_tokens": 1,
                },
            },
        }
    )
    assert (chunk.id, chunk.object, chunk.created, chunk.model) == (
        "chatcmpl-1",
        "chat.completion.chunk",
        1700000000,
        "gpt-5.4",
    )
    assert (chunk.service_tier, chunk.system_fingerprint) == ("default", "fp_1")
    (choice,) = chunk.choices
    assert (choice.index, choice.finish_reason) == (1, "stop")
    assert choice.logprobs is not None
    assert choice.logprobs.content == []
    assert (choice.delta.role, choice.delta.content, choice.delta.refusal) == ("assistant", "Hi", "No")
    assert choice.delta.audio is not None
    assert choice.delta.audio.id == "audio_1"
    assert [annotation.type for annotation in choice.delta.annotations] == ["url_citation"]
    assert choice.delta.tool_calls is not None
    (call,) = choice.delta.tool_calls
    assert (call.index, call.id, call.type) == (0, "call_a", "function")
    assert call.function is not None
    assert (call.function.name, call.function.arguments) == ("f", "{")
    assert choice.delta.function_call is not None
    assert (choice.delta.function_call.name, choice.delta.function_call.arguments) == ("g", "}")
    usage = chunk.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 5, 14)
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.audio_tokens) == (8, 1)
    spent = usage.completion_tokens_details
    assert spent is not None
    assert (spent.reasoning_tokens, spent.audio_tokens) == (4, 3)
    assert (spent.accepted_prediction_tokens, spent.rejected_prediction_tokens) == (2, 1)


def test_an_empty_chunk_reads_as_nothing() -> None:
    chunk = ChatCompletionChunk({})
    assert (chunk.id, chunk.object, chunk.created, chunk.model, chunk.usage, chunk.choices) == (None,) * 5 + ([],)
    empty = Choice({})
    assert (empty.index, empty.finish_reason, empty.logprobs) == (0, None, None)
    assert (empty.delta.content, empty.delta.reasoning, empty.delta.tool_calls, empty.delta.annotations) == (
        None,
        None,
        None,
        [],
    )
    call = ChoiceDeltaToolCall({})
    assert (call.index, call.id, call.type, call.function) == (None, None, None, None)


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_content": "x"}, "x"),
        ({"reasoning": "x"}, "x"),
        ({"reasoning_content": "x", "reasoning": None}, "x"),
        ({"reasoning_content": "", "reasoning": "x"}, "x"),
        ({"reasoning_content": "x", "reasoning": "x"}, "x"),
        ({"reasoning_content": {"text": "x"}, "reasoning": 5}, None),
        ({"reasoning_content": ""}, None),
        ({"content": [{"type": "thinking", "thinking": "x"}]}, "x"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}], "reasoning": "y"}, "y"),
        ({"content": [{"type": "text", "text": "x"}]}, None),
    ],
)
def test_reasoning_reads_under_every_name_and_once(fields: dict[str, Any], reasoning: str | None) -> None:
    assert ChoiceDelta(fields).reasoning == ChoiceDelta(fields).reasoning_content == reasoning


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("x", "x"),
        ("", ""),
        (None, None),
        (5, None),
        ({"type": "text", "text": "x"}, None),
        ([], ""),
        (
            [
                "a",
                {"type": "text", "text": "b"},
                {"text": "c"},
                {"text": 5},
                {"type": "image_url"},
                5,
                None,
                [{"text": "d"}],
            ],
            "abc",
        ),
    ],
)
def test_content_reads_as_text_whatever_its_shape(content: Any, text: str | None) -> None:
    assert delta(content=content).content == text


def test_a_choice_reads_its_finish_under_both_spellings_and_never_an_empty_one() -> None:
    assert Choice({"finish_reason": "stop", "finishReason": "length"}).finish_reason == "stop"
    assert Choice({"finish_reason": None, "finishReason": "length"}).finish_reason == "length"
    assert Choice({"finish_reason": "", "finishReason": ""}).finish_reason is None
    assert Choice({"finish_reason": 1}).finish_reason is None


def test_a_whole_message_reads_as_the_delta_where_there_is_none() -> None:
    assert Choice({"message": {"content": "x"}}).delta.content == "x"
    assert Choice({"message": {"content": "xy"}, "delta": {"content": "y"}}).delta.content == "y"
    assert Choice({"message": {"content": "x"}, "delta": None}).delta.content is None


def test_arguments_as_an_object_read_as_json_text() -> None:
    call = ChoiceDeltaToolCall({"function": {"name": 5, "arguments": {"a": [1]}}})
    assert call.function is not None
    assert (call.function.name, call.function.arguments) == (None, '{"a":[1]}')


def test_usage_reads_where_groq_puts_it() -> None:
    chunk = ChatCompletionChunk({"x_groq": {"usage": {"total_tokens": 3}}})
    assert chunk.usage is not None
    assert chunk.usage.total_tokens == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "x"},
        {"content": [{"text": "x"}]},
        {"content": [{"thinking": "x"}]},
        {"content": "", "reasoning": "x"},
        {"reasoning_content": "x"},
        {"refusal": "x"},
        {"reasoning_text": "x"},
        {"reasoning": {"summary": "x"}},
        {"reasoning": [{"type": "reasoning.summary", "summary": "x"}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]}]},
        {"content": [{"type": "reference", "reference_ids": [3]}]},
        {"content": [{"type": "unknown", "unknown": "x"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "signature": "x", "index": 0}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "x"}]},
        {"images": [{"type": "image_url", "image_url": {"url": "data:"}, "index": 0}]},
        {"unknown": {"deep": [{"er": "x"}]}},
        {"unknown": 5},
        {"tool_calls": [{"index": 0, "id": "call_a"}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": " "}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]},
        {"tool_calls": [{"index": 0, "function": {"of its own": "x"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]},
        {"tool_calls": [{"index": 0, "extra_content": {"google": {"thought_signature": "x"}}}]},
        {"function_call": {"name": "f"}},
        {"function_call": {"arguments": "{"}},
        {"audio": {"data": "AAAA"}},
        {"audio": {"id": "audio_1", "transcript": "x"}},
        {"audio": {"voice": "x"}},
    ],
)
def test_these_are_content(fields: dict[str, Any]) -> None:
    assert chunk_of(**fields).has_content()
    assert ChatCompletionChunk({"choices": [{"message": fields}]}).has_content()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"role": "assistant"},
        {"content": ""},
        {"content": None},
        {"content": 5},
        {"content": []},
        {"content": [{"type": "image_url"}]},
        {"reasoning": "", "refusal": ""},
        {"reasoning": 5, "refusal": 5},
        {"tool_calls": []},
        {"tool_calls": [None]},
        {"tool_calls": "x"},
        {"function_call": {}},
        {"audio": "x"},
        {"annotations": [{}], "images": [{}]},
        {"tool_calls": [{}]},
        {"tool_calls": [{"index": 0, "type": "function", "id": "", "function": {"name": "", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": None, "function": {"name": None, "arguments": None}}]},
        {"tool_calls": [{"index": 0, "id": 5, "function": {"name": 5, "arguments": True}, "custom": "x"}]},
        {"tool_calls": [{"id": 5, "x": {"y": ""}, "function": {"arguments": True, "name": 5, "x": [""]}, "index": 0}]},
        {"function_call": {"name": "", "arguments": ""}},
        {"audio": {"id": None}},
        {"audio": {"id": "audio_1", "data": "", "transcript": "", "expires_at": 9}},
        {"audio": {"data": 5}},
        {"reasoning_details": [{"type": "reasoning.text", "format": "x", "index": 0, "text": ""}]},
        {"reasoning": {"type": "x", "text": ""}, "reasoning_text": 5},
        {"obfuscation": "x", "id": "x", "name": "x", "type": "x", "index": 1, "unknown": True},
    ],
)
def test_these_are_not(fields: dict[str, Any]) -> None:
    assert not chunk_of(**fields).has_content()


def test_a_chunk_without_choices_has_no_content() -> None:
    for raw in (
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": ["x", {"delta": "x"}]},
        {"usage": {"total_tokens": 1}},
    ):
        assert not ChatCompletionChunk(raw).has_content()


@pytest.mark.parametrize(
    ("part", "text", "reasoning"),
    [
        ({"type": "text", "text": "a"}, "a", ""),
        ({"type": "OUTPUT_TEXT", "text": "a"}, "a", ""),
        ({"type": "", "text": "a"}, "a", ""),
        ({"type": "text", "text": "a", "thinking": "b"}, "a", ""),
        ({"text": "a", "thinking": "b"}, "", "b"),
        ({"type": "thinking", "text": "a"}, "", "a"),
        ({"type": "reasoning", "text": "a"}, "", "a"),
        ({"type": "reasoning", "summary": ["a", {"text": "b"}, 5, {}]}, "", "ab"),
        ({"type": "reasoning", "summary": [{"text": ""}], "text": "a"}, "", "a"),
        ({"type": "summary_text", "text": "a"}, "", "a"),
        ({"type": "thought", "content": [{"type": "text", "text": "a"}]}, "", "a"),
        ({"reasoning": "a"}, "", "a"),
        ({"type": "reasoning"}, "", ""),
        ({"type": "reference", "text": "a"}, "", ""),
        ({"type": "text"}, "", ""),
        ("a", "a", ""),
        (5, "", ""),
    ],
)
def test_the_type_of_a_part_decides_what_it_is(part: Any, text: str, reasoning: str) -> None:
    read = delta(content=[part])
    assert (read.content, read.reasoning or "") == (text, reasoning)


@pytest.mark.parametrize(
    ("reason", "failed"),
    [
        *(
            (word, True)
            for word in ("error", "Error", " ERROR ", "network_error", "ERROR_TOXIC", "model-error", "abort", "aborted")
        ),
        ("insufficient_system_resource", True),
        *(
            (word, False)
            for word in (None, "stop", "Stop", "length", "errors_none", "terror", "MAX_TOKENS", "end_turn")
        ),
    ],
)
def test_a_finish_reason_may_say_that_the_answer_failed(reason: str | None, failed: bool) -> None:
    assert is_error_reason(reason) is failed


def test_a_fragment_of_a_custom_tools_call_reads_name_and_text() -> None:
    call = ChoiceDeltaToolCall({"index": 0, "custom": {"name": "sql", "input": "sel"}})
    assert call.custom is not None
    assert (call.custom.name, call.custom.input) == ("sql", "sel")
    assert ChoiceDeltaToolCall({"index": 0}).custom is None
