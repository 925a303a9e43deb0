from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cometstream.answer.body import BodyReader
from cometstream.answer.sse import Comment, Event
from cometstream.errors import ProtocolError

DOCUMENT = '{"id": "\u00e9\U0001f680", "n": [1, -2.5e-3, true, false, null, "\\u00e9\\ud83d\\ude80\\n"], "o": {"a": {}}}'.encode()


def read(*pieces: bytes, max_size: int = 1_000_000) -> tuple[BodyReader, list[Event | Comment]]:
    reader = BodyReader(max_size=max_size)
    items = [item for piece in pieces for item in reader.feed(piece)]
    return reader, [*items, *reader.end()]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"data: x\n\n", "sse"),
        (b": PING\n\n", "sse"),
        (b"\r\n\t \n: PING\n\n", "sse"),
        (b"\xef\xbb\xbfdata: x\n\n", "sse"),
        (b"upstream error", "sse"),
        (b"{}", "json"),
        (b" \n[]", "json"),
        (b"\xef\xbb\xbf {}", "json"),
        (b"", None),
        (b" \r\n", None),
        (b"\xef\xbb", None),
    ],
)
def test_the_first_byte_decides_what_a_body_is(body: bytes, kind: str | None) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        assert read(*pieces)[0].kind == kind


def test_a_document_is_parsed_at_the_end() -> None:
    reader, items = read(b"\n\n", DOCUMENT[:9], DOCUMENT[9:] + b"\n")
    assert items == []
    assert reader.document["o"] == {"a": {}}
    assert not reader.cut


def test_a_document_with_nan_is_parsed_too() -> None:
    assert read(b'{"x": -Infinity}')[0].document == {"x": float("-inf")}


@pytest.mark.parametrize("at", range(1, len(DOCUMENT)))
def test_a_document_cut_anywhere_is_cut_and_not_wrong(at: int) -> None:
    reader, items = read(DOCUMENT[:at])
    assert (reader.cut, reader.document, items) == (True, None, [])


@pytest.mark.parametrize(
    "body", [b'{"a":1}\n{"a":2}\n', b"{'a': 1}", b'{"a": 1]', b'{"a": "\xff"}', b"[" * 300 + b"]" * 300]
)
def test_a_document_that_is_wrong_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="neither an event stream nor one JSON document") as caught:
        read(body)
    assert caught.value.raw == body


def test_a_page_is_a_protocol_error_that_shows_its_text() -> None:
    page = b"<!DOCTYPE html><html><head><title> 502 </title><style>x{}</style></head><body><h1>Bad  gateway</h1></body></html>"
    with pytest.raises(ProtocolError, match=r"HTML page, not a completion: 502: Bad gateway$") as caught:
        read(page[:10], page[10:])
    assert caught.value.raw == page


@pytest.mark.parametrize(
    ("tail", "items", "cut"),
    [
        (b"", [], False),
        (b"data: {}", [Event(b"{}")], False),
        (b'data: {"x": NaN}\n', [Event(b'{"x": NaN}')], False),
        (b"data: [DONE]", [Event(b"[DONE]")], False),
        (b"data: [done]\n", [Event(b"[done]")], False),
        (b'data: {"a"', [], True),
        (b"data: [DO", [], True),
        (b"data: 7", [], True),
        (b"da", [], False),
        (b": PI", [], False),
    ],
)
def test_the_last_event_counts_where_it_came_whole(tail: bytes, items: list[Event], cut: bool) -> None:
    reader, got = read(b"data: 1\n\n", tail)
    assert got == [Event(b"1"), *items]
    assert reader.cut is cut


def test_the_head_is_kept_for_messages_however_it_came() -> None:
    body = b"no such thing " * 100
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        assert read(*pieces)[0].head == body[:512]


def test_a_document_over_the_cap_is_refused_at_once_and_stays_refused() -> None:
    reader, megabyte = BodyReader(max_size=10), b"x" * 1_000_000
    assert reader.feed(b'{"a":12345') == []
    raw = None
    tracemalloc.start()
    for _ in range(2):
        with pytest.raises(ProtocolError, match="more than 10 bytes") as caught:
            reader.feed(megabyte)
        raw = caught.value.raw
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert raw is not None
    assert raw.startswith(b'{"a":12345')


def test_an_event_over_the_cap_is_the_parsers_error() -> None:
    reader = BodyReader(max_size=10)
    assert reader.error is None
    assert reader.feed(b"data: x\n\ndata: far too long") == [Event(b"x")]
    assert isinstance(reader.error, ProtocolError)
    with pytest.raises(ProtocolError):
        reader.feed(b"")
    with pytest.raises(ProtocolError):
        reader.end()


_BODIES = st.lists(
    st.sampled_from(
        [b"data: x\n\n", b"data: {}", b"\n", b"\r", b" ", b": c\n", b"{", b"}", b'"', b"[", b"]", b"<", b"1", b","]
    )
    | st.sampled_from([b"\xef\xbb\xbf", b"\xef", b"\xbb", b"NaN", b"\xc3\xa9", b"x"]),
    max_size=20,
).map(b"".join)


def outcome(*pieces: bytes) -> Any:
    try:
        reader, items = read(*pieces, max_size=60)
    except ProtocolError as error:
        return (str(error), error.raw)
    return (reader.kind, reader.document, reader.cut, reader.head, items)


@given(body=_BODIES | st.binary(max_size=60), cuts=st.lists(st.integers(0, 80), max_size=5))
@example(body=b"\xef\xbb\xbf{}", cuts=[1, 2])
@example(body=b"\xef\xbbx", cuts=[1, 2])
@example(body=b"\xef\xbb\xbf\n\xef\xbb\xbf{}", cuts=[3, 4])
def test_any_cutting_of_any_body_comes_to_the_same_and_raises_nothing_else(body: bytes, cuts: list[int]) -> None:
    ends = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[start:end] for start, end in zip(ends, ends[1:])]  # noqa: B905, RUF007 - one is longer by design
    whole = outcome(body)
    if "nan" not in repr(whole):
        assert outcome(*pieces) == outcome(*[body[at : at + 1] for at in range(len(body))]) == whole


@pytest.mark.parametrize("mark", [b"data: [DONE]", b"\n\ndata: [DONE]\n\n", b" data:[DONE] ", b"\r\ndata:\t[DONE]"])
def test_an_end_mark_behind_a_document_is_no_part_of_it(mark: bytes) -> None:
    reader = BodyReader()
    for octet in b'{"a":["[DONE]"]}' + mark:
        reader.feed(bytes([octet]))
    reader.end()
    assert reader.document == {"a": ["[DONE]"]}
    assert not reader.cut


@pytest.mark.parametrize("rest", [b"[DONE]", b"data: [DONE", b"data: x", b"data: [DONE]data: [DONE]"])
def test_anything_else_behind_a_document_is_refused(rest: bytes) -> None:
    reader = BodyReader()
    reader.feed(b'{"a":1}' + rest)
    with pytest.raises(ProtocolError, match="nor one JSON document"):
        reader.end()
