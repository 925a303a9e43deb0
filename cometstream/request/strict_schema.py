"""A JSON Schema in the form that strict mode takes, and what of it strict mode refuses.

What only restricts a value and has no place in that form, such as ``maxLength``, is said in the description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cometstream.request.encode import is_json_list, join_path

__all__ = ["strict_schema"]

# Source: OpenAI's guide to Structured Outputs, "Supported schemas". What is not here is refused by the API.
_KEPT: Final = frozenset(
    {
        "type",
        "title",
        "description",
        "enum",
        "const",
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    }
)
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
# Told to the model in words: the answer is checked against the type all the same.
_SAID: Final = frozenset({"minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties", "contentEncoding"})
# They change nothing of what is valid.
_DROPPED: Final = frozenset(
    {"$schema", "$id", "$comment", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {"contentMediaType"}
)
_READ: Final = frozenset(
    {"$ref", "$defs", "anyOf", "oneOf", "allOf", "items", "properties", "required", "additionalProperties", "default"}
)

_MOST_PROPERTIES: Final = 5_000
_MOST_ENUM_VALUES: Final = 1_000
_MOST_CHARACTERS: Final = 120_000

_DEFS: Final = "#/$defs/"


def strict_schema(schema: Mapping[str, Any], path: str = "response_format") -> tuple[dict[str, Any], list[str]]:
    """Return a schema in its strict form, and its problems: why the API would refuse it.

    Every object gets ``additionalProperties: false`` and has all its fields required, ``oneOf`` becomes ``anyOf``, a default that
    is null is left out.

    Args:
        schema: A JSON Schema; recursion leads through ``$defs``.
        path: What the problems call its root.
    """
    reader = _Reader(schema)
    try:
        root = reader.root(path)
    except RecursionError:
        return {}, [f"{path}: the schema contains itself or is nested too deeply; recursion must lead through $defs"]
    return root, reader.problems


class _Reader:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        defs = schema.get("$defs")
        self._defs: Mapping[str, Any] = defs if isinstance(defs, Mapping) else {}
        self._expanding: list[str] = []  # the definitions that are being put in the place of their names
        self._properties = self._enum_values = self._characters = 0
        self.problems: list[str] = []

    def root(self, path: str) -> dict[str, Any]:
        schema = self._schema
        name = self._name_of(schema.get("$ref"))
        if name is not None and name in self._defs:
            # The API wants an object at the root, not its name.
            schema = {**self._defs[name], **{key: value for key, value in schema.items() if key != "$ref"}}
        root = self._strict(schema, path)
        if root.get("type") != "object" and not self.problems:
            self.problems.append(
                f"{path}: is no object; strict mode wants one at the root: put it in a field of a model"
            )
        if self._defs:
            root["$defs"] = {name: self._strict(item, join_path(path, name)) for name, item in self._defs.items()}
            self._characters += sum(map(len, self._defs))
        for count, most, what in (
            (self._properties, _MOST_PROPERTIES, "fields"),
            (self._enum_values, _MOST_ENUM_VALUES, "enum values"),
            (self._characters, _MOST_CHARACTERS, "characters in names and enum values"),
        ):
            if count > most:
                self.problems.append(f"{path}: the schema has {count:,} {what}; strict mode takes {most:,}")
        return root

    def _strict(self, schema: Any, path: str) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            self._refuse(path, "may be anything; strict mode wants a type")
            return {}
        if "default" in schema and schema["default"] is not None:
            self._refuse(path, "has a default, but in strict mode the model writes every field; take the default out")
        if "$ref" in schema:
            return self._reference(schema, path)
        strict = {name: value for name, value in schema.items() if name in _KEPT}
        for name in schema:
            if name not in _KEPT and name not in _SAID and name not in _DROPPED and name not in _READ:
                self._refuse(path, f"uses {name!r}, which strict mode does not take{_ADVICE.get(name, '')}")
        self._say_the_rest(schema, strict)
        several = schema.get("allOf")
        if is_json_list(several):
            if len(several) == 1 and isinstance(several[0], Mapping):
                return self._strict({**several[0], **{k: v for k, v in schema.items() if k != "allOf"}}, path)
            self._refuse(path, "uses 'allOf', which strict mode does not take")
        choices = schema.get("anyOf", schema.get("oneOf"))
        if is_json_list(choices):
            strict["anyOf"] = [self._strict(choice, path) for choice in choices]
        elif "$ref" not in strict and not {"type", "enum", "const"} & strict.keys():
            self._refuse(path, "may be anything; strict mode wants a type")
        self._count(strict)
        if strict.get("type") == "object" or "properties" in schema:
            self._object(schema, strict, path)
        if strict.get("type") == "array" and "prefixItems" not in schema:
            strict["items"] = self._strict(schema.get("items"), f"{path}[]")
        return strict

    def _object(self, schema: Mapping[str, Any], strict: dict[str, Any], path: str) -> None:
        properties = schema.get("properties")
        others = schema.get("additionalProperties", False)
        if not isinstance(properties, Mapping):
            if others is not False or properties is None:
                self._refuse(
                    path, "is an object of any names; strict mode wants each field named: use a model or a list"
                )
            properties = {}
        elif isinstance(others, Mapping):
            self._refuse(path, "takes fields of any name; strict mode wants each field named")
        strict["properties"] = {name: self._strict(item, join_path(path, name)) for name, item in properties.items()}
        strict["required"] = list(properties)
        strict["additionalProperties"] = False
        self._properties += len(properties)
        self._characters += sum(map(len, properties))

    def _reference(self, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        name = self._name_of(schema["$ref"])
        if schema["$ref"] != "#" and (name is None or name not in self._defs):
            self._refuse(path, f"refers to {str(schema['$ref'])[:80]!r}, which is not in $defs")
            return {}
        beside = {key: value for key, value in schema.items() if key in ("title", "description")}
        if not beside or name is None or name in self._expanding:
            return {"$ref": schema["$ref"]}
        # Nothing may stand beside a reference: the definition takes its place.
        self._expanding.append(name)
        problems = len(self.problems)
        strict = {**self._strict(self._defs[name], path), **beside}
        del self.problems[problems:]  # they are told of the definition
        self._expanding.pop()
        return strict

    def _name_of(self, reference: object) -> str | None:
        if isinstance(reference, str) and reference.startswith(_DEFS):
            return reference[len(_DEFS) :].replace("~1", "/").replace("~0", "~")
        return None

    def _say_the_rest(self, schema: Mapping[str, Any], strict: dict[str, Any]) -> None:
        """Say in the description what strict mode has no keyword for."""
        said = {name: schema[name] for name in schema if name in _SAID}
        if "format" in strict and strict["format"] not in _FORMATS:
            said["format"] = strict.pop("format")
        if "(?" in str(strict.get("pattern", "")):  # it takes no look-around
            said["pattern"] = strict.pop("pattern")
        if said:
            words = ", ".join(f"{name}: {value}" for name, value in said.items())
            strict["description"] = f"{strict['description']} ({words})" if "description" in strict else words

    def _count(self, strict: Mapping[str, Any]) -> None:
        values = strict.get("enum")
        if is_json_list(values):
            self._enum_values += len(values)
            self._characters += sum(len(value) for value in values if isinstance(value, str))

    def _refuse(self, path: str, problem: str) -> None:
        self.problems.append(f"{path}: {problem}")


_ADVICE: Final = {"prefixItems": ": use a list, or a model in the place of a tuple"}
