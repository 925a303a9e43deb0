"""Schemas of arguments: what the API would refuse is refused first, and strict mode's form is made."""

from __future__ import annotations

from typing import Any

import pytest

from cometstream import InvalidRequestError
from cometstream.tools import Tool
from cometstream.tools.schema import optional_as_null, without_titles

CLOSED = {"additionalProperties": False}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **CLOSED}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {}}, "parameters.type: is None"),
        ({"type": "array"}, "must be of type 'object'"),
        ({"type": "object", "properties": []}, r"parameters\.properties: is an empty list; it must be an object"),
        ({"type": "object", "required": "city"}, r"parameters\.required: must be a list of names"),
        ({"type": "object", "properties": {"a": 1}}, r"parameters\.properties\.a: is 1; it must be a schema"),
        (
            of(a={"$ref": "#/$defs/Node"}),
            r"parameters\.properties\.a\.\$ref: is '#/\$defs/Node'; it must be a place in this",
        ),
        (of(a={"$ref": "https://example.com/schema"}), "it must be a place in this schema"),
        (of(a={"$ref": 7}), "it must be a place in this schema"),
        (of(a={"$ref": "#/required/7"}), "it must be a place in this schema"),
        (of(a={"$ref": "#/required/0/x"}), "it must be a place in this schema"),
        ({**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"$ref": "#/$defs/A"}}}, "leads back to itself"),
    ],
)
def test_a_schema_that_no_api_takes_is_refused(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        Tool("f", parameters=schema)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (of(a={"type": "string", "default": "x"}), r"tool 'f': parameters\.a: has a default"),
        (of(a={}), r"parameters\.a: may be anything"),
        (of(a={"type": "object"}), r"parameters\.a: is an object of any names"),
        ({**of(a={"$ref": "#/definitions/A"}), "definitions": {"A": of()}}, "which is not in .defs"),
    ],
)
def test_a_schema_that_strict_mode_cannot_say_is_refused_where_strict_is_asked_for(
    schema: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        Tool("f", parameters=schema, strict=True)
    assert Tool("f", parameters=schema).parameters == schema


def test_all_problems_are_listed_at_once() -> None:
    schema = {"type": "object", "properties": {"a": 1, "b": {"$ref": "x"}}, "required": "a"}
    with pytest.raises(InvalidRequestError) as raised:
        Tool("f", parameters=schema)
    assert len(raised.value.problems) == 3


def test_a_schema_that_contains_itself_or_what_json_cannot_hold_is_refused() -> None:
    circular: dict[str, Any] = {"type": "object"}
    circular["properties"] = {"a": circular}
    for schema, problem in (
        (circular, "contains itself"),
        ({"type": "object", "x": {1, 2}}, "cannot be written as JSON"),
    ):
        with pytest.raises(InvalidRequestError, match=problem):
            Tool("f", parameters=schema)


def test_recursion_through_a_definition_is_right() -> None:
    node = of(value={"type": "string"}, next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
    assert Tool("f", parameters={**of(a={"$ref": "#/$defs/Node"}), "$defs": {"Node": node}}, strict=True).strict
    assert Tool("f", parameters=of(a={"type": "array", "items": {"$ref": "#"}}), strict=True).strict
    pointed = {"type": "object", "properties": {"a/b~c": {"type": "string"}, "d": {"$ref": "#/properties/a~1b~0c"}}}
    assert not Tool("f", parameters=pointed).strict


def test_a_functions_schema_has_null_for_what_may_be_left_out_and_no_titles() -> None:
    schema = {
        "type": "object",
        "title": "Arguments",
        "properties": {
            "title": {"type": "string"},
            "days": {"type": "integer", "default": 3, "title": "Days", "description": "How many."},
            "shape": {"anyOf": [{"$ref": "#/$defs/Square"}, {"type": "string", "title": "S"}], "default": "x"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "any": {"type": ["string", "null"], "default": "x"},
            "none": {"type": "null", "default": None},
            "more": {"type": "array", "items": {"type": "string", "title": "T"}},
            "yes": True,
        },
        "required": ["title", "more"],
        "$defs": {"Square": {"type": "object", "title": "Square", "properties": {}}},
    }
    assert optional_as_null(without_titles(schema)) == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "days": {"description": "How many.", "anyOf": [{"type": "integer"}, {"type": "null"}]},
            "shape": {"anyOf": [{"$ref": "#/$defs/Square"}, {"type": "string"}, {"type": "null"}]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "any": {"type": ["string", "null"]},
            "none": {"type": "null"},
            "more": {"type": "array", "items": {"type": "string"}},
            "yes": True,
        },
        "required": ["title", "more"],
        "$defs": {"Square": {"type": "object", "properties": {}}},
    }
    assert "title" in schema
