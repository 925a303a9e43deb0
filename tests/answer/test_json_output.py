from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from cometstream.answer.json_output import JSON_OUTPUT, json_within


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, "b"]}', {"a": [1, "b"]}),
        ("[1, 2]", [1, 2]),
        ('"text"', "text"),
        ('{"a": NaN, "b": 1}', None),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Here: {"a": 1} and {"b": 2}', {"a": 1}),
        ('{}{"a": 1}', {"a": 1}),
    ],
)
def test_an_answer_is_read_whatever_stands_around_its_object(text: str, value: Any) -> None:
    read = JSON_OUTPUT.read(text)
    if value is None:
        assert read["b"] == 1
        assert read["a"] != read["a"]  # NaN
    else:
        assert read == value
    if isinstance(value, dict):
        assert JSON_OUTPUT.read_partial(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no object at all", "no JSON object"),
        ('{"a": 1', "no end"),
        ('{"a": x}', "neither a number nor a word"),
        ("[" * 500 + "]" * 500, "too deep"),
    ],
)
def test_an_answer_that_is_no_json_says_why(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        JSON_OUTPUT.read(text)


def test_of_an_answer_that_was_cut_there_is_what_came() -> None:
    assert JSON_OUTPUT.read_partial('{"a": [1, 2, "thr') == {"a": [1, 2, "thr"]}
    assert JSON_OUTPUT.read_partial('{"a": 1, b}') == {"a": 1}
    assert JSON_OUTPUT.read_partial("nothing") is None


def test_what_lies_within_is_the_text_itself() -> None:
    assert json_within('x {"a":  1} y') == '{"a":  1}'
    assert json_within(' {"a":  1} ') == ' {"a":  1} '


def test_there_is_one_that_copies_and_pickles_as_itself() -> None:
    for twin in (copy.copy(JSON_OUTPUT), copy.deepcopy(JSON_OUTPUT), pickle.loads(pickle.dumps(JSON_OUTPUT))):
        assert twin is JSON_OUTPUT
