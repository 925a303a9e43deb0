"""Chunks that repeat the one before in all but one piece of text: read without parsing what is known already.

Most streams send the same bytes again and again around each new piece: id, model, index, the nulls. A stencil is that frame with
a hole where the piece stands. JSON knows no context, so one value in the place of another changes nothing but itself: what
fits the frame is read by parsing its piece alone, and is just what parsing the whole would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.wire.repeats import Repeats

if TYPE_CHECKING:
    from cometstream.wire.chunks import ChatCompletionChunk

__all__ = ["Stencil"]

# Bytes around an event's data: `data: ` and the ends of two lines.
_FRAMING: Final = 8

_QUOTE: Final = ord('"')

# Put behind the piece to see whether it is the value in the hole: JSON has it within texts only, and the result is another text.
_PROBE: Final = "\x00"

_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")


class Stencil:
    """Reads the chunks of one answer that repeat one another; the others it is shown, to cut the next frame from.

    Args:
        patience: Which of the chunks that did not fit is the first to cut a frame from; then that of twice the number, and so on.
            A stream that repeats nothing costs a few vain tries, one that goes from reasoning to text to tool calls a few
            chunks that are parsed whole.
    """

    __slots__ = ("_after", "_alone_after", "_alone_before", "_before", "_misses", "_next_try", "_repeats", "_size")

    def __init__(self, patience: int = 8) -> None:
        self._repeats: Repeats
        self._before = self._after = self._alone_before = self._alone_after = b""
        self._size = -1  # of the frame; there is none yet
        self._misses = 0
        self._next_try = patience

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """Return the chunk that an event's data is, or None where it must be parsed."""
        if self._size < 0:
            return None
        # One call for each side finds the frame and takes it away; comparing slices costs a third more.
        piece = data.removeprefix(self._before).removesuffix(self._after)
        return self._repeats.read(piece) if len(data) - len(piece) == self._size else None

    def read_alone(self, event: bytes) -> ChatCompletionChunk | None:
        """Return the chunk of an event of which no other bytes came before or behind, or None where it must be parsed.

        Most tokens come so, and most of their parsing is to find out that they did.

        Args:
            event: Bytes that came while nothing was unfinished.
        """
        if self._size < 0:
            return None
        piece = event.removeprefix(self._alone_before).removesuffix(self._alone_after)
        if len(event) - len(piece) != self._size + _FRAMING:
            return None
        chunk = self._repeats.read(piece)
        # Within its quotes JSON allows no line break; white space around them may be one, and end the event.
        return chunk if chunk is not None and piece[0] == _QUOTE == piece[-1] else None

    def missed(self, data: bytes, raw: dict[str, Any]) -> None:
        """Take note of a chunk that had to be parsed.

        Args:
            data: The event's data.
            raw: The chunk, as it was parsed.
        """
        self._misses += 1
        if self._misses == self._next_try:
            self._next_try *= 2
            frame = cut(data, raw)
            if frame is not None:
                self._before, self._after, self._repeats = frame
                self._alone_before, self._alone_after = b"data: " + self._before, self._after + b"\n\n"
                self._size = len(self._before) + len(self._after)


def cut(data: bytes, raw: dict[str, Any]) -> tuple[bytes, bytes, Repeats] | None:
    """Return what chunks like this one repeat: the bytes before and behind the text, and the rest of the chunk.

    None where that is more, or less, than one piece of text between scalars.
    """
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
    if probe != Repeats(raw, key).chunk(text + _PROBE).raw:
        return None
    # Not `raw`, which the caller gets and may change.
    return before, after, Repeats(probe, key)


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
