"""Schemas of arguments: what the API would refuse is refused first, and strict mode's form is made."""

from __future__ import annotations

from typing import Any

import pytest

from cometstream import InvalidRequestError
from cometstream.tools import Tool
from cometstream.tools.schema import schema_problems, strict_schema

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
        (of(a={"$ref": "https://example.com/schema"}), "and be there"),
        (of(a={"$ref": 7}), "and be there"),
        (of(a={"$ref": "#/required/7"}), "and be there"),
        (of(a={"$ref": "#/required/0/x"}), "and be there"),
        ({**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"$ref": "#/$defs/A"}}}, "leads back to itself"),
    ],
)
def test_a_schema_that_no_api_takes_is_refused(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        Tool("f", parameters=schema)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            of(a={"type": "string", "default": "x"}),
            r"parameters\.properties\.a\.default: strict mode does not allow it",
        ),
        (
            {**of(a={"type": "string"}), "required": []},
            r"parameters\.required: lacks a; strict mode needs every property",
        ),
        (
            {**of(a={"type": "string"}), "required": ["a", "b"]},
            r"parameters\.required: names b, which properties does not",
        ),
        ({"type": "object", "properties": {}}, r"parameters\.additionalProperties: must be false"),
        (of(a={"allOf": [{"type": "string"}]}), r"properties\.a\.allOf: strict mode does not allow it"),
        (of(a={}), r"parameters\.properties\.a: has no type"),
        (of(a=True), r"parameters\.properties\.a: is true; it must be a schema"),
        ({**of(a={"$ref": "#/$defs/A", "description": "x"}), "$defs": {"A": of()}}, "has .ref beside other fields"),
        ({**of(a={"$ref": "#/definitions/A"}), "definitions": {"A": of()}}, r"it must be '#' or '#/\$defs/NAME'"),
        (
            of(a={"type": "array", "items": {"type": "object", "properties": {}}}),
            r"properties\.a\.items\.additionalProperties",
        ),
        (of(a={"anyOf": [{"type": "string"}, {}]}), r"properties\.a\.anyOf\[1\]: has no type"),
    ],
)
def test_a_schema_that_strict_mode_does_not_take_is_refused_where_strict_is_asked_for(
    schema: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        Tool("f", parameters=schema, strict=True)


def test_all_problems_are_listed_at_once() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": ""}, "b": {}}}
    with pytest.raises(InvalidRequestError) as raised:
        Tool("f", parameters=schema, strict=True)
    assert len(raised.value.problems) == 4


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


def test_strict_form_closes_objects_and_makes_nullable_what_could_be_left_out() -> None:
    schema = {
        "type": "object",
        "title": "Arguments",
        "properties": {
            "title": {"type": "string"},
            "days": {"type": "integer", "default": 3, "title": "Days", "description": "How many."},
            "shape": {
                "oneOf": [{"$ref": "#/$defs/Square"}, {"type": "string"}],
                "discriminator": {"propertyName": "kind"},
            },
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "square": {"allOf": [{"$ref": "#/$defs/Square"}], "description": "One."},
            "any": {"type": ["string", "null"]},
            "none": {"type": "null"},
        },
        "required": ["title", "shape", "square"],
        "$defs": {"Square": {"type": "object", "properties": {"side": {"type": "number"}}, "required": ["side"]}},
    }
    made = strict_schema(schema)
    assert made == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "days": {"description": "How many.", "anyOf": [{"type": "integer"}, {"type": "null"}]},
            "shape": {"anyOf": [{"$ref": "#/$defs/Square"}, {"type": "string"}]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "square": {"anyOf": [{"$ref": "#/$defs/Square"}], "description": "One."},
            "any": {"type": ["string", "null"]},
            "none": {"type": "null"},
        },
        "required": ["title", "days", "shape", "note", "square", "any", "none"],
        "additionalProperties": False,
        "$defs": {
            "Square": {
                "type": "object",
                "properties": {"side": {"type": "number"}},
                "required": ["side"],
                "additionalProperties": False,
            }
        },
    }
    assert schema_problems(made, strict=True) == []
    assert "title" in schema
