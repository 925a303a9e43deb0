"""JSON Schemas of tools: what the API refuses in one, and one made strict.

Strict mode is the API's own promise that arguments match the schema. It takes a part of JSON Schema only: objects without
further properties, all of them required, no defaults. What may be left out is nullable there, and null stands for "not given".

Source:
    OpenAI, "Structured model outputs": supported schemas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from cometstream.errors import InvalidRequestError
from cometstream.request.describe import kind, shown
from cometstream.request.encode import encode_body, join_path

__all__ = ["accepts_null", "plain_schema", "schema_problems", "strict_schema"]

# Keywords that strict mode refuses, wherever they stand.
_NOT_STRICT: Final = frozenset(
    {
        "allOf",
        "contains",
        "default",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "not",
        "oneOf",
        "patternProperties",
        "prefixItems",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)

# Where a schema holds others: one, a list of them, or some by name.
_ONE: Final = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")

# One of these says what a value is.
_SAYS_TYPE: Final = ("$ref", "anyOf", "const", "enum", "type")


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


def schema_problems(schema: dict[str, Any], *, strict: bool) -> list[str]:
    """Return all that the API would refuse in the schema of a tool's arguments, each with its path.

    Args:
        schema: Plain JSON.
        strict: Whether it is to be used with ``strict: true``.
    """
    problems: list[str] = []
    if schema.get("type") != "object":
        problems.append(f"parameters.type: is {shown(schema.get('type'))}; a tool's arguments must be of type 'object'")
    for path, part in _parts(schema, "parameters"):
        if isinstance(part, dict):
            problems += _problems_of(part, path, schema, strict)
        elif not isinstance(part, bool) or strict:
            problems.append(f"{path}: is {kind(part)}; it must be a schema, an object")
    return problems


def _problems_of(part: dict[str, Any], path: str, root: dict[str, Any], strict: bool) -> Iterator[str]:
    properties, required = part.get("properties", {}), part.get("required", [])
    if not isinstance(properties, dict):
        yield f"{path}.properties: is {kind(properties)}; it must be an object"
        properties = {}
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield f"{path}.required: must be a list of names"
        required = []
    if "$ref" in part:
        yield from _ref_problems(part["$ref"], path, root, strict)
    if not strict:
        return
    for name in sorted(_NOT_STRICT & part.keys()):
        yield f"{path}.{name}: strict mode does not allow it; leave it out, or use strict=False"
    if "$ref" in part and len(part) > 1:
        yield f"{path}: has $ref beside other fields, which strict mode does not allow"
    if not any(name in part for name in _SAYS_TYPE) and not (_NOT_STRICT & part.keys()):
        yield f"{path}: has no type, which strict mode needs"
    if part.get("type") == "object" or "properties" in part:
        if part.get("additionalProperties") is not False:
            yield f"{path}.additionalProperties: must be false in strict mode"
        missing = sorted(properties.keys() - set(required))
        if missing:
            yield f"{path}.required: lacks {', '.join(missing)}; strict mode needs every property, make it nullable instead"
    unknown = sorted(set(required) - properties.keys())
    if unknown:
        yield f"{path}.required: names {', '.join(unknown)}, which properties does not have"


def _ref_problems(ref: Any, path: str, root: dict[str, Any], strict: bool) -> Iterator[str]:
    allowed = "'#' or '#/$defs/NAME'" if strict else "a place in this schema, such as '#/$defs/NAME'"
    seen = set()
    while True:
        target = _resolved(ref, root)
        if target is None or (strict and ref != "#" and not ref.startswith("#/$defs/")):
            yield f"{path}.$ref: is {shown(ref)}; it must be {allowed}, and be there"
            return
        seen.add(ref)
        ref = target.get("$ref") if isinstance(target, dict) else None
        if ref is None:
            return
        if ref in seen:
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


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the changes that strict mode needs. What it cannot say stays, for `schema_problems` to tell.

    Objects take no further properties and require all they have; those that could be left out become nullable. Titles and
    defaults go, ``oneOf`` becomes ``anyOf``.
    """
    made = {name: value for name, value in schema.items() if name not in ("default", "discriminator", "examples")}
    if isinstance(made.get("title"), str):
        del made["title"]
    if "oneOf" in made and "anyOf" not in made:
        made["anyOf"] = made.pop("oneOf")
    if isinstance(made.get("allOf"), list) and len(made["allOf"]) == 1 and isinstance(made["allOf"][0], dict):
        made = {**made.pop("allOf")[0], **made}
    for name in _ONE:
        if isinstance(made.get(name), dict):
            made[name] = strict_schema(made[name])
    for name in _LISTED:
        if isinstance(made.get(name), list):
            made[name] = [strict_schema(item) if isinstance(item, dict) else item for item in made[name]]
    for name in _NAMED:
        if isinstance(made.get(name), dict):
            made[name] = {
                key: strict_schema(item) if isinstance(item, dict) else item for key, item in made[name].items()
            }
    if made.get("type") == "object" or "properties" in made:
        _close(made)
    if "$ref" in made and len(made) > 1:
        made["anyOf"] = [{"$ref": made.pop("$ref")}]
    return made


def _close(made: dict[str, Any]) -> None:
    properties, required = made.setdefault("properties", {}), made.get("required", [])
    made.setdefault("additionalProperties", False)
    if isinstance(properties, dict) and isinstance(required, list):
        made["properties"] = {
            name: item if name in required or not isinstance(item, dict) or accepts_null(item) else _nullable(item)
            for name, item in properties.items()
        }
        made["required"] = list(properties)


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
    if isinstance(schema.get("anyOf"), list) and "type" not in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    inner = {name: value for name, value in schema.items() if name != "description"}
    outer = {name: value for name, value in schema.items() if name == "description"}
    return {**outer, "anyOf": [inner, {"type": "null"}]}
