from __future__ import annotations

from typing import Any

import orjson
import pytest

from cometstream.testing.checks import refusal

USER = {"role": "user", "content": "Hello!"}
MODELS = ("gpt-5.4", "gpt-4.1")


def refused(body: Any) -> tuple[int, dict[str, Any]]:
    reply = refusal(body, MODELS, "r1")
    assert reply is not None
    return reply.status, orjson.loads(reply.content)["error"]


def test_a_missing_model_is_the_documented_400() -> None:
    assert refused({"messages": [USER]}) == (
        400,
        {"message": "model name is required (request id: r1)", "type": "comet_api_error", "code": ""},
    )


@pytest.mark.parametrize("messages", [None, [], "Hello!"])
def test_missing_messages_are_the_documented_500(messages: Any) -> None:
    assert refused({"model": "gpt-5.4", "messages": messages}) == (
        500,
        {
            "message": "field messages is required (request id: r1)",
            "type": "comet_api_error",
            "code": "invalid_request",
            "param": "",
        },
    )


def test_an_unknown_model_is_a_503_before_anything_else_is_read() -> None:
    status, error = refused({"model": "gpt-9"})
    assert (status, error["code"]) == (503, "model_not_found")
    assert "gpt-9" in error["message"]


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_a_body_that_is_no_object_is_a_400(body: Any) -> None:
    status, error = refused(body)
    assert (status, error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("temperature", {"temperature": 2.1}),
        ("temperature", {"temperature": "hot"}),
        ("top_p", {"top_p": -0.1}),
        ("presence_penalty", {"presence_penalty": -3}),
        ("frequency_penalty", {"frequency_penalty": 3}),
        ("n", {"n": 0}),
        ("n", {"n": 1.5}),
        ("n", {"n": True}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_completion_tokens", {"max_completion_tokens": -1}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("stop", {"stop": ["a", "b", "c", "d", "e", "f"]}),
        ("response_format", {"response_format": "json"}),
        ("tools[0]", {"tools": [{"type": "function"}]}),
        ("messages[1]", {"messages": [USER, {"role": "tool", "content": "20"}]}),
        ("messages[0]", {"messages": [{"content": "no role"}]}),
    ],
)
def test_a_value_out_of_its_bounds_is_a_400_that_names_it(param: str, fields: dict[str, Any]) -> None:
    status, error = refused({"model": "gpt-5.4", "messages": [USER], **fields})
    assert (status, error["param"], error["code"]) == (400, param, "invalid_value")
    assert param in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0, "top_p": 1, "presence_penalty": -2, "frequency_penalty": 2, "n": 2, "max_tokens": 1},
        {"temperature": None, "tools": None, "stop": None},
        {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 20},
        {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "20"}], "unheard_of": 1},
    ],
)
def test_a_sound_request_is_let_pass(fields: dict[str, Any]) -> None:
    assert refusal({"model": "gpt-4.1", "messages": [USER], **fields}, MODELS, "r1") is None
