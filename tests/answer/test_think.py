from __future__ import annotations

import copy
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.think import ThinkSplitter
from cometstream.views.chunks import ChatCompletionChunk


def chunk(content: Any, finish: str | None = None, index: int = 0, **delta: Any) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        {
            "id": "c1",
            "model": "m",
            "choices": [{"index": index, "delta": {"content": content, **delta}, "finish_reason": finish}],
        }
    )


def split_all(*chunks: ChatCompletionChunk) -> list[ChatCompletionChunk]:
    splitter = ThinkSplitter()
    out = [splitter.split(one) for one in chunks]
    last = splitter.flush()
    return out if last is None else [*out, last]


def read(chunks: list[ChatCompletionChunk], index: int = 0) -> tuple[str, str]:
    """The joined (reasoning, content) of one choice."""
    deltas = [choice.delta for one in chunks for choice in one.choices if choice.index == index]
    return "".join(delta.reasoning or "" for delta in deltas), "".join(delta.content or "" for delta in deltas)


def split(*pieces: str) -> tuple[str, str]:
    return read(split_all(*(chunk(piece) for piece in pieces)))


@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>\n2+2\n</think>\n4", "2+2\n", "4"),
        ("<think>2+2</think>4", "2+2", "4"),
        ("<think>\n\nx</think>\n\n4", "\nx", "\n4"),
        ("<think></think>4", "", "4"),
        ("<think>\n</think>\n", "", ""),
        ("<think>", "", ""),
        ("<think>\nnever closed", "never closed", ""),
        ("<think>a < b </ thin</think>c", "a < b </ thin", "c"),
        ("<think>a</thin", "a</thin", ""),
        ("<think>a<</think>b", "a<", "b"),
        ("<think>a<think>b</think>c", "a<think>b", "c"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a</think></think>", "a", "</think>"),
        (" \n<think>a</think>b", "a", " \nb"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<thinking>a", "", "<thinking>a"),
        ("<THINK>a", "", "<THINK>a"),
        ("<<think>a", "", "<<think>a"),
        ("</think>a", "", "</think>a"),
        (" <thi", "", " <thi"),
        ("\n", "", "\n"),
        ("", "", ""),
    ],
)
def test_thinking_is_told_from_text_wherever_it_is_cut(text: str, reasoning: str, content: str) -> None:
    assert split(text) == (reasoning, content)
    assert split(*text) == (reasoning, content)
    for cut in range(len(text)):
        assert split(text[:cut], text[cut:]) == (reasoning, content)


tagged = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "thi", "nk>", "\n", " ", "a", "é"]), max_size=10
).map("".join)
plain = st.text("<think>/ \t\r\n\x1f\u2028aé\U0001f600", max_size=30)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(tagged | plain, st.lists(st.integers(0, 100), max_size=8), st.sampled_from([None, "stop"]))
def test_any_cutting_gives_what_the_whole_gives(text: str, places: list[int], finish: str | None) -> None:
    found = re.fullmatch(r"(\s*)<think>\n?(.*?)(?:</think>\n?(.*))?", text, re.DOTALL)
    expected = (found[2], found[1] + (found[3] or "")) if found else ("", text)
    *pieces, last = [chunk(piece) for piece in cut(text, places)]
    last = ChatCompletionChunk({"choices": [{**last.raw["choices"][0], "finish_reason": finish}]})
    out = split_all(*pieces, last)
    assert read(out) == expected
    assert len(out) == len(pieces) + 1 or finish is None, "the finish brings all that was held back"


@given(plain.filter(lambda text: "<think>" not in text), st.lists(st.integers(0, 100), max_size=8))
def test_text_without_a_tag_is_unchanged(text: str, places: list[int]) -> None:
    assert split(*cut(text, places)) == ("", text)


@given(tagged, tagged, st.lists(st.integers(0, 1), max_size=40))
def test_choices_do_not_mix(first: str, second: str, order: list[int]) -> None:
    texts = [list(first), list(second)]
    chunks = [chunk(texts[which].pop(0), index=which) for which in order if texts[which]]
    chunks += [chunk("".join(rest), index=which) for which, rest in enumerate(texts)]
    out = split_all(*chunks)
    assert read(out, 0) == split(first)
    assert read(out, 1) == split(second)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": ["?"]},
        {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"index": 0, "delta": {"content": "Hello <think>"}}]},
        {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "<think>"}}]},
        {"choices": [{"delta": {"content": [{"type": "text", "text": "Hello"}]}}]},
    ],
)
def test_a_chunk_that_does_not_change_is_returned_itself(raw: dict[str, Any]) -> None:
    one = ChatCompletionChunk(raw)
    splitter = ThinkSplitter()
    assert splitter.split(one) is one
    assert splitter.flush() is None


def test_text_after_the_thinking_is_not_touched() -> None:
    splitter = ThinkSplitter()
    splitter.split(chunk("<think>a</think>\nb"))
    later = chunk("\n<think>c")
    assert splitter.split(later) is later


def test_a_changed_chunk_keeps_all_else_and_the_original() -> None:
    raw = {
        "id": "c1",
        "x": 1,
        "choices": [
            "?",
            {"index": 1, "delta": {"content": "plain"}},
            {"index": 0, "delta": {"role": "assistant", "content": "<think>a</think>b"}, "logprobs": None, "y": 2},
        ],
    }
    before = copy.deepcopy(raw)
    changed = ThinkSplitter().split(ChatCompletionChunk(raw))
    assert raw == before
    assert changed.to_dict() == {
        "id": "c1",
        "x": 1,
        "choices": [
            "?",
            {"index": 1, "delta": {"content": "plain"}},
            {
                "index": 0,
                "delta": {"role": "assistant", "reasoning_content": "a", "content": "b"},
                "logprobs": None,
                "y": 2,
            },
        ],
    }


def test_a_delta_has_only_what_there_is() -> None:
    splitter = ThinkSplitter()
    deltas = [splitter.split(chunk(piece)).choices[0].delta.raw for piece in ("<thi", "nk>", "\na", "b</think>\n")]
    assert deltas == [{}, {}, {"reasoning_content": "a"}, {"reasoning_content": "b"}]


def test_what_is_held_back_comes_with_the_finish() -> None:
    first, last = split_all(chunk("<think>a</thi"), chunk(None, "length"))
    assert first.choices[0].delta.raw == {"reasoning_content": "a"}
    assert last.choices[0].delta.raw == {"reasoning_content": "</thi"}
    assert last.choices[0].finish_reason == "length"
    assert read(split_all(chunk("<thi"), chunk("n", "stop"))) == ("", "<thin")


def test_text_that_comes_after_the_finish_goes_on() -> None:
    assert read(split_all(chunk("<think>a", "stop"), chunk("b</think>c"))) == ("ab", "c")
    assert read(split_all(chunk("<", "stop"), chunk("<think>"))) == ("", "<<think>")


def test_flush_returns_what_is_held_of_every_choice_once() -> None:
    splitter = ThinkSplitter()
    for one in (chunk("<t", index=1), chunk("<think>a<"), chunk("plain", index=2)):
        splitter.split(one)
    last = splitter.flush()
    assert last is not None
    assert last.to_dict() == {
        "id": "c1",
        "model": "m",
        "choices": [
            {"index": 1, "delta": {"content": "<t"}, "finish_reason": None},
            {"index": 0, "delta": {"reasoning_content": "<"}, "finish_reason": None},
        ],
    }
    assert splitter.flush() is None


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_that_came_as_such_is_kept_beside_the_thinking(name: str) -> None:
    accumulator = Accumulator()
    delta: dict[str, Any] = {name: "a"}
    for one in split_all(chunk("<think>b</think>c", **delta)):
        accumulator.add(one)
    assert (accumulator.completion.reasoning, accumulator.completion.content) == ("ab", "c")


def test_parts_are_read_as_their_text() -> None:
    thought = {"type": "thinking", "thinking": "a"}
    out = split_all(chunk([thought, {"type": "text", "text": "<thi"}]), chunk([{"type": "text", "text": "s"}]))
    assert read(out) == ("a", "<this")
