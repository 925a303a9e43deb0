"""The arguments of a call as JSON text, also where a gateway says them twice."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["arguments_text", "said_once"]

# Both patterns are compiled when they are first needed: most arguments are JSON as they came.
#
# Empty objects before the arguments themselves, as Claude's routes write them when a call begins.
_PLACEHOLDERS: Final = r"\s*(?:\{\s*\}\s*)+"

# A string of JSON, or white space outside of one.
_STRING_OR_SPACE: Final = r'("[^"\\]*(?:\\.[^"\\]*)*"?)|\s+'

_decoder: Final = json.JSONDecoder()


def arguments_text(value: object) -> str | None:
    """Return tool-call arguments as the JSON text they are documented to be; an object is serialised."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else None


def said_once(pieces: Sequence[str]) -> tuple[str, str | None]:
    """Join the pieces of a call's arguments, without what says them a second time.

    Only text that is not JSON is looked at, and only a whole JSON object is taken for it: ``{}`` before the object
    (Claude's routes), a last piece that says all the pieces before it once more (vLLM), the object twice in one text.

    Returns:
        The text, and the kind of normalisation; None where there was nothing to mend.
    """
    text = "".join(pieces)
    if not text or _parsed(text) is not None:
        return text, None
    placeholders = re.match(_PLACEHOLDERS, text)
    rest = text[placeholders.end() :] if placeholders else ""
    if _is_object(rest):
        return rest, "arguments_placeholder"
    last = next((place for place in range(len(pieces) - 1, 0, -1) if pieces[place].strip()), 0)
    if last and _is_object(pieces[last]):
        before = "".join(pieces[:last])
        placeholders = re.match(_PLACEHOLDERS, before)
        for said in (before, before[placeholders.end() :] if placeholders else before):
            if _compact(pieces[last]).startswith(_compact(said)):
                return pieces[last], "arguments_restated"
    for candidate in (text, rest):
        first = _first_of_two(candidate)
        if first is not None:
            return first, "arguments_restated"
    return text, None


def _parsed(text: str) -> Any:
    """Return what strict JSON reads; None where it reads null, or nothing."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_object(text: str) -> bool:
    return text.lstrip()[:1] == "{" and isinstance(_parsed(text), dict)


def _compact(text: str) -> str:
    return re.sub(_STRING_OR_SPACE, lambda found: found[1] or "", text)


def _first_of_two(text: str) -> str | None:
    """Return the first of two JSON objects that say the same, if that is all there is."""
    text = text.strip()
    if text[:1] != "{" or text[-1:] != "}":
        return None
    try:
        value, end = _decoder.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end] if value and _parsed(text[end:]) == value == _parsed(text[:end]) else None
