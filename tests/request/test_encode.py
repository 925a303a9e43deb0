from __future__ import annotations

import json
import math
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.errors import InvalidRequestError
from cometstream.request.encode import encode_body, is_json_list, join_path

Pair = namedtuple("Pair", "a b")


class ForeignFloat(float):
    """Stands for numpy's float64."""


class Word(str):
    __slots__ = ()


def test_a_body_is_written_as_one_line_of_utf8() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Gr\u00fc\u00dfe,\n\u2603"}],
        "stream": True,
        "n": None,
    }
    assert (
        encode_body(body)
        == b'{"model":"m","messages":[{"role":"user","content":"Gr\xc3\xbc\xc3\x9fe,\\n\xe2\x98\x83"}],'
        b'"stream":true,"n":null}'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (MappingProxyType({"a": MappingProxyType({"b": 1})}), b'{"a":{"b":1}}'),
        (OrderedDict(a=1), b'{"a":1}'),
        (deque([1, deque([2])]), b"[1,[2]]"),
        (UserList(["x"]), b'["x"]'),
        (Pair(1, 2), b"[1,2]"),
        (ForeignFloat(0.5), b"0.5"),
        (Word("w"), b'"w"'),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        ("null", b'"null"'),
        ([None, 1.5, deque([None]), MappingProxyType({"a": None})], b'[null,1.5,[null],{"a":null}]'),
    ],
)
def test_any_mapping_and_any_sequence_is_written_as_json(value: object, written: bytes) -> None:
    assert encode_body({"v": value}) == b'{"v":' + written + b"}"


def test_the_body_itself_may_be_any_mapping() -> None:
    assert encode_body(MappingProxyType({"a": 1})) == b'{"a":1}'


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"a": object()}, ["a"]),
        ({"a": {1, 2}}, ["a"]),
        ({"a": [b"bytes"]}, ["a[0]"]),
        ({"a": "\ud800"}, ["a"]),
        ({"\ud800": 1}, [r"['\ud800']"]),
        ({"a": 2**64}, ["a"]),
        ({"a": -(2**63) - 1}, ["a"]),
        ({"a": {"b c": [0, {"d": object()}]}}, ["a['b c'][1].d"]),
        ({"a": {5: "x"}}, ["a"]),
        ({10**5000: "x"}, ["body"]),
        ({"a": {Word("k"): "x"}}, ["a"]),
        ({"a": math.nan}, ["a"]),
        ({"a": [1.0, math.inf]}, ["a[1]"]),
        ({"a": MappingProxyType({"b": (None, -math.inf)})}, ["a.b[1]"]),
        ({"a": deque([ForeignFloat("nan")])}, ["a[0]"]),
        ({"a": object(), "b": {"c": math.nan, "d": "\udfff", 1: 2}, "e": 1}, ["a", "b.c", "b.d", "b"]),
    ],
)
def test_each_value_that_json_cannot_hold_is_told_with_its_path(body: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode_body(body)
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == paths
    assert caught.value.__cause__ is None


def test_a_body_that_contains_itself_is_refused() -> None:
    messages: list[Any] = []
    messages.append({"content": messages})
    with pytest.raises(InvalidRequestError) as caught:
        encode_body({"messages": messages})
    assert caught.value.problems == ("messages[0].content: contains itself; JSON has no circular references",)


def test_the_same_object_in_two_places_is_no_circle() -> None:
    shared = {"a": [1]}
    assert encode_body({"x": shared, "y": [shared, shared]}) == b'{"x":{"a":[1]},"y":[{"a":[1]},{"a":[1]}]}'


def test_a_body_may_be_nested_254_levels_deep() -> None:
    value: Any = 1
    for _ in range(253):
        value = [value]
    assert encode_body({"tools": value}) == b'{"tools":' + b"[" * 253 + b"1" + b"]" * 253 + b"}"


@pytest.mark.parametrize("depth", [254, 5000])
def test_a_body_nested_too_deep_is_refused(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    with pytest.raises(InvalidRequestError, match="too deep; at most 254 levels are allowed"):
        encode_body({"tools": value})


def test_a_failure_without_a_place_is_still_an_invalid_request() -> None:
    class Unsteady(UserDict[str, int]):
        reads = 0

        def __iter__(self) -> Iterator[str]:
            self.reads += 1
            if self.reads == 1:
                raise TypeError
            return super().__iter__()

    with pytest.raises(InvalidRequestError, match="body: Type is not JSON serializable: Unsteady"):
        encode_body({"a": Unsteady(b=1)})


@pytest.mark.parametrize(
    ("value", "is_list"),
    [
        ([], True),
        ((), True),
        (deque(), True),
        ("", False),
        (b"", False),
        (bytearray(), False),
        ({}, False),
        (set(), False),
    ],
)
def test_a_list_is_any_sequence_but_text_and_bytes(value: object, is_list: bool) -> None:
    assert is_json_list(value) is is_list


@pytest.mark.parametrize(
    ("path", "key", "joined"), [("", "a", "a"), ("a", "b", "a.b"), ("a[0]", "5", "a[0]['5']"), ("", "x y", "['x y']")]
)
def test_paths_read_like_json(path: str, key: str, joined: str) -> None:
    assert join_path(path, key) == joined


_keys = st.text(st.characters(exclude_categories=()), max_size=5)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _keys
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(_keys, _values, max_size=4))
def test_any_body_is_written_as_it_is_or_refused(body: dict[str, Any]) -> None:
    try:
        encoded = encode_body(body)
    except InvalidRequestError:
        return
    assert json.loads(encoded) == body
