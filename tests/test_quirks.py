"""Every row of what gateways really send gives its result, however the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from quirks import IMAGE_LINE, QUIRKS, Quirk, read_wire

from cometstream.errors import ProtocolError

every_quirk = pytest.mark.parametrize("quirk", QUIRKS, ids=[quirk.row for quirk in QUIRKS])


def holds(have: Any, want: Any) -> bool:
    """Whether `have` is `want`, or has at least its fields at every depth."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(key in have and holds(have[key], item) for key, item in want.items())
    if isinstance(want, list):
        return isinstance(have, list) and len(have) == len(want) and all(map(holds, have, want))
    return bool(have == want)


@every_quirk
def test_the_whole_body_gives_the_result(quirk: Quirk) -> None:
    answer, completion, error = read_wire([quirk.wire], split_thinking=quirk.split_thinking)
    assert answer == quirk.answer
    assert holds(completion.to_dict(), quirk.kept)
    assert completion.usage_source == ("unknown" if quirk.answer.usage is None else "reported")
    if quirk.raw is not None:
        assert isinstance(error, ProtocolError)
        assert error.raw == quirk.raw


@every_quirk
def test_one_byte_at_a_time_gives_the_same(quirk: Quirk) -> None:
    pieces = [quirk.wire[at : at + 1] for at in range(len(quirk.wire))]
    assert read_wire(pieces, split_thinking=quirk.split_thinking)[0] == quirk.answer


@every_quirk
def test_cut_in_two_at_every_offset_gives_the_same(quirk: Quirk) -> None:
    for at in range(len(quirk.wire) + 1):
        pieces = [quirk.wire[:at], b"", quirk.wire[at:]]
        assert read_wire(pieces, split_thinking=quirk.split_thinking)[0] == quirk.answer, at


@every_quirk
def test_where_it_is_cut_changes_no_message(quirk: Quirk) -> None:
    whole = read_wire([quirk.wire])[2]
    pieces = [quirk.wire[at : at + 7] for at in range(0, len(quirk.wire), 7)]
    assert str(read_wire(pieces)[2]) == str(whole)


@pytest.mark.parametrize("size", [1_000_003, 65_536, 1_460])
def test_a_line_of_four_megabytes_in_pieces(size: int) -> None:
    assert len(IMAGE_LINE.wire) > 4 * 1024 * 1024
    pieces = [IMAGE_LINE.wire[at : at + size] for at in range(0, len(IMAGE_LINE.wire), size)]
    assert read_wire(pieces)[0] == IMAGE_LINE.answer


def test_a_line_of_four_megabytes_cut_near_its_ends() -> None:
    for at in [1, 5, 6, 7, 60, *range(len(IMAGE_LINE.wire) - 20, len(IMAGE_LINE.wire), 3)]:
        assert read_wire([IMAGE_LINE.wire[:at], IMAGE_LINE.wire[at:]])[0] == IMAGE_LINE.answer, at


def test_no_row_is_forgotten() -> None:
    rows = {quirk.row.split()[0] for quirk in [*QUIRKS, IMAGE_LINE]}
    last = {"A": 11, "B": 10, "C": 14, "D": 9, "E": 9, "U": 6, "R": 4}
    wanted = {f"{letter}{number}" for letter, count in last.items() for number in range(1, count + 1)}
    # D4, a reset, is D2 to the wire: only the socket can tell.
    assert wanted - rows == {"D4"}
