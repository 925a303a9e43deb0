from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.error_body import ErrorBody
from cometstream.answer.frames import DONE, Done, read_frame
from cometstream.answer.sse import Comment, Event, SSEParser
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk


def event_of(data: bytes, kind: str | None = None) -> Event:
    fields = b"" if kind is None else b"event: " + kind.encode() + b"\n"
    lines = b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
    (event,) = SSEParser().feed(fields + lines + b"\n")
    assert isinstance(event, Event)
    return event


def read(data: bytes, kind: str | None = None) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return read_frame(event_of(data, kind), notes.append), notes


@pytest.mark.parametrize("kind", [None, "message", "completion"])
@pytest.mark.parametrize(
    "data", [b'{"choices":[]}', b"{}", b'{"error":null}', b'{"error":"","choices":[]}', b'{"error":{},"id":"1"}']
)
def test_an_object_is_a_chunk(data: bytes, kind: str | None) -> None:
    frame, notes = read(data, kind)
    assert isinstance(frame, ChatCompletionChunk)
    assert notes == []


@pytest.mark.parametrize(
    ("data", "kinds"),
    [(b"[DONE]", []), (b" [DONE]\t", []), (b"[done]", ["done_spelling"]), (b"[Done]", ["done_spelling"])],
)
def test_the_end_mark_is_known_in_any_spelling(data: bytes, kinds: list[str]) -> None:
    assert read(data) == (DONE, kinds)
    assert repr(DONE) == "DONE"
    assert isinstance(DONE, Done)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"null", "data_null"),
        (b"", "data_empty"),
        (b" ", "data_empty"),
        (b": PING", "comment_as_data"),
        (b":", "comment_as_data"),
    ],
)
def test_what_means_nothing_is_noted_and_passed_over(data: bytes, kind: str) -> None:
    assert read(data) == (None, [kind])


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b'{"error":{"message":"m"}}', None, "m"),
        (b'{"error":"m"}', None, "m"),
        (b'{"error":{"message":"m"},"choices":[]}', None, "m"),
        (b'{"error":7}', None, '{"error":7}'),
        (b'{"object":"error","message":"m"}', None, "m"),
        (b'{"message":"m"}', "error", "m"),
        (b'"m"', "error", "m"),
        (b"[1]", "error", "[1]"),
        (b"m", "error", "m"),
        (b'{"message":"m","x":NaN}', "error", "m"),
        (b"<h1>m</h1>", "error", "m"),
    ],
)
def test_an_error_is_one_under_every_name(data: bytes, kind: str | None, message: str) -> None:
    frame, _ = read(data, kind)
    assert isinstance(frame, ErrorBody)
    assert frame.message == message


@pytest.mark.parametrize("data", [b"[1]", b'"x"', b"7", b"true", b"{", b"{}{}", b"x" * 200, b"[NaN]"])
def test_anything_else_is_a_protocol_error_that_keeps_the_bytes(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="an event's data is ") as caught:
        read(data)
    assert caught.value.raw == data
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("depth", [300, 900, 1100, 100_000])
@pytest.mark.parametrize("inner", [b"", b"NaN"])
def test_brackets_without_end_are_a_protocol_error(depth: int, inner: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(b'{"choices":' + b"[" * depth + inner + b"]" * depth + b"}")


def test_many_brackets_side_by_side_are_no_depth() -> None:
    frame, notes = read(b'{"choices":[' + b",".join([b"{}"] * 500) + b"]}")
    assert isinstance(frame, ChatCompletionChunk)
    assert notes == []


def test_json_that_only_a_lenient_reader_takes_is_noted() -> None:
    frame, notes = read(b'{"choices":[],"x":Infinity,"y":"\\ud800"}')
    assert isinstance(frame, ChatCompletionChunk)
    assert (frame.x, frame.y, notes) == (float("inf"), "\ufffd", ["json_lenient"])


def test_a_strict_accumulator_raises_at_the_first_thing_that_a_frame_notes() -> None:
    for data in (b"null", b"", b": PING", b"[done]", b'{"x":NaN}'):
        with pytest.raises(ProtocolError, match="departs from the documented shape"):
            read_frame(Event(data), Accumulator(strict=True).note)


_NEARLY = st.lists(
    st.sampled_from(
        [
            b"data: ",
            b"event: error\n",
            b"\n",
            b"\n\n",
            b"\r",
            b'{"choices":[',
            b"{",
            b"}",
            b"]",
            b"[",
            b'"',
            b":",
            b"1",
            b"NaN",
        ]
    )
    | st.sampled_from(
        [b'{"index":0,"delta":{"content":"x"}}', b'"error":', b"null", b"[DONE]", b",", b"\\ud83d", b"\xff", b"<"]
    ),
    max_size=30,
).map(b"".join)


@given(st.binary(max_size=60) | _NEARLY)
def test_no_bytes_raise_anything_but_a_protocol_error(wire: bytes) -> None:
    accumulator, parser = Accumulator(), SSEParser()
    for item in [*parser.feed(wire), *parser.end()]:
        if isinstance(item, Comment):
            continue
        try:
            frame = read_frame(item, accumulator.note)
        except ProtocolError:
            continue
        if isinstance(frame, ChatCompletionChunk):
            accumulator.add(frame)
    accumulator.completion.to_json()


@given(json_shapes.values)
def test_no_json_value_raises_anything_but_a_protocol_error(value: Any) -> None:
    for kind in (None, "error"):
        try:
            read(ChatCompletionChunk({"v": value}).to_json().encode()[5:-1], kind)
        except ProtocolError:
            assert kind is None


# -- json without data: before it -----------------------------------------------------------------------------------------------


def bare(data: bytes) -> Event:
    (item,) = SSEParser().feed(b": \n\n" + data + b"\n\n")[1:]
    assert isinstance(item, Event)
    assert item.bare
    return item


def test_json_without_data_is_read_where_it_is_an_error_and_refused_where_it_is_a_chunk() -> None:
    notes: list[str] = []
    for data in (b'{"error":{"message":"x"}}', b'[{"error":{"message":"x"}}]', b'{"object":"error","message":"x"}'):
        frame = read_frame(bare(data), notes.append)
        assert isinstance(frame, ErrorBody)
        assert frame.message == "x"
    nothing = read_frame(bare(b'{"object":"error"}'), notes.append)
    assert isinstance(nothing, ErrorBody)
    assert notes == []
    for data in (b'{"type":"ping"}', b"{broken", b'[{"a":1},{"b":2}]'):
        assert read_frame(bare(data), notes.append) is None
    assert notes == ["json_without_data"] * 3
    with pytest.raises(ProtocolError, match="a chunk came without `data:`"):
        read_frame(bare(b'{"choices":[{"index":0,"delta":{"content":"lost"}}]}'), notes.append)
