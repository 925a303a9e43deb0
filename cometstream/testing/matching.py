"""Whether a request is the recorded one, and in what it differs; and texts of requests as hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from cometstream.request.describe import kind

__all__ = ["differences", "hashed"]

# What is no text of a person's, though it stands in a message.
_PLAIN: Final = frozenset({"role", "type", "name", "id", "tool_call_id", "detail", "format", "index", "cache_control"})

# The request's fields that hold what persons or programs of theirs wrote.
_CONTENTS: Final = (
    *("messages", "prediction", "user", "safety_identifier", "metadata"),
    *("system", "prompt", "input", "documents", "web_search_options"),  # of some providers
)

_PREFIX: Final = "sha256:"

# Characters of a text that a difference shows, before and after the place where it begins.
_BEFORE: Final = 12
_AFTER: Final = 28


def hashed(body: Any) -> Any:
    """Return a request's body with hashes in place of the texts in it that persons wrote.

    The hash of a text that can be guessed, as of "hi", tells the text to whoever guesses it.

    Args:
        body: The parsed body.
    """
    if not isinstance(body, dict):
        return body
    return {name: _hashed(value) if name in _CONTENTS else value for name, value in body.items()}


def _hashed(value: Any) -> Any:
    if isinstance(value, str):
        return _PREFIX + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    if isinstance(value, list):
        return [_hashed(item) for item in value]
    if isinstance(value, dict):
        return {
            name: item if name in _PLAIN and isinstance(item, str) else _hashed(item) for name, item in value.items()
        }
    return value


def differences(recorded: Any, sent: Any) -> list[str]:
    """Return in what a request's body differs from the recorded one, each place by its path.

    Args:
        recorded: The recorded body.
        sent: The body that was sent.
    """
    return list(_differences("", recorded, sent))


def _differences(path: str, recorded: Any, sent: Any) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(sent, dict):
        for name in {**recorded, **sent}:
            place = f"{path}.{name}" if path else str(name)
            if name not in sent:
                yield f"{place}: recorded {_shown(recorded[name])}, not sent"
            elif name not in recorded:
                yield f"{place}: not recorded, sent {_shown(sent[name])}"
            else:
                yield from _differences(place, recorded[name], sent[name])
    elif isinstance(recorded, list) and isinstance(sent, list):
        for index, (one, other) in enumerate(zip(recorded, sent, strict=False)):
            yield from _differences(f"{path}[{index}]", one, other)
        if len(recorded) != len(sent):
            yield f"{path}: recorded {len(recorded)} items, sent {len(sent)}"
    elif recorded != sent or isinstance(recorded, bool) != isinstance(sent, bool):
        yield f"{path or 'body'}: {_texts(recorded, sent)}"


def _texts(recorded: Any, sent: Any) -> str:
    if not (isinstance(recorded, str) and isinstance(sent, str)):
        return f"recorded {_shown(recorded)}, sent {_shown(sent)}"
    if recorded.startswith(_PREFIX) and sent.startswith(_PREFIX):
        return "another text (hashed)"
    pairs = zip(recorded, sent, strict=False)
    start = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(recorded), len(sent)))
    return f"recorded {_around(recorded, start)}, sent {_around(sent, start)}"


def _around(text: str, place: int) -> str:
    """Return what stands around a place of a text, on one line."""
    start, end = max(0, place - _BEFORE), place + _AFTER
    return f"{'...' if start else ''}{text[start:end]!r}{'...' if end < len(text) else ''}"


def _shown(value: Any) -> str:
    return _around(value, 0) if isinstance(value, str) else kind(value)
