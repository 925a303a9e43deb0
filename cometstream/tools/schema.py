"""JSON Schemas of tools: what any API refuses in one, and how a function's is made ready for strict mode.

In strict mode the model writes every field, so that what a function could do without must be nullable: null stands for "not given".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from cometstream.errors import InvalidRequestError
from cometstream.request.describe import kind, shown
from cometstream.request.encode import encode_body, join_path

__all__ = ["accepts_null", "optional_as_null", "plain_schema", "schema_problems", "without_titles"]

# Where a schema holds others: one, a list of them, or some by name.
_ONE: Final = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")

# One of these says what a value is.
_SAYS_TYPE: Final = ("$ref", "allOf", "anyOf", "const", "enum", "oneOf", "type")


def plain_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a caller's schema as plain JSON, a copy.

    Raises:
        InvalidRequestError: It holds what JSON cannot, or contains itself.
    """
    try:
        copy = orjson.loads(encode_body({"parameters": schema}))["parameters"]
    except InvalidRequestError:
        raise
    except Exception as error:  # of a mapping of the caller's own
        raise InvalidRequestError([f"parameters: cannot be read ({shown(error)})"]) from error
    if not isinstance(copy, dict):
        raise InvalidRequestError([f"parameters: is {kind(copy)}; it must be a JSON Schema, an object"])
    return copy


def schema_problems(schema: dict[str, Any]) -> list[str]:
    """Return all that every API would refuse in the schema of a tool's arguments, each with its path.

    Args:
        schema: Plain JSON.
    """
    problems: list[str] = []
    if schema.get("type") != "object":
        problems.append(f"parameters.type: is {shown(schema.get('type'))}; a tool's arguments must be of type 'object'")
    for path, part in _parts(schema, "parameters"):
        if isinstance(part, dict):
            problems += _problems_of(part, path, schema)
        elif not isinstance(part, bool):
            problems.append(f"{path}: is {kind(part)}; it must be a schema, an object")
    return problems


def _problems_of(part: dict[str, Any], path: str, root: dict[str, Any]) -> Iterator[str]:
    properties, required = part.get("properties", {}), part.get("required", [])
    if not isinstance(properties, dict):
        yield f"{path}.properties: is {kind(properties)}; it must be an object"
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield f"{path}.required: must be a list of names"
    if "$ref" not in part:
        return
    ref, seen = part["$ref"], set()
    while ref is not None:
        target = _resolved(ref, root)
        if target is None:
            yield f"{path}.$ref: is {shown(ref)}; it must be a place in this schema, such as '#/$defs/NAME'"
            return
        seen.add(ref)
        ref = target.get("$ref") if isinstance(target, dict) else None
        if isinstance(ref, str) and ref in seen:
            yield f"{path}.$ref: leads back to itself, without a schema between"
            return


def _resolved(ref: Any, root: dict[str, Any]) -> Any:
    if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
        return None
    place: Any = root
    for step in ref.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict):
            place = place.get(step)
        elif isinstance(place, list) and step.isdecimal() and len(step) < 7 and int(step) < len(place):
            place = place[int(step)]
        else:
            return None
    return place


def _parts(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a schema and all schemas in it, each with its path."""
    left = [(path, schema)]
    while left:
        path, part = left.pop()
        yield path, part
        if not isinstance(part, dict):
            continue
        left += [
            (f"{path}.{name}", part[name])
            for name in _ONE
            if name in part and not (name == "additionalProperties" and isinstance(part[name], bool))
        ]
        for name in _LISTED:
            if isinstance(part.get(name), list):
                left += [(f"{path}.{name}[{place}]", item) for place, item in enumerate(part[name])]
        for name in _NAMED:
            if isinstance(part.get(name), dict):
                left += [(join_path(f"{path}.{name}", key), item) for key, item in part[name].items()]


def without_titles(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of names: each request would pay for them."""
    if not isinstance(schema, dict):
        return schema
    made = {name: value for name, value in schema.items() if name != "title" or not isinstance(value, str)}
    for name in _ONE:
        if name in made:
            made[name] = without_titles(made[name])
    for name in _LISTED:
        if isinstance(made.get(name), list):
            made[name] = [without_titles(item) for item in made[name]]
    for name in _NAMED:
        if isinstance(made.get(name), dict):
            made[name] = {key: without_titles(item) for key, item in made[name].items()}
    return made


def optional_as_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of arguments in which those that may be left out may be null instead, without their defaults."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    made = {
        name: item if name in required or not isinstance(item, dict) else _nullable(item)
        for name, item in properties.items()
    }
    return {**schema, "properties": made}


def accepts_null(schema: dict[str, Any]) -> bool:
    """Whether a schema says by itself that null is right; an empty one does."""
    kinds = schema.get("type")
    if not any(name in schema for name in _SAYS_TYPE):
        return True
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    options = schema.get("anyOf")
    return isinstance(options, list) and any(isinstance(option, dict) and accepts_null(option) for option in options)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in schema.items() if name != "default"}
    if accepts_null(bare):
        return bare
    outer = {"description": bare.pop("description")} if "description" in bare else {}
    options = bare["anyOf"] if list(bare) == ["anyOf"] else [bare]
    return {**outer, "anyOf": [*options, {"type": "null"}]}
