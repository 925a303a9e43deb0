from __future__ import annotations

from cometstream.answer import states
from cometstream.answer.states import HAPPENINGS, OUTCOMES, TABLE


def test_the_table_in_the_docstring_is_the_table() -> None:
    rows = [
        ["state", *HAPPENINGS],
        *([state, *(TABLE[state].get(name, ".") for name in HAPPENINGS)] for state in TABLE),
    ]
    documented = [line.split() for line in (states.__doc__ or "").split("::")[1].split("\n\n")[1].splitlines()]
    assert documented == rows


def test_an_outcome_has_no_way_out_and_each_state_comes_to_one() -> None:
    assert not set(OUTCOMES) & set(TABLE)
    for state in TABLE:
        assert set(TABLE[state].values()) <= {*TABLE, *OUTCOMES}
        assert TABLE[state]["close"] in OUTCOMES
