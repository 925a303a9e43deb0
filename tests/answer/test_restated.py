from __future__ import annotations

import copy
from typing import Any

import pytest

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.restated import without_said

CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def came(*deltas: dict[str, Any]) -> Accumulator:
    accumulator = Accumulator()
    for delta in deltas:
        accumulator.add_raw({"choices": [{"index": 0, "delta": delta}]})
    return accumulator


def rest(message: Any, *deltas: dict[str, Any], called: str = "chat.completion", reason: str | None = "stop") -> Any:
    """Return the delta that is made of a whole message behind its pieces; the choice itself where none is made."""
    raw = {"object": called, "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    before = copy.deepcopy(raw)
    news = without_said(raw, came(*deltas).choices)
    assert raw == before
    (choice,) = news["choices"]
    if news is raw:
        return choice
    assert choice["finish_reason"] == reason
    assert "message" not in choice
    return choice["delta"]


HEL, LO = {"content": "Hel"}, {"content": "lo"}


@pytest.mark.parametrize(
    ("message", "deltas", "new"),
    [
        ({"role": "assistant", "content": "Hello"}, [HEL, LO], {"role": "assistant"}),
        ({"content": "Hello you"}, [HEL, LO], {"content": " you"}),
        ({"content": "Hello"}, [{"content": "Hello\n"}], {}),
        ({"content": "Goodbye"}, [HEL, LO], {}),
        ({"content": [{"type": "text", "text": "Hello"}]}, [HEL, LO], {}),
        ({"content": "Hello"}, [{"refusal": "no"}], {"content": "Hello"}),
        ({"content": None, "refusal": "No."}, [{"refusal": "No"}], {"refusal": "."}),
        ({"reasoning": "why"}, [{"reasoning_content": "why"}], {}),
        ({"content": 7}, [HEL], {"content": 7}),
        ({"tool_calls": [CALL]}, [{"tool_calls": [{"index": 0, **CALL}]}], {}),
        ({"tool_calls": [CALL, CALL]}, [{"tool_calls": [{"index": 0, **CALL}]}], {"tool_calls": [CALL, CALL]}),
        ({"tool_calls": [CALL]}, [HEL], {"tool_calls": [CALL]}),
        ({"tool_calls": None}, [{"tool_calls": [{"index": 0, **CALL}]}], {}),
        ({"function_call": CALL["function"]}, [{"function_call": CALL["function"]}], {}),
        ({"function_call": CALL["function"]}, [HEL], {"function_call": CALL["function"]}),
        ({"audio": {"id": "x", "data": "AAAA"}}, [{"audio": {"data": "AA"}}] * 2, {"audio": {"id": "x"}}),
        ({"details": [{"index": 0, "text": "t"}]}, [{"details": [{"index": 0, "text": "t"}]}], {}),
        ({"note": "n"}, [HEL], {"note": "n"}),
    ],
)
def test_of_a_whole_message_what_is_new_is_left(
    message: dict[str, Any], deltas: list[Any], new: dict[str, Any]
) -> None:
    assert rest(message, *deltas) == new


def test_in_a_chunk_that_is_called_one_a_message_that_ends_its_choice_is_whole_where_it_says_the_pieces() -> None:
    chunk = "chat.completion.chunk"
    assert rest({"content": "Hello"}, HEL, LO, called=chunk) == {}
    assert rest({"content": " Hello"}, HEL, LO, called=chunk) == {}
    assert rest({"content": "!"}, HEL, LO, called=chunk) == {"content": "!"}


@pytest.mark.parametrize(
    ("message", "deltas", "reason"),
    [
        ({"content": "ha"}, [{"content": "ha"}], None),
        ({"content": "ha"}, [], "stop"),
        ("ha", [{"content": "ha"}], "stop"),
    ],
)
def test_a_piece_under_the_name_message_a_first_chunk_and_a_text_stay(
    message: Any, deltas: list[Any], reason: Any
) -> None:
    assert rest(message, *deltas, called="chat.completion.chunk", reason=reason)["message"] == message


def test_a_message_beside_a_delta_and_choices_that_are_none_stay() -> None:
    for choices in (None, [3], [{"index": 0, "delta": {}, "message": {"content": "Hel"}}]):
        raw = {"object": "chat.completion", "choices": choices}
        assert without_said(raw, came(HEL).choices) is raw
