"""What is fuzzed: each target takes any bytes and raises ``AssertionError`` where a promise of the wire is broken."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import orjson
from support.wire_reading import read_wire

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.body import BodyReader
from cometstream.answer.events import ContentDeltaEvent, EventFold, ReasoningDeltaEvent, RefusalDeltaEvent
from cometstream.answer.json_text import parse_lenient
from cometstream.answer.partial_json import PartialJSON, PartialJSONError
from cometstream.answer.sse import Comment, Event, SSEParser
from cometstream.answer.think import ThinkSplitter
from cometstream.errors import ProtocolError
from cometstream.views.chunks import ChatCompletionChunk, arguments_text
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage, ToolCall
from cometstream.views.view import View, dict_or_empty, list_of_dicts
from fuzz.draw import Draw, chunks

__all__ = ["TARGETS"]

# So small that a fuzzer's inputs pass them.
_CAP = 48

# A line and an event, twice as much where a buffer grows in advance, and what Python takes for itself.
_MOST_RETAINED = 2 * (2 * _CAP) + 512

# The input that many times over may cost that many times the calls, and half as many again: work that grows with the square
# of its input costs many times more.
_OVER = 8
_SLACK = 1.5
_CALLS_AT_ALL = 1000


def cut(data: bytes, seed: int) -> list[bytes]:
    """Cut bytes into pieces of 0 to 15 bytes or, for every other seed, of up to a few hundred."""
    pieces = []
    at, state = 0, seed
    while at < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        size = (state >> 16) % (16 if seed % 2 else 300)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def calls_made(function: Callable[[], object]) -> int:
    """Run a function and count the calls that it makes, of Python's functions and of C's: a measure of work without a clock."""
    count = 0

    def on_event(_frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        # The fuzzer's own calls, one at each branch, are none of the work.
        count += event == "call" or (
            event == "c_call" and not str(getattr(argument, "__module__", "")).startswith("atheris")
        )

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def check_work(function: Callable[[int], object]) -> None:
    """Check that a function's work grows as its input, which it repeats so many times as it is told."""
    once, over = calls_made(lambda: function(1)), calls_made(lambda: function(_OVER))
    assert over <= _SLACK * _OVER * once + _CALLS_AT_ALL, f"{once} calls, and {over} for {_OVER} times the input"


def retained(thing: object) -> int:
    """Return the bytes that an object holds in texts and lists, whatever it calls them."""
    size = 0
    for held in gc.get_referents(thing):
        if isinstance(held, (bytes, bytearray, str)):
            size += sys.getsizeof(held)
        elif isinstance(held, list):
            size += sys.getsizeof(held) + retained(held)
    return size


def parser(data: bytes) -> None:
    """Any bytes, cut anywhere, give the same events; caps hold, and errors stick; work and memory stay in proportion."""
    seed, wire = data[:1], data[1:]
    whole = _events(SSEParser(), [wire])
    pieces = cut(wire, seed[0] if seed else 0)
    assert _events(SSEParser(), pieces) == whole
    single = [wire[at : at + 1] for at in range(len(wire))]
    assert _events(SSEParser(), single) == whole
    assert _body(single) == _body(pieces) == _body([wire])
    check_work(lambda times: _events(SSEParser(), pieces * times))

    capped = SSEParser(max_line=_CAP, max_event=_CAP)
    for item in _capped_events(capped, pieces):
        assert len(item.data if isinstance(item, Event) else item.text) <= _CAP
    if capped.error is not None:
        for more in (capped.end, lambda: capped.feed(b"data: a\n\n")):
            assert _failure(more) is capped.error


def _events(reader: SSEParser, pieces: list[bytes]) -> tuple[list[Event | Comment], list[Event | Comment], str, Any]:
    items = [item for piece in pieces for item in reader.feed(piece)]
    return items, reader.end(), reader.last_event_id, reader.retry_ms


def _failure(call: Callable[[], object]) -> ProtocolError | None:
    try:
        call()
    except ProtocolError as error:
        return error
    return None


def _extend(items: list[Event | Comment], reader: SSEParser, piece: bytes) -> None:
    items.extend(reader.feed(piece))


def _capped_events(reader: SSEParser, pieces: list[bytes]) -> Iterator[Event | Comment]:
    for piece in pieces:
        items: list[Event | Comment] = []
        failure = _failure(partial(_extend, items, reader, piece))
        yield from items
        assert retained(reader) <= _MOST_RETAINED
        if failure is not None:
            assert failure is reader.error
            assert len(failure.raw) <= 65536
        if reader.error is not None:
            return


def _body(pieces: list[bytes]) -> str:
    """How a body is read, as a text: NaN is not equal to itself."""
    reader = BodyReader()
    items: list[Event | Comment] = []
    try:
        for piece in pieces:
            items += reader.feed(piece)
        items += reader.end()
    except ProtocolError as error:
        return f"{items} {reader.kind} {error} {error.raw!r}"
    return f"{items} {reader.kind} {reader.document} {reader.cut}"


def accumulator(data: bytes) -> None:
    """Any stream of chunks: however it is cut, the completion is the fold; nothing is lost or counted twice; usage is never summed.

    The first byte chooses how the wire is cut, whether the rest is the wire itself or chooses the shapes of chunks, and whether
    the work is looked at, which takes longer than all else.
    """
    seed = data[0] if data else 0
    if seed & 2:
        wire = data[1:]
    else:
        raws = chunks(Draw(data[1:]))
        wire = b"".join(b"data: " + orjson.dumps(raw) + b"\n\n" for raw in raws)
        folded = _check_fold(raws, work=bool(seed & 4))
        assert _shown(read_wire([wire]).completion) == _shown(folded), "read from the wire it is not the fold"
    whole = read_wire([wire])
    assert read_wire([wire], fast=False) == whole, "the fast lane is to be seen"
    for pieces in (cut(wire, seed), cut(wire, seed ^ 1)):
        assert read_wire(pieces) == whole, "the cut is to be seen"
    _read_all(whole.completion)
    assert len(whole.text) <= 8 * len(wire) + 1024


def _check_fold(raws: list[dict[str, Any]], *, work: bool) -> ChatCompletion:
    """Fold chunks as far as a stream would, and check what is promised of the fold."""
    read: list[dict[str, Any]] = []
    ended = Accumulator()
    started = failed = False
    for raw in raws:
        if failed:
            if not raw.get("error"):
                ended.add_usage(raw)  # all that counts behind an error
            continue
        if not raw.get("error"):
            has_content = ended.add(ChatCompletionChunk(raw))
            read.append(raw)
            choices = ended.choices.values()
            started = started or has_content or any(choice.finish_reason not in (None, "error") for choice in choices)
        failed = bool(raw.get("error")) or ended.errored
        if failed and not started:
            break  # another attempt would take its place
    _check_texts(read, ended.completion)
    _check_arguments(read, ended.completion)
    _check_usage(raws, ended.completion)
    _check_events(read)
    handed_over = _fold(read).completion
    _check_thinking(read, handed_over)
    _check_strict(read, handed_over)
    for raw in read:
        _read_all(ChatCompletionChunk(raw))
    if work:
        check_work(lambda times: _fold(read * times).completion)
    return ended.completion


def _fold(raws: list[dict[str, Any]], *, strict: bool = False) -> Accumulator:
    folded = Accumulator(strict=strict)
    for raw in raws:
        folded.add(ChatCompletionChunk(raw))
    return folded


def _check_texts(raws: list[dict[str, Any]], completion: ChatCompletion) -> None:
    sent: dict[int, list[str]] = {}
    for raw in raws:
        for choice in ChatCompletionChunk(raw).choices:
            texts = sent.setdefault(choice.index, ["", "", ""])
            for place, text in enumerate((choice.delta.content, choice.delta.reasoning, choice.delta.refusal)):
                texts[place] += text or ""
    messages = {choice.index: choice.message for choice in completion.choices}
    assert {
        index: [message.content or "", message.reasoning or "", message.refusal or ""]
        for index, message in messages.items()
    } == sent


def _check_arguments(raws: list[dict[str, Any]], completion: ChatCompletion) -> None:
    """Which call a piece belongs to may be a guess; that it is kept, and once, is none."""
    sent: list[str] = []
    for raw in raws:
        for choice in ChatCompletionChunk(raw).choices:
            for fragment in list_of_dicts(choice.delta.raw.get("tool_calls")):
                for part in (fragment.get("function"), fragment.get("custom")):
                    pieces = dict_or_empty(part)
                    sent += [arguments_text(pieces.get(name)) or "" for name in ("arguments", "input")]
    kept = [
        call["custom"]["input"] if call["type"] == "custom" else call["function"]["arguments"]
        for choice in completion.to_dict()["choices"]
        for call in choice["message"].get("tool_calls") or []
    ]
    assert sorted("".join(kept)) == sorted("".join(sent))


def _check_usage(raws: list[dict[str, Any]], completion: ChatCompletion) -> None:
    reports = [
        report
        for raw in raws
        for report in (raw.get("usage"), dict_or_empty(raw.get("x_groq")).get("usage"))
        if isinstance(report, dict)
    ]
    # Reports are joined field by field; a count is never a sum.
    for name, count in (completion.usage.raw if completion.usage is not None else {}).items():
        assert isinstance(count, dict) or any(name in report and report[name] == count for report in reports)
    if not any(reports):
        assert not completion.usage


def _check_events(raws: list[dict[str, Any]]) -> None:
    folded = Accumulator()
    events = EventFold(folded)
    deltas: dict[tuple[int, str], str] = {}
    for raw in raws:
        chunk = ChatCompletionChunk(raw)
        folded.add(chunk)
        for event in events.add(chunk):
            if isinstance(event, (ContentDeltaEvent, RefusalDeltaEvent, ReasoningDeltaEvent)):
                key = event.choice_index, event.type.partition(".")[0]
                deltas[key] = deltas.get(key, "") + event.delta
    for choice in folded.completion.choices:
        for name in ("content", "refusal", "reasoning"):
            assert deltas.get((choice.index, name), "") == (getattr(choice.message, name) or "")


def _check_thinking(raws: list[dict[str, Any]], completion: ChatCompletion) -> None:
    splitter = ThinkSplitter()
    folded = Accumulator()
    for raw in raws:
        folded.add(splitter.split(ChatCompletionChunk(raw)))
    rest = splitter.flush()
    if rest is not None:
        folded.add(rest)
    if not any("<" in (choice.message.content or "") for choice in completion.choices):
        assert _shown(folded.completion) == _shown(completion)


def _check_strict(raws: list[dict[str, Any]], completion: ChatCompletion) -> None:
    try:
        strict = _fold(raws, strict=True)
    except ProtocolError:
        return
    assert completion.normalizations == {}
    assert strict.completion == completion


def _shown(completion: ChatCompletion) -> str:
    """The completion as a text: NaN is not equal to itself."""
    return completion.to_json() + repr({**completion.normalizations, "event_unterminated": 0})


def _read_all(view: View) -> None:
    """Read every field of a view, and of those that it gives."""
    for name in dir(type(view)):
        if name.startswith("_") or not isinstance(getattr(type(view), name), property):
            continue
        value = getattr(view, name)
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, View):
                _read_all(inner)
    if not isinstance(view, ChatCompletionMessage):  # its dict is what the next request takes
        assert view.to_dict() == view.raw or "nan" in repr(view.raw)
    view.to_json()
    if isinstance(view, ToolCall):
        try:
            view.parse()
        except ProtocolError:
            assert not view.executable or view.type == "custom"  # whose input is a text


def json_text(data: bytes) -> None:
    """Any text, cut anywhere, grows into the same value, which is Python's where that reads it; work stays in proportion."""
    seed, text = data[:1], data[1:].decode("utf-8", "replace")
    pieces = [piece.decode("utf-8", "replace") for piece in cut(text.encode(), seed[0] if seed else 0)]
    for prose in (False, True):
        whole = _grown([text], prose)
        assert _grown(list(text), prose) == whole
        assert _grown(pieces, prose) == _grown(["".join(pieces)], prose)
    value, complete, told, *_ = _grown([text], False)
    try:
        expected = repr(parse_lenient(text))
    except ValueError:
        assert told or not complete
    else:
        assert (value, complete, told) == (expected, True, "")
    check_work(lambda times: _grown(["[", *[*pieces, ","] * times], False))


def _grown(pieces: list[str], prose: bool) -> tuple[str, bool, str, int | None, int | None]:
    parser = PartialJSON(prose=prose)
    try:
        for piece in pieces:
            parser.feed(piece)
            _ = parser.value
        parser.close()
    except PartialJSONError:
        assert parser.failure is not None
    told = "" if parser.failure is None else parser.failure.message
    return repr(parser.value), parser.complete, told, parser.start, parser.end


TARGETS: dict[str, Callable[[bytes], None]] = {"parser": parser, "accumulator": accumulator, "json": json_text}
