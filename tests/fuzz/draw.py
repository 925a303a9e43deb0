"""Bytes to chunks: each byte chooses a shape, so that a fuzzer which changes bytes changes JSON and never breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Draw", "chunks"]

_T = TypeVar("_T")

# A stream of more chunks than this finds nothing that a shorter one does not, and takes longer.
_MOST_CHUNKS = 40

# Above this a byte chooses, in place of the right value, any value at all.
_SLOPPY = 240

_TEXTS = (
    "",
    "a",
    "Hel",
    "lo",
    " ",
    "\n",
    "<think>",
    "</think>\n",
    "<",
    "é",
    "\u2028",
    "\U0001f680",
    '{"a":',
    "1}",
    "{}",
)
_ARGUMENTS = ("", "{}", '{"a":', "1}", '"', "\\", '\\"', "[", "]", " ", "null", "x")
_NAMES = ("", "f", "g", "get_")
_IDS = ("", "call_a", "call_b", "call_c")
_REASONS = ("", "stop", "length", "tool_calls", "content_filter", "error")
_SCALARS = (None, True, False, 0, 1, -1, 2**63, 1e300, "", "0", "7", "x", "é")


class Draw:
    """Takes choices from bytes; when they are used up every choice is the first, and the simplest."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        if not self.more():
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def pick(self, options: Sequence[_T]) -> _T:
        return options[self.byte() % len(options)]

    def many(self, one: Callable[[Draw], _T], most: int = 3) -> list[_T]:
        return [one(self) for _ in range(self.byte() % (most + 1))]


def _value(draw: Draw, depth: int = 3) -> Any:
    kind = draw.byte() % 5 if depth else 0
    if kind < 3:
        return draw.pick(_SCALARS)
    if kind == 3:
        return draw.many(lambda inner: _value(inner, depth - 1))
    return {draw.pick(_NAMES): _value(draw, depth - 1) for _ in range(draw.byte() % 3)}


def _sloppy(draw: Draw, right: Callable[[Draw], Any]) -> Any:
    return _value(draw) if draw.byte() > _SLOPPY else right(draw)


def _object(draw: Draw, **fields: Callable[[Draw], Any]) -> dict[str, Any]:
    """An object that has those fields whose bits are set, and now and then one that nobody knows."""
    bits = draw.byte() | draw.byte() << 8
    drawn = {name: _sloppy(draw, field) for place, (name, field) in enumerate(fields.items()) if bits >> place & 1}
    if bits >> 15:
        drawn[draw.pick(("x", "extra_content", "index"))] = _value(draw)
    return drawn


def _text(draw: Draw) -> str:
    return draw.pick(_TEXTS)


def _small(draw: Draw) -> int:
    return draw.byte() % 3


def _function(draw: Draw) -> dict[str, Any]:
    pieces: Callable[[Draw], str] = lambda inner: inner.pick(_ARGUMENTS)  # noqa: E731 - a field like its neighbours
    return _object(draw, arguments=pieces, name=lambda inner: inner.pick(_NAMES), input=pieces)


def _fragment(draw: Draw) -> dict[str, Any]:
    return _object(
        draw,
        index=_small,
        function=_function,
        id=lambda inner: inner.pick(_IDS),
        type=lambda inner: inner.pick(("function", "custom", "")),
        custom=_function,
    )


def _part(draw: Draw) -> dict[str, Any]:
    return _object(
        draw,
        type=lambda inner: inner.pick(("text", "thinking", "image_url")),
        text=_text,
        thinking=lambda inner: inner.many(lambda part: _object(part, text=_text)),
    )


def _message(draw: Draw) -> dict[str, Any]:
    return _object(
        draw,
        content=_text,
        tool_calls=lambda inner: inner.many(_fragment),
        reasoning_content=_text,
        reasoning=_text,
        refusal=_text,
        role=lambda inner: inner.pick(("assistant", "", "user")),
        function_call=_function,
        audio=lambda inner: _object(
            inner, id=_text, data=lambda one: one.pick(("", "YQ==", "YWI", "é")), transcript=_text, expires_at=_small
        ),
        annotations=lambda inner: inner.many(_value),
    )


def _delta(draw: Draw) -> Any:
    kind = draw.byte() % 4
    if kind == 0:
        return {"content": _text(draw)}
    if kind == 1:
        return {"tool_calls": draw.many(_fragment)}
    if kind == 2:
        return {"content": draw.many(_part)}
    return _message(draw)


def _choice(draw: Draw) -> dict[str, Any]:
    kind = draw.byte() % 4
    if kind == 0:
        return {"index": 0, "delta": _delta(draw), "finish_reason": None}
    if kind == 1:
        return {"index": _small(draw), "delta": {}, "finish_reason": draw.pick(_REASONS)}
    return _object(
        draw,
        index=_small,
        delta=_delta,
        finish_reason=lambda inner: inner.pick(_REASONS),
        message=_message,
        finishReason=lambda inner: inner.pick(_REASONS),
        logprobs=lambda inner: _object(
            inner, content=lambda one: one.many(_value), refusal=lambda one: one.many(_value)
        ),
    )


def _usage(draw: Draw) -> dict[str, Any]:
    return _object(draw, prompt_tokens=_small, completion_tokens=_small, total_tokens=_small, cost=_value)


def _chunk(draw: Draw) -> dict[str, Any]:
    kind = draw.byte() % 8
    if kind < 4:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [_choice(draw)]}
    if kind == 4:
        return {"choices": [], "usage": _usage(draw)}
    if kind == 5:
        return {"error": _value(draw)}
    return _object(
        draw,
        choices=lambda inner: inner.many(_choice),
        usage=_usage,
        id=_text,
        object=_text,
        created=_small,
        model=_text,
        x_groq=lambda inner: _object(inner, usage=_usage),
        obfuscation=_text,
        system_fingerprint=_text,
    )


def chunks(draw: Draw) -> list[dict[str, Any]]:
    """Return chunks until the bytes are used up; ``{"error": ...}`` among them is an error frame where it is no empty value."""
    drawn: list[dict[str, Any]] = []
    while draw.more() and len(drawn) < _MOST_CHUNKS:
        drawn.append(_chunk(draw))
    return drawn
