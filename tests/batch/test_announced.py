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


def test_headers_that_let_nothing_through_are_tested_by_twice_as_many_each_time_and_proved_wrong() -> None:
    limit, total, now = AnnouncedLimit(), 1, 0.0
    limit.told(Allowance(600, 0, 60.0), total=total, now=now)
    assert limit.wait_or_test(1, total, now) == 2.0
    now, rounds = 2.0, []
    while not limit.refuted:
        rounds.append(0)
        while limit.wait_or_test(1, total, now) == 0.0:
            assert limit.started(1, total, now)
            total += 1
            rounds[-1] += 1
        for _ in range(rounds[-1]):
            limit.tested(taken=True, now=now)
        limit.told(Allowance(600, 0, 60.0), total=total, now=now)
    assert rounds == [1, 2, 4, 8]


def test_a_test_that_is_refused_makes_the_headers_be_trusted_for_longer_each_time() -> None:
    limit, now, waits = AnnouncedLimit(), 0.0, []
    for _ in range(3):
        limit.told(Allowance(10, 0, 60.0), total=5, now=now)
        while (wait := limit.wait_or_test(1, 5, now)) > 0.0:
            now += wait
            limit.told(Allowance(10, 0, 60.0), total=5, now=now)
        assert limit.started(1, 5, now)
        limit.tested(taken=False, now=now)
        waits.append(now)
    assert waits == [2.0, 122.0, 362.0]
    assert not limit.refuted
