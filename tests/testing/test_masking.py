"""No secret is left where it stands, in whatever form, and nothing moves."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.testing.masking import Mask

KEY = 'sk-a/b+c=d"e~0123456789'


@pytest.mark.parametrize("before", ["", "a", "ab", "Bearer ", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_no_base64_of_it_is_left(before: str, encode: Any) -> None:
    for after in ("", "x", "xy", "\n"):
        text = b"{" + encode((before + KEY + after).encode()) + b"}"
        covered = Mask([KEY]).cover(text)
        assert len(covered) == len(text)
        # What is left at either end are characters that the neighbours share.
        whole = base64.b64encode((before + KEY + after).encode()).translate(bytes.maketrans(b"+/", b"-_"))
        inner = covered.translate(bytes.maketrans(b"+/", b"-_")).strip(b"{}")
        left = [char for char, was in zip(inner, whole, strict=True) if char == was]
        assert len(left) <= len(whole) - (len(KEY) * 4 // 3 - 2)


@pytest.mark.parametrize(
    "form",
    [KEY.encode(), quote(KEY, safe="").encode(), orjson.dumps(KEY), orjson.dumps(KEY).replace(b"/", b"\\/")],
)
def test_no_written_form_of_it_is_left(form: bytes) -> None:
    covered = Mask([KEY]).cover(b"<" + form + b">")
    assert len(covered) == len(form) + 2
    assert b"0123456789" not in covered


@given(st.lists(st.integers(0, 60), max_size=6))
def test_a_boundary_does_not_hide_it(cuts: list[int]) -> None:
    text = b'data: {"content":"your key is ' + KEY.replace('"', '\\"').encode() + b' indeed"}\n\n'
    edges = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    covered = Mask([KEY]).cover_pieces(pieces)
    assert [len(piece) for piece in covered] == [len(piece) for piece in pieces]
    assert b"".join(covered) == b'data: {"content":"your key is ' + b"*" * (len(KEY) + 1) + b' indeed"}\n\n'


def test_values_and_names_are_covered() -> None:
    value = {KEY: [KEY, {"a": f"<{KEY}>"}], "n": 1, "none": None}
    stars = "*" * len(KEY)
    assert Mask([KEY]).cover_json(value) == {stars: [stars, {"a": f"<{stars}>"}], "n": 1, "none": None}


def test_the_longest_goes_first_and_what_is_too_short_stays() -> None:
    assert Mask(["password", "password-of-mine", "abc"]).cover_text("password-of-mine, abc") == "****************, abc"
    assert Mask([]).cover(b"anything") == b"anything"
