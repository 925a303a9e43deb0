"""A request that differs is told with the place and what stands there; texts may be hashes."""

from __future__ import annotations

from typing import Any

import pytest

from cometstream.testing.matching import differences, hashed

BODY: dict[str, Any] = {
    "model": "gpt-5.4",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Write one sentence about comets and their tails."}]},
    ],
    "temperature": 0.5,
    "user": "u-1",
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"temperature": 0.7}, ["temperature: recorded 0.5, sent 0.7"]),
        ({"temperature": "0.5"}, ["temperature: recorded 0.5, sent '0.5'"]),
        ({"n": True}, ["n: not recorded, sent true"]),
        ({"model": "gpt-5.4-mini"}, ["model: recorded 'gpt-5.4', sent 'gpt-5.4-mini'"]),
        ({"messages": BODY["messages"][:1]}, ["messages: recorded 2 items, sent 1"]),
        (
            {"messages": [BODY["messages"][0], {"role": "user", "content": "Hi"}]},
            ["messages[1].content: recorded a list, sent 'Hi'"],
        ),
    ],
)
def test_each_difference_has_its_place(changed: dict[str, Any], told: list[str]) -> None:
    assert differences(BODY, {**BODY, **changed}) == told


def test_what_is_missing_is_told() -> None:
    assert differences({"a": {"b": "c"}}, {"a": {}}) == ["a.b: recorded 'c', not sent"]
    assert differences(None, {}) == ["body: recorded null, sent an object"]
    assert differences({"a": 1}, {"a": True}) == ["a: recorded 1, sent true"]


def test_long_texts_are_shown_where_they_begin_to_differ() -> None:
    text = "Write one sentence about comets and their tails, please, and be quick about it."
    (told,) = differences({"a": text}, {"a": text.replace("tails", "heads\nand more")})
    assert told == (
        "a: recorded ...'s and their tails, please, and be quick '..., sent ...'s and their heads\\nand more, please, and '..."
    )
    assert "\n" not in told


def test_hashes_hide_what_persons_wrote_and_tell_it_apart() -> None:
    hidden = hashed(BODY)
    assert hidden["model"] == "gpt-5.4"
    assert hidden["messages"][1]["role"] == "user"
    assert hidden["messages"][1]["content"][0]["type"] == "text"
    for text in ("comets", "brief", "u-1"):
        assert text not in str(hidden)
    changed = {**BODY, "messages": [BODY["messages"][0], {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    assert hashed(BODY) == hidden
    assert differences(hidden, hashed(changed)) == ["messages[1].content[0].text: another text (hashed)"]
    assert hashed([1]) == [1]
