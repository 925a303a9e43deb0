"""Chunks that repeat the one before in all but one piece of text: read without parsing what is known already.

Most streams send the same bytes again and again around each new piece: id, model, index, the nulls. A stencil is that frame with
a hole where the piece stands. JSON knows no context, so one value in the place of another changes nothing but itself: what
fits the frame is read by parsing its piece alone, and is just what parsing the whole would give.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from cometstream.wire.chunks import ChatCompletionChunk

__all__ = ["Repeats", "Stencil"]

# Put behind the piece to see whether it is the value in the hole: JSON has it within texts only, and the result is another text.
_PROBE: Final = "\x00"

_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


class Repeats:
    """One frame of bytes, and the chunk around its hole.

    Args:
        before: The bytes before the piece's opening quote.
        after: The bytes after its closing quote.
        raw: The chunk that it was cut from; nothing in it but the way to the piece is a list or an object. It is kept.
        key: The delta's field that holds the piece; ``"tool_calls"`` for the arguments of one call.
    """

    __slots__ = ("_after", "_before", "_choice", "_delta", "_ends", "_fragment", "_function", "_raw", "_starts", "key")

    def __init__(self, before: bytes, after: bytes, raw: dict[str, Any], key: str) -> None:
        self._before = before
        self._after = after
        self._starts = len(before)
        self._ends = -len(after)
        self._raw = raw
        self._choice: dict[str, Any] = raw["choices"][0]
        self._delta: dict[str, Any] = self._choice["delta"]
        self.key = key
        self._fragment: dict[str, Any] = self._delta[key][0] if key == "tool_calls" else {}
        self._function: dict[str, Any] = self._fragment.get("function", {})

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """Return the chunk, or None where `data` is another frame or its piece is no text."""
        if data[: self._starts] != self._before or data[self._ends :] != self._after:
            return None
        try:
            text = orjson.loads(data[self._starts : self._ends])
        except orjson.JSONDecodeError:
            return None
        if type(text) is not str or not text:
            return None
        chunk = ChatCompletionChunk(self.around(text))
        chunk._repeats = self
        chunk._text = text
        return chunk

    def around(self, text: str) -> dict[str, Any]:
        """Return the chunk with another piece; nothing of it is shared with the next."""
        raw = self._raw.copy()
        choice = self._choice.copy()
        delta = self._delta.copy()
        if self.key == "tool_calls":
            fragment = self._fragment.copy()
            function = fragment["function"] = self._function.copy()
            function["arguments"] = text
            delta["tool_calls"] = [fragment]
        else:
            delta[self.key] = text
        choice["delta"] = delta
        raw["choices"] = [choice]
        return raw


class Stencil:
    """Reads the chunks of one answer that repeat one another; the others it is shown, to cut the next frame from.

    Args:
        patience: Which of the chunks that did not fit is the first to cut a frame from; then that of twice the number, and so on.
            A stream that repeats nothing costs a few vain tries, one that goes from reasoning to text to tool calls a few
            chunks that are parsed whole.
    """

    __slots__ = ("_misses", "_next_try", "_repeats")

    def __init__(self, patience: int = 8) -> None:
        self._repeats: Repeats | None = None
        self._misses = 0
        self._next_try = patience

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """Return the chunk that an event's data is, or None where it must be parsed."""
        repeats = self._repeats
        return None if repeats is None else repeats.read(data)

    def missed(self, data: bytes, raw: dict[str, Any]) -> None:
        """Take note of a chunk that had to be parsed.

        Args:
            data: The event's data.
            raw: The chunk, as it was parsed.
        """
        self._misses += 1
        if self._misses == self._next_try:
            self._next_try *= 2
            self._repeats = cut(data, raw) or self._repeats


def cut(data: bytes, raw: dict[str, Any]) -> Repeats | None:
    """Return what chunks like this one repeat; None where that is more, or less, than one piece of text between scalars."""
    key = _key_of_piece(raw)
    if key is None:
        return None
    delta = raw["choices"][0]["delta"]
    text = delta["tool_calls"][0]["function"]["arguments"] if key == "tool_calls" else delta[key]
    literal = orjson.dumps(text)
    start = data.rfind(literal)
    if start < 0:
        return None  # written with other escapes; the next may have none
    before, after = data[:start], data[start + len(literal) :]
    # The text may stand in two places, or across two values: the probe tells whether this is the one.
    try:
        probe = orjson.loads(before + orjson.dumps(text + _PROBE) + after)
    except orjson.JSONDecodeError:
        return None
    if probe != Repeats(before, after, raw, key).around(text + _PROBE):
        return None
    # Not `raw`, which the caller gets and may change.
    return Repeats(before, after, probe, key)


def _key_of_piece(raw: dict[str, Any]) -> str | None:
    """Return the delta's field with the piece, if all else in the chunk is a scalar that says the same a second time."""
    choices = raw.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not _are_scalars(raw, "choices") or "error" in raw:
        return None
    choice = choices[0]
    if not isinstance(choice, dict) or type(choice.get("index")) is not int or not _are_scalars(choice, "delta"):
        return None
    if any(choice.get(name) is not None for name in ("finish_reason", "finishReason", "logprobs", "message")):
        return None
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return None
    keys = [name for name, value in delta.items() if value is not None and name != "role"]
    if len(keys) != 1 or not _are_scalars(delta, keys[0]):
        return None
    if keys == ["tool_calls"]:
        return "tool_calls" if _is_arguments(delta["tool_calls"]) else None
    return keys[0] if keys[0] in _TEXTS and isinstance(delta[keys[0]], str) and delta[keys[0]] else None


def _is_arguments(calls: object) -> bool:
    """Whether the fragments of tool calls are one, of a call with an index, with nothing but a piece of its arguments."""
    if not isinstance(calls, list) or len(calls) != 1 or not isinstance(calls[0], dict):
        return False
    fragment = calls[0]
    function = fragment.get("function")
    return (
        type(fragment.get("index")) is int
        and isinstance(function, dict)
        and {name for name, value in fragment.items() if value is not None} == {"index", "function"}
        and {name for name, value in function.items() if value is not None} == {"arguments"}
        and isinstance(function["arguments"], str)
        and function["arguments"] != ""
    )


def _are_scalars(fields: dict[str, Any], but: str) -> bool:
    return not any(isinstance(value, (dict, list)) for name, value in fields.items() if name != but)
