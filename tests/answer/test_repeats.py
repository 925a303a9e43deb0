"""Chunks that repeat one another read, in every field and whatever is read first, as if they had been parsed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import orjson
import pytest

from cometstream.answer.fast_lane import cut
from cometstream.answer.repeats import Repeats
from cometstream.views.chunks import ChatCompletionChunk, Choice, ChoiceDelta, ChoiceDeltaToolCall
from cometstream.views.view import View

HEAD = {"id": "1", "object": "chat.completion.chunk", "created": 7, "model": "m", "usage": None, "cost": 0.5}


def chunk_of(delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": 2, "delta": delta, "finish_reason": None, "native": "x", **choice}]}


def call_of(arguments: str, **fragment: Any) -> dict[str, Any]:
    function = {"name": None, "arguments": arguments}
    return {"content": None, "tool_calls": [{"index": 1, "id": None, "function": function, **fragment}]}


CHUNKS = {
    "content": ("content", chunk_of({"content": "a"}), chunk_of({"content": "b"})),
    "content among nulls": (
        "content",
        chunk_of({"role": "assistant", "content": "a", "reasoning": None, "tool_calls": None}, logprobs=None),
        chunk_of({"role": "assistant", "content": "b", "reasoning": None, "tool_calls": None}, logprobs=None),
    ),
    "reasoning_content": (
        "reasoning_content",
        chunk_of({"reasoning_content": "a"}),
        chunk_of({"reasoning_content": "b"}),
    ),
    "reasoning": (
        "reasoning",
        chunk_of({"reasoning": "a", "content": None}),
        chunk_of({"reasoning": "b", "content": None}),
    ),
    "refusal": ("refusal", chunk_of({"refusal": "a"}), chunk_of({"refusal": "b"})),
    "arguments": ("tool_calls", chunk_of(call_of("a")), chunk_of(call_of("b"))),
}


def fields(view: View) -> list[str]:
    """The names under which a view can be read: its class's, and the wire's."""
    named = [name for name in dir(type(view)) if not name.startswith("_") and not callable(getattr(view, name))]
    return [*named, *(name for name in view.raw if name not in named)]


def read_all(read: Any, parsed: Any) -> None:
    """Compare two values field by field, of views the fields first and the whole last."""
    if isinstance(parsed, list):
        assert len(read) == len(parsed)
        for one, other in zip(read, parsed, strict=True):
            read_all(one, other)
    elif isinstance(parsed, View):
        for name in fields(parsed):
            if name != "raw":
                read_all(getattr(read, name), getattr(parsed, name))
        assert (read, repr(read), read.raw) == (parsed, repr(parsed), parsed.raw)
        assert list(read.raw) == list(parsed.raw)
    else:
        assert read == parsed


def repeats_of(first: dict[str, Any], key: str) -> Repeats:
    frame = cut(orjson.dumps(first), first)
    assert frame is not None
    assert frame[3].key == key
    return frame[3]


cases = pytest.mark.parametrize(("key", "first", "second"), CHUNKS.values(), ids=CHUNKS)


@cases
def test_every_field_reads_as_of_a_chunk_that_was_parsed(
    key: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    read_all(repeats_of(first, key).chunk("b"), ChatCompletionChunk(second))


@cases
def test_any_field_can_be_the_first_that_is_read(key: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    parsed = ChatCompletionChunk(second)
    for name in fields(parsed):
        read_all(getattr(repeats_of(first, key).chunk("b"), name), getattr(parsed, name))
    for name in fields(parsed.choices[0]):
        read_all(getattr(repeats_of(first, key).chunk("b").choices[0], name), getattr(parsed.choices[0], name))
    for name in fields(parsed.choices[0].delta):
        read_all(
            getattr(repeats_of(first, key).chunk("b").choices[0].delta, name), getattr(parsed.choices[0].delta, name)
        )


@cases
def test_a_chunk_and_the_views_in_it_are_copied_pickled_and_compared_as_others(
    key: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    parsed = ChatCompletionChunk(second)
    for copied in (copy.copy, copy.deepcopy, lambda view: pickle.loads(pickle.dumps(view))):
        chunk = repeats_of(first, key).chunk("b")
        assert copied(chunk.choices[0].delta) == parsed.choices[0].delta
        assert copied(chunk.choices[0]) == parsed.choices[0]
        assert type(copied(chunk)) is ChatCompletionChunk
        assert copied(chunk) == chunk == parsed
        assert parsed == chunk
    assert repeats_of(first, key).chunk("c") != parsed


@cases
def test_the_dicts_of_a_chunk_lie_in_one_another(key: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    for inner_first in (True, False):
        chunk = repeats_of(first, key).chunk("b")
        choice, delta = (
            chunk.choices[0].raw if inner_first else None,
            chunk.choices[0].delta.raw if inner_first else None,
        )
        raw = chunk.raw
        assert raw is chunk.raw
        assert raw == second
        assert raw["choices"][0] is chunk.choices[0].raw is (choice or chunk.choices[0].raw)
        assert raw["choices"][0]["delta"] is chunk.choices[0].delta.raw is (delta or chunk.choices[0].delta.raw)
        for call, view in zip(
            raw["choices"][0]["delta"].get("tool_calls") or [], chunk.choices[0].delta.tool_calls or [], strict=True
        ):
            assert call is view.raw
            assert view.function is not None
            assert call["function"] is view.function.raw


@cases
def test_what_a_caller_does_to_a_chunk_is_not_seen_in_the_next(
    key: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    repeats = repeats_of(first, key)
    for _ in range(2):
        chunk = repeats.chunk("b")
        read_all(chunk, ChatCompletionChunk(second))
        if chunk.choices[0].delta.tool_calls:
            chunk.choices[0].delta.tool_calls[0].raw["function"].clear()
            chunk.choices[0].delta.tool_calls.clear()
        for raw in (chunk.choices[0].delta.raw, chunk.choices[0].raw, chunk.raw):
            raw.clear()
        chunk.choices.clear()


def test_a_list_that_a_caller_empties_takes_nothing_from_the_dict() -> None:
    key, first, second = CHUNKS["arguments"]
    chunk = repeats_of(first, key).chunk("b")
    assert chunk.choices[0].delta.tool_calls is not None
    chunk.choices[0].delta.tool_calls.clear()
    chunk.choices.clear()
    assert chunk.raw == second


def test_views_that_are_of_different_kinds_are_never_equal() -> None:
    raw = {"index": 0}
    assert Choice(raw) != ChoiceDelta(raw) != ChoiceDeltaToolCall(raw)
    assert Choice(raw) == Choice(dict(raw))


def test_a_field_that_is_not_there_is_missed_by_the_name_of_the_class_that_is_read() -> None:
    with pytest.raises(AttributeError, match=r"^ChoiceDelta has no field 'mood'$"):
        assert repeats_of(chunk_of({"content": "a"}), "content").chunk("b").choices[0].delta.mood
