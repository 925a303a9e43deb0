"""The body of a 2xx answer to events, whatever it turns out to be.

Asked for an event stream, gateways also send one JSON document (a whole completion, or an error) or an HTML page, and labels lie:
the first byte decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from cometstream.answer.error_body import excerpt
from cometstream.answer.json_text import parse_json
from cometstream.answer.sse import DEFAULT_MAX_SIZE, Comment, Event, SSEParser
from cometstream.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backlog", "BodyReader"]

_BOM: Final = b"\xef\xbb\xbf"

# White space before the body is a keep-alive of some gateways, and an empty line to SSE. Most bodies begin without: the pattern is
# compiled when it is first needed.
_BEFORE: Final = rb"\A(?:\xef\xbb\xbf|[ \t\r\n])+"

# As much of a body as messages need to show.
_HEAD: Final = 512


class Backlog:
    """Bytes of unfinished events and documents that many answers hold together, so that they cannot fill the memory between them.

    Args:
        limit: Bytes that they may hold.

    Attributes:
        held: Bytes that they hold.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0


class BodyReader:
    """Takes the bytes of a body and returns the events of a stream, or keeps the one JSON document that it is instead.

    Args:
        max_size: Bytes that a line, an event or a JSON document may have.

    Attributes:
        kind: ``"sse"``, ``"json"`` or ``"html"``; None before the first byte that is not white space.
        document: Set by ``end`` where the body is JSON: the parsed value.
        raw: Its bytes.
        cut: Set by ``end``: the body ended inside an event or a JSON document.
        head: The first bytes of the body, for messages.
        parser: What makes events of the bytes.
    """

    __slots__ = ("_size", "_waiting", "cut", "document", "head", "kind", "max_size", "parser", "raw")

    def __init__(self, *, max_size: int = DEFAULT_MAX_SIZE) -> None:
        self.max_size = max_size
        self.kind: Literal["sse", "json", "html"] | None = None
        self.document: Any = None
        self.raw = b""
        self.cut = False
        self.head = b""
        self.parser = SSEParser(max_line=max_size, max_event=max_size)
        self._waiting = bytearray()  # a document, or what may be the beginning of a BOM
        self._size = 0

    @property
    def error(self) -> ProtocolError | None:
        """What ended the reading for good; None while it goes on."""
        return self.parser.error

    def feed(self, data: bytes) -> list[Event | Comment]:
        """Take the next bytes and return what became whole with them.

        Raises:
            ProtocolError: A cap was passed.
        """
        if self.kind is None:
            data = self._begin(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        if self.kind == "sse":
            return self.parser.feed(data)
        self._size += len(data)
        if self._size > self.max_size:
            self._waiting.clear()
            raise ProtocolError(
                f"the answer is one document of more than {self.max_size} bytes (max_event_size)", raw=self.head
            )
        self._waiting += data
        return []

    @property
    def unfinished(self) -> int:
        """Bytes of the event or document that is not whole yet."""
        return self.parser.unfinished if self.kind == "sse" else len(self._waiting)

    def started(self) -> Callable[[bytes], list[Event | Comment]]:
        """Forget the head, which no message needs to show once the answer is known as one; return what to `feed` from now on."""
        if self.kind != "sse":
            return self.feed
        self.head = b""
        return self.parser.feed

    def _begin(self, data: bytes) -> bytes:
        """Decide by its first byte what the body is, and return it without what may stand before that."""
        if data[:1] == b"d" and not self._waiting:  # as `data:` begins, and nothing else that is expected
            self.kind = "sse"
            return data
        data = bytes(self._waiting) + data
        self._waiting.clear()
        data = re.sub(_BEFORE, b"", data, count=1)
        if _BOM.startswith(data):
            self._waiting += data
            return b""
        self.kind = "json" if data[:1] in b"{[" else "html" if data[:1] == b"<" else "sse"
        return data

    def end(self) -> list[Event | Comment]:
        """Take the end of the body and return the unfinished event, if what came of it is whole JSON.

        Raises:
            ProtocolError: The document is not JSON, or is an HTML page.
        """
        if self.kind == "sse":
            return [item for item in self.parser.end() if self._is_whole(item)]
        document = _without_end_mark(bytes(self._waiting))
        self._waiting.clear()
        if self.kind == "html":
            text = excerpt(document.decode("utf-8", "replace"))
            raise ProtocolError(f"the answer is an HTML page, not a completion: {text}", raw=document)
        if self.kind is None:
            return []
        try:
            self.document = parse_json(document)
            self.raw = document
        except ValueError as error:
            self.cut = _is_cut(document, error)
            if not self.cut:
                text = excerpt(document.decode("utf-8", "replace"))
                raise ProtocolError(
                    f"the answer is neither an event stream nor one JSON document ({error}): {text}", raw=document
                ) from None
        return []

    def _is_whole(self, item: Event | Comment) -> bool:
        if not isinstance(item, Event):
            return False
        data = item.data.strip()
        if data.lower() == b"[done]":
            return True
        try:
            whole = isinstance(parse_json(data), dict)
        except ValueError:
            whole = False
        self.cut = self.cut or not whole
        return whole


def _without_end_mark(document: bytes) -> bytes:
    """Return a document without the ``data: [DONE]`` that a gateway put behind it, as behind every answer to a stream's request."""
    before = document.rstrip().removesuffix(b"[DONE]").rstrip()
    return before.removesuffix(b"data:") if before.endswith(b"data:") else document


def _is_cut(document: bytes, error: ValueError) -> bool:
    """Whether a document fails to parse only because its end is missing."""
    try:
        return isinstance(error, orjson.JSONDecodeError) and error.pos >= len(document.decode().rstrip())
    except UnicodeDecodeError as cut:
        return cut.reason == "unexpected end of data"
