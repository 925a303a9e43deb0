r"""Recorded exchanges as a text file that people read, compare and edit.

::

    cometstream cassette 1

    request POST /chat/completions
        {
          "model": "gpt-5.4",
          ...
        }
    answer 200 after 0.2130
        Content-Type: text/event-stream
    body
        0.0001 | data: {"id":"chatcmpl-1", ...}\n\n
        0.0312 | data: {"id":"chatcmpl-1", ...}\n\n
               | data: [DONE]\n\n
        0.0313 end

A line of a body with a time is what one read gave, so many seconds after the head; lines without a time go on with it. ``\n``,
``\r``, ``\t`` and ``\\`` stand for what they do in Python, ``\xNN`` for a byte that cannot be shown. The last line says how the
body ended: ``end``; ``cut`` with what the connection raised; ``silence``: the reader waited when it left; ``left``: it left
without waiting. In place of an answer there may be a ``failure``, or ``no answer``: the reader had left before. ``#`` begins a
comment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cometstream.answer.json_text import MAX_DEPTH, is_too_deep
from cometstream.errors import UsageError

__all__ = ["BASE_URL", "Cassette", "CassetteError", "Ending", "Exchange", "Failure", "Piece", "parsed_body"]

_FIRST_LINE: Final = "cometstream cassette 1"
_HASHED: Final = "contents hashed"

_REQUEST: Final = re.compile(r"request ([A-Z]+) (\S+)")
_ANSWER: Final = re.compile(r"answer (\d{3}) after (\d+\.\d+)")
_FAILURE: Final = re.compile(r"failure (\w+)(?: clock=(\w+))?( retryable)? after (\d+\.\d+)")
_PIECE: Final = re.compile(r"(\d+\.\d+)? *\| (.*)")
_ENDING: Final = re.compile(r"(\d+\.\d+) (?:(end|silence|left)|cut (\w+): ?(.*))")

# All but the printable characters of ASCII without the backslash: a look at each of them would take long.
_UNUSUAL: Final = re.compile(r"[^ -\[\]-~]")

_ESCAPED: Final = re.compile(r"\\(?:([nrt\\])|x([0-9a-f]{2}))?")
_NAMED: Final = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}
_NAMES: Final = {value.decode(): f"\\{name}" for name, value in _NAMED.items()}

BASE_URL: Final = "{base_url}"
"""Stands in a failure's message for the session's base URL, which may be another one when it is replayed."""

# After an event's end a piece goes on in the next line.
_EVENTS: Final = re.compile(rb"(?<=\n\n)(?=[^\n])|(?<=\r\n\r\n)(?=[^\r\n])")


class CassetteError(UsageError):
    """A cassette cannot be read, or does not fit what was asked; the message says where."""


@dataclass(frozen=True)
class Piece:
    """What one read gave.

    Attributes:
        at: Seconds after the head.
        data: The bytes.
    """

    at: float
    data: bytes


@dataclass(frozen=True)
class Ending:
    """How a body ended, in the words of the module's docstring.

    Attributes:
        at: Seconds after the head.
        how: ``end``, ``cut``, ``silence`` or ``left``.
        error: Of a cut, the name of what was raised.
        text: Of a cut, its text.
    """

    at: float
    how: str
    error: str = ""
    text: str = ""


@dataclass(frozen=True)
class Failure:
    """What was raised where there was no answer.

    Attributes:
        error: The name of its class, in ``cometstream.errors``.
        message: Its message, with ``BASE_URL`` in place of the session's base URL.
        retryable: As of the error.
        clock: Of a timeout, which of the four.
    """

    error: str
    message: str
    retryable: bool = False
    clock: str | None = None


@dataclass
class Exchange:
    """One request and what came of it.

    Attributes:
        method: The HTTP method.
        route: The address behind the base URL.
        body: The request's body, parsed; None if it has none.
        waited: Seconds until the head, or the failure.
        status: The answer's status; None where there was none.
        headers: Its headers.
        pieces: What was read of its body.
        ending: How the body ended; None where there was no answer.
        failure: Why there was none; None where the reader had left before.
    """

    method: str
    route: str
    body: Any = None
    waited: float = 0.0
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    ending: Ending | None = None
    failure: Failure | None = None


@dataclass
class Cassette:
    """What stands in one file.

    Attributes:
        exchanges: In the order in which the requests were sent.
        hashed: Whether texts of the requests are hashed.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    hashed: bool = False

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, and the folder that it stands in; the old one stays until the new one is whole.

        Raises:
            CassetteError: It cannot be written.
        """
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(self.text().encode())
            unfinished.replace(target)
        except OSError as error:
            raise CassetteError(f"the cassette {target} cannot be written ({error.strerror})") from None

    def text(self) -> str:
        """Return what the file holds."""
        lines = [_FIRST_LINE, *([_HASHED] if self.hashed else [])]
        for exchange in self.exchanges:
            lines += ["", *_lines(exchange)]
        return "\n".join([*(line.rstrip(" ") for line in lines), ""])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Cassette:
        """Read a file.

        Raises:
            CassetteError: It cannot be read, or is no cassette; the message names the line.
        """
        try:
            text = Path(path).read_bytes().decode()
        except OSError as error:
            raise CassetteError(f"the cassette {path} cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise CassetteError(f"the cassette {path} is not UTF-8 text") from None
        return _Reader(path, text).cassette()


def parsed_body(body: bytes | None) -> Any:
    """Return a request's body as an exchange has it.

    Raises:
        CassetteError: It is nested too deeply.
    """
    # Not orjson, which refuses NaN and long numbers: a body that another client wrote is sent as it is.
    value = None if body is None else json.loads(body)
    if is_too_deep(value):
        raise CassetteError(f"a request that is nested deeper than {MAX_DEPTH} levels cannot be recorded")
    return value


def _written(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # As an escape, what a file cannot hold (half a surrogate pair), or some readers take for the end of a line.
    return text if text.replace("\n", "").isprintable() else json.dumps(value, indent=2)


def _lines(exchange: Exchange) -> Iterator[str]:
    yield f"request {exchange.method} {exchange.route}"
    if exchange.body is not None:
        for line in _written(exchange.body).split("\n"):
            yield f"    {line}"
    failure = exchange.failure
    if failure is not None:
        clock = f" clock={failure.clock}" if failure.clock else ""
        yield f"failure {failure.error}{clock}{' retryable' if failure.retryable else ''} after {exchange.waited:.4f}"
        yield f"    {_shown(failure.message.encode())}"
    elif exchange.status is None:
        yield "no answer"
    else:
        yield f"answer {exchange.status} after {exchange.waited:.4f}"
        for name, value in exchange.headers:
            yield f"    {name}: {_shown(value.encode('utf-8', 'surrogateescape'))}"
        yield "body"
        for piece in exchange.pieces:
            at = f"{piece.at:.4f}"
            for data in _EVENTS.split(piece.data):
                yield f"    {at} | {_shown(data)}"
                at = " " * len(at)
        ending = exchange.ending or Ending(0.0, "left")
        cut = f" {ending.error}: {_shown(ending.text.encode())}" if ending.how == "cut" else ""
        yield f"    {ending.at:.4f} {ending.how}{cut}"


def _shown(data: bytes) -> str:
    """Return bytes as one line of text; no editor takes anything from its end."""
    text = _UNUSUAL.sub(_escaped, data.decode("utf-8", "surrogateescape"))
    return f"{text[:-1]}\\x20" if text.endswith(" ") else text


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return _NAMES.get(char) or (char if char.isprintable() else _hexadecimal(char))


def _hexadecimal(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


class _Reader:
    """Reads a cassette's lines, and knows where it is."""

    def __init__(self, path: str | os.PathLike[str], text: str) -> None:
        self._path = path
        self._number = 0
        self._lines = [line.rstrip("\r") for line in text.split("\n")]

    def cassette(self) -> Cassette:
        if self._next() != _FIRST_LINE:
            raise self._error(f"expected {_FIRST_LINE!r}: is this a cassette?")
        cassette = Cassette()
        if self._peek() == _HASHED:
            self._next()
            cassette.hashed = True
        while (line := self._next()) is not None:
            asked = _REQUEST.fullmatch(line)
            if asked is None:
                raise self._error("expected 'request METHOD ROUTE'")
            exchange = Exchange(asked[1], asked[2], self._json())
            cassette.exchanges.append(exchange)
            self._answer(exchange)
        return cassette

    def _answer(self, exchange: Exchange) -> None:
        line = self._next() or ""
        if line == "no answer":
            return
        if failed := _FAILURE.fullmatch(line):
            message = " ".join(self._text(text) for text in self._block())
            exchange.failure = Failure(failed[1], message, failed[3] is not None, failed[2])
            exchange.waited = float(failed[4])
            return
        answered = _ANSWER.fullmatch(line)
        if answered is None:
            raise self._error("expected 'answer STATUS after SECONDS', 'failure ...' or 'no answer'")
        exchange.status, exchange.waited = int(answered[1]), float(answered[2])
        for header in self._block():
            name, colon, value = header.partition(":")
            if not colon:
                raise self._error("expected 'Name: value'")
            exchange.headers.append((name, self._text(value.strip())))
        if self._next() != "body":
            raise self._error("expected 'body'")
        for text in self._block():
            self._body_line(exchange, text)
        if exchange.ending is None:
            raise self._error("expected the body's ending: end, cut, silence or left")

    def _body_line(self, exchange: Exchange, line: str) -> None:
        pieces = exchange.pieces
        if exchange.ending is not None:
            raise self._error("a body goes on after its ending")
        if came := _PIECE.fullmatch(line):
            if came[1] is not None:
                pieces.append(Piece(float(came[1]), self._bytes(came[2])))
            elif pieces:
                pieces[-1] = Piece(pieces[-1].at, pieces[-1].data + self._bytes(came[2]))
            else:
                raise self._error("a body's first line needs its time")
        elif ended := _ENDING.fullmatch(line):
            text = self._text(ended[4] or "")
            exchange.ending = Ending(float(ended[1]), ended[2] or "cut", ended[3] or "", text)
        else:
            raise self._error("expected 'SECONDS | bytes', or an ending")

    def _json(self) -> Any:
        text = "\n".join(self._block())
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._error(f"the request's body ends here and is not JSON ({error})") from None

    def _text(self, text: str) -> str:
        return self._bytes(text).decode("utf-8", "surrogateescape")

    def _bytes(self, text: str) -> bytes:
        parts = _ESCAPED.split(text)
        data = [parts[0].encode()]
        for name, digits, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            if name is not None:
                data += [_NAMED[name], rest.encode()]
            elif digits is not None:
                data += [bytes.fromhex(digits), rest.encode()]
            else:
                raise self._error(r"a backslash begins one of \n, \r, \t, \\ and \xNN")
        return b"".join(data)

    def _block(self) -> Iterator[str]:
        """Give the lines that are indented, without their indent."""
        while (line := self._peek()) is not None and line.startswith("    "):
            self._next()
            yield line[4:]

    def _peek(self) -> str | None:
        """Return the next line that is neither empty nor a comment; None at the end."""
        while self._number < len(self._lines):
            line = self._lines[self._number]
            if line.strip() and not line.startswith("#"):
                return line
            self._number += 1
        return None

    def _next(self) -> str | None:
        line = self._peek()
        self._number += 1
        return line

    def _error(self, what: str) -> CassetteError:
        return CassetteError(f"{self._path}, line {self._number}: {what}")
