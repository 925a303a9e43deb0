from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from cometstream.errors import (
    APIStatusError,
    BadRequestError,
    CometError,
    ConfigurationError,
    InternalServerError,
    InvalidRequestError,
    ProtocolError,
    StreamServerError,
)
from cometstream.request.chat import ChatRequest, chat_request, check_defaults, checked_fallbacks
from cometstream.request.providers import WARNED, ParameterWarning
from cometstream.views.completion import ChatCompletionMessage, ToolCall

HI = {"role": "user", "content": "hi"}
PARAMS: dict[str, Any] = {"model": "m", "messages": [HI]}
STREAMED = {**PARAMS, "stream": True}
USAGE = {"include_usage": True}

TOOL_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(params: Mapping[str, Any], **options: Any) -> Any:
    return orjson.loads(chat_request(params, **options).payload)


# What is sent


def test_parameters_that_are_none_are_left_out() -> None:
    assert sent({**PARAMS, "temperature": None, "n": 2}) == {**PARAMS, "n": 2}


def test_a_stream_asks_for_its_usage_unless_the_caller_decides() -> None:
    assert sent(STREAMED) == {**STREAMED, "stream_options": USAGE}
    assert "stream_options" not in sent(PARAMS)
    for own, merged in [
        ({"include_usage": False}, {"include_usage": False}),
        ({"include_obfuscation": False}, {**USAGE, "include_obfuscation": False}),
        ({}, USAGE),
        (MappingProxyType({"include_usage": True}), USAGE),
    ]:
        assert sent({**STREAMED, "stream_options": own})["stream_options"] == merged
    assert sent({**STREAMED, "stream_options": "odd"}, validate=False)["stream_options"] == "odd"


def test_extra_body_replaces_parameters_and_is_not_checked() -> None:
    extra = {"top_k": 5, "model": "other", "temperature": 99, "stream_options": None}
    assert sent(STREAMED, extra_body=extra) == {**STREAMED, **extra}


def test_the_callers_own_arguments_are_left_as_they_are() -> None:
    params = {**STREAMED, "messages": [HI, {"role": "assistant"}], "stream_options": {}}
    before = orjson.dumps(params)
    chat_request(params, extra_body={"top_k": 5}).without_addition(BadRequestError("stream_options", status=400))
    assert orjson.dumps(params) == before


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        (
            {"role": "assistant", "content": None, "images": ["i"]},
            {"role": "assistant", "content": "", "images": ["i"]},
        ),
        ({"role": "assistant", "tool_calls": []}, {"role": "assistant", "tool_calls": [], "content": ""}),
        (MappingProxyType({"role": "assistant"}), {"role": "assistant", "content": ""}),
    ],
)
def test_an_answer_without_content_is_sent_with_an_empty_one(message: Any, expected: dict[str, Any]) -> None:
    assert sent({"model": "m", "messages": [HI, message]})["messages"] == [HI, expected]
    if isinstance(message, dict):
        view = ChatCompletionMessage(message)
        without_empty_calls = {name: value for name, value in expected.items() if value != []}
        assert sent({"model": "m", "messages": [HI, view]})["messages"] == [HI, without_empty_calls]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
        {"role": "assistant", "audio": {"id": "a"}},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
        {"role": "function", "name": "f", "content": None},
    ],
)
def test_every_other_message_is_sent_as_it_is(message: dict[str, Any]) -> None:
    assert sent({"model": "m", "messages": [HI, message]})["messages"] == [HI, message]


def test_views_of_an_answer_may_stand_at_any_depth() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [ToolCall(TOOL_CALL)]}
    assert sent({"model": "m", "messages": [message]})["messages"][0]["tool_calls"] == [TOOL_CALL]
    assert sent(PARAMS, extra_body={"x": [ToolCall(TOOL_CALL)]})["x"] == [TOOL_CALL]
    with pytest.raises(InvalidRequestError, match=r"x\[0\]\.index: is nan"):
        chat_request(PARAMS, extra_body={"x": [ToolCall({**TOOL_CALL, "index": float("nan")})]})


def test_the_request_tells_how_many_choices_it_asks_for() -> None:
    for n, choices in [(None, 1), (1, 1), (3, 3)]:
        assert chat_request({**PARAMS, "n": n}).choices == choices
    assert chat_request(PARAMS, extra_body={"n": 4}).choices == 4
    for odd in ("4", 0, -2, True, 2.0, None):
        assert chat_request(PARAMS, extra_body={"n": odd}).choices == 1


# What is refused


@pytest.mark.parametrize("extra_body", ["top_k=3", [("top_k", 3)], 5, True])
def test_an_extra_body_that_is_not_an_object_is_refused(extra_body: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"extra_body: is .*; it must be an object"):
        chat_request(PARAMS, extra_body=extra_body)


def test_validate_decides_whether_the_specification_counts() -> None:
    with pytest.raises(InvalidRequestError, match="temperature"):
        chat_request({**PARAMS, "temperature": 9})
    assert sent({**PARAMS, "temperature": 9}, validate=False)["temperature"] == 9
    with pytest.raises(InvalidRequestError, match="JSON"):
        chat_request({**PARAMS, "temperature": object()}, validate=False)
    assert sent({"model": "m", "messages": "odd"}, validate=False)["messages"] == "odd"


class Broken(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("the disk is full")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("the disk is full")

    def __len__(self) -> int:
        return 1


class BrokenList(Sequence[str]):
    def __getitem__(self, index: Any) -> Any:
        raise RuntimeError("the disk is full")

    def __len__(self) -> int:
        return 1


def test_a_callers_own_mapping_that_cannot_be_read_is_told_with_its_error() -> None:
    with pytest.raises(
        InvalidRequestError, match=r"request: cannot be read \(RuntimeError\('the disk is full'\)\)"
    ) as caught:
        chat_request({**PARAMS, "metadata": Broken()})
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", ["b", None, 5, [1], [""], iter(["b"]), {"b"}, BrokenList()])
def test_fallback_models_are_a_list_of_ids(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="fallback_models must be a list of model ids; got "):
        checked_fallbacks(value)


def test_fallback_models_are_copied() -> None:
    given = ["b"]
    taken = checked_fallbacks(given)
    given.clear()
    assert taken == ("b",)
    assert checked_fallbacks(()) == ()


# A batch's defaults


def test_defaults_are_checked_as_a_row_with_them_would_be() -> None:
    check_defaults({})
    check_defaults({"model": "m", "temperature": 1, "extra_body": {"top_k": 3}})
    check_defaults({"temperature": 9}, validate=False)
    for defaults in ({"temperature": 9}, {"temprature": 1}, {"messages": []}, {"extra_body": 5}):
        with pytest.raises(InvalidRequestError):
            check_defaults(defaults)


# Warnings


@pytest.fixture
def no_warnings_yet() -> Iterator[None]:
    before = set(WARNED)
    WARNED.clear()
    yield
    WARNED.update(before)


def test_a_warning_points_to_the_caller(no_warnings_yet: None) -> None:
    with pytest.warns(ParameterWarning) as caught:
        chat_request({**PARAMS, "model": "claude-opus-4-5", "n": 3})
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(ParameterWarning) as caught:
        check_defaults({"model": "claude-opus-4-5", "reasoning_effort": "low"})
    assert [warning.filename for warning in caught] == [__file__]


def test_a_warning_that_is_made_an_error_is_raised_as_it_is(no_warnings_yet: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ParameterWarning):
            chat_request({**PARAMS, "model": "claude-opus-4-5", "n": 3})


# The same request, changed


def test_another_model_changes_nothing_else() -> None:
    request = chat_request({**STREAMED, "temperature": 0.5}).with_model("b")
    assert orjson.loads(request.payload) == {**STREAMED, "model": "b", "temperature": 0.5, "stream_options": USAGE}
    assert request.without_addition(BadRequestError("stream_options", status=400)) is not None


NAMING: list[CometError] = [
    *(APIStatusError("unknown: stream_options", status=status) for status in (400, 401, 404, 422, 429, 500, 503, 599)),
    APIStatusError("x", status=400, param="stream_options"),
    APIStatusError("x", status=400, param="stream_options.include_usage"),
    APIStatusError("x", status=422, body={"detail": [{"loc": ["body", "stream_options", "include_usage"]}]}),
    APIStatusError("x", status=422, body=[{"stream_options": [5, None]}]),
    APIStatusError("x", status=400, body="unknown field 'include_usage'"),
    APIStatusError("StreamOptions is not supported", status=400),
    StreamServerError("stream_options?"),
    StreamServerError("x", status=500, body={"error": {"param": "stream_options"}}),
]
OTHER: list[CometError] = [
    APIStatusError("x", status=400, param="options", body={"usage": ["stream", {"options": 1}]}),
    APIStatusError("redirect to /stream_options", status=307),
    InternalServerError("x", status=503),
    StreamServerError("x"),
    ProtocolError("stream_options"),
    CometError("stream_options"),
]


@pytest.mark.parametrize("error", NAMING, ids=repr)
def test_what_the_library_added_is_taken_back_where_an_error_names_it(error: CometError) -> None:
    request = chat_request(STREAMED).without_addition(error)
    assert request is not None
    assert orjson.loads(request.payload) == STREAMED
    assert request.without_addition(error) is None


@pytest.mark.parametrize("error", OTHER, ids=repr)
def test_no_other_error_takes_it_back(error: CometError) -> None:
    assert chat_request(STREAMED).without_addition(error) is None


def test_a_request_of_which_only_the_json_is_kept_is_changed_as_before() -> None:
    request = chat_request({**STREAMED, "n": 2})
    whole = request.params
    request.let_go()
    assert request.params == whole
    assert request.params is not whole
    assert (request.model, request.choices, request.streamed) == (STREAMED["model"], 2, True)
    assert orjson.loads(request.with_model("b").payload) == {**whole, "model": "b"}
    plain = request.without_addition(NAMING[0])
    assert plain is not None
    assert orjson.loads(plain.payload) == {**STREAMED, "n": 2}


def test_what_the_caller_gave_is_never_taken_back() -> None:
    error = NAMING[0]
    assert chat_request({**STREAMED, "stream_options": USAGE}).without_addition(error) is None
    assert chat_request(STREAMED, extra_body={"stream_options": USAGE}).without_addition(error) is None
    assert chat_request(PARAMS).without_addition(error) is None
    assert ChatRequest(dict(STREAMED)).without_addition(error) is None
