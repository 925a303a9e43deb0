"""What the model reads of a result, whatever a tool returns."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from cometstream import ToolError
from cometstream.tools.execution import ToolTimeoutError, as_content, told_of
from cometstream.views.completion import ToolCall


@dataclass
class Point:
    x: int


class Model:
    """As pydantic's."""

    def model_dump_json(self) -> str:
        return '{"model":1}'

    def model_dump(self, mode: str) -> Any:
        return {"model": mode}


class Broken:
    def model_dump_json(self) -> int:
        return 7


class Number(float):
    pass


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        ("\ud800", "?"),
        (None, "null"),
        (7, "7"),
        ({1: [True]}, '{"1":[true]}'),
        (Point(3), '{"x":3}'),
        ([Point(3)], '[{"x":3}]'),
        (Model(), '{"model":1}'),
        ([Model()], '[{"model":"json"}]'),
        ({"a": {7}}, '{"a":[7]}'),
        (ToolCall({"id": "a"}), '{"id":"a"}'),
        (datetime.date(2026, 3, 1), '"2026-03-01"'),
        ([Number(1.5)], "[1.5]"),
        (2**70, "1180591620717411303424"),
        ({"total": [2**70, {7}]}, '{"total": [1180591620717411303424, [7]]}'),
    ],
)
def test_a_text_is_told_as_it_is_and_anything_else_as_json(value: Any, content: str) -> None:
    told = as_content(value)
    assert told == content or orjson.loads(told) == orjson.loads(content)


@pytest.mark.parametrize("value", [object(), Broken(), [Number("nan")], Model, Point, [Point]])
def test_what_json_cannot_hold_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError, match="the tool returned what JSON cannot hold"):
        as_content(value)


def test_the_model_learns_of_an_exception_only_what_it_may() -> None:
    assert told_of(ToolError("no such city")) == '{"error":"no such city"}'
    assert told_of(ToolTimeoutError("after 5 s")) == '{"error":"the tool did not answer in time"}'
    assert told_of(ValueError("/home/ann/.ssh/id_rsa")) == '{"error":"the tool failed"}'
