"""Chunks that repeat the one before in all but one piece of text: read and added without parsing what is known already.

Most streams send the same bytes again and again around each new piece: id, model, index, the nulls. The lane keeps that frame with
a hole where the piece stands. JSON knows no context, so one value in the place of another changes nothing but itself: what
fits the frame is read by parsing its piece alone, and is just what parsing the whole would give. It is also added up by its piece
alone, where all else in it was added with the chunk before. A frame may have a second hole behind the first: the padding that
OpenAI and CometAPI put into every chunk, another one each time, and that is no part of the completion.

This module and its views (``repeats.py``) hold every trick for speed on a chunk's way. Nothing else knows of them, and an answer
that is read without them is the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.repeats import Repeats
from cometstream.answer.sse import DEFAULT_MAX_SIZE, Comment, Event

if TYPE_CHECKING:
    from cometstream.answer.accumulate import Accumulator
    from cometstream.views.chunks import ChatCompletionChunk

__all__ = ["FastLane"]

# Bytes around an event's data: `data: ` and the ends of two lines.
_FRAMING: Final = 8

_QUOTE: Final = ord('"')

# The field with the padding, and how it stands in the bytes.
_PADDING: Final = "obfuscation"
_PADDING_NAME: Final = b'"obfuscation"'

# Put behind the piece to see whether it is the value in the hole: JSON has it within texts only, and the result is another text.
_PROBE: Final = "\x00"

_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")

# Under which name the text stands in the bytes.
_NAMES: Final = {name: f'"{name}":'.encode() for name in _TEXTS}

_BRACE: Final = ord("{")
_BRACKET: Final = ord("[")
_BACKSLASH: Final = ord("\\")

# Chunks that are parsed at once at first; then twice as many as did fit, so that one that does not costs no look at all the rest.
_FIRST_WINDOW: Final = 8

# Of the chunks that did not fit, those that may be the first with a text: as a rule the one before them brings the role.
_EARLY: Final = (2, 4)


class FastLane:
    """Reads and adds the chunks of one answer that repeat one another; it learns from the others, which are added through it.

    Args:
        accumulator: Where the chunks are added.
        patience: Which of the chunks that did not fit is the first to cut a frame from; then that of twice the number, and so on.
            A stream that repeats nothing costs a few vain tries, one that goes from reasoning to text to tool calls a few
            chunks that are parsed whole. Plain chunks are tried earlier: that costs little. None turns the lane off:
            every chunk is parsed and added whole.
        max_size: Bytes that a line may have; a longer one is left to the parser, which refuses it.
    """

    __slots__ = (
        "_accumulator",
        "_after",
        "_alone_after",
        "_alone_before",
        "_before",
        "_between",
        "_early",
        "_max_alone",
        "_misses",
        "_next_try",
        "_pattern",
        "_pieces",
        "_repeats",
        "_size",
    )

    def __init__(self, accumulator: Accumulator, *, patience: int | None = 8, max_size: int = DEFAULT_MAX_SIZE) -> None:
        self._accumulator = accumulator
        self._repeats: Repeats
        self._before = self._after = self._alone_before = self._alone_after = b""
        self._between = b""  # from the piece to the padding, where there is one
        self._size = -1  # of the frame; there is none yet
        self._max_alone = max_size + 2  # of an event with the two line ends behind it
        self._pieces: list[str] | None = None  # where the texts go; None where all else in a chunk must be added too
        self._pattern: ChatCompletionChunk | None = None
        self._misses = 0
        self._next_try: float = math.inf if patience is None else patience
        self._early: tuple[int, ...] = () if patience is None else _EARLY

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """Return the chunk that an event's data is, and add it; None where it must be parsed and then added by `add`."""
        if self._size < 0:
            return None
        # One call for each side finds the frame and takes it away; comparing slices costs a third more.
        piece = data.removeprefix(self._before).removesuffix(self._after)
        return self._read_piece(piece) if len(data) - len(piece) == self._size else None

    def read_alone(self, event: bytes) -> ChatCompletionChunk | None:
        """Return the chunk of an event that arrived alone, and add it; None as `read`.

        Most tokens come so, and most of their parsing is to find out that they did.

        Args:
            event: Bytes that came while nothing was unfinished.
        """
        if self._size < 0:
            return None
        piece = event.removeprefix(self._alone_before).removesuffix(self._alone_after)
        size = len(event)
        if size - len(piece) != self._size + _FRAMING or size > self._max_alone:
            return None
        return self._read_piece(piece)

    def read_all(self, events: bytes) -> int:
        """Add the chunks of events that arrived together, if each of them fits; return how many, and no view of them.

        Args:
            events: Bytes that came while nothing was unfinished.
        """
        # All or nothing: one that does not fit has its place between the others.
        if self._pieces is None or len(events) > self._max_alone:
            return 0
        inner = events.removeprefix(self._alone_before).removesuffix(self._alone_after)
        if len(events) - len(inner) != self._size + _FRAMING:
            return 0
        # What stands between two pieces is so long that most bytes are skipped; to look for two line ends takes each byte.
        texts = self._texts_in(inner.split(self._alone_after + self._alone_before))
        if texts is None:
            return 0
        self._pieces += texts
        self._accumulator.built = None
        return len(texts)

    def skim(self, events: list[Event | Comment]) -> int:
        """Add the chunks of events and take them off the list, as long as they fit; return how many, and no view of them.

        Args:
            events: What has come, the first one at the end.
        """
        if self._size < 0 or self._pieces is None:
            return 0
        count, window = 0, _FIRST_WINDOW
        while texts := self._first_texts(events, window):
            del events[-len(texts) :]
            self._pieces += texts
            count += len(texts)
            window = 2 * len(texts)
        if count:
            self._accumulator.built = None
        return count

    def _first_texts(self, events: list[Event | Comment], most: int) -> list[str]:
        """Return the texts of the first events that fit, so many at most."""
        before, after, size = self._before, self._after, self._size
        pieces: list[bytes] = []
        for event in reversed(events[-most:]):
            if type(event) is not Event:
                break
            piece = event.data.removeprefix(before).removesuffix(after)
            if len(event.data) - len(piece) != size:
                break
            pieces.append(piece)
        texts = self._texts_in(pieces) if pieces else None
        if texts is not None:
            return texts
        # One of them does not fit: those before it do.
        texts = []
        for piece in pieces:
            text = self._texts_in([piece])
            if text is None:
                break
            texts += text
        return texts

    def _texts_in(self, pieces: list[bytes]) -> list[str] | None:
        """Return the texts of chunks that fit, from what stands in their frames; None where one of them is something else."""
        if self._between:
            parts = [piece.rpartition(self._between) for piece in pieces]
            if texts_of([padding for _, _, padding in parts]) is None:
                return None
            pieces = [piece for piece, _, _ in parts]
        texts = texts_of(pieces)
        return None if texts is None or "" in texts else texts

    @property
    def pattern(self) -> ChatCompletionChunk:
        """A chunk like all those that fit, with another text."""
        if self._pattern is None:
            self._pattern = self._repeats.chunk("")
        return self._pattern

    def _read_piece(self, piece: bytes) -> ChatCompletionChunk | None:
        padding = None
        if self._between:
            # Both values are texts of JSON, in which no quote stands bare: neither can hold what stands between them.
            piece, found, padding = piece.rpartition(self._between)
            # Padding is letters and digits as a rule, and then need not be parsed.
            is_plain = padding[1:-1].isalnum() and padding[0] == _QUOTE == padding[-1]
            if not found or not (is_plain or texts_of([padding])):
                return None
        # White space around the text may be a line break, and end the event.
        if not piece or not piece[0] == _QUOTE == piece[-1]:
            return None
        try:
            text = orjson.loads(piece)
        except orjson.JSONDecodeError:
            return None
        if type(text) is not str or not text:
            return None
        repeats = self._repeats
        if self._pieces is None and self._accumulator.choices[repeats.index].finish_reason is not None:
            return None  # the choice goes on after its finish_reason, which changes more than its text
        chunk = repeats.chunk(text, padding)
        if self._pieces is None:
            self._add_whole(chunk.raw, repeats)
        else:
            self._pieces.append(text)
            self._accumulator.built = None
        return chunk

    def add(self, data: bytes, raw: dict[str, Any]) -> bool:
        """Add a chunk that was parsed whole; return whether it carried content, as ``Accumulator.add``.

        Args:
            data: The event's data.
            raw: The chunk, as it was parsed.
        """
        self._pieces = None
        self._misses += 1
        due = self._misses == self._next_try
        if not due and self._misses not in self._early:
            return self._accumulator.add_raw(raw)
        frame = cut_plain(data, raw)
        if due:
            self._next_try *= 2
            frame = frame or cut(data, raw)
        if frame is None:
            return self._accumulator.add_raw(raw)
        before, self._between, after, repeats = frame
        self._before, self._after, self._repeats, self._pattern = before, after, repeats, None
        self._alone_before, self._alone_after = b"data: " + before, after + b"\n\n"
        self._size = len(before) + len(after)
        return self._add_whole(raw, repeats)

    def close(self) -> None:
        """Read nothing more: what comes from now on is not handed over."""
        self._size = -1
        self._next_try, self._early = math.inf, ()

    def _add_whole(self, raw: dict[str, Any], repeats: Repeats) -> bool:
        """Add a chunk that fits the frame with all that is in it; from then on the text alone is enough, if nothing was noted."""
        accumulator = self._accumulator
        noted = sum(accumulator.normalizations.values())
        has_content = accumulator.add_raw(raw)
        state = accumulator.choices[repeats.index]
        # What would have to be noted of it, is to be noted of the next one too.
        if state.finish_reason is None and sum(accumulator.normalizations.values()) == noted:
            self._pieces = state.pieces_of(repeats.key)
        return has_content


def texts_of(literals: list[bytes]) -> list[str] | None:
    """Return the texts that pieces of JSON are; None where one is not one text with nothing around it. All are parsed at once.

    No text of JSON holds a bare line break, so that none reaches into the next piece, and whatever is between two of them shows.
    """
    joined = b",\n".join(literals)
    if not joined or not joined[0] == _QUOTE == joined[-1] or joined.count(b'",\n"') != len(literals) - 1:
        return None
    try:
        texts = orjson.loads(b"[%b]" % joined)
    except orjson.JSONDecodeError:
        return None
    # As many texts as pieces: each piece is one.
    return texts if len(texts) == len(literals) and set(map(type, texts)) == {str} else None


def cut_plain(data: bytes, raw: dict[str, Any]) -> tuple[bytes, bytes, bytes, Repeats] | None:
    """Return what ``cut`` would of nearly every chunk of text, for a third of the price; None where that is in doubt.

    Where nothing is spelled with a backslash every quote is JSON's own, so that fields are what they look like; where no other
    object or list opens, the field found is the delta's own, and where none of its name comes behind, it is the one that counts.
    """
    choices = raw.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choice := choices[0]) is not dict:
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or not _says_no_more(raw, choice):
        return None
    key = "content" if len(delta) == 1 else _only_key(delta)
    name = _NAMES.get(key or "")
    if key is None or name is None or type(text := delta.get(key)) is not str or not text:
        return None
    before, found, after = data.partition(name + orjson.dumps(text))
    if (
        not found
        or _BACKSLASH in before
        or _BACKSLASH in after
        or _BRACE in after
        or _BRACKET in after
        or before.count(b"{") != 3
        or before.count(b"[") != 1
        or after.find(name[:-1]) >= 0
    ):
        return None
    between = b""
    if type(padding := raw.get(_PADDING)) is str and _PADDING_NAME not in before and after.count(_PADDING_NAME) == 1:
        # The name stands there once, and so as the field's own: what follows is its value.
        head, name_of_padding, rest = after.partition(_PADDING_NAME)
        colon, _, after = rest.partition(orjson.dumps(padding))
        between = head + name_of_padding + colon
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return None  # it was read leniently, which is noted of each chunk
    before = data[: len(before) + len(name)]
    return before, between, after, Repeats(before, between, after, raw, key)


def cut(data: bytes, raw: dict[str, Any]) -> tuple[bytes, bytes, bytes, Repeats] | None:
    """Return what chunks like this one repeat: the bytes before the text, from there to the padding, and behind that, and the rest.

    None where that is more, or less, than one piece of text between scalars. The second is empty where there is no padding.
    """
    key = _key_of_piece(raw)
    if key is None:
        return None
    delta = raw["choices"][0]["delta"]
    text: str = delta[key][0]["function"]["arguments"] if key == "tool_calls" else delta[key]
    literal = orjson.dumps(text)
    start = data.rfind(literal)
    if start < 0:
        return None  # written with other escapes; the next may have none
    before, after = data[:start], data[start + len(literal) :]
    between = b""
    if type(padding := raw.get(_PADDING)) is str:
        head, found, tail = after.rpartition(orjson.dumps(padding))
        if found:
            between, after = head, tail
    # The text may stand in two places, or across two values: a probe shows whether what was found changes alone.
    probe = orjson.dumps(text + _PROBE)
    probed = orjson.dumps(f"{padding}{_PROBE}") if between else b""
    try:
        changed = orjson.loads(before + probe + between + probed + after)
    except orjson.JSONDecodeError:
        return None
    wanted = _with_text(raw, key, text + _PROBE)
    if between:
        wanted[_PADDING] = f"{padding}{_PROBE}"
    return (before, between, after, Repeats(before, between, after, raw, key)) if changed == wanted else None


def _with_text(raw: dict[str, Any], key: str, text: str) -> dict[str, Any]:
    """Return a chunk with another text."""
    choice = raw["choices"][0]
    value: Any = text
    if key == "tool_calls":
        fragment = choice["delta"][key][0]
        value = [{**fragment, "function": {**fragment["function"], "arguments": text}}]
    return {**raw, "choices": [{**choice, "delta": {**choice["delta"], key: value}}]}


def _key_of_piece(raw: dict[str, Any]) -> str | None:
    """Return the delta's field with the piece, if all else in the chunk is a scalar that says the same a second time."""
    choices = raw.get("choices")
    if type(choices) is not list or len(choices) != 1 or _nested(raw) != 1:
        return None
    choice = choices[0]
    if type(choice) is not dict or not _says_no_more(raw, choice):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or _nested(choice) != 1:
        return None
    key = _only_key(delta)
    if key == "tool_calls":
        return key if _nested(delta) == 1 and _is_arguments(delta[key]) else None
    return key if key in _TEXTS and type(delta[key]) is str and delta[key] and not _nested(delta) else None


def _says_no_more(raw: dict[str, Any], choice: dict[str, Any]) -> bool:
    """Whether neither a chunk nor its choice says more, beside its delta, than that there is one of a known index."""
    return (
        "error" not in raw
        and type(choice.get("index")) is int
        and choice.get("finish_reason") is None
        and choice.get("logprobs") is None
        and "finishReason" not in choice
        and "message" not in choice
    )


def _only_key(delta: dict[str, Any]) -> str | None:
    """Return the only field of a delta that says something, beside the role; None where that is more, or less."""
    only = None
    for name, value in delta.items():
        if value is not None and name != "role":
            if only is not None:
                return None
            only = name
    return only


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


def _nested(fields: dict[str, Any]) -> int:
    """Return how many of the fields are objects or lists."""
    count = 0
    for value in fields.values():
        if type(value) is dict or type(value) is list:
            count += 1
    return count
