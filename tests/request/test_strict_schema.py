from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from support import json_shapes

from cometstream.request.strict_schema import strict_schema

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The strict form of a schema that has one."""
    made, problems = strict_schema(schema)
    assert problems == []
    return made


def test_every_object_is_closed_and_has_all_its_fields_required() -> None:
    schema = of(a=TEXT, b={"type": "array", "items": of(c={"anyOf": [of(d=TEXT), {"type": "null"}]})})
    schema["required"] = ["a"]
    closed: dict[str, Any] = {"additionalProperties": False}
    inner = {**of(d=TEXT), "required": ["d"], **closed}
    item = {**of(c={"anyOf": [inner, {"type": "null"}]}), "required": ["c"], **closed}
    assert strict(schema) == {
        **of(a=TEXT, b={"type": "array", "items": item}),
        "required": ["a", "b"],
        **closed,
    }
    assert schema["required"] == ["a"]  # it is not changed


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": "string", "default": None}, TEXT),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": "format: uri"}),
        (
            {"type": "string", "description": "A name.", "minLength": 1, "maxLength": 9},
            {"type": "string", "description": "A name. (minLength: 1, maxLength: 9)"},
        ),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "string", "pattern": "^(?!a)"}, {"type": "string", "description": "pattern: ^(?!a)"}),
        ({"type": "integer", "minimum": 1, "examples": [3]}, {"type": "integer", "minimum": 1}),
        ({"oneOf": [TEXT, {"type": "null"}], "discriminator": {}}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"allOf": [TEXT], "description": "d"}, {"type": "string", "description": "d"}),
        ({"const": "x"}, {"const": "x"}),
        ({"enum": ["x", 1]}, {"enum": ["x", 1]}),
        (
            {"type": "array", "items": TEXT, "uniqueItems": True},
            {"type": "array", "items": TEXT, "description": "uniqueItems: True"},
        ),
    ],
)
def test_what_only_restricts_a_value_is_kept_or_said(field: dict[str, Any], expected: dict[str, Any]) -> None:
    assert strict(of(a=field))["properties"]["a"] == expected


def test_an_open_object_with_fields_is_closed() -> None:
    assert strict({**of(a=TEXT), "additionalProperties": True})["additionalProperties"] is False


def test_a_root_that_is_a_name_becomes_the_object_itself() -> None:
    node = of(next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
    made = strict({"$defs": {"Node": node}, "$ref": "#/$defs/Node"})
    assert made["type"] == "object"
    assert "$ref" not in made
    assert made["properties"] == made["$defs"]["Node"]["properties"]
    assert made["$defs"]["Node"]["required"] == ["next"]


def test_the_root_may_be_named_within_itself() -> None:
    assert strict(of(me={"$ref": "#"}))["properties"]["me"] == {"$ref": "#"}


def test_beside_a_name_nothing_may_stand_so_its_definition_takes_its_place() -> None:
    schema = of(a={"$ref": "#/$defs/A", "description": "mine"})
    schema["$defs"] = {"A": {**of(b=TEXT, again={"$ref": "#/$defs/A", "description": "yours"}), "description": "a"}}
    made = strict(schema)["properties"]["a"]
    assert made["description"] == "mine"
    assert made["properties"]["b"] == TEXT
    assert made["properties"]["again"] == {"$ref": "#/$defs/A"}  # else it had no end


def test_names_with_slashes_are_found() -> None:
    schema = {**of(a={"$ref": "#/$defs/a~1b~0c"}), "$defs": {"a/b~c": of(d=TEXT)}}
    assert strict(schema)["$defs"]["a/b~c"]["required"] == ["d"]


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array", "items": TEXT}, "response_format: is no object; strict mode wants one at the root"),
        (TEXT, "response_format: is no object"),
        (of(a={"type": "integer", "default": 5}), "response_format.a: has a default"),
        (of(a={"type": "array", "items": {}}), "response_format.a[]: may be anything"),
        (of(a={"type": "array"}), "response_format.a[]: may be anything"),
        (of(a=True), "response_format.a: may be anything"),
        (of(a={"title": "A"}), "response_format.a: may be anything"),
        (of(a={"type": "object"}), "response_format.a: is an object of any names"),
        (of(a={"type": "object", "additionalProperties": TEXT}), "response_format.a: is an object of any names"),
        (of(a={**of(b=TEXT), "additionalProperties": TEXT}), "response_format.a: takes fields of any name"),
        (of(a={"type": "array", "prefixItems": [TEXT]}), "response_format.a: uses 'prefixItems'"),
        (of(a={**of(b=TEXT), "patternProperties": {"x": TEXT}}), "response_format.a: uses 'patternProperties'"),
        (of(a={"allOf": [TEXT, {"minLength": 1}], "type": "string"}), "response_format.a: uses 'allOf'"),
        (of(a={"type": "string", "not": {"const": "x"}}), "response_format.a: uses 'not'"),
        (of(a={"$ref": "#/definitions/A"}), "response_format.a: refers to '#/definitions/A', which is not in $defs"),
        (of(a={"$ref": "#/$defs/A"}), "response_format.a: refers to '#/$defs/A', which is not in $defs"),
        (of(a={"$ref": 5}), "response_format.a: refers to '5', which is not in $defs"),
        ({"$ref": "#/$defs/A"}, "response_format: refers to '#/$defs/A'"),
        ({**of(), "$defs": {"A": of(b=5)}}, "response_format.A.b: may be anything"),
        (of(**{f"f{n}": TEXT for n in range(5001)}), "response_format: the schema has 5,001 fields; strict mode takes"),
        (of(a={"enum": list(range(1001))}), "response_format: the schema has 1,001 enum values"),
        (
            of(a={"enum": ["x" * 120_000]}),
            "response_format: the schema has 120,001 characters in names and enum values",
        ),
    ],
)
def test_what_the_api_refuses_is_told_with_its_place(schema: dict[str, Any], problem: str) -> None:
    problems = strict_schema(schema)[1]
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_problems_are_told_and_each_once() -> None:
    schema = of(a={"$ref": "#/$defs/A", "description": "x"}, b={"$ref": "#/$defs/A"}, c=5)
    schema["$defs"] = {"A": of(d={"type": "integer", "default": 1})}
    assert [problem.partition(":")[0] for problem in strict_schema(schema)[1]] == [
        "response_format.c",
        "response_format.A.d",
    ]


def test_a_schema_that_contains_itself_is_refused() -> None:
    schema = of(a=TEXT)
    schema["properties"]["b"] = schema
    (problem,) = strict_schema(schema)[1]
    assert "recursion must lead through $defs" in problem


@given(json_shapes.values, json_shapes.values)
def test_a_schema_of_any_shape_has_a_strict_form_or_problems(value: Any, other: Any) -> None:
    for schema in ({"type": "object", "properties": value, "$defs": other}, {"anyOf": value, "$ref": other}):
        made, problems = strict_schema(schema)
        assert isinstance(made, dict)
        assert all(problem.startswith("response_format") for problem in problems)
