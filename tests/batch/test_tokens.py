"""Estimates are of the right size, and no body breaks them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.batch.tokens import estimate_input, estimate_output


def _user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def test_text_counts_by_its_bytes() -> None:
    english = estimate_input(_user("word " * 400))
    assert 400 < english < 600
    chinese = estimate_input(_user("彗" * 400))
    assert 250 < chinese < 450
    assert estimate_input(_user("\ud800" * 40)) > 20, "a lone surrogate is text too"


def test_tools_and_schema_count_too() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 4000}}
    assert estimate_input({**_user("hi"), "tools": [tool]}) > 1000
    assert estimate_input({**_user("hi"), "response_format": {"json_schema": {"x" * 8: "y" * 4000}}}) > 1000


def test_media_count_by_kind_and_not_by_base64() -> None:
    data = "data:image/png;base64," + "A" * 1_000_000
    image = estimate_input(_user([{"type": "image_url", "image_url": {"url": data}}]))
    low = estimate_input(_user([{"type": "image_url", "image_url": {"url": data, "detail": "low"}}]))
    assert 500 < image < 2000
    assert low < 150
    audio = estimate_input(_user([{"type": "input_audio", "input_audio": {"data": "A" * 640_000, "format": "wav"}}]))
    assert 50 < audio < 500
    file = estimate_input(_user([{"type": "file", "file": {"file_data": "A" * 100_000}}]))
    assert 500 < file < 3000


def test_the_answer_is_what_is_typical_within_what_is_allowed() -> None:
    assert estimate_output({"max_tokens": 4096}, 120.0) == 120
    assert estimate_output({"max_tokens": 50}, 120.0) == 50
    assert estimate_output({"max_completion_tokens": 40, "max_tokens": 500}, 120.0) == 40
    assert estimate_output({"max_tokens": 16}, None) == 16
    assert estimate_output({"n": 3}, 100.0) == 300
    assert estimate_output({"max_tokens": True, "n": "x"}, 100.0) == 100
    assert estimate_output({}, 0.0) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": "text"},
        {"messages": [None, 5, [], {"content": None}, {"content": [None, {"type": "image_url", "image_url": 7}]}]},
        {"messages": [{"content": [{"type": "input_audio"}, {"type": "file", "file": {"file_data": 5}}]}]},
        {"tools": "x", "n": -1, "max_tokens": -5, "max_completion_tokens": 1e9},
    ],
)
def test_malformed_bodies_have_an_estimate(body: dict[str, Any]) -> None:
    assert estimate_input(body) + estimate_output(body, None) >= 1


def test_endless_nesting_ends() -> None:
    body: dict[str, Any] = {"messages": []}
    body["messages"].append(body["messages"])
    assert estimate_input(body) >= 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["messages", "tools", "max_tokens", "n", "response_format"]), _JSON),
    st.one_of(st.none(), st.floats(0, 1e12)),
)
def test_nothing_raises(body: dict[str, Any], typical: float | None) -> None:
    assert 1 <= estimate_input(body) + estimate_output(body, typical) < 10**12
