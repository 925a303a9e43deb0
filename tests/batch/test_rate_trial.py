"""What was taken and refused at one rate tells chance from a limit."""

from __future__ import annotations

import pytest

from cometstream.batch.rate_trial import RateTest


def counted(outcomes: str) -> RateTest:
    """A test of a rate: `t` was taken, `r` refused."""
    test = RateTest()
    for outcome in outcomes:
        test.count(taken=outcome == "t")
    return test


def test_a_rate_at_which_nothing_was_sent_is_not_blamed() -> None:
    test = counted("")
    assert (test.accepted, test.refused_share, test.passed, test.streak) == (1.0, 0.0, None, 400)
    assert test.began_clean


def test_the_shares_are_of_what_was_sent() -> None:
    test = counted("tttr")
    assert (test.accepted, test.refused_share) == (0.75, 0.25)


@pytest.mark.parametrize(("outcomes", "passed"), [("ttr", None), ("ttrr", 0.0), ("ttrtr", 1 / 3), ("rtrt", 0.5)])
def test_what_passed_is_counted_from_the_first_refusal_on(outcomes: str, passed: float | None) -> None:
    assert counted(outcomes).passed == passed


@pytest.mark.parametrize(("outcomes", "streak"), [("r", 30), ("t" * 19 + "r", 120), ("t" * 999 + "r", 400)])
def test_the_rarer_refusals_are_the_longer_a_streak_must_be(outcomes: str, streak: int) -> None:
    assert counted(outcomes).streak == streak


@pytest.mark.parametrize(
    ("outcomes", "clean"), [("r", True), ("rtr", False), ("t" * 5 + "rr", False), ("t" * 50 + "rrrr", True)]
)
def test_more_than_chance_explains_were_taken_before_the_first_refusal(outcomes: str, clean: bool) -> None:
    assert counted(outcomes).began_clean is clean
