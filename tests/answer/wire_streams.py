"""Streams, generated and of the catalogue, and a check that how their bytes are cut changes nothing.

In ``tests``: ``python -m answer.wire_streams N [SEED]``.
"""

from __future__ import annotations

import itertools
import random
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from conformance import Case, load
from support.wire_reading import Item, Wire, answer_of, read_wire, taken_of

from cometstream.answer.events import EventFold, StreamEvent
from cometstream.answer.machine import Answer
from cometstream.answer.sse import Comment, SSEParser
from cometstream.views.chunks import ChatCompletionChunk

__all__ = ["check", "check_case", "pieces_of", "seen", "wire_of"]

# Bodies of the catalogue, to be damaged; a longer one takes too long to be read thousands of times.
_BODIES = [case.body for case in load() if len(case.body) < 20_000]

_TEXTS = ("", "a", "Hel", "lo", " ", "\n", "<", "<think>", "x</th", "</think>\n", "\u00e9", "\u2028", '"', "\\")
_REASONS = ("stop", "stop", "stop", "length", "tool_calls", "error", "Network_Error", "", "null", "not_finished", None)
_ENDS = (b"\n\n", b"\n\n", b"\n\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n\n", b"\n")
_LEADS = (b"data: ", b"data: ", b"data: ", b"data:", b"event: error\ndata: ", b"id: 1\ndata: ", b": in\ndata: ")
_ODD = (
    b": ping",
    b": ping",
    b"data: [DONE]",
    b"data: [done]",
    b"data: null",
    b"data:",
    b"data: : ping",
    b"data: nonsense",
    b"data: [1]",
    b'data: {"choices":[{"index":0,"delta":{"content":NaN}}]}',
    b'data: {"error":{"message":"no","code":429}}',
    b'data: {"choices":[{"index":0,"delta":{"content":"b"},"error":{"message":"no"}}]}',
    b'data: {"error":{"message":"no"},"choices":[{"index":0,"delta":{"content":"c"}}]}',
    b'data: {"choices":[{"index":0,"delta":{"content":"d"},"finish_reason":"stop"}],"x_groq":{"error":"over_capacity"}}',
    b'data: {"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}',
    b'data: {"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}',
    b'data: {"choices":[],"usage":{"total_tokens":3}}',
    b'data: {"choices":null,"usage":{"total_tokens":4}}',
    b"retry: 10",
    b"\xef\xbb\xbf",
)


def _delta(draw: random.Random) -> dict[str, Any]:
    kind = draw.randrange(8)
    if kind < 4:
        return {"content": draw.choice(_TEXTS)}
    if kind == 4:
        return {"reasoning_content": draw.choice(_TEXTS)}
    if kind == 5:
        function = {"arguments": draw.choice(("", "{", "}", '"a"'))}
        return {"tool_calls": [{"index": draw.randrange(2), "function": function}]}
    if kind == 6:
        return {"role": "assistant", "content": ""}
    return {}


def _choice(draw: random.Random) -> dict[str, Any]:
    reason = draw.choice(_REASONS) if draw.random() < 0.25 else None
    index = 0 if draw.random() < 0.75 else draw.randrange(3)
    return {"index": index, "delta": _delta(draw), "finish_reason": reason}


def _chunk(draw: random.Random) -> bytes:
    count = 1 if draw.random() < 0.9 else draw.randrange(3)
    raw = {"id": "chatcmpl-1", "choices": [_choice(draw) for _ in range(count)]}
    if draw.random() < 0.05:
        raw["usage"] = {"total_tokens": draw.randrange(9)}
    return draw.choice(_LEADS if draw.random() < 0.2 else _LEADS[:1]) + orjson.dumps(raw)


def _run(draw: random.Random) -> list[bytes]:
    """Tokens that are alike in all but their text, as most streams send them: the fast lane is for these."""
    name = draw.choice(("content", "content", "reasoning_content", "refusal"))
    index = 0 if draw.random() < 0.8 else 1
    texts = [draw.choice(_TEXTS) for _ in range(draw.randrange(2, 14))]
    raws = [{"choices": [{"index": index, "delta": {name: text}, "finish_reason": None}]} for text in texts]
    return [b"data: " + orjson.dumps(raw) for raw in raws]


def wire_of(draw: random.Random) -> bytes:
    """Return the bytes of a stream, or now and then of one JSON document, with anything in any place."""
    if draw.random() < 0.05:
        message = "message" if draw.random() < 0.5 else "delta"
        document: Any = {"choices": [{"index": 0, message: {"content": draw.choice(_TEXTS)}, "finish_reason": "stop"}]}
        if draw.random() < 0.2:
            document = {"error": {"message": "no"}}
        data = draw.choice((b"", b" ", b"\xef\xbb\xbf\n")) + orjson.dumps(document)
        return data[: draw.randrange(len(data))] if draw.random() < 0.3 else data
    events: list[bytes] = [b"\xef\xbb\xbf"] if draw.random() < 0.03 else []
    for _ in range(draw.randrange(7)):
        kind = draw.random()
        if kind < 0.55:
            events.append(_chunk(draw))
        elif kind < 0.75:
            events += _run(draw)
        else:
            events.append(draw.choice(_ODD))
    if draw.random() < 0.5:
        events.append(b"data: [DONE]")
    wire = b"".join(event + (draw.choice(_ENDS) if draw.random() < 0.1 else b"\n\n") for event in events)
    return wire[: draw.randrange(len(wire) + 1)] if draw.random() < 0.2 else wire


def damaged(draw: random.Random) -> bytes:
    """Return a body of the catalogue, mostly with pieces taken out, doubled, or of another body in their place."""
    wire = draw.choice(_BODIES)
    for _ in range(draw.randrange(4)):
        start, size, other = draw.randrange(len(wire) + 1), draw.randrange(30), draw.choice(_BODIES)
        at = draw.randrange(len(other) + 1)
        wire = wire[:start] + draw.choice((b"", wire[start : start + size], other[at : at + 60])) + wire[start + size :]
    return wire


def pieces_of(draw: random.Random, wire: bytes) -> list[bytes]:
    """Cut bytes as networks do: event by event, byte by byte, or anywhere."""
    kind = draw.randrange(4)
    if kind == 0:
        return [event + b"\n\n" for event in wire.split(b"\n\n")[:-1]] + [wire.split(b"\n\n")[-1]]
    if kind == 1 and len(wire) < 600:
        return [wire[at : at + 1] for at in range(len(wire))]
    places = sorted(draw.randrange(len(wire) + 1) for _ in range(draw.randrange(1, 12)))
    ends = [0, *places, len(wire)]
    return [wire[start:end] for start, end in itertools.pairwise(ends)]


def seen(wire: Wire) -> tuple[object, ...]:
    """Return all that a caller can see of an answer."""

    def shown(item: Item) -> object:
        return item if isinstance(item, Comment) else item.to_json()

    return (
        [shown(item) for item in wire.items],
        [event.data for event in wire.events],
        wire.outcome,
        re.split("; it begins|is not JSON", wire.message)[0],  # what it shows of the body is what had arrived by then
        wire.text,
        wire.normalizations,
    )


def _check(draw: random.Random, wire: bytes, options: dict[str, Any], told: str) -> None:
    """Check a stream in every way of reading it: whole and cut, with the fast lane and without it."""
    whole = seen(read_wire([wire], **options))
    assert seen(read_wire([wire], fast=False, **options)) == whole, f"the fast lane is to be seen, {told}"
    for fast in (True, False):
        pieces = pieces_of(draw, wire)
        assert seen(read_wire(pieces, fast=fast, **options)) == whole, f"the cut is to be seen: {pieces!r}, {told}"
    pieces = [wire] if draw.random() < 0.5 else pieces_of(draw, wire)
    check_other_ways(pieces, told=f"as it is read: {pieces!r}, {told}", **options)


def check_other_ways(pieces: list[bytes], *, told: str, was_cut: bool = False, **options: Any) -> None:
    """Check that what is passed on, skimmed, or told as events is what `Answer.next` hands over."""
    wire = read_wire(pieces, was_cut=was_cut, **options)

    def taken(take: Callable[[Answer], Any]) -> list[Any]:
        answer = answer_of(**options)
        items = list(taken_of(answer, take, pieces, was_cut=was_cut))
        assert (str(answer.outcome), answer.completion.to_json()) == (wire.outcome, wire.text), told
        assert (answer.completion.normalizations, answer.chunks) == (wire.normalizations, len(wire.events)), told
        return items

    taken(Answer.skim)
    events = iter(wire.events)
    came = [item if isinstance(item, Comment) else next(events).data for item in wire.items]
    passed_on = SSEParser().feed(b"".join(taken(lambda answer: answer.pass_on(True))))
    assert [item if isinstance(item, Comment) else item.data for item in passed_on] == came, told
    assert told_by(taken(events_of(Answer.leap))) == told_by(taken(events_of(Answer.next))), told


def events_of(take: Callable[[Answer], Any]) -> Callable[[Answer], list[StreamEvent] | None]:
    """Return what takes the events of what is handed over."""
    folds: list[EventFold] = []

    def events(answer: Answer) -> list[StreamEvent] | None:
        folds[:] = folds or [EventFold(answer.accumulator, from_start=True, chunks=False)]
        item = take(answer)
        return folds[0].add(item) if isinstance(item, ChatCompletionChunk) else None if item is None else []

    return events


def told_by(events: list[list[StreamEvent]]) -> list[tuple[str, str]]:
    """Return the events' types with their texts; pieces of one text may come as one."""
    runs = itertools.groupby(
        itertools.chain(*events), key=lambda event: (event.type, getattr(event, "choice_index", 0))
    )
    return [(str(key), "".join(str(getattr(event, "delta", "")) for event in run)) for key, run in runs]


def check(seed: int) -> None:
    """Check one stream, which the seed alone decides: it is generated, or one of the catalogue with some damage."""
    draw = random.Random(seed)
    wire = wire_of(draw) if draw.random() < 0.7 else damaged(draw)
    options: dict[str, Any] = {
        "was_cut": draw.random() < 0.4,
        "choices": draw.choice((1, 1, 2)),
        "split_think": draw.random() < 0.25,
        "streamed": draw.random() < 0.9,
        "max_event_size": draw.choice((120, 400)) if draw.random() < 0.15 else 1_000_000,
    }
    _check(draw, wire, options, f"seed {seed}: {wire!r} {options}")


def check_case(case: Case) -> None:
    """Check the body of a case of the catalogue as it is, and as it would be read with other options."""
    draw = random.Random(case.id)
    as_asked: dict[str, Any] = {"choices": case.request.get("n", 1), "split_think": "split_think" in case.cometstream}
    for options in (
        {**as_asked, "was_cut": case.ending != "whole"},
        {**as_asked, "was_cut": case.ending == "whole", "streamed": False},
        {**as_asked, "split_think": "split_think" not in case.cometstream, "max_event_size": 600},
    ):
        _check(draw, case.body, options, f"{case.id} {options}")


def main() -> None:
    count = int(sys.argv[1])
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began = time.perf_counter()
    for seed in range(first, first + count):
        check(seed)
    print(f"{count} streams, four ways each, in {time.perf_counter() - began:.0f} s: the cut is never to be seen")


if __name__ == "__main__":
    main()
