from __future__ import annotations

import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.blocks import Blocks, joined, merge


def built(*fragments: list[Any], restates: bool = True) -> list[Any]:
    before = copy.deepcopy(fragments)
    blocks = Blocks(restates=restates)
    for fragment in fragments:
        blocks.add(fragment)
    assert fragments == before, "what came is the chunk's, and its reader has it"
    return blocks.build()


def merged(*values: Any, key: str = "x") -> Any:
    fields: dict[str, Any] = {}
    for value in values:
        merge(fields, key, value)
    return joined(fields.get(key))


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "index": 0, "text": text, **fields}


LONG = "a text that is longer than any token"


# -- blocks with an index ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragments", "whole"),
    [
        pytest.param([[text("a")], [text("b")], [text("c")]], [text("abc")], id="texts are joined"),
        pytest.param([[text("ha")], [text("ha")], [text("ha")]], [text("hahaha")], id="pieces may be the same"),
        pytest.param([[text("a")], [text("")], [text("b")]], [text("ab")], id="an empty piece"),
        pytest.param(
            [
                [text("a", format="f", signature=None)],
                [text("b", format="f", signature=None)],
                [text("", signature="s")],
            ],
            [text("ab", format="f", signature="s")],
            id="labels once, the signature last",
        ),
        pytest.param([[text("a"), text("b")]], [text("ab")], id="two fragments in one chunk"),
        pytest.param([[text("a")], [{"index": 0, "text": "b"}]], [text("ab")], id="no type: the index decides"),
        pytest.param(
            [[{"index": 0, "text": "a"}], [text("b")]],
            [{"index": 0, "text": "ab", "type": "reasoning.text"}],
            id="a late type",
        ),
        pytest.param(
            [[text("a")], [text("b", index=1)], [text("c")]],
            [text("ac"), text("b", index=1)],
            id="two indexes in turns",
        ),
        pytest.param(
            [[text("a")], [{"type": "reasoning.encrypted", "index": 0, "data": "A"}], [text("c")]],
            [text("ac"), {"type": "reasoning.encrypted", "index": 0, "data": "A"}],
            id="two types under one index",
        ),
        pytest.param(
            [
                [{"type": "reasoning.encrypted", "index": 0, "data": "A"}],
                [{"type": "reasoning.encrypted", "index": 0, "data": "B"}],
            ],
            [
                {"type": "reasoning.encrypted", "index": 0, "data": "A"},
                {"type": "reasoning.encrypted", "index": 0, "data": "B"},
            ],
            id="two secrets under one index",
        ),
        pytest.param(
            [[text("a", id="1")], [text("b", id="2")]],
            [text("a", id="1"), text("b", id="2")],
            id="two ids under one index",
        ),
        pytest.param(
            [[text("a", signature="s")], [text("b")]],
            [text("a", signature="s"), text("b")],
            id="a signed text does not grow",
        ),
        pytest.param(
            [[text("a")], [text("b")], [text("ab", signature="s")]],
            [text("ab", signature="s")],
            id="said once more with the signature",
        ),
        pytest.param(
            [[text("ab", signature="s")], [text("ab")]],
            [text("ab", signature="s")],
            id="said once more behind the signature",
        ),
        pytest.param(
            [[text("a")], [text("b", signature="s")]],
            [text("ab", signature="s")],
            id="the last piece has the signature",
        ),
        pytest.param([[text(LONG[:9])], [text(LONG[9:])], [text(LONG)]], [text(LONG)], id="a long text said once more"),
        pytest.param([[text(LONG)], [text(LONG)]], [text(LONG)], id="a long text said twice"),
        pytest.param(
            [[text("a", index="0")], [text("b", index="0")]], [text("ab", index="0")], id="the index is a text"
        ),
        pytest.param(
            [
                [{"index": 0, "type": "python", "arguments": "{", "status": "in_progress"}],
                [{"index": 0, "arguments": "}", "status": "completed", "exit": 0}],
            ],
            [{"index": 0, "type": "python", "arguments": "{}", "status": "completed", "exit": 0}],
            id="a provider's own tool",
        ),
        pytest.param(
            [
                [{"index": 0, "image_url": {"url": "a"}}],
                [{"index": 0, "image_url": {"url": "b"}}],
                [{"index": 0, "image_url": {"url": "b", "detail": "low"}}],
            ],
            [{"index": 0, "image_url": {"url": "a"}}, {"index": 0, "image_url": {"url": "b", "detail": "low"}}],
            id="two images under one index",
        ),
        pytest.param(
            [
                [{"index": 0, "summary": [{"type": "summary_text", "text": "a"}]}],
                [{"index": 0, "summary": [{"type": "summary_text", "text": "b"}]}],
            ],
            [{"index": 0, "summary": [{"type": "summary_text", "text": "ab"}]}],
            id="a list within",
        ),
        pytest.param(
            [
                [{"index": 0, "text": "a", "summary": "s"}],
                [{"index": 0, "text": "b", "summary": "t"}],
                [{"index": 0, "text": "c", "summary": "u"}],
            ],
            [{"index": 0, "text": "abc", "summary": "stu"}],
            id="two texts that grow",
        ),
        pytest.param(
            [[text("a", n=1)], [text("b", n=0)], [text("c", n=2)]], [text("abc", n=2)], id="0 takes nothing back"
        ),
    ],
)
def test_fragments_of_one_block_are_one_block(fragments: list[list[Any]], whole: list[Any]) -> None:
    assert built(*fragments) == whole


# -- items without one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragments", "whole"),
    [
        pytest.param([[{"url": "a"}], [{"url": "b"}]], [{"url": "a"}, {"url": "b"}], id="kept apart"),
        pytest.param([[{"url": "a"}], [{"url": "b"}, {"url": "a"}]], [{"url": "a"}, {"url": "b"}], id="once"),
        pytest.param([[{"url": "a"}, {"url": "a"}]], [{"url": "a"}, {"url": "a"}], id="twice in one list are two"),
        pytest.param([["a", 1], ["a", 1]], ["a", 1, "a", 1], id="texts and numbers are not told apart"),
        pytest.param(
            [[{"type": "thinking", "thinking": "a"}], [{"type": "thinking", "thinking": "b"}]],
            [{"type": "thinking", "thinking": "ab"}],
            id="the next piece of a text",
        ),
        pytest.param(
            [
                [{"type": "thinking", "thinking": "a"}],
                [{"type": "thinking", "signature": "s"}],
                [{"type": "thinking", "thinking": "b"}],
            ],
            [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "thinking", "thinking": "b"}],
            id="until it is signed",
        ),
        pytest.param(
            [
                [{"type": "thinking", "thinking": "a"}],
                [{"type": "redacted_thinking", "data": "A"}],
                [{"type": "redacted_thinking", "data": "B"}],
            ],
            [
                {"type": "thinking", "thinking": "a"},
                {"type": "redacted_thinking", "data": "A"},
                {"type": "redacted_thinking", "data": "B"},
            ],
            id="redacted blocks are whole",
        ),
        pytest.param(
            [[{"type": "text", "text": "a"}], [{"type": "image"}], [{"type": "text", "text": "b"}]],
            [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}],
            id="in order of arrival",
        ),
        pytest.param([[{"x": {1: 2}}], [{"x": {1: 2}}]], [{"x": {1: 2}}, {"x": {1: 2}}], id="what JSON cannot hold"),
    ],
)
def test_items_without_an_index_are_kept_apart_but_for_the_next_piece_of_a_text(
    fragments: list[list[Any]], whole: list[Any]
) -> None:
    assert built(*fragments) == whole


def test_parts_of_content_may_say_the_same_again() -> None:
    part = {"type": "text", "text": LONG}
    assert built([part], [part], restates=False) == [{"type": "text", "text": LONG + LONG}]


# -- fields -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "value"),
    [
        (["a", None, "", [], {}, 0, False], "a"),
        ([5, 0, False, 6], 6),
        ([{}, {"a": 1}, {}, {"a": 0, "b": ""}], {"a": 1, "b": ""}),
        ([[], ["a"], [], ["b"]], ["a", "b"]),
        (["a", "b", "ab"], "ab"),
        (["text", "text"], "text"),
        (["a", {"b": 1}], {"b": 1}),
        ([{"a": 1}, "b"], "b"),
        (["a", "b", ["c"]], ["c"]),
        ([["a"], 5], 5),
        ([{"a": {"b": {"c": "x"}}}, {"a": {"b": {"c": "y", "d": 1}}}], {"a": {"b": {"c": "xy", "d": 1}}}),
        ([{"id": "1", "title": "a"}, {"id": "2", "title": "b"}], {"id": "1", "title": "b"}),
        ([None, None], None),
    ],
)
def test_the_last_value_that_says_something_counts(values: list[Any], value: Any) -> None:
    assert merged(*values) == value


def test_deep_values_are_replaced_and_nobody_recurses_far() -> None:
    deep: Any = {"text": "a"}
    for _ in range(100):
        deep = {"x": [deep]}
    assert merged(deep, copy.deepcopy(deep)) == deep


@given(st.lists(st.lists(json_shapes.values, max_size=3), max_size=4))
def test_lists_of_any_shape_are_merged_and_never_changed(fragments: list[list[Any]]) -> None:
    blocks, snapshots = Blocks(), []
    for fragment in fragments:
        blocks.add(fragment)
        snapshots.append((blocks.build(), copy.deepcopy(blocks.build())))
    assert all(then == now for then, now in snapshots)
    assert built(*fragments) == blocks.build()


def test_pieces_behind_a_signature_are_not_joined_for_each_of_them() -> None:
    blocks = Blocks()
    item = {"index": 0, "type": "thinking", "text": "t", "signature": "s"}
    blocks.add([{**item, "text": "It"}])
    began = time.process_time()
    for _ in range(60_000):
        blocks.add([item])
    assert time.process_time() - began < 3  # a tenth of it; a join for each piece takes 14
    assert blocks.build()[0]["text"] == "It" + "t" * 60_000
