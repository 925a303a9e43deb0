from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.json_text import MAX_DEPTH, is_too_deep, parse_json, parse_lenient


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
