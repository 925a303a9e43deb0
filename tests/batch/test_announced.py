"""What a server's headers leave is spent, not more, and no header of plenty holds anything back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cometstream.batch.announced import AnnouncedLimit
from cometstream.batch.ratelimit_headers import Allowance


def test_requests_since_the_header_s_own_count_against_what_remains() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(100, 3, 20.0), total=10, now=0.0)
    assert [limit.wait(1, total, 1.0) for total in (10, 11, 12)] == [0.0, 0.0, 0.0]
    assert limit.wait(1, 13, 1.0) == 19.0
    assert limit.wait(1, 13, 20.0) == 0.0


def test_a_header_of_an_older_request_changes_nothing() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(100, 5, 20.0), total=10, now=0.0)
    limit.told(Allowance(100, 0, 20.0), total=9, now=1.0)
    assert limit.wait(1, 10, 1.0) == 0.0


def test_after_the_reset_no_more_than_the_whole_limit_starts_before_another_header() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(4, 0, 10.0), total=7, now=0.0)
    assert limit.wait(1, 7, 0.0) == 10.0
    assert [limit.wait(1, total, 10.0) for total in (7, 8, 9, 10)] == [0.0] * 4
    assert limit.wait(1, 11, 10.0) > 0.0


def test_more_than_the_whole_limit_starts_when_it_is_full() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(1000, 10, 5.0), total=990, now=0.0)
    assert limit.wait(5000, 990, 0.0) == 5.0
    assert limit.wait(5000, 990, 5.0) == 0.0
    assert limit.wait(1, 5990, 5.0) > 0.0


def test_without_a_limit_nothing_is_known_after_the_reset() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(None, 0, 5.0), total=1, now=0.0)
    assert limit.wait(1, 1, 0.0) == 5.0
    assert all(limit.wait(1, total, 5.0) == 0.0 for total in range(1, 100))


def test_a_limit_of_a_day_is_asked_about_once_a_minute() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(14400, 0, 86400.0), total=1, now=0.0)
    assert limit.wait(1, 1, 0.0) == 60.0
    assert limit.wait(1, 1, 60.0) == 0.0
    assert limit.wait(1, 2, 60.0) == 60.0


def test_plenty_of_a_day_s_limit_holds_nothing_back() -> None:
    limit = AnnouncedLimit()
    limit.told(Allowance(14400, 14000, 7200.0), total=1, now=0.0)
    assert all(limit.wait(1, total, float(total)) == 0.0 for total in range(1, 300))


@given(
    st.one_of(st.none(), st.floats(1, 1e9)),
    st.floats(0, 1e9),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
    st.integers(0, 10**6),
)
def test_after_a_wait_there_is_room(
    limit: float | None, remaining: float, reset: float, amount: float, since: int
) -> None:
    announced = AnnouncedLimit()
    announced.told(Allowance(limit, remaining, reset), total=5, now=100.0)
    wait = announced.wait(amount, 5 + since, 100.0)
    assert 0.0 <= wait <= 60.0
    assert announced.wait(amount, 5 + since, 100.0 + wait) == 0.0
