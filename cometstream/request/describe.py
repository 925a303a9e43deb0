"""A caller's value as a message shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cometstream.request.encode import is_json_list

__all__ = ["MISSING", "kind", "shown"]

MISSING: Final = object()
"""Stands for a field that is not there."""

# Characters of a value that a message shows.
_SHOWN: Final = 80


def shown(value: object) -> str:
    """Return a value's repr on one line, cut after 80 characters; its type where its repr raises."""
    try:
        text = repr(value)
    except Exception:  # of the caller's own object, or of a number too long to print
        return f"a value of type {type(value).__name__}"
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def kind(value: object) -> str:
    """Return a number as it is, and of any other value only its kind: it may be long or private."""
    if value is MISSING:
        return "missing"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 2**64:  # Python refuses to print very long ones
        return "an integer beyond 64 bits"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    if isinstance(value, Mapping):
        return "an object"
    return ("a list" if value else "an empty list") if is_json_list(value) else f"of type {type(value).__name__}"
