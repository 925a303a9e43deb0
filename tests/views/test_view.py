from __future__ import annotations

import copy
import pickle
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, CompletionUsage
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage, CompletionChoice, ToolCall
from cometstream.views.parts import TopLogprob
from cometstream.views.view import View, dict_or_empty, int_or_none, list_of_dicts, text_or_none, view_or_none


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is what its property's annotation promises."""
    if annotation is Any:
        return True
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, inner[0]) and fits(item, inner[1]) for key, item in value.items()
        )
    if annotation is float:
        annotation = (int, float)
    return isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))


def read_all(view: View) -> None:
    """Read everything that a view offers, and everything that this offers."""
    for name in dir(type(view)):
        member = getattr(type(view), name)
        if isinstance(member, property) and isinstance(member.fget, types.FunctionType):
            value = getattr(view, name)
            assert fits(value, get_type_hints(member.fget)["return"]), (type(view), name, value)
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, View):
                    read_all(inner)
    if isinstance(view, ChatCompletionChunk):
        assert isinstance(view.has_content(), bool)
    if isinstance(view, ToolCall):
        try:
            assert isinstance(view.parse(), dict)
        except ProtocolError:
            assert not view.executable
    if not isinstance(view, ChatCompletionMessage):  # which is given as it can be sent back
        assert view.to_dict() == view.raw
    assert view.to_dict() == view.model_dump()
    assert orjson.loads(view.to_json()) == orjson.loads(orjson.dumps(view.to_dict()))
    assert repr(view).startswith(type(view).__name__ + "(")
    for twin in (copy.copy(view), copy.deepcopy(view), pickle.loads(pickle.dumps(view)), type(view)(dict(view.raw))):
        assert type(twin) is type(view)
        assert twin == view
        assert twin.raw == view.raw
        assert orjson.loads(twin.to_json()) == twin.to_dict()


@given(json_shapes.chunks)
def test_a_chunk_of_any_shape_reads_as_its_annotations_say(raw: dict[str, Any]) -> None:
    read_all(ChatCompletionChunk(raw))


@given(json_shapes.chunks)
def test_a_completion_of_any_shape_reads_as_its_annotations_say(raw: dict[str, Any]) -> None:
    read_all(ChatCompletion(raw))


@given(st.dictionaries(json_shapes.texts, json_shapes.values))
def test_any_object_at_all_reads_as_a_chunk_and_as_a_completion(raw: dict[str, Any]) -> None:
    read_all(ChatCompletionChunk(raw))
    read_all(ChatCompletion(raw))


def test_unknown_fields_read_as_attributes_and_absent_ones_do_not() -> None:
    usage = CompletionUsage({"cost": 0.5, "prompt_tokens": 3})
    assert usage.cost == 0.5
    with pytest.raises(AttributeError, match="CompletionUsage has no field 'costs'"):
        _ = usage.costs
    with pytest.raises(AttributeError):
        _ = CompletionUsage({"__wrapped__": 1}).__wrapped__


def test_a_view_is_read_only_and_keeps_what_came() -> None:
    raw = {"id": "1", "unknown": {"deep": [1]}}
    chunk = ChatCompletionChunk(raw)
    assert chunk.raw is raw
    with pytest.raises(AttributeError):
        chunk.id = "2"  # type: ignore[misc] # that it is refused is the test
    with pytest.raises(AttributeError):
        chunk.other = 1  # type: ignore[attr-defined] # as above
    chunk.to_dict()["id"] = "2"
    assert chunk.id == "1"


def test_views_are_equal_where_class_and_content_are() -> None:
    assert ChatCompletionChunk({"id": "1"}) == ChatCompletionChunk({"id": "1"})
    assert ChatCompletionChunk({"id": "1"}) != ChatCompletionChunk({"id": "2"})
    assert ChatCompletionChunk({"id": "1"}) != ChatCompletion({"id": "1"})
    assert ChatCompletionChunk({"id": "1"}) != {"id": "1"}
    with pytest.raises(TypeError):
        hash(ChatCompletionChunk({}))


def test_json_is_the_wires_own() -> None:
    chunk = ChatCompletionChunk({"id": "\u2604", "choices": [], "usage": None})
    assert chunk.to_json() == chunk.model_dump_json() == '{"id":"\u2604","choices":[],"usage":null}'
    assert (
        chunk.to_json(indent=2)
        == chunk.model_dump_json(indent=2)
        == '{\n  "id": "\u2604",\n  "choices": [],\n  "usage": null\n}'
    )
    assert chunk.model_dump_json(exclude_none=True) == '{"id":"\u2604","choices":[]}'


def test_model_dump_leaves_out_nulls_at_every_depth_on_request() -> None:
    chunk = ChatCompletionChunk({"a": None, "choices": [{"delta": {"content": "x", "role": None}, "logprobs": None}]})
    assert chunk.model_dump(exclude_none=True, exclude_unset=True, mode="json") == {
        "choices": [{"delta": {"content": "x"}}]
    }
    assert chunk.model_dump() == chunk.raw


def test_a_long_value_is_printed_short() -> None:
    text = repr(ChatCompletionChunk({"id": "x" * 100_000, "model": "m"}))
    assert len(text) < 300
    assert "(100002 characters)" in text
    assert text.endswith(", model='m')")


def test_what_proves_a_call_whole_survives_copying() -> None:
    for finish, whole in (("tool_calls", True), (None, False)):
        call = {"id": "1", "function": {"name": "f", "arguments": ""}}
        choice = CompletionChoice({"message": {"tool_calls": [call]}, "finish_reason": finish})
        for message in (choice.message, copy.deepcopy(choice.message), pickle.loads(pickle.dumps(choice.message))):
            assert message.tool_calls is not None
            (read,) = message.tool_calls
            assert [one.executable for one in (read, copy.copy(read), pickle.loads(pickle.dumps(read)))] == [whole] * 3


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *[(3, 3), (-1, -1), (3.0, 3), (1700000000.5, 1700000000), ("12", 12)],
        *[(True, None), (None, None), ("", None), ("x", None), ("1" * 19, None), ("\u0663", None)],
        *[(float("inf"), None), (float("nan"), None), ([], None), ({}, None)],
    ],
)
def test_a_whole_number_is_read_however_it_is_written(value: object, number: int | None) -> None:
    assert int_or_none(value) == number


def test_the_wrong_kind_of_value_reads_as_none() -> None:
    assert TopLogprob({"bytes": [72, 105]}).bytes == [72, 105]
    assert TopLogprob({"bytes": [72, None]}).bytes is None
    assert dict_or_empty([1]) == {}
    assert list_of_dicts({"a": 1}) == []
    assert list_of_dicts([1, {"a": 1}, None]) == [{"a": 1}]
    assert text_or_none(5) is None
    assert view_or_none(CompletionUsage, "x") is None
    assert view_or_none(CompletionUsage, {}) == CompletionUsage({})
