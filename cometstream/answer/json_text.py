"""JSON text to values: strict and fast first, then as lenient as model servers need it, and never too deep to handle."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

__all__ = ["MAX_DEPTH", "Halves", "is_too_deep", "parse_json", "parse_lenient"]

# No answer is as deep as this. orjson writes 254 levels at most, and at some 1,000 Python can neither compare nor copy
# nor print: what is let in must survive all of that wherever it ends up.
MAX_DEPTH: Final = 240

# These three are compiled when they are first needed, which is seldom.
_SURROGATES: Final = "[\ud800-\udfff]"

# What a text with half of a surrogate pair looks like, as an escape or as bytes; most lenient JSON has none.
_LOOKS_CUT: Final = rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]"

# A number that 64 bits may not hold.
_LONG_NUMBER: Final = rb"[0-9]{19}"


def parse_json(data: bytes | str) -> Any:
    """Parse one JSON text.

    Raises:
        ValueError: It is not JSON, or too deep. Strict JSON's own ``orjson.JSONDecodeError`` tells where it fails.
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


def parse_lenient(data: bytes | str, halves: Halves | None = None) -> Any:
    """Parse what strict JSON refuses: NaN and Infinity, and halves of surrogate pairs, which become U+FFFD.

    Model servers write the former for log probabilities; gateways make the latter where they cut a text apart.

    Args:
        data: The text.
        halves: Joins halves with those of the texts before; None replaces each.

    Raises:
        ValueError: It is not JSON for a lenient reader either, or too deep.
    """
    octets = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    # A function of ours for each number costs ten times as much.
    integer = _integer if re.search(_LONG_NUMBER, octets) else None
    try:
        value = json.loads(data, parse_int=integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if is_too_deep(value):
        raise ValueError("nested too deeply")
    if not re.search(_LOOKS_CUT, octets):
        return value
    return _mended(value if halves is None else halves.joined(value))


# No text of a delta lies deeper than this, and no honest answer has as many texts that grow.
_DEEPEST_TEXT: Final = 8
_MOST_HELD: Final = 256


class Halves:
    """Joins the halves of a surrogate pair that stand in two chunks of one answer: gateways cut texts by UTF-16 units.

    The first half at a text's end is held back until the next text of the same field brings the second.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[Any, ...], str] = {}

    def joined(self, chunk: Any) -> Any:
        """Return a chunk whose deltas have the halves that belong to them, and lack those whose rest is to come."""
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            return chunk
        mended = [
            {**choice, "delta": self._walk(choice["delta"], (_index_in(choice),))}
            if isinstance(choice, dict) and isinstance(choice.get("delta"), dict)
            else choice
            for choice in choices
        ]
        return {**chunk, "choices": mended}

    def _walk(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if len(path) > _DEEPEST_TEXT:
            return value
        if isinstance(value, dict):
            return {key: self._walk(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(item, (*path, _index_in(item))) for item in value]
        return value

    def _text(self, text: str, path: tuple[Any, ...]) -> str:
        held = self._held.pop(path, "") if text else ""
        if "\udc00" <= text[:1] <= "\udfff" and held:
            text = (held + text[0]).encode("utf-16", "surrogatepass").decode("utf-16") + text[1:]
        else:
            text = held + text
        if "\ud800" <= text[-1:] <= "\udbff" and len(self._held) < _MOST_HELD:
            self._held[path] = text[-1]
            text = text[:-1]
        return text


def _index_in(item: Any) -> Any:
    """Return the index that an item of a list bears; 0 where it bears none."""
    index = item.get("index") if isinstance(item, dict) else 0
    return index if isinstance(index, int) else 0


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
        return re.sub(_SURROGATES, "\ufffd", value)
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) if isinstance(item, (str, dict, list)) else item for item in value]
    return value
