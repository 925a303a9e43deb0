"""Server-sent events: bytes to events, and back. No I/O, no clock, nothing asynchronous.

The rules are the WHATWG HTML standard's, 9.2.6 "Interpreting an event stream", on bytes: a line ends at CR, LF or CRLF and at
nothing else, so that U+2028 inside JSON text and a character cut between two reads are never touched.

A byte is looked at a fixed number of times, however long its line and however many pieces it comes in: the pieces of an
unfinished line wait in a list and are searched once each; joining them at every read would cost the square of the line.
"""

from __future__ import annotations

from typing import Final

from cometstream.errors import ProtocolError

__all__ = ["Comment", "Event", "SSEParser", "encode_event"]

# The base64 of a 4K image comes as one line of up to 30 MB.
DEFAULT_MAX_SIZE: Final = 32 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 10
_CR: Final = 13

# How JSON begins, as no field does; and the fields, behind which no JSON goes on.
_JSON_BEGINS: Final = b"{["
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")

# As much of the bytes at fault as an error keeps.
_SHOWN: Final = 65536

# A piece of a line so short that an object of its own would take more memory than its bytes are worth.
_SMALL: Final = 1024


class Event:
    """One server-sent event: its data as the bytes that came, lines joined by LF.

    ``event``, ``id`` and ``retry`` read as ``"message"``, ``None`` and ``None`` where the event did not set them. ``bare`` is an
    event of lines that look like JSON and stand between the others without ``data:``, which the standard ignores.
    """

    __slots__ = ("data",)

    data: bytes
    event: str = "message"
    id: str | None = None
    retry: int | None = None
    bare: bool = False

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.data, self.event, self.id, self.retry) == (other.data, other.event, other.id, other.retry)

    def __hash__(self) -> int:
        return hash((self.data, self.event, self.id, self.retry))

    def __repr__(self) -> str:
        fields = [repr(self.data)]
        if self.event != "message":
            fields.append(f"event={self.event!r}")
        if self.id is not None:
            fields.append(f"id={self.id!r}")
        if self.retry is not None:
            fields.append(f"retry={self.retry}")
        return f"Event({', '.join(fields)})"


class _FieldsEvent(Event):
    """An event that set more than its data; rare, so the common one need not carry three more slots."""

    __slots__ = ("event", "id", "retry")

    def __init__(self, data: bytes, event: str, id: str | None, retry: int | None) -> None:  # noqa: A002 - the wire's own name
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry


class _BareEvent(Event):
    """JSON without ``data:`` before it."""

    __slots__ = ()

    bare = True


class Comment:
    """A line that starts with a colon: a sign of life, and nothing else."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Comment) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Comment({self.text!r})"


class SSEParser:
    """An incremental parser: ``feed`` it bytes as they arrive, take the events that became whole.

    Args:
        max_line: Bytes that one line may have.
        max_event: Bytes that the data of one event may have.

    Attributes:
        between: Nothing is unfinished: the next byte begins an event.
        last_event_id: The last ``id`` field seen; ``""`` before the first.
        retry_ms: The last ``retry`` field seen, in milliseconds; None before the first.
        error: What ended the parsing for good; None while it goes on.

    Source:
        WHATWG HTML, 9.2.6.
    """

    __slots__ = (
        "_bare",
        "_data",
        "_event",
        "_fresh",
        "_id",
        "_in_event",
        "_max_alone",
        "_max_whole",
        "_retry",
        "_skip_lf",
        "_tail",
        "_tail_size",
        "between",
        "error",
        "last_event_id",
        "max_event",
        "max_line",
        "retry_ms",
    )

    def __init__(self, *, max_line: int = DEFAULT_MAX_SIZE, max_event: int = DEFAULT_MAX_SIZE) -> None:
        self.max_line = max_line
        self.max_event = max_event
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._max_whole = max_line if max_line < max_event else max_event
        # More is a burst as a rule, and not worth a look for one event. `min` would cost four times as much.
        self._max_alone = self._max_whole if self._max_whole < _SMALL else _SMALL
        self.between = False
        self._fresh = True  # nothing but a possible piece of a BOM has come
        self._skip_lf = False  # the last byte was a CR: an LF that follows belongs to it
        self._tail: list[bytes | bytearray] = []  # the pieces of the line that has no end yet
        self._tail_size = 0
        self.error: ProtocolError | None = None
        self._reset_event()

    def _reset_event(self) -> None:
        self._in_event = False  # a line of the event under construction has come
        self._bare = False  # the data of the event under construction stands without `data:`
        self._data: bytes | bytearray | None = None
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event | Comment]:
        """Take the next bytes and return what became whole with them, in order.

        Args:
            data: Bytes cut anywhere; may be empty.
        Returns:
            Events and comments; a comment inside an unfinished event comes at once, before its event.
        Raises:
            ProtocolError: A line or an event is over its cap. What was whole before it is returned first: then ``error``
                is set, and the next call raises.
        """
        if self.between:
            # A token that arrives alone: one event, whole, of one line.
            if len(data) <= self._max_alone and data[:6] == b"data: " and data[-2:] == b"\n\n":
                payload = data[6:-2]
                if _LF not in payload and _CR not in payload:
                    return [Event(payload)]
        elif self.error is not None:
            raise self.error
        items: list[Event | Comment] = []
        try:
            self._feed(data, items)
        except ProtocolError:
            if not items:
                raise
        self.between = not (self._tail or self._in_event or self._skip_lf or self._fresh or self.error)
        return items

    @property
    def unfinished(self) -> int:
        """Bytes of the event that is not whole yet."""
        return self._tail_size + (0 if self._data is None else len(self._data))

    def _feed(self, data: bytes, items: list[Event | Comment]) -> None:
        if self._fresh:
            data = self._without_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data.startswith(b"\n"):
                data = data[1:]
        if _CR in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._tail and not self._fresh:
            data = self._finish_tail(data, items)
        if not data:
            return
        # The common case: whole events, each one `data: ` line. Splitting between them is one pass in C.
        end = data.rfind(b"\n\n")
        if end < 0 or self._in_event or len(data) > self._max_whole:
            self._feed_lines(data, items)
            return
        payloads = data[6:end].split(b"\n\ndata: ")
        events = [Event(payload) for payload in payloads if _LF not in payload]
        if data.startswith(b"data: ") and len(events) == len(payloads):
            items.extend(events)
        else:
            for block in data[:end].split(b"\n\n"):
                if block.startswith(b"data: ") and b"\n" not in block:
                    items.append(Event(block[6:]))
                else:
                    for line in block.split(b"\n"):
                        self._line(line, items)
                    self._line(b"", items)
        if end + 2 < len(data):
            self._feed_lines(data[end + 2 :], items)

    def end(self) -> list[Event | Comment]:
        """Take the end of the stream and return what the last, unfinished event would have been.

        The standard discards an event without its blank line; a gateway that dies writes just such a one, often whole.
        The caller decides what it is worth.

        Raises:
            ProtocolError: As ``feed``.
        """
        if self.error is not None:
            raise self.error
        items: list[Event | Comment] = []
        if self._tail:
            self._line(self._take_tail(), items)
        self._line(b"", items)
        return items

    def _without_bom(self, data: bytes) -> bytes:
        # "If the stream starts with a BOM, it is stripped": it too may come in pieces.
        data = self._take_tail() + data
        if len(data) < 3 and _BOM.startswith(data):
            self._keep(data)
            return b""
        self._fresh = False
        return data[3:] if data.startswith(_BOM) else data

    def _finish_tail(self, data: bytes, items: list[Event | Comment]) -> bytes:
        """Give the unfinished line what `data` has of it; return the rest."""
        end = data.find(b"\n")
        if end < 0:
            self._keep(data)
            return b""
        self._keep(data[:end])
        self._line(self._take_tail(), items)
        end += 1
        if data.startswith(b"\n", end):
            # The event ends with its line, so that what follows can go the fast way.
            self._line(b"", items)
            end += 1
        return data[end:]

    def _keep(self, piece: bytes) -> None:
        self._tail_size += len(piece)
        if self._tail_size > self.max_line:
            head = b"".join(part[:_SHOWN] for part in self._tail[: _SHOWN // _SMALL])
            raise self._fail(f"a line is longer than {self.max_line} bytes (max_event_size)", head + piece[:_SHOWN])
        if len(piece) >= _SMALL or not self._tail or not isinstance(self._tail[-1], bytearray):
            self._tail.append(piece if len(piece) >= _SMALL else bytearray(piece))
        else:
            self._tail[-1] += piece

    def _take_tail(self) -> bytes:
        line = b"".join(self._tail)
        self._tail.clear()
        self._tail_size = 0
        return line

    def _feed_lines(self, data: bytes, items: list[Event | Comment]) -> None:
        lines = data.split(b"\n")
        last = lines.pop()
        for line in lines:
            self._line(line, items)
        if last:
            self._keep(last)

    def _line(self, line: bytes, items: list[Event | Comment]) -> None:
        if len(line) > self.max_line:
            raise self._fail(f"a line is longer than {self.max_line} bytes (max_event_size)", line)
        if not line:
            # "If the line is empty: dispatch the event."
            if self._in_event:
                self._dispatch(items)
            return
        if (self._bare or line[0] in _JSON_BEGINS) and self._takes_bare(line, items):
            return
        name, colon, value = line.partition(b":")
        if not name and colon:
            items.append(Comment(value))
            return
        # "If value starts with a U+0020 SPACE character, remove it from value."
        if value.startswith(b" "):
            value = value[1:]
        self._in_event = True
        if name == b"data":
            self._add_data(value)
        elif name == b"error":
            # Not the standard's: llama.cpp of 2025 writes a field of this name where others write an event.
            items.append(_FieldsEvent(value, "error", None, None))
            self._in_event = self._data is not None or self._event != "" or self._id is not None
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            # "If the field value does not contain U+0000 NULL, set the last event ID buffer."
            if b"\0" not in value:
                self._id = self.last_event_id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            # "If the field value consists of only ASCII digits": bytes.isdigit() is just that.
            self._retry = self.retry_ms = int(value)
        # "Otherwise: the field is ignored."

    def _takes_bare(self, line: bytes, items: list[Event | Comment]) -> bool:
        """Take a line of JSON without `data:`, and those behind it up to the next blank line or field."""
        if self._bare and line.startswith(_FIELDS):
            self._dispatch(items)
            return False
        if not self._bare and (self._data is not None or not line.startswith((b"{", b"[{"))):
            return False
        self._bare = self._in_event = True
        self._add_data(line)
        return True

    def _add_data(self, value: bytes) -> None:
        size = len(value) if self._data is None else len(self._data) + 1 + len(value)
        if size > self.max_event:
            begins = bytes((self._data or value)[:_SHOWN])
            raise self._fail(f"an event is larger than {self.max_event} bytes (max_event_size)", begins)
        if self._data is None:
            self._data = value
            return
        # One growing buffer: a list would let a million empty lines cost a million pointers.
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value

    def _dispatch(self, items: list[Event | Comment]) -> None:
        data, event, id_, retry = self._data, self._event, self._id, self._retry
        bare = self._bare and not event
        self._reset_event()
        # "If the data buffer is an empty string, set the event type buffer to the empty string and return."
        if data is None:
            return
        if bare:
            items.append(_BareEvent(bytes(data)))
        elif event or id_ is not None or retry is not None:
            items.append(_FieldsEvent(bytes(data), event or "message", id_, retry))
        else:
            items.append(Event(bytes(data)))

    def _fail(self, what: str, raw: bytes) -> ProtocolError:
        self._tail.clear()
        self._reset_event()
        self.error = ProtocolError(f"the event stream was given up: {what}", raw=raw)
        return self.error


def encode_event(
    data: bytes | str,
    *,
    event: str | None = None,
    id: str | None = None,  # noqa: A002 - the wire's own name
    retry_ms: int | None = None,
) -> bytes:
    """Encode one event, blank line included; every line of ``data`` becomes a ``data:`` line of its own.

    Args:
        data: The payload; text is encoded as UTF-8.
        event: The event's type; left out where None or ``"message"``.
        id: The event's id; None leaves it out.
        retry_ms: A reconnection time in milliseconds; None leaves it out.
    Raises:
        ValueError: ``event`` or ``id`` has a line break, which would start another field, or ``id`` NUL, which readers ignore.
    """
    if isinstance(data, str):
        data = data.encode()
    is_one_line = _LF not in data and _CR not in data
    if is_one_line and event in (None, "message") and id is None and retry_ms is None:
        return b"data: %b\n\n" % data  # nearly every event of a relay
    fields: list[bytes] = []
    for name, value in (("event", None if event == "message" else event), ("id", id)):
        if value is not None:
            if "\r" in value or "\n" in value or ("\0" in value and name == "id"):
                raise ValueError(f"{name} must not hold a line break, nor an id NUL: {value!r}")
            fields.append(f"{name}: {value}\n".encode())
    if retry_ms is not None:
        fields.append(b"retry: %d\n" % retry_ms)
    lines = [data] if is_one_line else data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    fields.extend(b"data: " + line + b"\n" for line in lines)
    fields.append(b"\n")
    return b"".join(fields)
