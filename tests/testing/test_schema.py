from __future__ import annotations

from typing import Any

import pytest

from cometstream.testing.schema import sample

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "next", "children"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "comet"),
        ({"type": "string", "minLength": 8}, "comet..."),
        ({"type": "string", "maxLength": 3}, "com"),
        ({"type": "string", "format": "date"}, "1986-02-09"),
        ({"enum": ["celsius", "fahrenheit"]}, "celsius"),
        ({"const": 7}, 7),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 10}, 11),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2}, 1),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "comet"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "string"}}}, {"a": "comet"}),
        ({"type": "object", "required": ["free"]}, {"free": None}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"oneOf": [{"type": "boolean"}]}, True),
        (
            {
                "$defs": {"a/b": {"properties": {"x": {"type": "integer"}}, "required": ["x"]}},
                "allOf": [{"$ref": "#/$defs/a~1b"}, {"properties": {"y": {"type": "string"}}}],
            },
            {"x": 1, "y": "comet"},
        ),
        ({"type": "integer", "multipleOf": 7}, 7),
        ({"type": "integer", "multipleOf": 7, "exclusiveMinimum": 14}, 21),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}, [1, True]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True}, [1, 2]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True}, ["comet", "comet1"]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 0}, []),
        ({"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}}, {"comet0": 1}),
        ({"type": "string", "pattern": r"^[a-z]{3}-\d{2}$"}, "abc-12"),
        ({"type": "string", "pattern": r"^[A-Z]{2}$"}, "AB"),
        ({"type": "string", "pattern": "o"}, "comet"),
        ({"type": "string", "pattern": "^nobody thinks of this$"}, "comet"),
        ({"type": "string", "pattern": r"\p{L"}, "comet"),
        (True, None),
    ],
)
def test_a_value_satisfies_its_schema(schema: Any, value: Any) -> None:
    assert sample(schema) == value


def test_a_recursive_schema_ends_with_its_optional_parts_left_out() -> None:
    node = sample(NODE)
    depth = 0
    while node is not None:
        assert set(node) == {"name", "next", "children"}
        node = node["next"]
        depth += 1
    assert 1 < depth < 10


def test_a_schema_that_requires_itself_ends() -> None:
    assert sample({"$ref": "#"}) is None
    assert "a" in sample({"required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}})
