"""The input: turns JSON lines into checked requests, and says what is wrong with a line."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from cometstream.batch.row_id import made_custom_id, row_id, short_digest
from cometstream.errors import InvalidRequestError
from cometstream.request.checks import check_request

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["ARRAY", "InputFailed", "InputRow", "RowReader", "open_input", "read_lines", "unpacked"]

# A line holds a conversation and its images. OpenAI takes batch files of 200 MB, so a longer line is a mistake.
_LINE_LIMIT: Final = 128 * 2**20

_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_GZIP: Final = b"\x1f\x8b"
_NOT_TEXT: Final = {
    b"BZh": "bzip2 data",
    b"\xfd7zX": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"PK\x03\x04": "a zip or Office file",
    b"PAR1": "a Parquet file",
    b"SQLi": "an SQLite database",
}

ARRAY: Final = "is the beginning of a JSON array; each row must be an object on a line of its own"
"""The problem of a first line that begins with a bracket."""

_LINE_KEYS: Final = frozenset({"custom_id", "method", "url", "body"})
_URLS: Final = ("/v1/chat/completions", "/chat/completions")
_FORMS: Final = 'an OpenAI Batch line, a request body, or {"prompt": "..."}'


class InputFailed(Exception):
    """The input cannot be read; the message says where and why."""


class InputRow(NamedTuple):
    """A line of the input.

    Attributes:
        line: Its number, from 1.
        custom_id: Its name; if it has no name, one is made of its line and a hash of its body.
        id: The ``id`` of its output line, see `row_id`.
        request: Wire parameters for ``fan_out``, with ``custom_id``; empty if the line is bad.
        problems: Why the line is bad; empty if it is good.
        names_model: Whether it says which model to ask.
    """

    line: int
    custom_id: str
    id: str
    request: dict[str, Any]
    problems: tuple[str, ...] = ()
    names_model: bool = True


@contextmanager
def open_input(path: str) -> Iterator[io.BufferedIOBase]:
    """Open a file of JSON lines, compressed or not.

    Raises:
        InputFailed: It cannot be opened, or is not UTF-8 text.
    """
    try:
        raw = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputFailed(f"{path} cannot be read: {error.strerror or error}") from None
    with raw:
        yield unpacked(raw, path)


def unpacked(raw: io.BufferedReader, name: str) -> io.BufferedIOBase:
    """Return `raw`, or what is compressed in it. The first bytes tell, and not the name.

    Raises:
        InputFailed: It cannot be read, or is not UTF-8 text.
    """
    try:
        head = raw.peek(4)[:4]
    except OSError as error:
        raise InputFailed(f"{name} cannot be read: {error.strerror or error}") from None
    if head[:2] in _UTF_16:
        raise InputFailed(f"{name} is UTF-16 text: save it as UTF-8")
    for beginning, kind in _NOT_TEXT.items():
        if head.startswith(beginning):
            raise InputFailed(f"{name} is {kind}, and no JSON lines (they may be packed with gzip)")
    return gzip.GzipFile(fileobj=raw) if head[:2] == _GZIP else raw


def read_lines(file: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    """Yield the lines; of a line that is too long to be a row, only the beginning.

    Raises:
        InputFailed: The file cannot be read on, or its compressed data is damaged.
    """
    number = 0
    try:
        while line := file.readline(_LINE_LIMIT + 1):
            number += 1
            rest = line
            while len(rest) > _LINE_LIMIT and not rest.endswith(b"\n"):
                rest = file.readline(_LINE_LIMIT + 1)
            yield line
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputFailed(f"{name}, after line {number}: the gzip data is cut or damaged ({error})") from None
    except OSError as error:
        raise InputFailed(f"{name}, after line {number}, cannot be read: {error.strerror or error}") from None


class RowReader:
    """Turns lines into rows, and remembers the names that were used.

    Args:
        model: The model of rows that name none; None if each row must name one.

    Attributes:
        line: How many lines were read.
    """

    def __init__(self, *, model: str | None = None) -> None:
        self.line = 0
        self._model = model
        self._is_first = True
        self._lines: dict[int, int] = {}  # the line of each custom_id, by its digest: a million rows must fit

    @property
    def digests(self) -> Container[int]:
        """The digests of all ``custom_id``s so far."""
        return self._lines

    def read(self, line: bytes) -> InputRow | None:
        """Return the row of the next line, good or bad; None if the line is blank."""
        self.line += 1
        if self.line == 1:
            line = line.removeprefix(_BOM)
        line = line.strip()
        if not line:
            return None
        problems: list[str] = []
        if self._is_first and line.startswith(b"["):
            problems.append(ARRAY)
        self._is_first = False
        value = None if problems else _parse(line, problems)
        given, body = _unpack(value, problems) if isinstance(value, dict) else (None, {})
        canonical = _canonical(body, problems) if body else line
        custom_id = given
        if custom_id is None:
            custom_id = made_custom_id(self.line, canonical)
        if (first := self._lines.setdefault(short_digest(custom_id), self.line)) != self.line:
            problems.append(f"custom_id: line {first} has the same one; each row needs one of its own")
            custom_id = made_custom_id(self.line, canonical)
            self._lines[short_digest(custom_id)] = self.line
        request = {} if problems else _request(body, self._model, problems)
        id_ = row_id(custom_id, canonical, str(request.get("model")))
        if problems:
            return InputRow(self.line, custom_id, id_, {}, tuple(problems))
        request["custom_id"] = custom_id
        return InputRow(self.line, custom_id, id_, request, names_model=body.get("model") is not None)


def _parse(line: bytes, problems: list[str]) -> Any:
    if len(line) > _LINE_LIMIT:
        problems.append(f"is longer than {_LINE_LIMIT // 2**20} MiB; are line ends missing?")
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problems.append(f"is not valid JSON: {error.msg} at column {error.colno}")
        return None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", type(None): "null", bool: "true or false"}.get(type(value), "a number")
        problems.append(f"is {kind}; a row is an object: {_FORMS}")
    return value


def _unpack(value: dict[str, Any], problems: list[str]) -> tuple[str | None, dict[str, Any]]:
    """Return a row's name and its body."""
    body: Any
    custom_id = value.get("custom_id")
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if custom_id is not None and (not isinstance(custom_id, str) or not custom_id):
        problems.append("custom_id: must be a string that is not empty, or an integer")
        custom_id = None
    if value.keys().isdisjoint(("body", "method", "url")):
        body = {name: item for name, item in value.items() if name != "custom_id"}
        if body.keys().isdisjoint(("prompt", "messages")):
            problems.append(f"has neither messages nor prompt nor body; a row is {_FORMS}")
        return custom_id, body
    problems.extend(
        f"{name}: is unknown in an OpenAI Batch line, which has custom_id, method, url and body"
        for name in sorted(value.keys() - _LINE_KEYS)
    )
    if value.get("method", "POST") != "POST":
        problems.append("method: must be POST")
    if value.get("url", _URLS[0]) not in _URLS:
        problems.append(f"url: must be {_URLS[0]}; other routes are not served here")
    body = value.get("body")
    if not isinstance(body, dict) or not body:
        problems.append("body: must be an object with the request's parameters")
        return custom_id, {}
    return custom_id, body


def _canonical(body: dict[str, Any], problems: list[str]) -> bytes:
    """Return the body in a form that does not depend on how its JSON was written."""
    try:
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # only the depth can keep JSON that was read from being written
        problems.append("is nested too deep; at most 254 levels are allowed")
        return b""


def _request(body: dict[str, Any], model: str | None, problems: list[str]) -> dict[str, Any]:
    """Return the checked wire parameters of a body."""
    request = dict(body)
    if "prompt" in request:
        prompt = request.pop("prompt")
        if "messages" in request:
            problems.append("prompt: is given beside messages; use one of them")
        elif not isinstance(prompt, str) or not prompt.strip():
            problems.append("prompt: must be a string that is not empty")
        request.setdefault("messages", [{"role": "user", "content": prompt if isinstance(prompt, str) else ""}])
    if request.get("model") is None:
        request["model"] = model
        if model is None:
            problems.append("model: is missing; give the row one, or all such rows with --model")
            request["model"] = "none"  # the problem is told already
    # Every answer is streamed, whatever the row says; but it must say true or false.
    streamed = request.pop("stream", None)
    extra = request.pop("extra_body", None)
    if extra is not None and not isinstance(extra, dict):
        problems.append("extra_body: must be an object")
    try:
        check_request({**request, "stream": True if isinstance(streamed, bool) or streamed is None else streamed})
    except InvalidRequestError as error:
        problems.extend(error.problems)
    if extra is not None:
        request["extra_body"] = extra
    return request
