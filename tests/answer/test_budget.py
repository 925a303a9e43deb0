"""The clocks as arithmetic: each test passes the time in, in seconds that a float holds exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cometstream.answer.budget import GRACE, Budget
from cometstream.errors import APITimeoutError
from cometstream.policy import Clocks

SLOW = 0.0625  # a caller who takes more than 50 ms
PROMPT = 0.03125  # and one who takes less


def budget_of(first_content: float | None = 8, content_idle: float | None = 4, **options: Any) -> Budget:
    return Budget(Clocks(connect=10, first_content=first_content, content_idle=content_idle, total=None), **options)


def begun(**options: Any) -> Budget:
    """Return a budget whose first content came at 1.0, and was handed over at once."""
    budget = budget_of(**options)
    budget.wait_begins(0.0)
    budget.read_at = 1.0
    budget.progress = True
    budget.handed_over = 1
    return budget


# -- first_content -------------------------------------------------------------------------------------------------------


def test_the_first_wait_is_due_when_first_content_is() -> None:
    assert budget_of().wait_begins(100.0) == 108.0


def test_the_wait_for_the_head_is_taken_off_first_content() -> None:
    assert budget_of(waited=3.0).wait_begins(100.0) == 105.0


def test_the_time_before_the_first_read_is_the_callers() -> None:
    budget = budget_of()
    assert budget.wait_begins(1000.0) == 1008.0
    assert budget.expired() is None


def test_each_wait_takes_its_time_off() -> None:
    budget = budget_of()
    budget.wait_begins(100.0)
    budget.read_at = 103.0
    assert budget.expired() is None
    assert budget.wait_begins(103.0) == 108.0
    budget.read_at = 107.5
    assert budget.expired() is None
    assert budget.wait_begins(107.5) == 108.0
    budget.read_at = 108.0
    assert budget.expired() == "first_content"
    assert budget.expired() is not None


def test_a_wait_that_ends_late_has_run_out_too() -> None:
    budget = budget_of()
    budget.wait_begins(0.0)
    budget.read_at = 50.0
    assert budget.expired() == "first_content"
    assert budget.wait_begins(50.0) == 8.0  # a moment that is past: the read is a last look


def test_nothing_has_run_out_before_a_read_has_ended() -> None:
    budget = budget_of(waited=9.0)
    assert budget.expired() is None
    assert budget.wait_begins(0.0) == -1.0
    assert budget.expired() is None
    budget.read_at = 0.0
    assert budget.expired() == "first_content"


# -- content_idle --------------------------------------------------------------------------------------------------------


def test_after_content_the_next_wait_has_a_full_content_idle() -> None:
    budget = begun()
    assert budget.expired() is None
    assert budget.wait_begins(1.0) == 5.0
    assert not budget.progress
    budget.read_at = 5.0
    assert budget.expired() == "content_idle"


def test_content_gives_no_more_than_one_full_content_idle() -> None:
    budget = begun()
    budget.wait_begins(1.0)
    budget.read_at = 4.0
    assert budget.wait_begins(4.0) == 5.0


def test_content_that_came_with_the_end_of_a_late_wait_is_time_enough() -> None:
    budget = begun()
    budget.wait_begins(1.0)
    budget.read_at = 9.0
    assert budget.expired() == "content_idle"
    budget.progress = True
    assert budget.expired() is None
    assert budget.expired() is None
    assert budget.wait_begins(9.0) == 13.0


def test_after_content_first_content_is_of_no_more_account() -> None:
    budget = begun(first_content=1.0)
    assert budget.expired() is None
    assert budget.wait_begins(1.0) == 5.0


# -- whose time it is between two reads ----------------------------------------------------------------------------------


def test_the_time_in_which_nothing_was_handed_over_is_the_clocks() -> None:
    """To read keep-alives takes time, too: where they come without a pause it is all the time there is."""
    budget = budget_of()
    budget.wait_begins(0.0)
    budget.read_at = 1.0
    assert budget.wait_begins(4.0) == 8.0
    budget.read_at = 8.0
    assert budget.expired() == "first_content"


@pytest.mark.parametrize(
    ("took", "due"), [pytest.param(SLOW, 8.0 + SLOW, id="slow"), pytest.param(PROMPT, 8.0, id="prompt")]
)
def test_a_caller_is_given_the_time_that_was_taken_for_what_was_handed_over_beyond_50_ms(
    took: float, due: float
) -> None:
    budget = budget_of()
    budget.wait_begins(0.0)
    budget.read_at = 1.0
    budget.handed_over = 1  # a keep-alive
    assert budget.wait_begins(1.0 + took) == due


def test_the_50_ms_are_counted_from_the_end_of_the_last_read() -> None:
    budget = budget_of()
    for second in range(4):
        budget.wait_begins(float(second))
        budget.read_at = float(second) + 0.5
        budget.handed_over = 1
    assert budget.wait_begins(100.0) == 106.0  # four waits of half a second each, and no pause between them


@pytest.mark.parametrize(("took", "due"), [(1.9, 8.0), (2.1, 10.1)])
def test_a_flood_of_keep_alives_is_no_slow_caller(took: float, due: float) -> None:
    """2,000 of them may take two seconds on a busy machine; who takes longer for them does something else, too."""
    budget = budget_of()
    budget.wait_begins(0.0)
    budget.read_at = 1.0
    budget.handed_over = 2000
    assert budget.wait_begins(1.0 + took) == pytest.approx(due)


def test_handed_over_counts_for_one_pause() -> None:
    budget = budget_of()
    budget.wait_begins(0.0)
    budget.read_at = 1.0
    budget.handed_over = 1
    assert budget.wait_begins(3.0) == 10.0
    assert budget.handed_over == 0
    budget.read_at = 4.0
    assert budget.wait_begins(6.0) == 10.0


# -- reads that were given up --------------------------------------------------------------------------------------------


def test_a_read_that_was_given_up_takes_its_time_off_and_the_pause_after_it_is_the_callers() -> None:
    budget = begun()
    budget.wait_begins(1.0)
    budget.wait_broken_off(4.0)
    assert budget.wait_begins(100.0) == 101.0
    budget.read_at = 101.0
    assert budget.expired() == "content_idle"


def test_no_clock_has_run_out_before_another_read_looked_for_bytes() -> None:
    budget = begun(total_due=20.0)
    budget.wait_begins(1.0)
    budget.wait_broken_off(30.0)
    assert budget.read_at == -math.inf
    assert budget.expired() is None
    budget.wait_begins(30.0)
    assert budget.expired() is None
    budget.read_at = 30.0
    assert budget.expired() == "total"


# -- total ---------------------------------------------------------------------------------------------------------------


def test_total_is_due_where_it_comes_first() -> None:
    budget = budget_of(total_due=106.0)
    assert budget.wait_begins(100.0) == 106.0
    budget.read_at = 105.5
    assert budget.expired() is None
    budget.wait_begins(105.5)
    budget.read_at = 106.0
    assert budget.expired() == "total"


def test_total_runs_while_the_caller_is_busy_and_whatever_came() -> None:
    budget = begun(total_due=20.0)
    assert budget.wait_begins(50.0) == 20.0
    budget.read_at = 50.0
    budget.progress = True
    assert budget.expired() == "total"
    assert budget.expired() is not None


def test_total_is_told_before_another_clock_that_ran_out_with_it() -> None:
    budget = budget_of(total_due=8.0)
    budget.wait_begins(0.0)
    budget.read_at = 8.0
    assert budget.expired() == "total"


def test_before_total_is_due_content_is_time_enough() -> None:
    assert begun(total_due=20.0).expired() is None


# -- clocks that are off, and the grace behind an error frame ------------------------------------------------------------


def test_a_clock_that_is_off_never_runs_out() -> None:
    budget = budget_of(first_content=None, content_idle=None, waited=1e9)
    assert budget.wait_begins(0.0) == math.inf
    budget.read_at = 1e9
    assert budget.expired() is None
    assert budget.expired() is None
    budget.progress = True
    assert budget.wait_begins(1e9) == math.inf


def test_behind_an_error_frame_the_grace_is_all_the_time_there_is() -> None:
    budget = begun()
    budget.end_soon()
    assert not budget.progress
    assert budget.expired() is None
    assert budget.wait_begins(1.0) == 1.0 + GRACE
    budget.read_at = 1.0 + GRACE
    assert budget.expired() == "grace"


def test_a_slow_caller_takes_nothing_off_the_grace_and_reads_without_content_do() -> None:
    budget = begun()
    budget.end_soon()
    assert budget.wait_begins(100.0) == 100.0 + GRACE
    budget.read_at = 100.125
    assert budget.wait_begins(100.125) == 100.0 + GRACE


# -- what is told --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        ("first_content", "no content came within 8 s (timeouts.first_content)"),
        ("content_idle", "no further content came (keep-alives do not count) within 0.5 s (timeouts.content_idle)"),
        ("total", "the answer did not end within 60 s (timeouts.total)"),
    ],
)
def test_the_error_names_the_clock_and_the_seconds_that_were_allowed(clock: str, message: str) -> None:
    error = Budget(Clocks(connect=10, first_content=8, content_idle=0.5, total=60.0)).error(clock)
    assert isinstance(error, APITimeoutError)
    assert error.clock == clock
    assert str(error) == message
