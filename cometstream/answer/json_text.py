"""JSON text to values: strict and fast first, then as lenient as model servers need it, and never too deep to handle."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

__all__ = ["MAX_DEPTH", "is_too_deep", "parse_json", "parse_lenient"]

# No answer is as deep as this. orjson writes 254 levels at most, and at some 1,000 Python can neither compare nor copy
# nor print: what is let in must survive all of that wherever it ends up.
MAX_DEPTH: Final = 240

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes | str) -> Any:
    """Parse one JSON text.

    Raises:
        ValueError: It is no JSON, or too deep. Strict JSON's own ``orjson.JSONDecodeError`` tells where it fails.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as strict:
        try:
            return parse_lenient(data)
        except ValueError:
            raise strict from None
    if is_too_deep(value):
        raise ValueError("nested too deeply")
    return value


def parse_lenient(data: bytes | str) -> Any:
    """Parse what strict JSON refuses: NaN and Infinity, and halves of surrogate pairs, which become U+FFFD.

    Model servers write the former for log probabilities; gateways make the latter where they cut a text apart.

    Raises:
        ValueError: It is no JSON all the same, or too deep.
    """
    try:
        value = json.loads(data, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if is_too_deep(value):
        raise ValueError("nested too deeply")
    return _mended(value)


def is_too_deep(value: object) -> bool:
    """Whether lists and objects lie in each other deeper than ``MAX_DEPTH``."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level if isinstance(item, (dict, list)) for child in _children(item)]
        if not level:
            return False
    return any(isinstance(item, (dict, list)) for item in level)


def _children(item: dict[str, Any] | list[Any]) -> list[Any]:
    return list(item.values()) if isinstance(item, dict) else item


def _integer(digits: str) -> int | float:
    # As orjson does: what 64 bits do not hold is a float, and can be written again.
    number = int(digits) if len(digits) <= 20 else 1 << 64
    return number if -(1 << 63) <= number < 1 << 64 else float(digits)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    return value
