"""Makes a JSON value that satisfies a simple JSON schema, always the same one."""

from __future__ import annotations

import re
from math import ceil
from typing import Any

__all__ = ["sample"]

_DEEP = 4  # below this, optional parts are left out, so that a recursive schema ends
_BOTTOM = 16  # a schema that requires itself has no value at all
_FORMATS = {
    "date": "1986-02-09",  # Halley's last perihelion
    "date-time": "1986-02-09T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P76Y",
    "email": "halley@example.com",
    "hostname": "comet.example.com",
    "ipv4": "192.0.2.76",
    "ipv6": "2001:db8::76",
    "uri": "https://example.com/comet",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


# What patterns usually ask for: names, codes, numbers, versions, colours, telephone numbers.
_USUAL = (
    *("comet", "Comet", "COMET", "comet_1", "comet-1", "Comet 1", "c", "C", "AB", "ABC", "AB12", "ABC-123", "abc-12"),
    *(
        "1",
        "42",
        "123",
        "1234",
        "12345",
        "123456",
        "1.5",
        "1.50",
        "-1",
        "12:30",
        "2026-01",
        "1986-02-09",
        "v1.2.3",
        "1.2.3",
    ),
    *(
        "#aabbcc",
        "+15550100",
        "+1 555 0100",
        "555-0100",
        "12345-6789",
        "DE",
        "en-US",
        "10:30:00",
        "$1.50",
        "50%",
        "Q1",
        "A1",
    ),
)


def sample(schema: Any) -> Any:
    """Return a value for a schema.

    Args:
        schema: A JSON schema: types, enum, const, properties, items, bounds, multiples, formats, ``$ref`` within the document,
            anyOf, oneOf and allOf. Of a ``pattern`` some usual texts are tried; ``not`` is not looked at.
    """
    return _sample(schema, schema, 0)


def _sample(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _BOTTOM:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return _sample(_resolve(schema["$ref"], root), root, depth + 1)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _sample(options[-1 if depth > _DEEP else 0], root, depth + 1)
    if schema.get("allOf"):
        return _sample(_merged(schema, root), root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = "null" if depth > _DEEP and "null" in kind else kind[0]
    if kind == "object":
        return _object(schema, root, depth)
    if kind == "array":
        return _array(schema, root, depth)
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "boolean":
        return True
    return _string(schema) if kind == "string" else None


def _object(schema: dict[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    names = schema.get("required", []) if depth > _DEEP else [*properties, *schema.get("required", [])]
    value = {name: _sample(properties.get(name), root, depth + 1) for name in names}
    for number in range(len(value), schema.get("minProperties", 0)):
        value[f"comet{number}"] = _sample(schema.get("additionalProperties"), root, depth + 1)
    return value


def _array(schema: dict[str, Any], root: Any, depth: int) -> list[Any]:
    first = [_sample(item, root, depth + 1) for item in schema.get("prefixItems", ())]
    items = schema.get("items")
    more = 0 if depth > _DEEP or first or schema.get("maxItems") == 0 else 1
    rest = [_sample(items, root, depth + 1) for _ in range(max(more, schema.get("minItems", 0) - len(first)))]
    if schema.get("uniqueItems"):
        rest = [_another(item, place, items if isinstance(items, dict) else {}) for place, item in enumerate(rest)]
    return first + rest


def _another(item: Any, place: int, schema: dict[str, Any]) -> Any:
    """Return a value that no other place of a list has, where the schema leaves room for one."""
    if schema.get("enum"):
        return schema["enum"][place % len(schema["enum"])]
    if isinstance(item, (int, float)) and not isinstance(item, bool):
        return item + place * (schema.get("multipleOf") or 1)
    return f"{item}{place}" if isinstance(item, str) and place else item


def _number(schema: dict[str, Any]) -> Any:
    step = schema.get("multipleOf")
    if step:
        low = schema.get("minimum", schema.get("exclusiveMinimum", step))
        return step * (ceil(low / step) + (low % step == 0 and "exclusiveMinimum" in schema))
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        value = 1 if high is None else high - 1
    else:
        value = low + 1 if high is None else (low + high) / 2
    return ceil(value) if schema.get("type") != "number" else value


def _string(schema: dict[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "comet")
    if isinstance(pattern := schema.get("pattern"), str):
        text = next((usual for usual in (text, *_USUAL, *_FORMATS.values()) if _matches(pattern, usual)), text)
    text = text.ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength")]


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # one of ECMA's that Python does not know
        return False


def _resolve(reference: str, root: Any) -> Any:
    found = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name:
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        part = _resolve(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged
