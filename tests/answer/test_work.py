"""Nothing that a server sends blocks the event loop: the work for a stream grows as its bytes do, whatever its shape."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.error_body import ErrorBody, parse_error
from cometstream.answer.events import EventFold
from cometstream.answer.frames import chunk_beside, read_frame
from cometstream.answer.json_text import Halves
from cometstream.answer.sse import Event, SSEParser
from cometstream.answer.typed_errors import ErrorContext
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk

JWT = "eyJ" + "a" * 1500
CONTEXT = ErrorContext("https://api.cometapi.com/v1", "api_key=", (JWT,))

# Lines of Python, calls of C and items that these copy, for each byte at most. The costliest shapes are read, told as events,
# built, printed and shaped for sending in some 20 ms for 64 KiB.
MOST = 12.0


def choice(delta: dict[str, Any], **fields: Any) -> bytes:
    return orjson.dumps({"id": "1", "choices": [{"index": 0, "delta": delta, **fields}]})


def call(**fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields]}


# Of each shape, the data of the events of one stream; its size grows as the number does.
SHAPES: dict[str, Callable[[int], list[bytes]]] = {
    "text": lambda n: [choice({"content": "token"})] * n,
    "empty texts in an error": lambda n: [b'{"error":{"message":"x","l":[' + b'"",' * n + b'""]}}'],
    "objects in an error": lambda n: [b'{"error":{"message":"x","l":[' + b'{"a":""},' * n + b"5]}}"],
    "the key in an error": lambda n: [b'{"error":{"l":["' + JWT.encode() + b'"' + b',""' * n + b"]}}"],
    "the key's beginning in an error": lambda n: [b'{"error":{"l":["' + b"eyJaaaaa" * n + b'"]}}'],
    "log probabilities by name": lambda n: [choice({"content": "a"}, logprobs={f"n{i}": [i]}) for i in range(n)],
    "log probabilities": lambda n: [choice({"content": "a"}, logprobs={"content": [{"token": "a"}]})] * n,
    "brackets as arguments": lambda n: [
        choice(call(index=0, function={"name": "f", "arguments": "{" * n})),
        *[choice(call(index=0, id="b", function={"name": "f", "arguments": '"{'}))] * n,
    ],
    "texts as arguments": lambda n: [choice(call(function={"name": "f", "arguments": '""' * 20}))] * n,
    "a name in pieces": lambda n: [choice(call(index=0, function={"name": chr(97 + i % 26)})) for i in range(n)],
    "calls without an index": lambda n: [choice(call(id=f"{i}", function={"arguments": "{}"})) for i in range(n)],
    "one index and many calls": lambda n: [
        choice(call(index=0, id=f"{i}", function={"name": "f", "arguments": "{}"})) for i in range(n)
    ],
    "a provider's own field of a call": lambda n: [choice(call(index=0, extra={f"n{i}": i})) for i in range(n)],
    "fragments of one block": lambda n: [choice({"reasoning_details": [{"index": 0, "text": "t"}]})] * n,
    "blocks by index": lambda n: [choice({"details": [{"index": i, "text": "t"}]}) for i in range(n)],
    "blocks that are signed": lambda n: [
        choice({"details": [{"index": 0, "text": "t", "signature": f"{i}"}]}) for i in range(n)
    ],
    "a block that was signed before its text": lambda n: (
        [choice({"details": [{"index": 0, "text": "t", "signature": "s"}]})] * n
    ),
    "items without an index": lambda n: [choice({"annotations": [{"url": f"{i}"}]}) for i in range(n)],
    "fields by name": lambda n: [choice({f"n{i}": "x"}) for i in range(n)],
    "an object that grows": lambda n: [choice({"map": {f"n{i}": "x"}}) for i in range(n)],
    "one wide chunk": lambda n: [choice({"x": [{"index": 0, "y": []}] * n})],
    "parts of content": lambda n: [choice({"content": [{"type": "text", "text": "a"}]})] * n,
    "parts and texts in turns": lambda n: [choice({"content": "a"}), choice({"content": [{"type": "x"}]})] * n,
    "many choices": lambda n: [orjson.dumps({"choices": [{"index": i, "delta": {"content": "a"}} for i in range(n)]})],
    "choices that ended and one that goes on": lambda n: [
        orjson.dumps({"choices": [{"index": i, "delta": {"content": "a"}, "finish_reason": "stop"} for i in range(n)]}),
        *[orjson.dumps({"choices": [{"index": n, "delta": {"content": "a"}}]})] * n,
    ],
    "one choice many times": lambda n: [orjson.dumps({"choices": [{"index": 0}] * n})],
    "usage by name": lambda n: [orjson.dumps({"choices": [], "usage": {f"n{i}": i for i in range(n)}})],
    "reports of usage by name": lambda n: [orjson.dumps({"choices": [], "usage": {f"n{i}": i}}) for i in range(n)],
    "reports of usage by name, in details": lambda n: [
        orjson.dumps({"choices": [], "usage": {"details": {f"n{i}": i}}}) for i in range(n)
    ],
    "fields of a chunk": lambda n: [orjson.dumps({"choices": [], **{f"n{i}": i for i in range(n)}})],
    "NaN and empty texts": lambda n: [b'{"choices":[],"x":[NaN' + b',""' * n + b"]}"],
    "NaN and numbers": lambda n: [b'{"choices":[],"x":[NaN' + b",1" * n + b"]}"],
    "half a character": lambda n: [b'{"choices":[{"delta":{"content":"\\ud83d"}}],"x":[' + b"1," * n + b"1]}"],
    "lists in lists": lambda n: [b'{"choices":[{"delta":{"x":' + b"[" * 200 + b"]" * 200 + b"}}]}"] * max(1, n // 100),
    "keep-alives": lambda n: [choice(call())] * n,
    "MiniMax's": lambda n: [orjson.dumps({"choices": None, "base_resp": {"status_code": 1, "x": [""] * n}})],
    "tags": lambda n: [b'{"error":"' + b"<script" * n + b'"}'],
}


def read(datas: list[bytes]) -> None:
    """Do all that the library does with a stream, and all that it offers of what came."""
    accumulator, halves = Accumulator(), Halves()
    folding = EventFold(accumulator)
    wire = b"".join(b"data: " + data + b"\n\n" for data in datas)
    frame: Any = None
    for event in SSEParser().feed(wire):
        assert isinstance(event, Event)
        try:
            frame = read_frame(event, accumulator.note, halves)
        except ProtocolError:
            continue
        if isinstance(frame, ErrorBody):
            chunk_beside(frame)
            CONTEXT.frame_error(frame, started=False)
            CONTEXT.frame_error(frame, started=True)
        elif isinstance(frame, ChatCompletionChunk):
            frame.has_content()
            accumulator.add(frame)
            assert accumulator.finished in (True, False)
            folding.add(frame)
    repr(frame)
    completion = accumulator.completion
    repr(completion)
    completion.to_json()
    for choice_ in completion.choices:
        choice_.message.to_dict()
    CONTEXT.status_error(500, parse_error(wire))
    if datas:
        CONTEXT.status_error(500, parse_error(datas[0]))


def work_of(datas: list[bytes]) -> int:
    """Count the lines of Python and the calls of C that a stream costs, and the items that are copied."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += 1
        return trace

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "c_call"
        if getattr(arg, "__name__", "") == "copy":
            count += len(getattr(arg, "__self__", ()))

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        read(datas)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


@pytest.mark.parametrize("shape", SHAPES)
def test_the_work_for_a_stream_grows_as_its_bytes_do(shape: str) -> None:
    small, large = SHAPES[shape](400), SHAPES[shape](1600)
    costs = [(work_of(datas), sum(map(len, datas))) for datas in (small, large)]
    (first, few), (second, many) = costs
    assert second <= first * (many / few) * 1.3 + 20_000, f"{first} for {few} bytes, {second} for {many}"
    assert second <= MOST * many + 20_000, f"{second / many:.1f} for each byte"
