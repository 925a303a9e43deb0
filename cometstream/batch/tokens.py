"""A rough estimate of the tokens that a request will take; what the server reports corrects it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cometstream.views.view import View

__all__ = ["estimate_input", "estimate_output"]

# UTF-8 bytes of a token: 4 to 5 in English, 3 in code and Chinese.
_BYTES: Final = 4
# Tokens around each message, and around the whole.
_MESSAGE: Final = 4
# An image of common size, in full and in low detail.
_IMAGE: Final = 800
_LOW_DETAIL: Final = 85
# Base64 characters of a token. Audio has about 10 tokens a second (64,000 characters of 24 kHz wav), a PDF page about 600.
_AUDIO: Final = 6400
_FILE: Final = 100
# Output tokens if neither the request nor an earlier answer tells.
_OUTPUT: Final = 500
# The most values that are read in one body; no context holds more.
_MOST: Final = 100_000
_LARGEST: Final = 10**9


def estimate_input(body: Mapping[str, Any]) -> int:
    """Return about how many tokens the messages, the tools and the schema take."""
    messages = body.get("messages")
    tokens = _MESSAGE * (len(messages) + 1) if isinstance(messages, list) else _MESSAGE
    waiting: list[Any] = [
        value for value in (messages, body.get("tools"), body.get("response_format")) if value is not None
    ]
    size = 0
    for _ in range(_MOST):
        if not waiting:
            break
        value = waiting.pop()
        if isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, View):
            waiting.append(value.raw)
        elif isinstance(value, (dict, Mapping)):
            media = _media(value)
            if media is None:
                waiting.extend(value.values())
            else:
                tokens += media
        elif isinstance(value, (list, tuple)):
            waiting.extend(value[:_MOST])
    return tokens + size // _BYTES


def estimate_output(body: Mapping[str, Any], typical: float | None) -> int:
    """Return about how many tokens the answer takes: for each choice the typical number, or what is allowed."""
    output = _OUTPUT if typical is None else int(min(max(typical, 1.0), _LARGEST))
    for name in ("max_completion_tokens", "max_tokens"):
        allowed = _count(body.get(name))
        if allowed is not None:
            output = min(output, allowed)
            break
    return output * min(_count(body.get("n")) or 1, 128)


def _media(part: Mapping[Any, Any]) -> int | None:
    """Return the tokens of a part that is not text; None for anything else."""
    kind = part.get("type")
    if kind == "image_url":
        image = part.get("image_url")
        return _LOW_DETAIL if isinstance(image, dict) and image.get("detail") == "low" else _IMAGE
    if kind == "input_audio":
        return _length(part.get("input_audio"), "data") // _AUDIO + 1
    if kind == "file":
        return _length(part.get("file"), "file_data") // _FILE + 1
    return None


def _length(value: Any, name: str) -> int:
    text = value.get(name) if isinstance(value, dict) else None
    return len(text) if isinstance(text, str) else 0


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST else None
