"""Promises about any input and any chain of failures; what one module promises alone is in that module's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from answer.wire_streams import seen
from conformance import load
from hypothesis import given, settings
from hypothesis import strategies as st
from support import json_shapes, virtual_clock
from support.serving import CHAT, serving
from support.wire_reading import read_wire

from cometstream import ChatStream, CometError, RetryPolicy
from cometstream.answer.accumulate import Accumulator
from cometstream.answer.body import BodyReader
from cometstream.answer.error_body import parse_error, read_error
from cometstream.answer.events import EventFold
from cometstream.answer.sse import Event, SSEParser
from cometstream.answer.think import ThinkSplitter
from cometstream.answer.typed_errors import ErrorContext
from cometstream.errors import InvalidRequestError, ProtocolError
from cometstream.request.checks import check_request
from cometstream.request.encode import encode_body
from cometstream.testing import DONE, Reply, chunk
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.completion import ChatCompletion, completion_as_chunk
from cometstream.views.view import dict_or_empty

# Chunks as they are documented among the others, so that a stream of those alone comes up too.
tidy = st.builds(
    lambda text, reason: {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]},
    json_shapes.texts,
    st.sampled_from([None, None, "stop"]),
)
streams = st.lists(json_shapes.chunks, max_size=5) | st.lists(tidy | json_shapes.chunks, max_size=3)

# A stream of chunks takes a while to draw, and each of these promises is looked at by the fuzzer too.
some = settings(max_examples=30)
cuts = st.lists(st.integers(0, 400), max_size=6)

# -- any bytes ------------------------------------------------------------------------------------------------------------

# Bytes that are nearly a stream: cases of the catalogue with pieces taken out, doubled, or in another's place.
_WIRES = [case.body for case in load() if case.is_plain and len(case.body) < 20_000]


@st.composite
def damaged_wires(draw: st.DrawFn) -> bytes:
    wire = draw(st.sampled_from(_WIRES))
    for _ in range(draw(st.integers(0, 3))):
        start, size = draw(st.integers(0, len(wire))), draw(st.integers(0, 30))
        other = draw(st.sampled_from(_WIRES))
        at = draw(st.integers(0, len(other)))
        new = draw(st.one_of(st.just(b""), st.binary(max_size=4), st.just(other[at : at + 60])))
        wire = wire[:start] + new + wire[start + size :]
    return wire


def pieces_of(wire: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(wire), *(place for place in places if place < len(wire))})
    return [wire[start:end] for start, end in zip(ends, ends[1:])]  # noqa: B905, RUF007 - one is longer by design


@given(damaged_wires(), cuts)
@settings(max_examples=200)
def test_a_damaged_stream_comes_to_the_same_however_it_is_cut(wire: bytes, places: list[int]) -> None:
    whole = seen(read_wire([wire]))
    assert seen(read_wire(pieces_of(wire, places))) == whole
    assert seen(read_wire([wire], fast=False)) == whole


@given(st.one_of(damaged_wires(), st.binary(max_size=200)), cuts, st.integers(1, 64))
def test_a_cap_is_never_passed_and_its_error_stays(wire: bytes, places: list[int], cap: int) -> None:
    parser = SSEParser(max_line=cap, max_event=cap)
    raised_error = None
    try:
        for piece in pieces_of(wire, places):
            for item in parser.feed(piece):
                assert len(item.data if isinstance(item, Event) else item.text) <= cap
        parser.end()
    except ProtocolError as error:
        raised_error = error
    assert raised_error is None or raised_error is parser.error
    if parser.error is not None:
        for again in (parser.end, lambda: parser.feed(b"data: a\n\n")):
            with pytest.raises(ProtocolError) as raised:
                again()
            assert raised.value is parser.error


@given(st.one_of(damaged_wires(), json_shapes.values.map(orjson.dumps)), cuts)
def test_a_body_of_any_kind_raises_a_protocol_error_or_nothing(wire: bytes, places: list[int]) -> None:
    reader = BodyReader(max_size=1500)
    try:
        for piece in pieces_of(wire, places):
            reader.feed(piece)
        reader.end()
    except ProtocolError:
        pass
    read_error(reader.document)
    if isinstance(reader.document, dict):
        ChatCompletionChunk(completion_as_chunk(reader.document)).to_json()


# -- any chunks -----------------------------------------------------------------------------------------------------------


@some
@given(streams)
def test_strict_raises_a_protocol_error_or_folds_to_the_same_without_a_note(raws: list[dict[str, Any]]) -> None:
    strict, lenient = Accumulator(strict=True), Accumulator()
    for raw in raws:
        lenient.add(ChatCompletionChunk(raw))
    try:
        for raw in raws:
            strict.add(ChatCompletionChunk(raw))
    except ProtocolError:
        return
    assert lenient.completion.normalizations == {}
    assert strict.completion == lenient.completion


@some
@given(streams)
def test_events_of_any_chunks_are_made_without_an_error(raws: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    fold = EventFold(accumulator)
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
        for event in fold.add(ChatCompletionChunk(raw)):
            repr(event)


# Beginnings of a tag, which the splitter holds back, and never a whole one.
beginnings = st.builds(
    lambda index, text: {"choices": [{"index": index, "delta": {"content": text}}]},
    st.integers(0, 1),
    st.sampled_from(["<", "<th", " <", "ink", "a", "\n"]),
)


@given(st.lists(beginnings, max_size=5) | streams)
@settings(max_examples=60)
def test_splitting_the_thinking_of_any_chunks_loses_no_text(raws: list[dict[str, Any]]) -> None:
    splitter = ThinkSplitter()
    chunks = [splitter.split(ChatCompletionChunk(raw)) for raw in raws]
    rest = splitter.flush()
    split, plain = Accumulator(), Accumulator()
    for one in [*chunks, *([rest] if rest is not None else [])]:
        split.add(one)
    for raw in raws:
        plain.add(ChatCompletionChunk(raw))
    # No text of these shapes has a whole tag in it, so that there is nothing to move.
    for before, after in zip(plain.completion.choices, split.completion.choices, strict=True):
        assert (after.message.content or "") == (before.message.content or "")
        assert (after.message.reasoning or "") == (before.message.reasoning or "")


@some
@given(streams)
def test_each_count_of_usage_is_one_that_was_reported_and_never_a_sum(raws: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    last: dict[str, Any] = {}
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
        own, groqs = raw.get("usage"), dict_or_empty(raw.get("x_groq")).get("usage")
        report = own if own and isinstance(own, dict) else dict_or_empty(groqs)
        last.update({name: value for name, value in report.items() if value or last.get(name) is None})
    usage = accumulator.completion.usage
    counts = {} if usage is None else usage.raw
    assert counts.keys() == last.keys()
    assert all(counts[name] == value for name, value in last.items() if not isinstance(value, dict))


@given(json_shapes.chunks)
def test_a_view_gives_back_every_field_that_came(raw: dict[str, Any]) -> None:
    wire = orjson.dumps(raw)
    chunk_, completion = ChatCompletionChunk(orjson.loads(wire)), ChatCompletion(orjson.loads(wire))
    for view in (chunk_, completion):
        assert orjson.loads(view.to_json()) == view.to_dict() == view.model_dump() == orjson.loads(wire)
    for view in (*chunk_.choices, *(choice.delta for choice in chunk_.choices)):
        assert view.to_dict() == view.raw


def _is_first(said: dict[str, Any], name: str, value: Any) -> bool:
    return value is not None and value != "" and name not in said


@some
@given(streams)
def test_a_field_that_nobody_knows_is_in_the_completion_as_it_came_last(raws: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    top: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
        top.update({name: raw[name] for name in ("x", "note") if raw.get(name) or _is_first(top, name, raw.get(name))})
        for choice in ChatCompletionChunk(raw).choices:
            had = choices.setdefault(choice.index, {})
            for name in ("x", "note"):
                value = choice.raw.get(name)
                if value or (value is not None and name not in had):
                    had[name] = value
    completion = accumulator.completion
    assert {name: completion.to_dict()[name] for name in top} == top
    for choice in completion.choices:
        assert {name: choice.to_dict()[name] for name in choices[choice.index]} == choices[choice.index]


# -- errors and requests --------------------------------------------------------------------------------------------------

_KEY = "sk-never-to-be-shown-0123456789"


@given(json_shapes.values, st.sampled_from(["message", "code", "type", "param", "detail", _KEY]), st.booleans())
def test_a_key_in_any_place_of_an_error_is_not_shown(value: Any, name: str, inside: bool) -> None:
    told = {name: f"your key is {_KEY}", "x": {_KEY: [value, f"Bearer {_KEY}"]}}
    body = parse_error(orjson.dumps({"error": told} if inside else told))
    context = ErrorContext("https://api.cometapi.com/v1", "api_key=", (_KEY,))
    for error in (context.status_error(400, body), *(context.frame_error(body, started=on) for on in (True, False))):
        shown = f"{error!r} {error} {error.__reduce__()}"
        assert _KEY not in shown
        assert "[the API key]" in shown


@given(st.lists(json_shapes.chunks, max_size=4))
def test_whatever_an_answer_was_its_message_goes_back(raws: list[dict[str, Any]]) -> None:
    accumulator = Accumulator()
    for raw in raws:
        accumulator.add(ChatCompletionChunk(raw))
    documents = [ChatCompletion(raw) for raw in raws]
    for completion in (accumulator.completion, *documents):
        for choice in completion.choices:
            body = {**CHAT, "messages": [*CHAT["messages"], choice.message.to_dict()]}
            check_request(body)
            assert encode_body(body)


@given(
    json_shapes.values, st.sampled_from(["messages", "model", "tools", "stop", "n", "logit_bias", "response_format"])
)
def test_any_value_of_any_parameter_is_refused_in_words_or_can_be_sent(value: Any, name: str) -> None:
    body = {**CHAT, name: value}
    problems: tuple[str, ...] = ()
    try:
        check_request(body)
    except InvalidRequestError as error:
        problems = error.problems
    if not problems:
        assert orjson.loads(encode_body(body)) == body
    assert all(": " in problem for problem in problems)


# -- any chain of failures ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One attempt of the script: the answer, and what it sends.

    Attributes:
        reply: The answer.
        text: The text that it sends before it fails or ends.
        outcome: What a stream makes of it that reads it to its end; None where it fails before the first content.
        usage: What it reports.
    """

    reply: Reply
    text: str = ""
    outcome: str | None = None
    usage: dict[str, int] | None = None


def _before_content(kind: str, place: int) -> Sent:
    role = chunk({"role": "assistant", "content": ""})
    usage = {**chunk(), "choices": [], "usage": {"total_tokens": 1000 + place}}
    replies: dict[str, Callable[[], Reply]] = {
        "429": lambda: Reply.error(429, retry_after=1),
        "500": lambda: Reply.error(500),
        "503": lambda: Reply.error(503),
        "unknown model": lambda: Reply.error(404, code="model_not_found"),
        "stream_options refused": lambda: Reply.error(400, "unknown field stream_options"),
        "no head": lambda: Reply.raw().cut(),
        "reset": lambda: Reply.raw().reset(),
        "role, cut": lambda: Reply.sse(role).cut(),
        "role and usage, cut": lambda: Reply.sse(role, usage).cut(),
        "pings, cut": lambda: Reply.sse(b": PING\n\n: PING\n\n").cut(),
        "error frame": lambda: Reply.sse(role, {"error": {"code": 502, "message": "away"}}),
        "empty": lambda: Reply.sse(role, DONE),
        "silence": lambda: Reply.sse(role).stall(),
    }
    return Sent(replies[kind]())


def _with_content(kind: str, place: int, tokens: int) -> Sent:
    texts = [f"<{place}.{number}>" for number in range(tokens)]
    text = "".join(texts)
    usage = {"total_tokens": place + 1}
    report = {**chunk(), "choices": [], "usage": usage}
    said = Reply.sse(*(chunk({"content": one}) for one in texts))
    finish = chunk(finish_reason="stop")
    if kind == "whole":
        return Sent(said.then(finish, report, DONE), text, "complete", usage)
    if kind == "usage in every chunk":
        counted = [
            {**chunk({"content": one}), "usage": {"total_tokens": number}} for number, one in enumerate(texts, 1)
        ]
        return Sent(Reply.sse(*counted, finish, DONE), text, "complete", {"total_tokens": tokens})
    if kind == "finish, cut":
        return Sent(said.then(finish).cut(), text, "complete")
    if kind == "cut":
        return Sent(said.cut(), text, "truncated")
    if kind == "reset":
        return Sent(said.then(0.01).reset(), text, "truncated")
    if kind == "error frame":
        return Sent(said.then({"error": {"code": 503, "message": "away"}}), text, "error")
    if kind == "silence":
        return Sent(said.stall(), text, "error")
    return Sent(said.then(DONE), text, "unterminated")


_FAILURES = [
    *("429", "500", "503", "unknown model", "stream_options refused", "no head", "reset", "role, cut", "empty"),
    *("role and usage, cut", "pings, cut", "error frame", "silence"),
]
_ENDINGS = ["whole", "usage in every chunk", "finish, cut", "cut", "reset", "error frame", "silence", "[DONE] alone"]


@st.composite
def scripts(draw: st.DrawFn) -> list[Sent]:
    """Attempts that fail before their content, and one that brings some; what follows would be seen if it were asked for."""
    failing = draw(st.lists(st.sampled_from(_FAILURES), max_size=5))
    sent = [_before_content(kind, place) for place, kind in enumerate(failing)]
    for _ in range(2):
        kind, tokens = draw(st.sampled_from(_ENDINGS)), draw(st.integers(1, 3))
        sent.append(_with_content(kind, len(sent), tokens))
    size = draw(st.sampled_from([None, 7, 100]))
    if size is None:
        return sent
    return [
        Sent(one.reply.split(size), one.text, one.outcome, one.usage) if 0.01 not in one.reply.body else one
        for one in sent
    ]


async def _read(stream: ChatStream, reader: str) -> str:
    got = ""
    partial = None
    try:
        if reader == "text":
            async for text in stream.text():
                got += text
        elif reader == "events":
            async for event in stream.events():
                got += event.delta if event.type == "content.delta" else ""
        elif reader == "relay":
            parser = SSEParser()
            async for data in stream.relay():
                for item in parser.feed(data):
                    if isinstance(item, Event) and item.data.startswith(b'{"id"'):
                        for choice in ChatCompletionChunk(orjson.loads(item.data)).choices:
                            got += choice.delta.content or ""
        else:
            async for one in stream:
                for choice in one.choices:
                    got += choice.delta.content or ""
    except CometError as error:
        partial = error.partial
    assert partial is None or (partial.content or "") == got
    return got


@given(
    scripts(),
    st.integers(0, 4),
    st.integers(0, 2),
    st.sampled_from(["chunks", "text", "events", "relay"]),
    st.booleans(),
)
@settings(max_examples=120)
def test_under_any_retries_and_fallbacks_content_comes_once_and_from_one_attempt(
    script: list[Sent], retries: int, fallbacks: int, reader: str, quiet: bool
) -> None:
    async def main() -> None:
        async with serving(*(one.reply for one in script), retry=RetryPolicy(retries)) as (server, session):
            server.always(Reply.error(418, "the script is over"))
            stream = session.stream(
                **CHAT,
                fallback_models=["gpt-5.4-mini", "gpt-4.1"][:fallbacks],
                on_incomplete="return" if quiet else "raise",
            )
            got = ""
            try:
                async with stream:
                    got = await _read(stream, reader)
            except CometError:
                pass
            made = len(server.requests)
            # A request that died on a kept connection, before any answer, is sent again and is not counted.
            unanswered = sum(not one.reply.body for one in script[:made])
            assert made - unanswered <= stream.metrics.attempts <= made
            # One more where our stream_options were refused: that attempt is no retry.
            assert stream.metrics.attempts <= (retries + 1) * (fallbacks + 1) + 1
            last = script[made - 1]
            assert got == last.text
            assert (stream.completion.content or "") == got
            if last.outcome is not None:
                assert stream.outcome == last.outcome
                usage = stream.completion.usage
                assert (usage.raw if usage is not None else None) == last.usage
            else:
                assert stream.outcome != "complete"
            await asyncio.sleep(0)

    virtual_clock.run(main())
