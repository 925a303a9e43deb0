from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from cometstream.request.describe import MISSING, kind, shown


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


class Long:
    def __repr__(self) -> str:
        return "<a\n  b\x00" + "c" * 200 + ">"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("x", "'x'"),
        (1.5, "1.5"),
        (10**5000, "a value of type int"),
        (Unprintable(), "a value of type Unprintable"),
        ("y" * 79, "'" + "y" * 79 + "..."),
        (Long(), "<a b\x00" + "c" * 75 + "..."),
    ],
    ids=range(7),
)
def test_a_value_is_shown_short_and_on_one_line(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MISSING, "missing"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (2, "2"),
        (2.5, "2.5"),
        (-(2**64), "an integer beyond 64 bits"),
        (10**5000, "an integer beyond 64 bits"),
        ("a private text", "a string"),
        ("", "an empty string"),
        ({"private": 1}, "an object"),
        (MappingProxyType({}), "an object"),
        ([1], "a list"),
        ((), "an empty list"),
        ({1}, "of type set"),
        (b"x", "of type bytes"),
    ],
    ids=range(16),
)
def test_a_value_of_a_request_is_told_by_its_kind(value: Any, text: str) -> None:
    assert kind(value) == text
