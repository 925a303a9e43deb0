"""Paces and buckets keep their cap in every minute, and never wait for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometstream.batch.buckets import Pace, TokenBucket, TrailingMinute


def _most_in_a_minute(taken: list[tuple[float, float]]) -> float:
    return max(sum(amount for other, amount in taken if time <= other < time + 60) for time, _ in taken)


@pytest.mark.parametrize("rpm", [1, 7.5, 60, 600, 3000])
def test_no_minute_of_a_capped_pace_holds_more_than_the_cap(rpm: float) -> None:
    pace, now, taken = Pace.of_cap(rpm, 100.0), 100.0, []
    late = [0.0, 0.0, 0.3, 0.0, 2.0, 0.01]
    while now < 400 and len(taken) < 4000:
        now += pace.wait(now) + late[len(taken) % len(late)] * (len(taken) % 7 == 0)
        pace.take(now)
        taken.append((now, 1.0))
    assert _most_in_a_minute(taken) <= math.ceil(rpm)


def test_what_a_late_start_catches_up_with_is_within_the_cap() -> None:
    pace, now, count = Pace.of_cap(6000, 0.0), 5.0, 0
    while now < 65.0:
        pace.take(now)
        count += 1
        now += pace.wait(now)
    assert count <= 6000


@pytest.mark.parametrize("rpm", [60, 600, 6000])
def test_a_pace_gives_the_cap_to_one_percent(rpm: float) -> None:
    pace, now, count = Pace.of_cap(rpm, 0.0), 0.0, 0
    while True:
        now += pace.wait(now)
        if now >= 600:
            break
        pace.take(now)
        count += 1
    assert count >= rpm * 10 * 0.99 - 1


def test_a_pace_catches_up_with_a_twentieth_of_a_second_and_no_more() -> None:
    pace = Pace(100.0, 0.0)
    pace.take(0.0)
    burst = 0
    while pace.wait(5.0) == 0.0:
        pace.take(5.0)
        burst += 1
    assert burst == 6


def test_a_request_of_more_than_a_bucket_holds_starts_when_it_is_full_and_leaves_a_debt() -> None:
    bucket = TokenBucket(6000, 0.0)
    assert bucket.wait(5000, 0.0) == 0.0
    bucket.take(5000, 0.0)
    wait = bucket.wait(1, 0.0)
    assert 45 < wait < 55
    assert bucket.wait(5000, wait + 1.1) == 0.0


def test_no_minute_brings_more_tokens_than_the_cap_and_one_request() -> None:
    bucket, now, taken = TokenBucket(6000, 0.0), 0.0, []
    sizes = [10, 400, 90, 1200, 55]
    while now < 600:
        size = sizes[len(taken) % len(sizes)]
        now += bucket.wait(size, now)
        bucket.take(size, now)
        taken.append((now, float(size)))
    assert _most_in_a_minute(taken) <= 6000 + max(sizes)
    assert sum(size for _, size in taken) >= 0.97 * 6000 * 10


def test_tokens_that_were_not_used_are_given_back() -> None:
    bucket = TokenBucket(6000, 0.0)
    bucket.take(3000, 0.0)
    before = bucket.wait(50, 0.0)
    bucket.take(-2900, 0.0)
    assert bucket.wait(50, 0.0) < before / 10
    bucket.take(-(10**9), 0.0)
    bucket.take(100, 0.0)
    assert bucket.wait(1, 0.0) > 0.0, "a bucket holds no more than it is deep"


@settings(max_examples=200)
@given(
    rate=st.floats(0.001, 1e6),
    steps=st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 10**7)), max_size=20),
)
def test_after_a_wait_there_is_room(rate: float, steps: list[tuple[float, int]]) -> None:
    pace, bucket, now = Pace(rate, 5.0), TokenBucket(rate * 60, 5.0), 5.0
    for passed, size in steps:
        now += passed
        pace_wait, bucket_wait = pace.wait(now), bucket.wait(size, now)
        assert 0.0 <= pace_wait < 1e12
        assert 0.0 <= bucket_wait < 1e13
        assert pace.wait(now + pace_wait) <= 1e-6 * (1 + now + pace_wait)
        pace.take(now)
        bucket.take(size, now)


def test_the_trailing_minute_counts_what_was_added_and_forgets_it() -> None:
    minute = TrailingMinute()
    for tenth in range(1200):
        minute.add(1000 + tenth / 10, 1)
    assert minute.count(60, 1119.95) == pytest.approx(600, abs=1)
    assert minute.rate(10, 1119.95) == pytest.approx(10, rel=0.02)
    minute.add(1100.0, -5)
    assert minute.count(60, 1119.95) == pytest.approx(595, abs=1)
    minute.add(1000.0, -100)
    assert minute.count(60, 1119.95) == pytest.approx(595, abs=1), "what is forgotten can't be taken back"
    minute.add(5000.0, 1)
    assert minute.count(60, 5000.0) == 1
