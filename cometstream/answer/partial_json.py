"""JSON that is still being written: the value as far as it came, after every piece of its text. No I/O, no recursion.

Each character is read once, and a piece changes only the path that grows::

    parser = PartialJSON()
    parser.feed('{"title": "Com')      parser.value == {"title": "Com"}            parser.open_path == ("title",)
    parser.feed('ets", "sizes": [1')   parser.value == {"title": "Comets", "sizes": []}
    parser.feed('2]}')                 parser.value == {"title": "Comets", "sizes": [12]}   parser.complete

The value is alive: the same lists and objects grow, so copy what you keep. A text is there as far as it came. A number or a word
(``true``) is there once it ended, because what came of it may be the beginning of another.

Why reading the value for every piece is cheap: a text that grows is taken out of its object, lengthened while nothing else refers
to it, which CPython does in place, and put back. Somebody who keeps the text of the reading before pays for one copy of it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from cometstream.answer.json_text import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Builder", "OnPart", "PartialJSON", "PartialJSONError", "Path"]

Path: TypeAlias = "tuple[str | int, ...]"
"""Where a value stands: the names and the places that lead to it from the root, which is ``()``."""

OnPart: TypeAlias = "Callable[[Path, Any, ValueError | None], object]"
"""Is told of a finished value: its path, the value, and what is wrong with it; None where nothing is known to be."""

# What ends a stretch of a string, or cannot stand in one. Halves of surrogate pairs are joined, or replaced.
_SPECIAL: Final = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')

_SPACE: Final = " \t\n\r"
_SPACES: Final = re.compile(r"[ \t\n\r]*")

# Whatever numbers and words are made of.
_SCALAR: Final = re.compile(r"[-+.0-9A-Za-z]*")

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")

_HEX: Final = re.compile(r"[0-9a-fA-F]+")

_WORDS: Final[dict[str, Any]] = {
    "true": True,
    "false": False,
    "null": None,
    # As model servers write them, and Python's own reader takes them.
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}

_ESCAPES: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}

_UNKNOWN: Final = "\ufffd"

# The integers that orjson reads as such.
_LEAST: Final = -(1 << 63)
_BEYOND: Final = 1 << 64

# Of an integer that Python reads; pydantic's reader takes no more either.
_MOST_DIGITS: Final = 4300


class PartialJSONError(ValueError):
    """The text is not JSON.

    Attributes:
        offset: Where, in characters from the beginning of the text.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.message} at character {self.offset}"


class Builder(Protocol):
    """A list or an object that grows, or what the root is put in; its keys are places, names, or None."""

    @property
    def value(self) -> Any:
        """What stands for it now."""
        ...

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        """Return what puts a text that begins in its place, as far as it came; None where it must not be seen before its end."""
        ...

    def put(self, key: Any, value: Any, /) -> object:
        """Take the finished value in the place of one that grew."""
        ...

    def scalar(self, key: Any, value: Any, /) -> Any:
        """Take a finished text, number or word; return what it is made into.

        Raises:
            ValueError: It is not what it should be. It was taken all the same, as it is.
        """
        ...

    def open(self, key: Any, items: bool, /) -> Builder | None:
        """Take a list (`items`) or an object that begins, and return what builds it; None leaves it as JSON has it."""
        ...

    def finished(self) -> Any:
        """Return what stands for it from its end on.

        Raises:
            ValueError: It is not what it should be, and stays as it is.
        """
        ...


class _JSON:
    """What values are put in that stay as JSON has them; this one holds the root."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self.put, key)

    def put(self, key: Any, value: Any, /) -> object:
        self.value = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.put(key, value)
        return value

    def open(self, key: Any, items: bool, /) -> Builder | None:
        return None

    def finished(self) -> Any:
        return self.value


class _Object(_JSON):
    __slots__ = ()

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self.value.__setitem__, key)

    def put(self, key: Any, value: Any, /) -> object:
        self.value[key] = value
        return None


class _List(_JSON):
    __slots__ = ()

    def __init__(self) -> None:
        self.value: list[Any] = []

    def put(self, key: Any, value: Any, /) -> object:
        if key == len(self.value):
            self.value.append(value)
        else:
            self.value[key] = value
        return None


class PartialJSON:
    """Reads one JSON value in pieces that are cut anywhere.

    It takes what Python's and orjson's readers take: of a name that comes twice the last value counts, integers that 64 bits do not
    hold become floats unless `make_root` is given, ``NaN`` and ``Infinity`` are numbers. Half of a surrogate pair becomes U+FFFD.

    Args:
        make_root: Makes what the root is put in, which decides what is made of it; None for dicts, lists, texts and numbers.
        prose: The value is an object, and other text may stand around it, such as a sentence or a Markdown fence: what comes before
            the first ``{`` is skipped, and what comes behind its end is ignored. An empty object that another follows is skipped
            too. A text that begins with ``[`` is a list. Else only white space may stand around the value, of whatever kind it is.
        on_part: Called with each value that is finished, those within it first.

    Attributes:
        complete: The value came whole.
        start: Where it begins, in characters from the beginning of the text; None before it does.
        end: Where it ended; None before it did.
        failure: Why the text cannot be read further; None while it can. The value stays as it was.
    """

    __slots__ = (
        "_at",
        "_empty",
        "_escape",
        "_frame",
        "_high",
        "_is_key",
        "_key",
        "_make_root",
        "_on_part",
        "_parts",
        "_plain",
        "_prose",
        "_read",
        "_root",
        "_show",
        "_stack",
        "_text",
        "complete",
        "end",
        "failure",
        "start",
    )

    def __init__(
        self, make_root: Callable[[], Builder] | None = None, *, prose: bool = False, on_part: OnPart | None = None
    ) -> None:
        self._make_root: Callable[[], Builder] = make_root or _JSON
        self._prose = prose
        self._on_part = on_part
        self._at = 0  # characters before the piece that is being read
        self._parts: list[str] = []  # of the string, number or word that grows, behind `_text`
        self._text = ""  # of the string that grows, what was put in its place already
        self._is_key = False
        self._show: Callable[[str], object] | None = None  # puts the string that grows in its place; None for a name
        self._escape = ""
        self._high = 0  # the first half of a surrogate pair
        self._plain = False  # within a string, and nothing of it is pending
        self._empty = False  # the root ended, and is an object without members
        self.complete = False
        self.start: int | None = None
        self.end: int | None = None
        self.failure: PartialJSONError | None = None
        self._begin()

    def _begin(self) -> None:
        self._root = self._frame = self._make_root()
        self._key: Any = None  # under which the next value stands, or the one that grows
        self._stack: list[tuple[Builder, Any]] = []  # what lies around `_frame`, and under which key
        self._read: Callable[[str, int], int] = self._before if self._prose else self._value

    def feed(self, text: str) -> None:
        """Take the next piece.

        Raises:
            PartialJSONError: It is not JSON, or nested too deeply. Every later call raises the same.
        """
        # Nearly every piece of a long answer lies within a string.
        if self._plain and _SPECIAL.search(text) is None:
            self._parts.append(text)
            self._at += len(text)
            return
        if self.failure is not None:
            raise self.failure
        at, end = 0, len(text)
        while at < end:
            at = self._read(text, at)
        self._at += end

    def close(self) -> None:
        """The text has ended: a number that nothing followed is whole.

        Raises:
            PartialJSONError: What came last is not JSON.
        """
        if self.failure is None and not self._stack and self._read == self._number_or_word:
            self._end_scalar(0)

    @property
    def value(self) -> Any:
        """The value as far as it came, alive; None before it begins."""
        if self._parts and self._show is not None:
            # Now nothing else refers to the text, if the caller keeps none, and it is lengthened where it lies.
            self._show("")
            text = self._text
            self._text = ""
            text += "".join(self._parts)
            self._text = text
            self._parts.clear()
            self._show(text)
        return self._root.value

    @property
    def open_path(self) -> Path | None:
        """Where the text is now; None before the value begins, and once it is complete. All else in the value is complete."""
        if self.start is None or self.complete:
            return None
        path = tuple([key for _, key in self._stack[1:]])
        return (*path, self._key) if self._stack and self._within_scalar() else path

    def is_complete(self, path: Path) -> bool:
        """Whether there is a value at a path of dicts and lists, and it came whole."""
        value = self.value
        try:
            for key in path:
                value = value[key]
        except (LookupError, TypeError):
            return False
        return self.complete or (self.start is not None and self.open_path[: len(path)] != path)  # type: ignore[index]

    def _within_scalar(self) -> bool:
        return self._read == self._number_or_word or (self._read == self._string and not self._is_key)

    def _path(self) -> Path:
        return (*[key for _, key in self._stack[1:]], self._key) if self._stack else ()

    def _failed(self, message: str, at: int) -> PartialJSONError:
        self._plain = False
        self.failure = PartialJSONError(message, self._at + at)
        return self.failure

    # What is expected: each takes the text from a place on, and returns how far it came.

    def _before(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if text[at] != "[":
            self._read = self._skip
            return self._skip(text, at)
        return self._value(text, at)

    def _skip(self, text: str, at: int) -> int:
        at = text.find("{", at)
        return len(text) if at < 0 else self._value(text, at)

    def _value(self, text: str, at: int) -> int:
        char = text[at]
        if char in _SPACE:
            return _after_spaces(text, at)
        if self.start is None:
            self.start = self._at + at
        if char == "{" or char == "[":
            self._open(char == "[", at)
        elif char == '"':
            self._is_key = False
            self._read, self._plain = self._string, True
            self._show = self._frame.grow(self._key)
            if self._show is not None:
                self._show("")
        elif _SCALAR.fullmatch(char):
            self._read = self._number_or_word
            return at
        else:
            raise self._failed("a value is missing", at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if text[at] == "]":
            self._close(at + 1)
            return at + 1
        self._read = self._value
        return self._value(text, at)

    def _first_name(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if text[at] == "}":
            self._empty = len(self._stack) == 1
            self._close(at + 1)
            return at + 1
        return self._name(text, at)

    def _name(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if text[at] != '"':
            raise self._failed("a name in quotes is missing", at)
        self._is_key = True
        self._read, self._plain = self._string, True
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if text[at] != ":":
            raise self._failed("a colon is missing", at)
        self._read = self._value
        return at + 1

    def _next(self, text: str, at: int) -> int:
        char, items = text[at], type(self._key) is int
        if char in _SPACE:
            return _after_spaces(text, at)
        if char == ("]" if items else "}"):
            self._close(at + 1)
        elif char != ",":
            raise self._failed("a comma is missing", at)
        elif items:
            self._key += 1
            self._read = self._value
        else:
            self._read = self._name
        return at + 1

    def _behind(self, text: str, at: int) -> int:
        if text[at] in _SPACE:
            return _after_spaces(text, at)
        if not self._prose:
            raise self._failed("there is more behind the value", at)
        if not (self._empty and text[at] == "{"):
            self._empty = False
            return len(text)
        # Some providers write an empty object when a call begins, and its arguments behind it.
        self._empty = self.complete = False
        self.start = self.end = None
        self._begin()
        return at

    def _number_or_word(self, text: str, at: int) -> int:
        found = _SCALAR.match(text, at)
        assert found is not None  # it matches nothing, too
        stop = found.end()
        self._parts.append(text[at:stop])
        if stop < len(text):
            self._end_scalar(stop)
        return stop

    def _string(self, text: str, at: int) -> int:
        if self._escape:
            return self._escaped(text, at)
        found = _SPECIAL.search(text, at)
        stop = len(text) if found is None else found.start()
        if stop > at:
            self._add(text[at:stop])
        if found is None:
            return stop
        char = text[stop]
        if char == '"':
            self._end_string(stop + 1)
        elif char == "\\":
            self._escape = char
            self._plain = False
        elif char < " ":
            raise self._failed("a string has a control character that is not escaped", stop)
        else:
            self._add_half(ord(char))
        return stop + 1

    def _escaped(self, text: str, at: int) -> int:
        if len(self._escape) == 1:
            char = text[at]
            if char == "u":
                self._escape += char
            elif (meant := _ESCAPES.get(char)) is not None:
                self._escape = ""
                self._add(meant)
            else:
                raise self._failed("a string has an unknown escape", at)
            return at + 1
        digits = text[at : at + 6 - len(self._escape)]
        if _HEX.fullmatch(digits) is None:
            raise self._failed("a string has an escape without its four digits", at)
        self._escape += digits
        if len(self._escape) == 6:
            code = int(self._escape[2:], 16)
            self._escape = ""
            if 0xD800 <= code < 0xE000:
                self._add_half(code)
            else:
                self._add(chr(code))
        return at + len(digits)

    # What was found.

    def _add(self, piece: str) -> None:
        if self._high:
            self._high = 0
            self._parts.append(_UNKNOWN)
        self._parts.append(piece)
        self._plain = True

    def _add_half(self, code: int) -> None:
        """Add half of a surrogate pair: the second one with the first, a lone one as unknown."""
        high = self._high
        if code < 0xDC00:
            if high:
                self._parts.append(_UNKNOWN)
            self._high = code
            self._plain = False
        elif high:
            self._high = 0
            self._add(chr(0x10000 + ((high - 0xD800) << 10) + code - 0xDC00))
        else:
            self._add(_UNKNOWN)

    def _end_string(self, end: int) -> None:
        if self._high:
            self._add("")
        self._plain = False
        text = self._text + "".join(self._parts)
        self._parts.clear()
        self._text = ""
        self._show = None
        if self._is_key:
            self._key = text
            self._read = self._colon
        else:
            self._put_scalar(text, end)

    def _end_scalar(self, end: int) -> None:
        word = "".join(self._parts)
        self._parts.clear()
        number = _NUMBER.fullmatch(word)
        if word in _WORDS:
            value = _WORDS[word]
        elif number is None:
            raise self._failed("a value is neither a number nor a word of JSON", end)
        elif number[1] or number[2] or not self._holds(word):
            value = float(word)
        else:
            value = int(word)
        self._put_scalar(value, end)

    def _holds(self, integer: str) -> bool:
        """Whether an integer stays one: as orjson reads it, or in a typed value as pydantic does."""
        if self._make_root is not _JSON:
            return len(integer) <= _MOST_DIGITS
        return len(integer) <= 20 and _LEAST <= int(integer) < _BEYOND

    def _put_scalar(self, value: Any, end: int) -> None:
        problem: ValueError | None = None
        try:
            value = self._frame.scalar(self._key, value)
        except ValueError as error:
            problem = error
        self._ended(value, problem, end)

    def _open(self, items: bool, at: int) -> None:
        if len(self._stack) == MAX_DEPTH:
            raise self._failed(f"lists and objects are nested deeper than {MAX_DEPTH} levels", at)
        frame, key = self._frame, self._key
        builder = frame.open(key, items)
        if builder is None:
            builder = _List() if items else _Object()
            frame.put(key, builder.value)
        self._stack.append((frame, key))
        self._frame = builder
        self._key = 0 if items else ""
        self._read = self._first_item if items else self._first_name

    def _close(self, end: int) -> None:
        builder = self._frame
        problem: ValueError | None = None
        before = value = builder.value
        try:
            value = builder.finished()
        except ValueError as error:
            problem = error
        self._frame, self._key = self._stack.pop()
        if value is not before:
            self._frame.put(self._key, value)
        self._ended(value, problem, end)

    def _ended(self, value: Any, problem: ValueError | None, end: int) -> None:
        if self._stack:
            self._read = self._next
        else:
            self.complete = True
            self.end = self._at + end
            self._read = self._behind
        if self._on_part is not None:
            self._on_part(self._path(), value, problem)


def _after_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    assert found is not None  # it matches nothing, too
    return found.end()
