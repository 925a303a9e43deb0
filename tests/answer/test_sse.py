from __future__ import annotations

import copy
import pickle
import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cometstream.answer.sse import Comment, Event, SSEParser, encode_event
from cometstream.errors import ProtocolError


def event(data: bytes, **fields: Any) -> tuple[bytes, str, str | None, int | None]:
    return (data, fields.get("event", "message"), fields.get("id"), fields.get("retry"))


def shown(items: list[Event | Comment]) -> list[Any]:
    return [
        item.text if isinstance(item, Comment) else event(item.data, event=item.event, id=item.id, retry=item.retry)
        for item in items
    ]


def parse(*pieces: bytes) -> list[Any]:
    parser = SSEParser()
    return shown([item for piece in pieces for item in parser.feed(piece)])


# -- the standard's own examples, and its rules one by one ---------------------------------------------------------------


def test_the_standards_stock_ticker() -> None:
    assert parse(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [event(b"YHOO\n+2\n10")]


def test_the_standards_four_blocks() -> None:
    # A comment; an event with an id; one whose empty id resets it; and a last one that the end of the stream discards.
    parser = SSEParser()
    wire = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    assert shown(parser.feed(wire)) == [b" test stream", event(b"first event", id="1"), event(b"second event", id="")]
    assert parser.last_event_id == ""


def test_the_standards_events_without_text() -> None:
    # "fires two events": a lone `data` is one with empty data, two are one newline; the last block is not ended.
    assert parse(b"data\n\ndata\ndata\n\ndata:") == [event(b""), event(b"\n")]


def test_the_standards_space_after_the_colon() -> None:
    assert parse(b"data:test\n\ndata: test\n\n") == [event(b"test"), event(b"test")]


def test_only_one_space_is_taken() -> None:
    assert parse(b"data:  x\n\ndata:\tx\n\n") == [event(b" x"), event(b"\tx")]


@pytest.mark.parametrize(
    "wire", [b"event: add\nid: 4\n\n", b"event: add\n\n", b"retry: 5\n\n", b"foo: bar\n\n", b"foo\n\n"]
)
def test_an_event_without_data_is_none(wire: bytes) -> None:
    assert parse(wire, b"data: x\n\n") == [event(b"x")]


def test_the_type_holds_for_one_event_only() -> None:
    assert parse(b"event: add\ndata: 1\n\ndata: 2\n\n") == [event(b"1", event="add"), event(b"2")]


def test_an_empty_type_is_message() -> None:
    assert parse(b"event: add\nevent:\ndata: 1\n\n") == [event(b"1")]


def test_an_id_with_nul_is_ignored() -> None:
    parser = SSEParser()
    assert shown(parser.feed(b"id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n")) == [event(b"a", id="1"), event(b"b")]
    assert parser.last_event_id == "1"


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (b"3000", 3000),
        (b"0", 0),
        (b"", None),
        (b"3s", None),
        (b"-1", None),
        (b"1.5", None),
        (b"\xd9\xa3", None),
        (b"9" * 99, None),
    ],
)
def test_a_retry_is_digits_or_ignored(value: bytes, milliseconds: int | None) -> None:
    parser = SSEParser()
    assert shown(parser.feed(b"retry: " + value + b"\ndata: x\n\n")) == [event(b"x", retry=milliseconds)]
    assert parser.retry_ms == milliseconds


def test_fields_are_told_by_their_exact_names() -> None:
    assert parse(b"Data: 1\n data: 2\ndata : 3\n\xef\xbb\xbfdata: 4\ndata: 5\n\n") == [event(b"5")]


def test_a_comment_comes_at_once_even_inside_an_event() -> None:
    parser = SSEParser()
    assert shown(parser.feed(b"data: a\n: PING\n")) == [b" PING"]
    assert shown(parser.feed(b"data: b\n\n")) == [event(b"a\nb")]


def test_lines_end_at_cr_lf_and_crlf_alone() -> None:
    assert parse(b"data: a\rdata: b\r\ndata: c\n\r\ndata: d\x0be\x0cf\xc2\x85g\xe2\x80\xa8h\r\r") == [
        event(b"a\nb\nc"),
        event(b"d\x0be\x0cf\xc2\x85g\xe2\x80\xa8h"),
    ]


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    assert parse(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n") == [event(b"a\nb")]
    assert parse(b"data: a\r", b"", b"\n\r", b"\ndata: b\n\n") == [event(b"a"), event(b"b")]


def test_a_lone_cr_ends_the_event_without_waiting_for_what_follows() -> None:
    assert parse(b"data: a\r\r") == [event(b"a")]


def test_one_byte_order_mark_is_stripped_at_the_beginning_only() -> None:
    bom = b"\xef\xbb\xbf"
    for pieces in ([bom + b"data: a\n\n"], [b"\xef", b"", b"\xbb", b"\xbfdata: a\n\n"], [b"", bom, b"data: a\n\n"]):
        assert parse(*pieces) == [event(b"a")]
    assert parse(bom + bom + b"data: a\n\ndata: b\n\n") == [event(b"b")]
    assert parse(b"\xef\xbbdata: a\n\ndata: b\n\n") == [event(b"b")]
    assert parse(b"\xef", b"data: a\n\ndata: b\n\n") == [event(b"b")]


def test_bytes_that_are_no_utf_8_are_left_to_the_reader_of_the_data() -> None:
    assert parse(b"data: \xff\xfe\nevent: \xff\nid: \xff\n\n") == [event(b"\xff\xfe", event="\ufffd", id="\ufffd")]


def test_the_end_gives_back_the_unfinished_event() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\n\ndata: b\ndata: c") == [Event(b"a")]
    assert parser.end() == [Event(b"b\nc")]
    assert parser.end() == []
    assert SSEParser().end() == []


def test_the_end_gives_back_an_unfinished_comment_and_half_a_byte_order_mark_is_nothing() -> None:
    parser = SSEParser()
    parser.feed(b": PI")
    assert parser.end() == [Comment(b" PI")]
    parser = SSEParser()
    parser.feed(b"\xef\xbb")
    assert parser.end() == []


# -- any cutting ------------------------------------------------------------------------------------------------------------

_ALPHABET = [
    b"data",
    b"event",
    b"id",
    b"retry",
    b":",
    b" ",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"x",
    b"1",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xef",
    b"\xe2\x80\xa8",
]
_wires = st.one_of(
    st.lists(st.sampled_from([*_ALPHABET, b"data: x\n\n", b": c\n\n"]), max_size=60).map(b"".join),
    st.binary(max_size=80),
)


@given(wire=_wires, cuts=st.lists(st.integers(0, 200), max_size=8))
@example(wire=b"data: a\r\n\r\n", cuts=[8, 9, 10])
@example(wire=b"\xef\xbb\xbfdata: a\n\n", cuts=[1, 2, 3])
@example(wire=b"data: a\n\ndata: b\n\n", cuts=[8, 9, 10])
def test_any_cutting_of_any_bytes_gives_the_events_of_the_whole(wire: bytes, cuts: list[int]) -> None:
    whole = SSEParser()
    expected = whole.feed(wire)
    ends = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for pieces in (
        [wire[start:end] for start, end in zip(ends, ends[1:])],  # noqa: B905, RUF007 - one is longer by design
        [wire[at : at + 1] for at in range(len(wire))],
    ):
        parser = SSEParser()
        assert [item for piece in pieces for item in parser.feed(piece)] == expected
        assert (parser.last_event_id, parser.retry_ms) == (whole.last_event_id, whole.retry_ms)
        assert parser.end() == copy.deepcopy(whole).end()


def _by_the_book(wire: bytes) -> list[tuple[bytes, str, str | None]]:
    """The standard's algorithm, step by step and slowly, on text."""
    events: list[tuple[bytes, str, str | None]] = []
    data, kind, last = "", "", None
    text = wire.decode("utf-8", "surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((data[:-1].encode("utf-8", "surrogateescape"), kind or "message", last))
            data, kind, last = "", "", None
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value
    return events


@given(wire=_wires)
def test_the_events_are_those_of_the_standards_algorithm(wire: bytes) -> None:
    def text(value: str | None) -> str | None:
        return value if value is None else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    events = [item for item in SSEParser().feed(wire) if isinstance(item, Event)]
    assert [(item.data, item.event, item.id) for item in events] == [
        (data, text(kind), text(last)) for data, kind, last in _by_the_book(wire)
    ]


# -- caps -------------------------------------------------------------------------------------------------------------------


def test_a_line_of_the_cap_passes_and_one_byte_more_does_not() -> None:
    for pieces in ([b"data: 7890\n\n"], [b"data: ", b"78", b"90", b"\n\n"]):
        parser = SSEParser(max_line=10)
        assert [item for piece in pieces for item in parser.feed(piece)] == [Event(b"7890")]
    for pieces in ([b"data: 78901\n\n"], [b"data: 78901"], [b"data: ", b"78901"], [b"data: ", b"78", b"901\n"]):
        parser = SSEParser(max_line=10)
        *begun, last = pieces
        assert [item for piece in begun for item in parser.feed(piece)] == []
        with pytest.raises(ProtocolError, match="longer than 10 bytes") as caught:
            parser.feed(last)
        assert caught.value.raw == b"data: 78901"


def test_an_event_of_the_cap_passes_and_one_byte_more_does_not() -> None:
    assert SSEParser(max_event=5).feed(b"data: ab\ndata: cd\n\n") == [Event(b"ab\ncd")]
    for wire in (b"data: ab\ndata: cde\n\n", b"data: abcdef\n\n", b"data: ab\ndata: cd\ndata\n"):
        parser = SSEParser(max_event=5)
        with pytest.raises(ProtocolError, match="larger than 5 bytes"):
            parser.feed(wire)


def test_what_was_whole_before_the_cap_comes_first_and_then_the_error_stays() -> None:
    parser = SSEParser(max_line=10)
    assert parser.feed(b"data: a\n\n: c\n\ndata: far too long") == [Event(b"a"), Comment(b" c")]
    error = parser.error
    assert isinstance(error, ProtocolError)
    for call in (lambda: parser.feed(b"data: b\n\n"), lambda: parser.feed(b""), parser.end):
        with pytest.raises(ProtocolError) as caught:
            call()
        assert caught.value is error


def test_the_error_keeps_the_beginning_of_what_was_too_long() -> None:
    parser = SSEParser(max_line=1_000_000)
    for _ in range(1000):
        parser.feed(b"x" * 1000)
    with pytest.raises(ProtocolError) as caught:
        parser.feed(b"x")
    assert caught.value.raw == b"x" * 65536


def test_a_line_over_the_cap_is_refused_before_memory_is_spent_on_it() -> None:
    piece, parser = b"x" * 1_000_000, SSEParser(max_line=3_000_000, max_event=3_000_000)
    for _ in range(3):
        parser.feed(piece)
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        parser.feed(piece)
    spent = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 1_000_000


def test_a_line_in_tiny_pieces_takes_little_more_memory_than_its_bytes() -> None:
    parser = SSEParser()
    pieces = [bytes([at % 200 + 20, 65]) for at in range(50_000)]
    tracemalloc.start()
    for piece in pieces:
        parser.feed(piece)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2 * 100_000


# -- never quadratic ----------------------------------------------------------------------------------------------------------


class _Touched:
    """Counts the bytes that builtin methods look at, and those that are newly allocated, while a parser works."""

    def __init__(self) -> None:
        self.bytes = 0

    def _profile(self, frame: FrameType, kind: str, builtin: Any) -> None:
        if kind == "c_call" and isinstance(getattr(builtin, "__self__", None), (bytes, bytearray)):
            self.bytes += len(builtin.__self__)

    def feed(self, parser: SSEParser, piece: bytes) -> None:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        sys.setprofile(self._profile)
        parser.feed(piece)
        sys.setprofile(None)
        self.bytes += tracemalloc.get_traced_memory()[1] - before


def touched(size: int, piece: int, unit: bytes) -> int:
    wire = b"data: " + unit * (size // len(unit)) + b"\n\n"
    count, parser = _Touched(), SSEParser()
    tracemalloc.start()
    try:
        for at in range(0, len(wire), piece):
            count.feed(parser, wire[at : at + piece])
    finally:
        tracemalloc.stop()
    return count.bytes


@pytest.mark.parametrize("unit", [b"x", b"data: x\n", b"data: x\r"], ids=["one line", "LF lines", "CR lines"])
@pytest.mark.parametrize("piece", [40, 2000])
def test_the_work_grows_with_the_bytes_not_with_their_square(unit: bytes, piece: int) -> None:
    once, four_times = touched(40_000, piece, unit), touched(160_000, piece, unit)
    # A parser that joined or searched what waits at every read would need some sixteen times as much.
    assert four_times < 6 * once


# -- items ----------------------------------------------------------------------------------------------------------------------


def test_events_and_comments_are_equal_hash_print_copy_and_pickle() -> None:
    plain, full = SSEParser().feed(b"data: x\n\nevent: e\nid: 1\nretry: 2\ndata: x\n\n")
    (comment,) = SSEParser().feed(b": hi\n")
    assert repr(plain) == "Event(b'x')"
    assert repr(full) == "Event(b'x', event='e', id='1', retry=2)"
    assert repr(comment) == "Comment(b' hi')"
    assert plain != full
    assert plain != comment
    assert comment != Comment(b"hi")
    assert comment != b" hi"
    for item in (plain, full, comment):
        for twin in (copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item))):
            assert twin == item
            assert hash(twin) == hash(item)


# -- encoding -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [
        ({"data": b"{}"}, b"data: {}\n\n"),
        ({"data": "\u2604"}, b"data: \xe2\x98\x84\n\n"),
        ({"data": b""}, b"data: \n\n"),
        ({"data": b"a\nb\r\nc\rd"}, b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ({"data": b"x", "event": "message"}, b"data: x\n\n"),
        ({"data": b"x", "event": "error", "id": "7", "retry_ms": 0}, b"event: error\nid: 7\nretry: 0\ndata: x\n\n"),
    ],
)
def test_an_event_is_encoded_as_the_standard_reads_it(arguments: dict[str, Any], wire: bytes) -> None:
    assert encode_event(**arguments) == wire


@pytest.mark.parametrize(
    ("field", "value"), [("event", "a\nb"), ("event", "a\rb"), ("id", "a\nb"), ("id", "a\rb"), ("id", "a\0b")]
)
def test_a_field_that_would_start_another_is_refused(field: str, value: str) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=field):
        encode_event(b"x", **fields)


@given(data=st.binary(max_size=50), kind=st.sampled_from([None, "error", " spaced ", "a\0b"]))
def test_what_is_encoded_parses_back(data: bytes, kind: str | None) -> None:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    (back,) = SSEParser().feed(encode_event(data, event=kind, id="1"))
    assert shown([back]) == [event(lines, event=kind or "message", id="1")]


# -- what the standard ignores, and gateways write all the same ---------------------------------------------------------------


def events_of(data: bytes) -> list[tuple[bytes, str, bool]]:
    parser = SSEParser()
    items = [*parser.feed(data), *parser.end()]
    return [(item.data, item.event, item.bare) for item in items if isinstance(item, Event)]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"error: x\n\n", [(b"x", "error", False)]),
        (b"error: x\ndata: y\n\n", [(b"x", "error", False), (b"y", "message", False)]),
        (b"data: y\nerror: x\n\n", [(b"x", "error", False), (b"y", "message", False)]),
        (b"event: e\nerror: x\ndata: y\n\n", [(b"x", "error", False), (b"y", "e", False)]),
        (b'{"a":1}\n\n', [(b'{"a":1}', "message", True)]),
        (b'{"a":1}', [(b'{"a":1}', "message", True)]),
        (b'[{"a":1}]\n', [(b'[{"a":1}]', "message", True)]),
        (b'{\n"a":\n1}\n\ndata: y\n\n', [(b'{\n"a":\n1}', "message", True), (b"y", "message", False)]),
        (b'{"a":1}\ndata: y\n\n', [(b'{"a":1}', "message", True), (b"y", "message", False)]),
        (b'{"a":1}\n: y\n\n', [(b'{"a":1}', "message", True)]),
        (b'event: error\n{"a":1}\n\n', [(b'{"a":1}', "error", False)]),
        (b'data: y\n{"a":1}\n\n', [(b"y", "message", False)]),
        (b"[DONE]\n\nx\n\n", []),
    ],
)
def test_errors_without_data_before_them_are_read(data: bytes, events: list[tuple[bytes, str, bool]]) -> None:
    assert events_of(data) == events
    assert events_of(b": \n\n" + data.replace(b"\n", b"\r\n")) == events
