"""Refusals teach a rest and a rate; those of one moment teach once."""

from __future__ import annotations

import pytest

from cometstream.batch.buckets import TrailingMinute
from cometstream.batch.learned_rate import LearnedRate
from cometstream.batch.rate_trial import RateTest


class _Model:
    """Requests of one model, as `Limits` keeps them."""

    def __init__(self) -> None:
        self.sent = TrailingMinute()
        self.number = 0
        self.learned: LearnedRate | None = None

    def send(self, now: float) -> int:
        self.number += 1
        self.sent.add(now, 1)
        if self.learned is not None:
            self.learned.start(self.number, now, self.sent)
        return self.number

    def refuse(self, number: int, sent_at: float, retry_after: float | None, now: float) -> bool:
        self.sent.add(sent_at, -1)
        if self.learned is None:
            self.learned = LearnedRate(0.0, now)
        return self.learned.refused(number, sent_at, retry_after, now, self.sent, chance=0.05, test=RateTest())

    def wait(self, now: float) -> float:
        return 0.0 if self.learned is None else self.learned.wait(now)


def _filled(count: int) -> _Model:
    """A model of which so many requests were sent within the first ten seconds."""
    model = _Model()
    for number in range(count):
        model.send(number * 10 / count)
    return model


def test_retry_after_is_kept_to_the_moment_once_those_that_went_ahead_were_refused() -> None:
    model, now = _filled(100), 10.0
    for rest in (0.5, 1.0):
        model.refuse(model.send(now), now, 37.0, now + 0.1)
        assert model.wait(now + 0.1) == pytest.approx(rest)
        now += 0.1 + rest
    model.refuse(model.send(now), now, 37.0, now + 0.1)
    assert model.wait(now + 0.1) == pytest.approx(37.0)
    assert model.wait(now + 37.1) == 0.0


def test_refusals_of_requests_that_were_on_their_way_count_once() -> None:
    model = _filled(100)
    numbers = [model.send(10.0) for _ in range(20)]
    assert [model.refuse(number, 10.0, None, 10.1) for number in numbers].count(True) == 1
    assert model.wait(10.1) == pytest.approx(0.5)


def test_after_a_rest_one_request_goes_ahead() -> None:
    model = _filled(100)
    model.refuse(model.send(10.0), 10.0, 30.0, 10.1)
    model.send(10.7)
    assert 0.0 < model.wait(10.7) <= 2.0


def test_rests_grow_while_newly_sent_requests_are_refused_and_stay_a_quarter_of_a_minute() -> None:
    model, now, rests = _filled(100), 10.0, []
    for _ in range(12):
        number = model.send(now)
        model.refuse(number, now, None, now + 0.1)
        rests.append(model.wait(now + 0.1))
        now += 0.1 + rests[-1]
    assert rests[:4] == pytest.approx([0.5, 1.0, 2.0, 4.0])
    assert rests[-1] == pytest.approx(15.0)


def test_a_long_block_teaches_the_minute_s_count() -> None:
    model = _filled(300)
    model.refuse(model.send(10.0), 10.0, 50.0, 10.1)
    model.send(60.1)
    model.wait(63.0)
    assert model.learned is not None
    assert model.learned.rate == pytest.approx(300 / 60 * 0.97, rel=0.02)


def test_a_short_block_teaches_what_was_taken_just_before() -> None:
    model = _filled(300)
    model.refuse(model.send(10.0), 10.0, 1.0, 10.1)
    model.send(11.1)
    model.wait(14.0)
    assert model.learned is not None
    assert model.learned.rate == pytest.approx(30 * 0.95, rel=0.05)


def test_many_refusals_of_one_moment_make_the_next_growth_wait() -> None:
    def rate_after(refusals: int) -> float:
        model = _filled(300)
        model.refuse(model.send(10.0), 10.0, 50.0, 10.1)
        now = 60.1
        while now < 150:
            now += max(model.wait(now), 0.01)
            model.send(now)
        numbers = [model.send(now) for _ in range(refusals)]
        for number in numbers:
            model.refuse(number, now, 1.0, now + 0.1)
        while now < 220:
            now += max(model.wait(now), 0.01)
            model.send(now)
        assert model.learned is not None
        assert model.learned.rate is not None
        return model.learned.rate

    assert rate_after(1) > rate_after(20) * 1.01


def test_where_nothing_was_taken_nothing_is_learned_but_the_rest() -> None:
    model = _Model()
    model.refuse(model.send(0.0), 0.0, None, 0.1)
    assert model.learned is not None
    assert not model.learned.is_known
    model.send(0.6)
    assert model.wait(5.0) == 0.0
    assert model.learned.rate is None


def test_a_rate_that_is_not_used_does_not_grow() -> None:
    model = _filled(300)
    model.refuse(model.send(10.0), 10.0, 50.0, 10.1)
    model.send(60.1)
    model.wait(63.0)
    assert model.learned is not None
    before = model.learned.rate
    for step in range(1, 2000):
        model.wait(63.0 + step)
        model.send(63.0 + step)
    assert model.learned.rate == before


def test_a_pause_rests_and_teaches_nothing() -> None:
    learned = LearnedRate(0.0, 5.0)
    learned.pause(20.0, 5.0)
    assert learned.wait(5.0) == pytest.approx(20.0)
    learned.pause(2.0, 6.0)
    assert learned.wait(6.0) == pytest.approx(19.0), "a shorter wish does not end a longer one"
    assert not learned.is_known
