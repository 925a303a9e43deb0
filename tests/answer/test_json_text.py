from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.json_text import MAX_DEPTH, Halves, is_too_deep, parse_json, parse_lenient


@given(json_shapes.values)
def test_strict_json_parses_as_it_is(value: object) -> None:
    assert parse_json(orjson.dumps(value)) == parse_lenient(orjson.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[Infinity, -9223372036854775808, 18446744073709551615]", [math.inf, -(2**63), 2**64 - 1]),
        (b"[Infinity, -9223372036854775809, 18446744073709551616]", [math.inf, -float(2**63), float(2**64)]),
        (b'["\\ud83d", "\\ude80", "\\ud83d\\ude80"]', ["\ufffd", "\ufffd", "\U0001f680"]),
        (b'{"\\ud83d": ["\\ud83d", 1, null]}', {"\ufffd": ["\ufffd", 1, None]}),
        (b"[Infinity, -Infinity]", [math.inf, -math.inf]),
        (
            b"[Infinity, 12345678901234567890123, 9999999999999999999]",
            [math.inf, 1.2345678901234568e22, 9999999999999999999],
        ),
        ('{"a": "\u00e9", "b": Infinity}', {"a": "\u00e9", "b": math.inf}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ],
)
def test_what_strict_json_refuses_parses_where_its_meaning_is_plain(text: bytes | str, value: object) -> None:
    parsed = parse_json(text)
    assert parsed == value
    orjson.dumps(parsed)


def test_nan_parses() -> None:
    (value,) = parse_json(b"[NaN]")
    assert math.isnan(value)


@pytest.mark.parametrize("text", [b"", b"{", b"{'a': 1}", b'{"a": 1} {"b": 2}', b"\xff", b"[NaN", b'"\xed\xa0'])
def test_what_is_no_json_says_where_it_fails(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        parse_json(text)


def test_a_number_of_five_thousand_digits_harms_nobody() -> None:
    assert parse_json(b"[" + b"9" * 5000 + b", NaN]")[0] == math.inf


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    assert not is_too_deep(parse_json(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 1000, 1100, 100_000):
        with pytest.raises(ValueError):
            parse_json(opening * depth + b"1" + closing * depth)
        with pytest.raises(ValueError):
            parse_json(opening * depth + b"NaN" + closing * depth)
        with pytest.raises(ValueError):
            parse_json(opening * depth)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_but_value_error(data: bytes) -> None:
    try:
        parse_json(data)
    except ValueError:
        pass


# -- halves of characters -----------------------------------------------------------------------------------------------------


def delta(text: str, field: str = "content", **choice: Any) -> bytes:
    return b'{"choices":[{"index":%d,"delta":{"%s":"%s"}}]}' % (choice.get("index", 0), field.encode(), text.encode())


def texts_of(*chunks: bytes, field: str = "content") -> list[str]:
    halves = Halves()
    return [parse_lenient(chunk, halves)["choices"][0]["delta"][field] for chunk in chunks]


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ([r"a\ud83d", r"\ude00b"], ["a", "\U0001f600b"]),
        ([r"\uD83D", "", r"\uDE00\ud83d", r"\ude00"], ["", "", "\U0001f600", "\U0001f600"]),
        ([r"a\ud83d", "b"], ["a", "\ufffdb"]),
        ([r"a\ud83d", r"\ud83d", r"\ude00"], ["a", "\ufffd", "\U0001f600"]),
        ([r"\ude00a", r"b\ude00"], ["\ufffda", "b\ufffd"]),
        ([r"a\ud83db", "c"], ["a\ufffdb", "c"]),
    ],
)
def test_the_halves_of_a_character_in_two_chunks_are_joined(pieces: list[str], texts: list[str]) -> None:
    # Half a character elsewhere makes each of them one that strict JSON refuses.
    chunks = [delta(piece)[:-1] + rb',"x":"\ud83d"}' for piece in pieces]
    assert texts_of(*chunks) == texts


def test_halves_wait_for_their_own_choice_field_and_call() -> None:
    halves = Halves()
    call = rb'"tool_calls":[{"index":1,"x":{"y":"\ud83d"}}]'
    begun = rb'{"choices":[5,{"delta":"\ud83d"},{"index":0,"delta":{"content":"\ud83d",%s}}]}' % call
    first = parse_lenient(begun, halves)["choices"]
    assert (first[0], first[1]["delta"], first[2]["delta"]["content"]) == (5, "\ufffd", "")
    other = parse_lenient(delta(r"\ude00", index=1), halves)["choices"][0]["delta"]["content"]
    field = parse_lenient(delta(r"\ude00", "refusal"), halves)["choices"][0]["delta"]["refusal"]
    assert (other, field) == ("\ufffd", "\ufffd")
    rest = rb'{"choices":[{"index":0,"delta":{"content":"\ude00","tool_calls":[3,{"index":1,"x":{"y":"\ude00"}}]}}]}'
    assert parse_lenient(rest, halves)["choices"][0]["delta"] == {
        "content": "\U0001f600",
        "tool_calls": [3, {"index": 1, "x": {"y": "\U0001f600"}}],
    }


def test_what_has_no_deltas_holds_nothing_back() -> None:
    halves = Halves()
    for data in (rb'"\ud83d"', rb'{"x":"\ud83d"}', rb'{"choices":"\ud83d"}'):
        assert "\ufffd" in str(parse_lenient(data, halves))
    assert parse_lenient('"\ud83d"') == "\ufffd"
    deep = b'{"a":' * 20 + rb'"\ud83d"' + b"}" * 20
    assert "\ufffd" in str(parse_lenient(b'{"choices":[{"delta":%s}]}' % deep, halves))


def test_no_more_is_held_back_than_an_honest_answer_needs() -> None:
    halves = Halves()
    many = b",".join(rb'"n%d":"\ud83d"' % number for number in range(300))
    chunk = parse_lenient(b'{"choices":[{"delta":{%s}}]}' % many, halves)
    assert list(chunk["choices"][0]["delta"].values()).count("\ufffd") == 300 - 256
