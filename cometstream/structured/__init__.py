"""Structured output: a type as ``response_format``, and answers that grow into values of it.

``session.stream(response_format=Recipe)`` is all that most programs need; see ``CometSession.stream``.

::

    schema.py     a type as a response_format: what is sent, and how an answer is read
    molds.py      what a value is built with as it grows
    shapes.py     what lies within a type
    problems.py   what pydantic finds wrong
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from cometstream.answer.json_output import JSON_OUTPUT, JSONOutput
from cometstream.errors import CometError
from cometstream.request.strict_schema import strict_schema
from cometstream.structured.schema import Schema, schema_of

__all__ = ["JSONOutput", "Schema", "read_response_format"]


def read_response_format(value: object) -> tuple[Any, JSONOutput | Schema[Any] | None, Sequence[str]]:
    """Return what is sent for a ``response_format``, how the answers to it are read, and why the API would refuse it.

    How they are read is None where they are text. What is no ``response_format`` is returned as it is.

    Raises:
        InvalidRequestError: There is no JSON Schema for a type.
        ConfigurationError: It is a type, and pydantic is not installed.
    """
    if isinstance(value, Mapping):
        return (value, *_written_by_hand(value))
    if not isinstance(value, Schema):
        if not _is_type(value):
            return value, None, ()
        try:
            value = schema_of(value)
        except CometError:
            raise
        except Exception:  # it cannot be hashed, as an Annotated that holds a list
            value = Schema(value)
    return value.wire, value, value.problems


def _written_by_hand(wire: Mapping[Any, Any]) -> tuple[JSONOutput | None, Sequence[str]]:
    """Return how the answers to the wire's own form are read, and why the API would refuse it; it is sent as it is."""
    try:
        kind = wire.get("type")
        if kind == "json_object":
            return JSON_OUTPUT, ()
        if kind != "json_schema":
            return None, ()
        about = wire.get("json_schema")
        if not isinstance(about, Mapping) or about.get("strict") is not True:
            return JSON_OUTPUT, ()
        schema = about.get("schema")
        return JSON_OUTPUT, strict_schema(schema)[1] if isinstance(schema, Mapping) else ()
    except Exception:  # of a mapping of the caller's own, which the checks tell of
        return None, ()


def _is_type(value: object) -> bool:
    return (
        isinstance(value, (type, types.UnionType, typing.NewType))
        or typing.get_origin(value) is not None
        or type(value).__name__ == "TypeAliasType"
    )
