"""Errors where no error frame has them: inside a choice, and without a name; what came in the same chunk is not lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from support.serving import CHAT, serving
from support.wire_reading import read_wire

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.error_body import ErrorBody, failed_choice, read_error
from cometstream.answer.frames import chunk_beside, read_frame
from cometstream.answer.sse import Event, SSEParser
from cometstream.errors import InternalServerError, StreamServerError
from cometstream.testing import Reply
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.completion import ChatCompletion

BAD_GATEWAY = {"code": 502, "message": "bad gateway"}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **choice: Any) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish, **choice}]}


def frame_of(raw: Any) -> object:
    return read_frame(Event(orjson.dumps(raw)), lambda kind: pytest.fail(kind))


def wire(*raws: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(raw) + b"\n\n" for raw in raws) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("finish", ["error", "stop", "", None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_error_in_any_choice_is_an_error_whatever_finish_reason_is_beside_it(place: int, finish: str | None) -> None:
    raw = chunk()
    raw["choices"] *= 3
    raw["choices"][place] = chunk(finish=finish, error=BAD_GATEWAY)["choices"][0]
    assert frame_of(raw) == ErrorBody("bad gateway", "502", status=502, raw=raw)


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"error": BAD_GATEWAY}, ErrorBody("bad gateway", "502", status=502)),
        ({"error": {"code": "rate_limit_exceeded"}}, ErrorBody("", "rate_limit_exceeded", status=429)),
        ({"error": "it broke"}, ErrorBody("it broke")),
        ({"error": "it broke", "code": 429}, ErrorBody("it broke", "429", status=429)),
        ({"error": ["it", 7]}, ErrorBody('["it",7]')),
        ({"error": True}, ErrorBody('{"choices":[{"error":true}]}')),
    ],
)
def test_it_is_read_in_every_shape_and_the_chunk_is_kept(choice: dict[str, Any], error: ErrorBody) -> None:
    frame = frame_of({"choices": [choice]})
    assert isinstance(frame, ErrorBody)
    assert frame == replace(error, raw={"choices": [choice]})


def test_the_error_beside_the_choices_goes_before_the_one_inside() -> None:
    raw = {"error": {"message": "outer"}, "choices": [{"error": {"message": "inner"}}]}
    assert read_error(raw) == ErrorBody("outer", raw=raw)
    without = {**raw, "error": {}, "message": "text"}
    assert read_error(without) == ErrorBody("inner", raw=without)


@pytest.mark.parametrize("nothing", [None, "", {}, [], False, 0])
def test_a_choice_whose_error_is_empty_is_like_any_other(nothing: object) -> None:
    raw = chunk({"content": "x"}, "stop", error=nothing)
    frame = frame_of(raw)
    assert isinstance(frame, ChatCompletionChunk)
    accumulator = Accumulator()
    accumulator.add(frame)
    assert accumulator.finished


@pytest.mark.parametrize(
    "choices", [None, {}, "error", ["error"], [None], [["error"]], [], [{"delta": {"error": "x"}}]]
)
def test_choices_of_any_shape_without_an_error_have_none(choices: object) -> None:
    assert failed_choice(choices) is None
    assert isinstance(frame_of({"choices": choices}), ChatCompletionChunk)


def test_an_error_among_chunks_that_the_fast_lane_reads_is_seen() -> None:
    regular = [chunk({"content": text}, error=None) for text in "abcdefghijklmnopqrstuvwxyz"]
    for error in ("it broke", BAD_GATEWAY):
        read = read_wire([wire(*regular, *regular, chunk({"content": "a"}, error=error))])
        assert read.outcome == "error"
        assert isinstance(read.error, StreamServerError)
        assert len(read.completion.content or "") == 2 * len(regular) + 1


def test_before_the_content_it_is_what_its_code_says_and_after_it_is_the_streams() -> None:
    first = read_wire([wire(chunk(error=BAD_GATEWAY))])
    assert (first.outcome, type(first.error)) == ("error", InternalServerError)
    later = read_wire([wire(chunk({"content": "Hel"}), chunk(finish="stop", error=BAD_GATEWAY))])
    assert later.outcome == "error"
    assert isinstance(later.error, StreamServerError)
    assert (later.error.status, later.error.code) == (502, "502")
    assert "bad gateway" in str(later.error)
    assert later.completion.content == "Hel"


@pytest.mark.parametrize(
    "raw",
    [
        chunk({"content": "lo"}, error=BAD_GATEWAY),
        {**chunk({"content": "lo"}), "error": BAD_GATEWAY},
        {**chunk(error=BAD_GATEWAY), "usage": {"total_tokens": 3}},
    ],
)
def test_what_came_beside_an_error_is_a_chunk(raw: dict[str, Any]) -> None:
    frame = frame_of(raw)
    assert isinstance(frame, ErrorBody)
    assert chunk_beside(frame) == ChatCompletionChunk(raw)


def test_beside_an_error_a_finish_reason_ends_nothing_unless_it_tells_of_the_failure() -> None:
    choices = [
        {"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"},
        {"index": 1, "delta": {}, "finishReason": "STOP"},
        {"index": 2, "delta": {}, "finish_reason": "network_error"},
        {"index": 3, "delta": {}, "finish_reason": None},
    ]
    beside = chunk_beside(ErrorBody("away", raw={"choices": choices, "error": BAD_GATEWAY}))
    assert beside is not None
    assert [choice.finish_reason for choice in beside.choices] == [None, None, "network_error", None]
    assert beside.choices[0].delta.content == "a"


@pytest.mark.parametrize(
    "raw",
    [
        chunk({"content": ""}, "error", error=BAD_GATEWAY),
        {"error": BAD_GATEWAY},
        {"error": BAD_GATEWAY, "choices": None, "usage": None},
        {"error": "text"},
    ],
)
def test_an_error_that_came_alone_has_no_chunk_beside_it(raw: dict[str, Any]) -> None:
    frame = frame_of(raw)
    assert isinstance(frame, ErrorBody)
    assert chunk_beside(frame) is None
    assert chunk_beside(ErrorBody("text", raw="text")) is None


@pytest.mark.parametrize("fields", ["finish_reason, error", "error, finish_reason"])
def test_an_accumulator_alone_takes_no_finish_reason_beside_an_error_for_an_end(fields: str) -> None:
    choice: dict[str, Any] = {"finish_reason": "tool_calls", "error": BAD_GATEWAY}
    if fields == "error, finish_reason":
        choice = dict(reversed(choice.items()))
    accumulator = Accumulator()
    fragment = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    accumulator.add(ChatCompletionChunk({"choices": [{"delta": {"tool_calls": [fragment]}, **choice}]}))
    assert accumulator.errored
    assert not accumulator.finished
    completion = accumulator.completion
    assert completion.finish_reason is None
    assert completion.choices[0].error == BAD_GATEWAY
    assert not completion.tool_calls[0].executable


@pytest.mark.parametrize(("earlier", "beside", "kept"), [(None, "error", "error"), ("stop", None, "stop")])
def test_other_finish_reasons_stay_as_they_came(earlier: str | None, beside: str | None, kept: str) -> None:
    accumulator = Accumulator()
    accumulator.add(ChatCompletionChunk(chunk({"content": "x"}, earlier)))
    accumulator.add(ChatCompletionChunk(chunk(finish=beside, error=BAD_GATEWAY)))
    assert accumulator.completion.finish_reason == kept
    assert accumulator.errored
    assert not accumulator.finished


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        (b'{"code":429,"msg":"m"}', b"", ErrorBody("m", "429", status=429)),
        (b'{"code":"400","message":"m","data":null}', b"", ErrorBody("m", "400", status=400)),
        (b'{"code":1113,"msg":"m","success":false}', b"ping", ErrorBody("m", "1113")),
        (b'{"code":"InvalidParameter","message":"m","request_id":"r"}', b"", ErrorBody("m", "InvalidParameter")),
        (b'{"code":"model_not_found","message":"m"}', b"", ErrorBody("m", "model_not_found", status=404)),
        (b'{"code":500,"msg":"m","x":NaN}', b"", ErrorBody("m", "500", status=500)),
    ],
)
def test_a_code_and_a_message_alone_are_an_error(data: bytes, kind: bytes, error: ErrorBody) -> None:
    (event,) = SSEParser().feed(b"event: " + kind + b"\ndata: " + data + b"\n\n")
    assert isinstance(event, Event)
    told = read_frame(event, lambda _: None)
    assert isinstance(told, ErrorBody)
    assert replace(told, raw=None) == error


@pytest.mark.parametrize(
    "raw",
    [
        {"code": 0, "msg": "m"},
        {"code": 200, "message": "m"},
        {"code": "0", "message": "m"},
        {"code": "", "message": "m"},
        {"code": "OK", "message": "m"},
        {"code": True, "message": "m"},
        {"code": None, "message": "m"},
        {"code": 429},
        {"code": 429, "message": ""},
        {"code": 429, "message": {"role": "assistant"}},
        {"message": "m"},
        {"code": 429, "message": "m", "choices": []},
        {"code": 429, "message": "m", "usage": {"total_tokens": 3}},
        {"code": 429, "message": "m", "id": "c1"},
    ],
)
def test_a_code_is_no_error_where_that_is_not_certain(raw: dict[str, Any]) -> None:
    assert frame_of(raw) == ChatCompletionChunk(raw)


async def test_a_relayed_document_with_an_error_inside_is_relayed_whole() -> None:
    text = "Hello " * 300
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop", "error": {"code": 502, "message": "x"}}
    async with serving(Reply.json({"choices": [choice]}), retry=None) as (_, session):
        async with session.stream(**CHAT) as stream:
            events = SSEParser().feed(b"".join([piece async for piece in stream.relay()]))
    first = orjson.loads(next(event for event in events if isinstance(event, Event)).data)
    assert first["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize(("index", "read"), [("1", 1), (2.0, 2), (True, 0), ("one", 0), (None, 0), (1e30, 0)])
def test_the_index_of_a_choice_of_a_document_is_read_as_a_chunks(index: Any, read: int) -> None:
    choice = {"index": index, "message": {"content": "a"}, "delta": {"content": "a"}}
    assert ChatCompletion({"choices": [choice]}).choices[0].index == read
    assert ChatCompletionChunk({"choices": [choice]}).choices[0].index == read
