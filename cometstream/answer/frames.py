"""One server-sent event to what it means: a chunk, the end mark, an error, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.error_body import (
    ERROR_CODES,
    ERROR_MESSAGES,
    ErrorBody,
    excerpt,
    failed_base,
    failed_choice,
    failed_groq,
    parse_error,
    read_error,
)
from cometstream.answer.json_text import MAX_DEPTH, Halves, is_too_deep, parse_lenient
from cometstream.answer.sse import Event
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, finish_reason_of, is_error_reason
from cometstream.views.view import int_or_none, list_of_dicts, text_or_none

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DONE", "Done", "MessageChunk", "chunk_beside", "is_error", "read_frame", "without_error"]

# Every level takes an opening and a closing bracket, so that shorter data cannot be too deep.
_SHALLOW: Final = 2 * MAX_DEPTH

# What a chunk has, and an error without a name has not.
_OF_A_CHUNK: Final = frozenset({"choices", "id", "usage"})

_ENDINGS: Final = ("finish_reason", "finishReason")

# Codes in words that say that all is well.
_FINE: Final = frozenset({"ok", "success"})


class MessageChunk(ChatCompletionChunk, reads_as=ChatCompletionChunk):
    """A chunk with a message where a delta belongs: a piece of it, or all that came before once more."""

    __slots__ = ()


class Done:
    """The end mark, ``data: [DONE]``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DONE"


DONE: Final = Done()


def read_frame(
    event: Event, note: Callable[[str], None], halves: Halves | None = None
) -> ChatCompletionChunk | ErrorBody | Done | None:
    """Return what an event means; None for one that means nothing (``data: null``, a comment inside ``data:``).

    Args:
        event: The event.
        note: Called with the kind of each normalisation, as ``Accumulator.note``.
        halves: Where the answer's halves of surrogate pairs wait for one another; None replaces each half.
    Raises:
        ProtocolError: The data is not a JSON object; ``raw`` holds it.
    """
    data = event.data
    if data == b"[DONE]":
        return DONE
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _irregular(event, note, halves)
    if len(data) > _SHALLOW and data.count(b"{") + data.count(b"[") > MAX_DEPTH and is_too_deep(raw):
        raise ProtocolError(f"an event's data is nested too deeply: {_shown(data)}", raw=data)
    if (
        type(raw) is dict
        and "choices" in raw
        and "error" not in raw
        and "base_resp" not in raw
        and "x_groq" not in raw
        and type(event) is Event
    ):
        choices = raw["choices"]
        if not choices or _are_plain(choices):
            return ChatCompletionChunk(raw)
    return _unusual(event, raw, note)


def _unusual(event: Event, raw: Any, note: Callable[[str], None]) -> ChatCompletionChunk | ErrorBody | None:
    """Read JSON that is not a plain chunk: an error, null, a chunk without choices or with a message, or an event with a name."""
    if raw is None:
        note("data_null")
        return None
    if event.bare:
        return _bare(event, raw, note)
    if event.event == "error" or (isinstance(raw, dict) and is_error(raw)):
        return read_error(raw) or ErrorBody(excerpt(event.data.decode("utf-8", "replace")), raw=raw)
    if not isinstance(raw, dict):
        raise ProtocolError(f"an event's data is JSON but not an object: {_shown(event.data)}", raw=event.data)
    has_message = any("message" in choice for choice in list_of_dicts(raw.get("choices")))
    return MessageChunk(raw) if has_message else ChatCompletionChunk(raw)


def _are_plain(choices: object) -> bool:
    """Whether none of a chunk's choices has a field for an error, or a message where its delta belongs."""
    if type(choices) is list:
        for choice in choices:
            if type(choice) is dict and ("error" in choice or "message" in choice):
                return False
    return True


def _bare(event: Event, raw: Any, note: Callable[[str], None]) -> ErrorBody | None:
    """Read JSON that stands between the events without ``data:``: gateways that lose their upstream write its error so."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, dict) and is_error(raw):
        return read_error(raw) or ErrorBody(excerpt(event.data.decode("utf-8", "replace")), raw=raw)
    if isinstance(raw, dict) and raw.get("choices"):
        raise ProtocolError(f"a chunk came without `data:` before it: {_shown(event.data)}", raw=event.data)
    note("json_without_data")
    return None


def is_error(raw: dict[str, Any]) -> bool:
    """Whether JSON that may be a chunk or a completion says that something failed, in any dress."""
    if raw.get("error") or raw.get("object") == "error" or failed_choice(raw.get("choices")):
        return True
    if failed_base(raw) or failed_groq(raw):
        return True
    # A body of some HTTP error, sent as an event: {"code": 429, "msg": "slower"}.
    return (
        _OF_A_CHUNK.isdisjoint(raw)
        and any(text_or_none(raw.get(name)) for name in ERROR_MESSAGES)
        and any(_is_error_code(raw.get(name)) for name in ERROR_CODES)
    )


def _is_error_code(code: object) -> bool:
    """Whether a code that stands alone says that something failed: as a number it does so from 400 on, like HTTP's."""
    number = int_or_none(code)
    if number is None:
        return isinstance(code, str) and code != "" and code.lower() not in _FINE
    return number >= 400


def chunk_beside(error: ErrorBody) -> ChatCompletionChunk | None:
    """Return the chunk that an error came in, where it carries content or usage that must not be lost with it.

    Beside an error a finish reason ends nothing, unless it tells of the failure too: a call must not be taken for whole.
    """
    if not isinstance(error.raw, dict):
        return None
    chunk = ChatCompletionChunk(error.raw)
    if not chunk.has_content() and chunk.usage is None:
        return None
    choices = list_of_dicts(error.raw.get("choices"))
    if not any(map(_is_ended, choices)):
        return chunk
    going = [
        {key: value for key, value in choice.items() if key not in _ENDINGS} if _is_ended(choice) else choice
        for choice in choices
    ]
    return ChatCompletionChunk({**error.raw, "choices": going})


def without_error(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk without the words of the error that it came with."""
    choices = [
        {name: value for name, value in choice.items() if name != "error"}
        for choice in list_of_dicts(raw.get("choices"))
    ]
    kept = {name: value for name, value in raw.items() if name != "error"}
    if isinstance(groqs := kept.get("x_groq"), dict):
        kept["x_groq"] = {name: value for name, value in groqs.items() if name != "error"}
    return {**kept, "choices": choices} if choices else kept


def _is_ended(choice: dict[str, Any]) -> bool:
    reason = finish_reason_of(choice)
    return reason is not None and not is_error_reason(reason)


def _irregular(
    event: Event, note: Callable[[str], None], halves: Halves | None
) -> ChatCompletionChunk | ErrorBody | Done | None:
    """Read data that strict JSON refuses: the end mark, a stray comment, or JSON that a lenient reader takes."""
    data = event.data.strip()
    if data == b"[DONE]":
        return DONE
    if data.lower() == b"[done]":
        note("done_spelling")
        return DONE
    if not data:
        note("data_empty")
        return None
    if data.startswith(b":"):
        note("comment_as_data")
        return None
    try:
        raw = parse_lenient(data, halves)
    except ValueError:
        if event.event == "error":
            return parse_error(data)
        if event.bare:  # "Otherwise: the field is ignored."
            note("json_without_data")
            return None
        raise ProtocolError(f"an event's data is not JSON: {_shown(event.data)}", raw=event.data) from None
    note("json_lenient")
    return _unusual(event, raw, note)


def _shown(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace")) + ("..." if len(data) > 120 else "")
