"""The scoreboard's judge tells right from wrong: silently, loudly, and never ending."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance import filled

sys.path.append(str(Path(__file__).resolve().parents[2]))  # the benchmarks are no part of the package

judging: Any = importlib.import_module("benchmarks.conformance.judge")

CALL = {"id": "call_a", "name": "weather", "arguments": {"city": "Oslo"}}
HELLO = filled({"content": "Hello", "finish_reason": "stop"})
CALLED = filled({"tool_calls": [CALL], "finish_reason": "tool_calls"})
TRUNCATED = {"outcome": "truncated", "error": {"kind": "cut", "retryable": True}}


def judge(seen: Any, *choices: dict[str, Any], status: int = 200, **expect: Any) -> Any:
    return judging.judge({"outcome": "complete", **expect}, list(choices), status, seen)


def showing(*choices: dict[str, Any], usage: Any = None) -> Any:
    return judging.Seen(views=[{"choices": list(choices), "usage": usage}])


def raising(own: bool = True, status: int | None = None) -> Any:
    return judging.Seen(raised=judging.Raised("peer.Error", own, status, "it broke"))


def test_what_is_expected_is_right() -> None:
    assert judge(showing(HELLO), HELLO).kind == "right"


def test_an_empty_text_is_none() -> None:
    assert judge(showing({**HELLO, "reasoning": "", "refusal": ""}), HELLO).kind == "right"


def test_arguments_are_compared_as_a_program_reads_them() -> None:
    call = {**CALL, "arguments": '{ "city" : "Oslo" }'}
    assert judge(showing({**CALLED, "tool_calls": [call]}), CALLED).kind == "right"


def test_an_id_that_the_wire_never_gave_may_be_anything() -> None:
    wanted = {**CALLED, "tool_calls": [{**CALL, "id": None}]}
    assert judge(showing(CALLED), wanted).kind == "right"


def test_a_choice_that_says_nothing_is_none() -> None:
    assert judge(showing(HELLO, filled({"index": 1})), HELLO).kind == "right"


def test_one_of_two_readings_is_enough() -> None:
    views = [{"choices": [], "usage": None}, {"choices": [HELLO], "usage": None}]
    assert judge(judging.Seen(views=views), HELLO).kind == "right"


@pytest.mark.parametrize(
    ("shown", "note"),
    [
        ({**HELLO, "content": "Hell"}, 'content "Hell", not "Hello"'),
        ({**HELLO, "finish_reason": None}, 'finish_reason null, not "stop"'),
        ({**HELLO, "content": ["Hello"]}, 'content ["Hello"], not "Hello"'),
        ({**HELLO, "tool_calls": [CALL]}, "1 tool calls, not 0"),
        ({**HELLO, "index": 1}, "choices [1], not [0]"),
    ],
)
def test_another_result_without_an_exception_is_wrong_silently(shown: dict[str, Any], note: str) -> None:
    assert judge(showing(shown), HELLO) == judging.Verdict("silent", note)


@pytest.mark.parametrize("change", [{"id": "call_b"}, {"name": "time"}, {"arguments": "{"}, {"arguments": "{}"}])
def test_another_call_is_wrong_silently(change: dict[str, Any]) -> None:
    assert judge(showing({**CALLED, "tool_calls": [{**CALL, **change}]}), CALLED).kind == "silent"


def test_a_call_that_was_cut_must_not_look_whole() -> None:
    wanted = {**CALLED, "tool_calls": [{**CALL, "arguments": None}]}
    assert judge(showing({**CALLED, "tool_calls": [{**CALL, "arguments": '{"city":'}]}), wanted).kind == "right"
    assert judge(showing(CALLED), wanted).kind == "silent"


def test_usage_counts_only_where_the_case_is_about_it() -> None:
    counted, guessed = {"total_tokens": 3, "cost": None}, {"total_tokens": 12}
    assert judge(showing(HELLO, usage=counted), HELLO, usage={"total_tokens": 3}).kind == "right"
    assert judge(showing(HELLO, usage=guessed), HELLO, usage={"total_tokens": 3}).kind == "silent"
    assert judge(showing(HELLO, usage=guessed), HELLO, usage=None).kind == "silent"
    assert judge(showing(HELLO, usage=guessed), HELLO).kind == "right"


def test_an_exception_where_none_is_due_is_wrong_loudly() -> None:
    assert judge(raising(), HELLO) == judging.Verdict("loud", "raised peer.Error: it broke")


def test_an_error_of_its_own_is_right_where_the_case_allows_it() -> None:
    assert judge(raising(), HELLO, or_error=True).kind == "right"
    assert judge(raising(own=False), HELLO, or_error=True).kind == "loud"


def test_an_error_that_is_due_must_come() -> None:
    cut = {**HELLO, "finish_reason": None}
    assert judge(raising(), cut, **TRUNCATED).kind == "right"
    assert judge(showing(cut), cut, **TRUNCATED) == judging.Verdict("silent", "no error; finish_reason null")
    assert judge(showing(HELLO), cut, **TRUNCATED) == judging.Verdict(
        "silent", 'no error; invented finish_reason "stop"'
    )
    assert judge(showing(), cut, **TRUNCATED) == judging.Verdict("silent", "no error, and an empty answer")


def test_an_error_of_another_kind_is_wrong_loudly() -> None:
    assert judge(raising(own=False), **TRUNCATED).kind == "loud"


def test_a_status_must_be_told() -> None:
    refused = {"outcome": "error", "error": {"kind": "refused", "status": 503, "retryable": True}}
    assert judge(raising(status=503), status=503, **refused).kind == "right"
    assert judge(raising(), status=503, **refused).kind == "loud"


def test_a_client_that_does_not_end_hangs() -> None:
    assert judge(judging.Seen(hung=True), HELLO).kind == "hang"
    assert judge(judging.Seen(hung=True), **TRUNCATED).kind == "hang"


def test_what_a_process_tells_is_read_back() -> None:
    told = {"views": [], "raised": {"name": "peer.Error", "own": True, "status": None, "message": "it broke"}}
    assert judging.Seen.from_json(told) == judging.Seen(raised=judging.Raised("peer.Error", True, None, "it broke"))
