"""What tests/conformance/tool_calls does not show of the fold: its corners, and its cost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.tool_calls import ToolCallFold, ToolCallState
from cometstream.views.chunks import arguments_text


def fold(*fragments: dict[str, Any]) -> tuple[list[tuple[str | None, str, str]], dict[str, int]]:
    notes: dict[str, int] = {}
    calls = ToolCallFold()
    for fragment in fragments:
        calls.add(fragment, lambda kind: notes.update({kind: notes.get(kind, 0) + 1}))
    return [(call.id, call.name, "".join(call.arguments)) for call in calls.calls], notes


def fragment(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: str | None = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": call_id, "function": function}
    return {key: value for key, value in given.items() if value is not None}


ONE = [(None, "f", '{"a":1}')]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        # One call, however oddly its pieces are labelled.
        ([fragment(0, None, "f", '{"a":'), fragment(0, None, "f", "1}")], ONE),
        ([fragment(0, None, "f", '{"a":1}'), fragment(0, None, "f", "")], ONE),
        ([fragment(None, None, "f", '{"a":1}'), fragment(None, None, "f", "")], ONE),
        ([fragment(None, None, "f", '{"a":'), fragment(None, None, None, "1}")], ONE),
        ([fragment(0, None, None, '{"a":'), fragment(0, None, "f", "1}")], ONE),
        ([fragment(None, "a", "f", ""), fragment(0, "a", None, "{}")], [("a", "f", "{}")]),
        ([fragment(0, "a", "f", ""), fragment(7, "a", None, "{}"), fragment(7, None, None, " ")], [("a", "f", "{} ")]),
        ([fragment(None, "a"), fragment(None, None, "f", "{}")], [("a", "f", "{}")]),
        ([fragment(0, "a", "get_", ""), fragment(0, "a", "time", "{}")], [("a", "get_time", "{}")]),
        # Two calls, where one cannot be.
        ([fragment(0, "a", "f", "{}"), fragment(0, "b", "g", "{}")], [("a", "f", "{}"), ("b", "g", "{}")]),
        ([fragment(0, "a", "f", ""), fragment(0, "b", "g", "")], [("a", "f", ""), ("b", "g", "")]),
        ([fragment(0, None, "f", "{}"), fragment(0, None, "g", "{}")], [(None, "f", "{}"), (None, "g", "{}")]),
        ([fragment(0, None, "f", '{"a'), fragment(0, None, "g", "{}")], [(None, "f", '{"a'), (None, "g", "{}")]),
        ([fragment(None, None, "f", "{}"), fragment(None, None, "f", "{}")], [(None, "f", "{}"), (None, "f", "{}")]),
        (
            [fragment(None, "a", "f", "{}"), fragment(None, "b"), fragment(None, "b", "g")],
            [("a", "f", "{}"), ("b", "g", "")],
        ),
        ([fragment(0, "a", "f", "{}"), fragment(1, "a", "f", "{}")], [("a", "f", "{}"), ("a", "f", "{}")]),
        ([fragment(0, "a", "f", "{}"), fragment(1, None, None, "{}")], [("a", "f", "{}"), (None, "", "{}")]),
        (
            [fragment(0, "a", "f", ""), fragment(1, "b", None, "{}"), fragment(1, None, "g")],
            [("a", "f", ""), ("b", "g", "{}")],
        ),
        (
            [fragment(2, "a", "f"), fragment(0, "b", "g"), fragment(2, None, None, "{}")],
            [("a", "f", "{}"), ("b", "g", "")],
        ),
    ],
)
def test_fragments_find_their_call(fragments: list[dict[str, Any]], calls: list[tuple[str | None, str, str]]) -> None:
    assert fold(*fragments)[0] == calls


def parts_of(fragment: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for key, part in fragment.items() if key in ("function", "custom") and isinstance(part, dict)]


@given(st.lists(json_shapes.fragments, max_size=8))
@example(
    [
        {"index": 0, "function": {"name": "f", "arguments": "\\"}},
        {"index": 0, "function": {"name": "f", "arguments": '"'}},
    ]
)
def test_no_fragment_is_lost_and_none_counts_twice(fragments: list[dict[str, Any]]) -> None:
    sent = [arguments_text(part.get("arguments")) for one in fragments for part in parts_of(one)]
    folded = "".join(arguments for _, _, arguments in fold(*fragments)[0])
    assert sorted(folded) == sorted("".join(filter(None, sent)))


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([], True),
        ([""], True),
        (["{", "}"], True),
        (["{"], False),
        (['{"a": "', "}", '"}'], True),
        (['{"a": "', "}"], False),
        (['{"a": "\\', '"}'], False),
        (['{"a": "\\', '"', '"}'], True),
        (['{"a": "\\\\', '"}'], True),
        (['{"a": "\\', "", '"', '"}'], True),
        (['{"a": [1, {"b": ', "[]}]}"], True),
        (['{"a": [1, {"b": ', "[]}]"], False),
    ],
)
def test_arguments_are_whole_where_all_they_opened_is_closed(pieces: list[str], whole: bool) -> None:
    at_once, step_by_step = ToolCallState(), ToolCallState()
    at_once.arguments.extend(pieces)
    for piece in pieces:
        step_by_step.arguments.append(piece)
        step_by_step.is_whole()
    assert at_once.is_whole() is step_by_step.is_whole() is whole


def calls_made(work: Callable[[], object]) -> int:
    made = 0

    def count(frame: FrameType, kind: str, argument: Any) -> None:
        nonlocal made
        made += kind in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize("name", [None, "f"], ids=["documented", "name repeated"])
def test_the_cost_of_a_fragment_does_not_grow_with_its_call(name: str | None) -> None:
    def work(count: int) -> Callable[[], object]:
        pieces = [fragment(0, None, name, '"}{" ') for _ in range(count)]
        return lambda: fold(fragment(0, "a", "f", '{"x": '), *pieces)

    once, four_times = calls_made(work(500)), calls_made(work(2000))
    assert four_times < 5 * once


class Counting(list[str]):
    """Counts the pieces that are taken out."""

    taken = 0

    def __iter__(self) -> Any:
        self.taken += len(self)
        return super().__iter__()


def test_a_name_in_pieces_is_not_joined_for_each_of_them() -> None:
    call = ToolCallState()
    names = call.names = Counting()
    notes: list[str] = []
    for number in range(1000):
        call.add_function({"name": f"_{number}"}, notes.append)
    assert names.taken < 1000
    assert notes == ["tool_call_name_in_pieces"] * 999
    assert call.name == "".join(f"_{number}" for number in range(1000))


def test_a_name_in_pieces_that_comes_again_whole_is_the_name_once() -> None:
    call = ToolCallState()
    notes: list[str] = []
    for piece in ("get_", "", "time", "get_time", "get_time"):
        call.add_function({"name": piece}, notes.append)
    assert call.name == "get_time"
    assert notes == ["tool_call_name_in_pieces", "tool_call_name_repeated", "tool_call_name_repeated"]


def test_objects_that_a_provider_adds_are_merged_into_one_of_the_calls_own() -> None:
    first = {"index": 0, "extra_content": {"a": 1, "b": 1}}
    second = {"index": 0, "extra_content": {"b": 2, "c": [3]}, "other": {"d": 4}}
    call = ToolCallState()
    call.add(first, lambda _: None)
    early = call.build("generated")
    call.add(second, lambda _: None)
    assert call.build("generated")["extra_content"] == {"a": 1, "b": 2, "c": [3]}
    assert call.build("generated")["other"] == {"d": 4}
    assert first["extra_content"] == {"a": 1, "b": 1}, "the chunk is its reader's"
    assert second["extra_content"] == {"b": 2, "c": [3]}
    assert early["extra_content"] == {"a": 1, "b": 1}, "and so is what was built"


def test_an_object_and_another_value_under_one_name_replace_one_another() -> None:
    call = ToolCallState()
    for value in ({"a": 1}, "text", {"b": 2}, None):
        call.add({"x": value}, lambda _: None)
    assert call.build("generated")["x"] == {"b": 2}


def test_a_piece_of_arguments_is_looked_at_once() -> None:
    looked_at: list[str] = []

    class Pieces(list[str]):
        def __getitem__(self, place: Any) -> Any:
            found = super().__getitem__(place)
            looked_at.extend(found)
            return found

    call = ToolCallState()
    call.arguments = Pieces()
    for number in range(20):
        call.arguments.append(f"{number},")
        call.is_whole()
        call.has_arguments()
    assert looked_at == call.arguments
