from __future__ import annotations

import math
from collections import deque
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.errors import InvalidRequestError
from cometstream.request.checks import KNOWN_PARAMETERS, check_request
from cometstream.request.params import ChatParams
from cometstream.views.completion import ToolCall

MINIMAL: dict[str, Any] = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}

HELLO = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]

# The requests printed on the endpoint's page.
SPEC_EXAMPLES: dict[str, dict[str, Any]] = {
    "default": {"model": "gpt-5.4", "messages": HELLO},
    "image input": {
        "model": "gpt-4.1",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in this image?"},
                    {"type": "image_url", "image_url": {"url": "https://picsum.photos/1920/1080"}},
                ],
            }
        ],
        "max_tokens": 300,
    },
    "image detail": {
        "model": "gpt-4.1",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Describe this image"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/image.png", "detail": "high"}},
                ],
            }
        ],
    },
    "streaming": {"model": "gpt-5.4", "messages": HELLO, "stream": True},
    "streaming with usage": {
        "model": "gpt-5.4",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "function calling": {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "What is the weather like in Boston today?"}],
        "tools": [WEATHER_TOOL],
        "tool_choice": "auto",
    },
    "json schema": {
        **MINIMAL,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "result",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number"}},
                    "required": ["answer", "confidence"],
                    "additionalProperties": False,
                },
            },
        },
    },
    "json object": {**MINIMAL, "response_format": {"type": "json_object"}},
    "logprobs": {**MINIMAL, "logprobs": True, "top_logprobs": 2},
    "conversation": {
        "model": "gpt-5.4",
        "messages": [
            {"role": "developer", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is Python?"},
            {"role": "assistant", "content": "Python is a high-level programming language..."},
            {"role": "user", "content": "What are its main advantages?"},
        ],
    },
    "quickstart": {
        "model": "your-model-id",
        "messages": [{"role": "user", "content": "Write one sentence about CometAPI."}],
    },
}


class Word(str):
    """Stands for the members of a string enumeration."""

    __slots__ = ()


TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def problems_of(body: dict[str, Any]) -> tuple[str, ...]:
    try:
        check_request(body)
    except InvalidRequestError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("body", SPEC_EXAMPLES.values(), ids=SPEC_EXAMPLES.keys())
def test_the_pages_own_examples_pass(body: dict[str, Any]) -> None:
    check_request(body)


def test_the_known_parameters_are_the_typed_ones() -> None:
    assert {*ChatParams.__annotations__, "model", "messages", "stream"} == KNOWN_PARAMETERS


@pytest.mark.parametrize("name", sorted(KNOWN_PARAMETERS - {"model", "messages"}))
def test_null_is_accepted_for_every_optional_parameter(name: str) -> None:
    check_request({**MINIMAL, name: None})


ACCEPTED: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 2},
    {"temperature": 2.0},
    {"top_p": 0},
    {"top_p": 1.0},
    {"presence_penalty": -2},
    {"presence_penalty": 2.0},
    {"frequency_penalty": -2.0},
    {"frequency_penalty": 2},
    {"n": 1},
    {"n": 500},
    {"logprobs": True, "top_logprobs": 0},
    {"logprobs": True, "top_logprobs": 20},
    {"logprobs": False},
    {"logit_bias": {"50256": -100, "198": 100.0}},
    {"logit_bias": {}},
    {"stop": "END"},
    {"stop": ["a", "b", "c", "d", "e", "f"]},
    {"stop": ("a",)},
    {"max_tokens": 1},
    {"max_completion_tokens": 128_000},
    {"seed": -5},
    {"user": "u", "prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "low", "store": True},
    {"reasoning_effort": "xhigh", "service_tier": "scale"},
    {"parallel_tool_calls": False},
    {"metadata": {"a": "b"}},
    {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    {"audio": {"voice": {"id": "voice_1"}, "format": "wav"}},
    {"prediction": {"type": "content", "content": "x"}},
    {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    {"prediction": {"type": "of a provider's own"}},
    {"web_search_options": {"search_context_size": "low", "user_location": {"type": "approximate"}}},
    {"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}},
    {"function_call": "auto"},
    {"tools": [{"type": "google_search", "google_search": {}}, {"type": "custom", "custom": {"name": "c"}}]},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": None}}]},
    {"tool_choice": "any"},
    {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
    {"response_format": {"type": "text"}},
    {"stream": False},
    {"stream": True, "stream_options": {"include_usage": False, "of_a_provider": 1}},
    {"messages": deque([{"role": "user", "content": "hi"}])},
    {"messages": (MappingProxyType({"role": "user", "content": "hi"}),)},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_what_lies_inside_the_bounds_passes(changes: dict[str, Any]) -> None:
    check_request({**MINIMAL, **changes})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model: is an empty string; it must be a model id, see the Models page"),
    ({"model": " "}, "model: is a string; it must be a model id, see the Models page"),
    ({"model": None}, "model: is null; it must be a model id, see the Models page"),
    ({"messages": None}, "messages: is null; it must be a list of at least one message"),
    ({"messages": []}, "messages: is an empty list; it must be a list of at least one message"),
    ({"messages": "hi"}, "messages: is a string; it must be a list of at least one message"),
    ({"messages": {"role": "user"}}, "messages: is an object; it must be a list of at least one message"),
    ({"stream": "yes"}, "stream: is a string; it must be true or false"),
    ({"stream": 1}, "stream: is 1; it must be true or false"),
    ({"temperature": -0.001}, "temperature: is -0.001; it must be a number from 0 to 2"),
    ({"temperature": 2.001}, "temperature: is 2.001; it must be a number from 0 to 2"),
    ({"temperature": True}, "temperature: is true; it must be a number from 0 to 2"),
    ({"temperature": "0.5"}, "temperature: is a string; it must be a number from 0 to 2"),
    ({"temperature": math.nan}, "temperature: is nan; it must be a number from 0 to 2"),
    ({"temperature": math.inf}, "temperature: is inf; it must be a number from 0 to 2"),
    ({"temperature": 10**5000}, "temperature: is an integer beyond 64 bits; it must be a number from 0 to 2"),
    ({"top_p": -0.001}, "top_p: is -0.001; it must be a number from 0 to 1"),
    ({"top_p": 1.001}, "top_p: is 1.001; it must be a number from 0 to 1"),
    ({"presence_penalty": -2.001}, "presence_penalty: is -2.001; it must be a number from -2 to 2"),
    ({"presence_penalty": 2.001}, "presence_penalty: is 2.001; it must be a number from -2 to 2"),
    ({"frequency_penalty": -2.001}, "frequency_penalty: is -2.001; it must be a number from -2 to 2"),
    ({"frequency_penalty": -math.inf}, "frequency_penalty: is -inf; it must be a number from -2 to 2"),
    ({"n": 0}, "n: is 0; it must be an integer of at least 1"),
    ({"n": 1.0}, "n: is 1.0; it must be an integer of at least 1"),
    ({"n": True}, "n: is true; it must be an integer of at least 1"),
    ({"logprobs": "true", "top_logprobs": 1}, "logprobs: is a string; it must be true or false"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs: is -1; it must be an integer from 0 to 20"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: is 21; it must be an integer from 0 to 20"),
    ({"top_logprobs": 2}, "top_logprobs: is given without logprobs; logprobs must be true"),
    ({"top_logprobs": 2, "logprobs": False}, "top_logprobs: is given without logprobs; logprobs must be true"),
    ({"logit_bias": {"50256": -100.001}}, "logit_bias['50256']: is -100.001; it must be a number from -100 to 100"),
    ({"logit_bias": {"a": 101}}, "logit_bias.a: is 101; it must be a number from -100 to 100"),
    ({"logit_bias": {5: 1}}, "logit_bias: has a key of type int; keys must be strings"),
    ({"logit_bias": [1]}, "logit_bias: is a list; it must be an object"),
    ({"stop": 5}, "stop: is 5; it must be a string or a list of strings"),
    ({"stop": {"a", "b"}}, "stop: is of type set; it must be a string or a list of strings"),
    ({"stop": b"END"}, "stop: is of type bytes; it must be a string or a list of strings"),
    ({"stop": ["a", None]}, "stop[1]: is null; it must be a string"),
    ({"max_tokens": "5"}, "max_tokens: is a string; it must be an integer"),
    ({"max_tokens": 5.5}, "max_tokens: is 5.5; it must be an integer"),
    ({"max_completion_tokens": False}, "max_completion_tokens: is false; it must be an integer"),
    ({"seed": "s"}, "seed: is a string; it must be an integer"),
    ({"user": 5}, "user: is 5; it must be a string"),
    ({"reasoning_effort": 1}, "reasoning_effort: is 1; it must be a string"),
    ({"metadata": {"a": 1}}, "metadata.a: is 1; it must be a string"),
    ({"modalities": "text"}, "modalities: is a string; it must be a list of strings"),
    ({"audio": {"format": "wav"}}, "audio.voice: is missing; it is required"),
    ({"audio": {"voice": None, "format": "wav"}}, "audio.voice: is null; it is required"),
    (
        {"prediction": {"type": "content", "content": 5}},
        "prediction.content: is 5; it must be a string or a list of parts",
    ),
    ({"stream_options": {}}, "stream_options: is given without stream; stream must be true"),
    ({"stream": False, "stream_options": {}}, "stream_options: is given without stream; stream must be true"),
    ({"stream": True, "stream_options": []}, "stream_options: is an empty list; it must be an object"),
    (
        {"stream": True, "stream_options": {"include_usage": 1}},
        "stream_options.include_usage: is 1; it must be true or false",
    ),
    ({"response_format": "json"}, "response_format: is a string; it must be an object"),
    (
        {"response_format": {"type": "json"}},
        "response_format.type: is a string; it must be text, json_object or json_schema",
    ),
    (
        {"response_format": {"type": ["text"]}},
        "response_format.type: is a list; it must be text, json_object or json_schema",
    ),
    ({"response_format": {}}, "response_format.type: is missing; it must be text, json_object or json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: is missing; it must be an object"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
        "response_format.json_schema.schema: is missing; it must be an object",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name: is missing; it must be a string",
    ),
    ({"tools": WEATHER_TOOL}, "tools: is an object; it must be a list of tools"),
    ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type: is missing; it must be a string"),
    ({"tools": [{"type": "function"}]}, "tools[0].function: is missing; it must be an object"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name: is missing; it must be a string"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]},
        "tools[0].function.parameters: is a string; it must be an object",
    ),
    ({"tool_choice": 1}, "tool_choice: is 1; it must be a string or an object"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function: is missing; it must be an object"),
    ({"function_call": {}}, "function_call.name: is missing; it must be a string"),
    ({"functions": [{"name": 1}]}, "functions[0].name: is 1; it must be a string"),
]


@pytest.mark.parametrize(("changes", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_what_lies_outside_the_bounds_is_told_with_its_path(changes: dict[str, Any], problem: str) -> None:
    assert problems_of({**MINIMAL, **changes}) == (problem,)


ACCEPTED_MESSAGES: list[dict[str, Any]] = [
    {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "ok"}]},
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "assistant", "audio": {"id": "audio_1"}},
    {"role": "assistant", "content": None, "refusal": "no"},
    {"role": "assistant", "content": None, "reasoning_content": "cut off while thin"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "assistant", "content": "hi", "tool_calls": None, "refusal": None, "annotations": [], "extra": object},
    {"role": "user", "content": "", "name": "Eve"},
    {"role": Word("user"), "content": Word("hi"), "name": Word("Eve")},
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
    {"role": "user", "content": [{"type": "file", "file": {"file_id": "file_1"}}]},
    {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": None}}]},
    {"role": "of a provider's own"},
    # An answer without content comes back as it is.
    {"role": "assistant"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "assistant", "content": None, "images": [{"type": "image_url", "image_url": {"url": "u"}}]},
    {"role": "assistant", "content": None, "tool_calls": [ToolCall(TOOL_CALL)]},
    {"role": "function", "name": "f", "content": None},
]


@pytest.mark.parametrize("message", ACCEPTED_MESSAGES, ids=str)
def test_messages_that_the_specification_allows_pass(message: dict[str, Any]) -> None:
    check_request({**MINIMAL, "messages": [message]})


REFUSED_MESSAGES: list[tuple[Any, str]] = [
    ("hi", "messages[0]: is a string; it must be an object"),
    (None, "messages[0]: is null; it must be an object"),
    ({"content": "hi"}, "messages[0].role: is missing; it must be a string"),
    ({"role": None, "content": "hi"}, "messages[0].role: is null; it must be a string"),
    ({"role": 5, "content": "hi"}, "messages[0].role: is 5; it must be a string"),
    ({"role": ["user"], "content": "hi"}, "messages[0].role: is a list; it must be a string"),
    ({"role": "user"}, "messages[0].content: is missing; it must be a string or a list of parts"),
    ({"role": "user", "content": None}, "messages[0].content: is null; it must be a string or a list of parts"),
    ({"role": "user", "content": 5}, "messages[0].content: is 5; it must be a string or a list of parts"),
    ({"role": "user", "content": "hi", "name": 5}, "messages[0].name: is 5; it must be a string"),
    ({"role": "user", "content": ["hi"]}, "messages[0].content[0]: is a string; it must be an object"),
    ({"role": "user", "content": [{"text": "hi"}]}, "messages[0].content[0].type: is missing; it must be a string"),
    ({"role": "user", "content": [{"type": []}]}, "messages[0].content[0].type: is an empty list; it must be a string"),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text: is missing; it must be a string"),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com"}]},
        "messages[0].content[0].image_url: is a string; it must be an object",
    ),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
        "messages[0].content[0].image_url.url: is missing; it must be a string",
    ),
    (
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA=="}}]},
        "messages[0].content[0].input_audio.format: is missing; it must be a string",
    ),
    ({"role": "tool", "content": "ok"}, "messages[0].tool_call_id: is missing; it must be a string"),
    (
        {"role": "tool", "content": "ok", "tool_call_id": None},
        "messages[0].tool_call_id: is null; it must be a string",
    ),
    ({"role": "assistant", "content": 5}, "messages[0].content: is 5; it must be a string or a list of parts"),
    (
        {"role": "assistant", "tool_calls": {"id": "c"}},
        "messages[0].tool_calls: is an object; it must be a list of tool calls",
    ),
    (
        {"role": "assistant", "tool_calls": [{**TOOL_CALL, "function": {"name": "f", "arguments": {}}}]},
        "messages[0].tool_calls[0].function.arguments: is an object; it must be a string",
    ),
    (
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": ""}}]},
        "messages[0].tool_calls[0].id: is missing; it must be a string",
    ),
    (
        {"role": "assistant", "tool_calls": [ToolCall({"type": "x"})]},
        "messages[0].tool_calls[0].id: is missing; it must be a string",
    ),
]


@pytest.mark.parametrize(("message", "problem"), REFUSED_MESSAGES, ids=[problem for _, problem in REFUSED_MESSAGES])
def test_messages_that_it_does_not_are_told_with_their_path(message: Any, problem: str) -> None:
    assert problems_of({**MINIMAL, "messages": [message]}) == (problem,)


def test_all_problems_are_told_at_once_in_the_order_of_the_request() -> None:
    body = {
        "messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": "\ud800"}, {"role": "tool"}],
        "temperature": math.nan,
        "n": 0,
        "temprature": {1},
        "stop": ["a", 5],
    }
    assert [problem.partition(":")[0] for problem in problems_of(body)] == [
        "model",
        "messages[2].content",
        "messages[2].tool_call_id",
        "temperature",
        "n",
        "temprature",
        "stop[1]",
        "messages[1].content",
    ]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("toolchoice", "tool_choice"),
        ("maxTokens", "max_tokens"),
    ],
)
def test_an_unknown_keyword_is_told_with_the_nearest_name(name: str, nearest: str) -> None:
    (problem,) = problems_of({**MINIMAL, name: 1})
    assert problem.startswith(f"{name}: is not a parameter of this endpoint; did you mean {nearest!r}? ")


def test_an_unknown_keyword_that_is_near_to_none_is_told_without_a_guess() -> None:
    assert problems_of({**MINIMAL, "zzz": None}) == (
        "zzz: is not a parameter of this endpoint; a provider's own parameters go into extra_body",
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [("top-k", "top-k"), ("a\nb", "'a\\nb'"), ("n" * 100_000, "'" + "n" * 79 + "..."), ("", "")],
    ids=range(4),
)
def test_an_unknown_keyword_of_any_kind_is_told_on_one_short_line(name: str, label: str) -> None:
    (problem,) = problems_of({**MINIMAL, name: 1})
    assert problem.startswith(f"{label}: is not a parameter of this endpoint")
    assert len(problem) < 250


def test_no_text_of_the_request_stands_in_the_error() -> None:
    secret = "the prompt nobody else may read"
    with pytest.raises(InvalidRequestError) as caught:
        check_request({"model": [secret], "messages": [{"role": "tool", "content": [secret]}], "temperature": secret})
    assert secret not in str(caught.value)


# Bodies that look like requests, with any JSON-like value in any place.
_words = st.sampled_from(
    [*sorted(KNOWN_PARAMETERS), "role", "content", "type", "text", "function", "name", "image_url", "id", "json_schema"]
)
_texts = st.text(st.characters(exclude_categories=())) | _words | st.sampled_from(["user", "assistant", "tool"])
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.just(2**70)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4), max_leaves=12
)
_messages = st.lists(st.dictionaries(_words, _values, max_size=5) | _values, max_size=4)


@given(st.dictionaries(_texts, _values, max_size=8), st.fixed_dictionaries({}, optional={"messages": _messages}))
def test_any_json_like_body_passes_or_is_refused_in_words(body: dict[str, Any], messages: dict[str, Any]) -> None:
    for problem in problems_of({**body, **messages}):
        assert ": " in problem
