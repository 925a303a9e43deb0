"""Pieces for a display: never within a character, never late, and all of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.answer.smooth import Smoother, pieces_of

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Comets are  old.\n\n", ["Comets", " are", "  old.", "\n\n"]),
        ("x" * 30, ["x" * 12, "x" * 12, "x" * 6]),
        ("彗星は氷。Ok", ["彗", "星", "は", "氷", "。Ok"]),
        ("ดาวหาง", ["ด", "า", "ว", "ห", "า", "ง"]),
        ("x" * 12 + "\u0301y", ["x" * 12 + "\u0301y"]),
        ("", []),
    ],
)
def test_words_and_characters_of_scripts_without_spaces(text: str, pieces: list[str]) -> None:
    assert pieces_of(text, "word") == pieces


@pytest.mark.parametrize(
    "character",
    [
        "e\u0301",
        "\r\n",
        FAMILY,
        SCOTLAND,
        "\U0001f44d\U0001f3fd",
        "\U0001f1e9\U0001f1ea",
        "\u2764\ufe0f",
        "\u1112\u1161\u11ab",
        "\u0e01\u0e33\u0e48"[:1] + "\u0e48",
    ],
)
def test_what_a_reader_sees_as_one_character_is_one_piece(character: str) -> None:
    assert pieces_of(character * 3, "grapheme") == [character] * 3


def test_a_burst_is_spread_evenly_and_what_follows_comes_behind_it() -> None:
    smoother = Smoother(1.0, "word")
    assert smoother.at is None
    smoother.add("a b c d", 10.0)
    assert (smoother.at, smoother.take(10.0)) == (10.0, "a")
    assert (smoother.at, smoother.take(10.25)) == (10.25, " b")
    smoother.add(" e f", 10.5)
    assert (smoother.at, smoother.take(10.75)) == (10.5, " c d")
    assert (smoother.at, smoother.take(11.0)) == (11.0, " e")
    assert (smoother.at, smoother.rest(), smoother.at) == (11.25, " f", None)


@given(
    st.lists(st.tuples(st.text(max_size=30), st.floats(0, 2)), max_size=20),
    st.sampled_from(["word", "grapheme"]),
    st.floats(0, 1),
)
def test_nothing_is_lost_nor_late(arrivals: list[tuple[str, float]], by: str, seconds: float) -> None:
    smoother, shown, now = Smoother(seconds, by), "", 0.0  # type: ignore[arg-type]
    came: list[tuple[int, float]] = []  # characters that have come, and when they must be shown
    for text, pause in arrivals:
        until = now + pause
        while smoother.at is not None and smoother.at <= until:
            at = smoother.at
            shown += smoother.take(at)
            assert len(shown) <= (came[-1][0] if came else 0)
        now = until
        assert all(len(shown) >= count for count, due in came if due < now - 1e-6)
        smoother.add(text, now)
        came.append(((came[-1][0] if came else 0) + len(text), now + seconds))
    shown += smoother.rest()
    assert shown == "".join(text for text, _ in arrivals)
