from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream import ConfigurationError, InvalidRequestError
from cometstream.conversation.units import dropped_by_budget, problem_of_calls, splits, unanswered

SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "u"}
SAYS = {"role": "assistant", "content": "a"}


def asks(*ids: str) -> dict[str, Any]:
    calls = [{"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for call_id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "r"}


def kept(messages: list[dict[str, Any]], budget: int) -> list[int]:
    dropped = dropped_by_budget(messages, budget, lambda message: 1)
    return [place for place in range(len(messages)) if place not in dropped]


TURN = [USER, asks("a", "b"), result("a"), result("b"), SAYS]


@pytest.mark.parametrize(
    ("messages", "budget", "places"),
    [
        ([SYSTEM, USER, SAYS, USER, SAYS], 5, [0, 1, 2, 3, 4]),
        ([SYSTEM, USER, SAYS, USER, SAYS], 4, [0, 3, 4]),
        ([USER, SAYS, SYSTEM, USER], 2, [2, 3]),  # instructions in the middle stay
        ([USER, USER, SAYS, USER], 3, [3]),  # two questions of one turn go together
        ([SAYS, USER, SAYS], 2, [1, 2]),  # a greeting
        ([*TURN, *TURN], 9, [5, 6, 7, 8, 9]),
        ([USER, asks("a"), result("a"), asks("b"), result("b")], 3, [0, 3, 4]),
        ([USER, asks("a"), result("a"), asks("b", "c"), result("b"), result("c"), SAYS], 4, [0, 6]),
        ([USER, asks("a"), USER, result("a"), SAYS], 2, [0, 4]),  # nothing parts a call from its result
        ([], 1, []),
    ],
)
def test_the_oldest_turns_go_whole_and_calls_stay_with_their_results(
    messages: list[dict[str, Any]], budget: int, places: list[int]
) -> None:
    assert kept(messages, budget) == places


def test_what_must_stay_and_does_not_fit_is_told_of() -> None:
    with pytest.raises(InvalidRequestError, match="the last turn have 3 tokens, more than the budget of 2"):
        kept([SYSTEM, USER, SAYS, USER, SAYS], 2)
    with pytest.raises(InvalidRequestError, match="the last turn have 2 tokens, more than the budget of 1"):
        kept([USER, USER], 1)


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, None, "9"])
def test_a_budget_is_a_number_of_tokens(budget: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_tokens must be a whole number of tokens"):
        kept([USER], budget)


@pytest.mark.parametrize("tokens", [-1, 1.5, True, None])
def test_a_counter_that_does_not_count_is_told_of(tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match="count must return a whole number of tokens"):
        dropped_by_budget([USER], 5, lambda message: tokens)
    with pytest.raises(ConfigurationError, match=r"count cannot count a message \(KeyError\('x'\)\)"):
        dropped_by_budget([USER], 5, lambda message: message["x"])


ids = st.sampled_from(["a", "b", "c"])
histories = st.lists(
    st.sampled_from([SYSTEM, USER, SAYS, {"role": "assistant", "content": "", "function_call": {"name": "f"}}])
    | st.lists(ids, min_size=1, max_size=2, unique=True).map(lambda chosen: asks(*chosen))
    | ids.map(result)
    | st.just({"role": "function", "name": "f", "content": "r"}),
    max_size=12,
)


@given(histories, st.integers(1, 12))
def test_no_budget_parts_a_result_from_the_call_before_it(history: list[dict[str, Any]], budget: int) -> None:
    try:
        dropped = dropped_by_budget(history, budget, lambda message: 1)
    except InvalidRequestError:
        return
    assert len(history) - len(dropped) <= budget
    assert not any(history[place]["role"] == "system" for place in dropped)
    called: dict[str, int] = {}
    for place, message in enumerate(history):
        for call in message.get("tool_calls") or ():
            called[call["id"]] = place
        if message["role"] == "tool" and message["tool_call_id"] in called:
            asked = called[message["tool_call_id"]]
            assert (asked in dropped) == (place in dropped)
            assert all(splits(history, at) for at in range(asked + 1, place + 1))


def test_calls_without_results_are_found() -> None:
    assert unanswered([]) == unanswered([USER, SAYS]) == unanswered(TURN) == []
    assert [call["id"] for call in unanswered([USER, asks("a", "b"), result("a")])] == ["b"]
    assert problem_of_calls(TURN * 2) is None
    assert "messages[2]: tool call 'a' ('f') has no result before it" in str(problem_of_calls([USER, asks("a")]))
    assert "messages[3]: tool call 'b'" in str(problem_of_calls([USER, asks("a", "b"), result("a"), USER]))
    assert "messages[1]: answers 'a', which is not a tool call" in str(problem_of_calls([USER, result("a")]))
    assert "answers None" in str(problem_of_calls([{"role": "tool", "content": "r"}]))
    nameless = {"id": "a", "type": "custom", "custom": None}
    assert "tool call 'a' (None)" in str(problem_of_calls([{"role": "assistant", "tool_calls": [nameless]}]))
