from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.views.arguments import said_once

PLACEHOLDER, RESTATED = "arguments_placeholder", "arguments_restated"


@pytest.mark.parametrize(
    ("pieces", "once", "kind"),
    [
        ([], "", None),
        (['{"a":', "1}"], '{"a":1}', None),
        (["null"], "null", None),
        (["{}", '{"a":', "1}"], '{"a":1}', PLACEHOLDER),
        ([' { } \n{}{"a":1}'], '{"a":1}', PLACEHOLDER),
        (['{"a": ', '"b c"}', '{"a":"b c"}'], '{"a":"b c"}', RESTATED),
        (['{"a": ', '"b c"', '{"a":"b c"}', " "], '{"a":"b c"}', RESTATED),
        (["{}", '{"a":', "1", '{"a":1}'], '{"a":1}', RESTATED),
        (["{}", "{}"], "{}", RESTATED),
        (['{"a":1} {"a": 1}'], '{"a":1}', RESTATED),
        (['{}{"a":1}{"a":1}'], '{"a":1}', RESTATED),
    ],
)
def test_what_is_said_twice_is_said_once(pieces: list[str], once: str, kind: str | None) -> None:
    assert said_once(pieces) == (once, kind)


@pytest.mark.parametrize(
    "pieces",
    [
        ["{}{}"],
        ['{"a":1}', '{"a":2}'],
        ['{"a":', '{"b":1}'],
        ['{"a b":', '{"ab":1}'],
        ['{"a":1}{"a":1'],
        ['{"a":1}x{"a":1}'],
        ['{}{"a":'],
        ["{}[1]"],
        ["{}5"],
        ['{"a":', "1", "[1]"],
        ["x", "{}"],
        ["{" * 3000 + "}"],
        ['{"a":' * 3000 + "}"],
        ["{NaN}{NaN}"],
    ],
)
def test_what_only_looks_so_is_left_as_it_came(pieces: list[str]) -> None:
    assert said_once(pieces) == ("".join(pieces), None)


@given(st.lists(st.text('{}":,1a \\', max_size=6), max_size=5))
def test_what_is_mended_is_an_object_that_came(pieces: list[str]) -> None:
    once, kind = said_once(pieces)
    if kind is None:
        assert once == "".join(pieces)
    else:
        assert once.strip()[:1] == "{"
        assert once in "".join(pieces)
        assert said_once([once]) == (once, None)
