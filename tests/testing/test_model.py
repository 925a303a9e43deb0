from __future__ import annotations

from typing import Any

import orjson
import pytest

from cometstream.testing.model import answer, tokens
from cometstream.testing.replies import DONE

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["location"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


def request(prompt: str = "Write one sentence about comets.", **params: Any) -> dict[str, Any]:
    return {"model": "gpt-5.4", "messages": [{"role": "user", "content": prompt}], **params}


def chunks(**params: Any) -> list[dict[str, Any]]:
    """The chunks of a streamed answer, which must end with [DONE]."""
    pieces = [piece for piece in answer(request(**params, stream=True), "r1").body if isinstance(piece, bytes)]
    assert pieces[-1] == DONE
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)
    return [orjson.loads(piece[6:]) for piece in pieces[:-1]]


def completion(**params: Any) -> dict[str, Any]:
    reply = answer(request(**params), "r1")
    assert reply.framing == "length"
    body: dict[str, Any] = orjson.loads(reply.content)
    return body


def joined(stream: list[dict[str, Any]], key: str = "content", index: int = 0) -> str:
    choices = [choice for chunk in stream for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(key) or "" for choice in choices)


@pytest.mark.parametrize("text", ["", "  ", "A comet's tail, 76 years…\n\n", "x" * 40, "日本語 ok"])
def test_joined_tokens_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_one_sentence_is_asked_for_and_one_is_given() -> None:
    assert joined(chunks()).count(".") == 1
    assert joined(chunks(prompt="Tell me about comets.")).count(".") > 1
    assert "Hello!" in joined(chunks(prompt="Hello!"))


def test_a_stream_is_a_role_chunk_then_one_chunk_a_token_then_the_finish() -> None:
    stream = chunks()
    assert stream[0]["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in stream[1:-1]] == tokens(joined(stream))
    assert stream[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert {chunk["object"] for chunk in stream} == {"chat.completion.chunk"}
    assert {chunk["id"] for chunk in stream} == {"chatcmpl-r1"}
    assert not any("usage" in chunk for chunk in stream)


def test_usage_is_null_until_its_own_last_chunk_and_counts_the_deltas() -> None:
    stream = chunks(stream_options={"include_usage": True}, n=2, reasoning_effort="low")
    *rest, last = stream
    assert last["choices"] == []
    assert all(chunk["usage"] is None for chunk in rest)
    deltas = [choice["delta"] for chunk in rest for choice in chunk["choices"]]
    reasoning = sum("reasoning_content" in delta for delta in deltas)
    content = sum(bool(delta.get("content")) for delta in deltas)
    usage = last["usage"]
    assert usage["prompt_tokens"] == len(tokens("Write one sentence about comets."))
    assert usage["completion_tokens"] == reasoning + content
    assert usage["completion_tokens_details"]["reasoning_tokens"] == reasoning > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_choices_of_one_answer_differ_and_are_interleaved() -> None:
    stream = chunks(n=3)
    assert len({joined(stream, index=index) for index in range(3)}) == 3
    assert [chunk["choices"][0]["index"] for chunk in stream[:9]] == [0, 1, 2] * 3


def test_the_whole_completion_says_what_the_stream_says() -> None:
    params: dict[str, Any] = {"n": 2, "reasoning_effort": "high", "logprobs": True}
    stream = chunks(**params, stream_options={"include_usage": True})
    whole = completion(**params)
    assert whole["object"] == "chat.completion"
    assert whole["usage"] == stream[-1]["usage"]
    for index, choice in enumerate(whole["choices"]):
        assert choice["index"] == index
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["content"] == joined(stream, index=index)
        assert choice["message"]["reasoning_content"] == joined(stream, "reasoning_content", index=index)
        assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == choice["message"]["content"]


def test_reasoning_comes_before_the_content_and_only_when_asked_for() -> None:
    kinds = [next(iter(chunk["choices"][0]["delta"]), "") for chunk in chunks(reasoning_effort="low")[1:-1]]
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"reasoning_content", "content"}
    assert joined(chunks(reasoning_effort="none"), "reasoning_content") == ""


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_cuts_the_answer_with_length(name: str) -> None:
    stream = chunks(**{name: 3})
    assert len(tokens(joined(stream))) == 3
    assert stream[-1]["choices"][0]["finish_reason"] == "length"
    assert completion(**{name: 3})["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("stop", [" ice", ["nowhere", " ice", " dust"]])
def test_a_stop_sequence_ends_the_text_before_it(stop: Any) -> None:
    choice = completion(stop=stop)["choices"][0]
    assert choice["message"]["content"] == "A comet is a small world of"
    assert choice["finish_reason"] == "stop"


def test_a_tool_call_comes_in_fragments_that_fit_the_schema() -> None:
    stream = chunks(tools=[WEATHER, CLOCK])
    deltas = [chunk["choices"][0]["delta"] for chunk in stream]
    assert deltas[0]["content"] is None
    first, *rest = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert first == {
        "index": 0,
        "id": "call_r1_0",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    assert len(rest) > 1
    arguments = orjson.loads("".join(call["function"]["arguments"] for call in rest))
    assert arguments == {"location": "comet", "unit": "celsius"}
    assert stream[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_forced_tool_is_the_one_called() -> None:
    choice = completion(tools=[WEATHER, CLOCK], tool_choice={"type": "function", "function": {"name": "get_time"}})[
        "choices"
    ][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "call_r1_0", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    ]
    assert choice["finish_reason"] == "tool_calls"


def called(**params: Any) -> list[str]:
    """The tools that a whole completion calls; a stream of the same request must call the same."""
    message = completion(**params)["choices"][0]["message"]
    fragments = [
        fragment
        for chunk in chunks(**params)
        for choice in chunk["choices"]
        for fragment in choice["delta"].get("tool_calls", ())
    ]
    calls: dict[int, dict[str, Any]] = {}
    for fragment in fragments:
        call = calls.setdefault(fragment["index"], {"text": ""})
        call |= {key: fragment[key] for key in ("id", "type") if key in fragment}
        named = fragment[call["type"]]
        call["name"] = named.get("name", call.get("name"))
        call["text"] += named.get("arguments", named.get("input", ""))
    whole = message.get("tool_calls", [])
    assert [{"id": call["id"], "type": call["type"], **call[call["type"]]} for call in whole] == [
        {
            "id": call["id"],
            "type": call["type"],
            "name": call["name"],
            "arguments" if call["type"] == "function" else "input": call["text"],
        }
        for call in calls.values()
    ]
    assert len({call["id"] for call in whole}) == len(whole)
    return [call[call["type"]]["name"] for call in whole]


GREP: dict[str, Any] = {"type": "custom", "custom": {"name": "grep", "description": "Search a text"}}


@pytest.mark.parametrize(
    ("prompt", "params", "names"),
    [
        ("What is the weather, and what time is it?", {}, ["get_weather", "get_time"]),
        ("What time is it?", {}, ["get_time"]),
        ("Call get_time and grep.", {}, ["get_time", "grep"]),
        ("Weather and time?", {"parallel_tool_calls": False}, ["get_weather"]),
        ("Get me something.", {}, ["get_weather"]),
        ("What time is it?", {"tool_choice": {"type": "custom", "custom": {"name": "grep"}}}, ["grep"]),
        ("What time is it?", {"tool_choice": "none"}, []),
    ],
)
def test_the_tools_that_the_prompt_names_are_called_at_once(prompt: str, params: Any, names: list[str]) -> None:
    assert called(prompt=prompt, tools=[WEATHER, CLOCK, GREP], **params) == names


def test_all_results_are_answered_in_one_text() -> None:
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": text} for call_id, text in (("a", "20"), ("b", "7"))
    ]
    messages = [{"role": "user", "content": "Weather and time?"}, {"role": "assistant"}, *results]
    assert completion(tools=[WEATHER], messages=messages)["choices"][0]["message"]["content"] == "The tools say: 20; 7"


def test_content_is_padded_as_the_gateway_does_unless_asked_otherwise() -> None:
    padded = chunks()
    assert all(set(chunk["obfuscation"]) <= set("kQ3vT9xB2mZ7pLs4") for chunk in padded)
    assert len({len(chunk["obfuscation"]) for chunk in padded}) > 1
    plain = chunks(stream_options={"include_obfuscation": False})
    assert not any("obfuscation" in chunk for chunk in plain)


def test_after_a_tool_message_or_without_leave_to_call_comes_text() -> None:
    messages = [{"role": "user", "content": "Weather?"}, {"role": "tool", "tool_call_id": "c", "content": "20 °C"}]
    after = completion(tools=[WEATHER], messages=messages)["choices"][0]
    assert "20 °C" in after["message"]["content"]
    assert after["finish_reason"] == "stop"
    assert completion(tools=[WEATHER], tool_choice="none")["choices"][0]["finish_reason"] == "stop"


def test_structured_output_is_json_that_fits() -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}, "confidence": {"type": "number"}}}
    format_ = {"type": "json_schema", "json_schema": {"name": "result", "schema": schema}}
    assert orjson.loads(joined(chunks(response_format=format_))) == {"answer": "comet", "confidence": 1}
    assert set(orjson.loads(joined(chunks(response_format={"type": "json_object"})))) == {"answer"}


def test_logprobs_come_with_as_many_alternatives_as_asked() -> None:
    entries = [chunk["choices"][0]["logprobs"]["content"][0] for chunk in chunks(logprobs=True, top_logprobs=2)[1:-1]]
    assert [entry["token"] for entry in entries] == tokens(joined(chunks()))
    for entry in entries:
        assert len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0] == {key: entry[key] for key in ("token", "logprob", "bytes")}
        assert bytes(entry["bytes"]).decode() == entry["token"]
    assert chunks(logprobs=True)[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_parts_of_a_message_are_read_as_text() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/i.png"}},
    ]
    content = completion(messages=[{"role": "user", "content": parts}])["choices"][0]["message"]["content"]
    assert "What is this? [image_url]" in content


def test_a_token_rate_waits_before_each_token() -> None:
    reply = answer(request(stream=True, n=2), "r1", token_rate=4)
    waits = [piece for piece in reply.body if not isinstance(piece, bytes)]
    assert set(waits) == {0.25}
    whole = answer(request(n=2), "r1", token_rate=4)
    assert whole.delay == 0.25 * len(waits)
