"""Workers that share what they know of a server's limits behave like one, whoever dies."""

from __future__ import annotations

import math
import pickle
import sqlite3
from typing import Any

import pytest
from support.limited_servers import (
    Chance,
    FixedWindow,
    LeakyBucket,
    Parallel,
    SharedSimulation,
    SlidingWindow,
)

from cometstream.batch.limits import Limits
from cometstream.batch.shared_models import SharedModels
from cometstream.batch.shared_state import AHEAD, Report, SharedState, Want
from cometstream.errors import RateLimitError

KEY = ("model", None, None)
_KINDS: Any = {
    "fixed window": FixedWindow,
    "sliding window": SlidingWindow,
    "bucket, burst of 10": lambda rpm: LeakyBucket(rpm, 10),
    "bucket, burst of a minute": lambda rpm: LeakyBucket(rpm, rpm),
}


def simulation(server: Any, **options: Any) -> SharedSimulation:
    return SharedSimulation(Limits(now=0.0), server, **options)


@pytest.mark.slow
@pytest.mark.no_cover  # ten times as long otherwise
@pytest.mark.parametrize("tells", [True, False], ids=["Retry-After", "no Retry-After"])
@pytest.mark.parametrize("kind", _KINDS)
def test_eight_workers_use_95_percent_of_600_a_minute_and_one_percent_is_refused(kind: str, tells: bool) -> None:
    taken, refused = simulation(_KINDS[kind](600), tells=tells).run(660).of(1, 11)
    assert taken >= 0.95 * 600
    assert refused <= 0.01


def test_eight_workers_use_95_percent_of_a_hidden_limit_in_the_first_minutes() -> None:
    taken, refused = simulation(FixedWindow(600)).run(180).of(1, 3)
    assert taken >= 0.95 * 600
    assert refused <= 0.01


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_same_with_a_worker_that_dies_each_minute() -> None:
    dies = tuple(60.0 * minute + 7 for minute in range(1, 6))
    taken, refused = simulation(FixedWindow(600), dies=dies).run(360).of(1, 6)
    assert taken >= 0.95 * 600
    assert refused <= 0.01


@pytest.mark.parametrize("workers", [1, 3])
def test_a_cap_is_kept_by_all_workers_together_and_used(workers: int) -> None:
    simulated = simulation(FixedWindow(math.inf), workers=workers, caps={"rpm": 120}, ends_within=(0.5, 1.0))
    taken, refused = simulated.run(240).of(1, 4)
    assert 0.95 * 120 <= taken <= 120
    assert not refused


def test_a_cap_of_tokens_is_kept_by_all_workers_together_and_used() -> None:
    # 100 are expected and 90 reported.
    simulated = simulation(FixedWindow(math.inf), workers=3, caps={"tpm": 9000}, ends_within=(0.5, 1.0))
    taken, _ = simulated.run(240).of(1, 4)
    assert 95 <= taken <= 105


def test_without_a_limit_nobody_waits_for_a_grant() -> None:
    simulated = simulation(FixedWindow(math.inf), workers=2, concurrency=50, ends_within=(1.0, 1.0))
    simulated.run(20)
    assert sum(worker.in_flight for worker in simulated._team) == 100
    assert simulated.state.models[KEY].free


def test_what_all_workers_have_under_way_counts_against_a_limit_of_how_many() -> None:
    simulated = simulation(Parallel(20), workers=4, concurrency=20)
    taken, refused = simulated.run(240).of(1, 4)
    alone, _ = SharedSimulation(Limits(now=0.0), Parallel(20), workers=1, concurrency=20).run(240).of(1, 4)
    assert taken >= 0.8 * alone
    assert refused <= 0.1


def test_refusals_by_chance_hold_nobody_up() -> None:
    simulated = simulation(Chance(0.05), workers=4, concurrency=10)
    taken, refused = simulated.run(180).of(1, 3)
    assert taken >= 0.85 * 40 * 60 / 4.6
    assert refused <= 0.08


def report(at: float, events: Any = (), want: int = 0, **spent: Any) -> Report:
    return Report(at, {KEY: list(events)}, {KEY: Want(want, 100)} if want else {}, **spent)


def test_times_are_of_the_workers_own_clock() -> None:
    state, key = SharedState(), ("model", 60.0, None)
    reply = state.exchange("a", Report(5.0, {key: []}, {key: Want(3, 1)}), 1000.0)
    assert [due for _, due in reply.models[key].grants] == [5.0]
    assert 0.5 < reply.models[key].wait < 1.0
    # The other one has the next, and its own clock.
    reply = state.exchange("b", Report(77.0, {key: []}, {key: Want(3, 1)}), 1001.2 - AHEAD)
    assert [due for _, due in reply.models[key].grants] == [pytest.approx(77.0 + 60 / (60 - 0.05) - 1.2 + AHEAD)]


def test_a_worker_that_is_silent_for_ten_seconds_has_nothing_under_way() -> None:
    state = SharedState()
    state.exchange("a", report(0.0, [(-1, "start", 0.0, 100)]), 0.0)
    state.exchange("b", report(5.0, [(-1, "start", 5.0, 100)]), 5.0)
    assert state.models[KEY].in_flight == 2
    assert state.exchange("b", report(12.0), 12.0).workers == 1
    assert state.models[KEY].in_flight == 1
    # It is heard again, and what it had is not counted twice.
    reply = state.exchange("a", report(13.0, [(-1, "over", 13.0, None), (-1, "end", 13.0, None)]), 13.0)
    assert (reply.workers, state.models[KEY].in_flight) == (2, 1)
    state.leave("b")
    assert state.models[KEY].in_flight == 0


def test_what_all_have_spent_is_told_to_each() -> None:
    state = SharedState()
    state.exchange("a", report(0.0, cost=1.5, tokens=100), 0.0)
    reply = state.exchange("b", report(0.0, cost=0.25, tokens=50), 0.0)
    assert (reply.cost, reply.tokens) == (1.75, 150)


def test_a_state_is_read_as_it_was_written() -> None:
    simulated = simulation(FixedWindow(60), workers=2)
    simulated.run(90)
    written = simulated.state.written()
    read = SharedState.read(written, simulated.now)
    assert read.written() == SharedState.read(read.written(), simulated.now).written()
    assert read.models[KEY].rate == simulated.state.models[KEY].rate is not None
    assert len(written) < 10_000


def test_only_what_was_spent_is_kept_where_the_clock_was_set_back() -> None:
    state = SharedState()
    state.exchange("a", report(0.0, cost=1.5, tokens=100), 1000.0)
    read = SharedState.read(state.written(), 900.0)
    assert (read.cost, read.tokens, read.now, read.models) == (1.5, 100, 0.0, {})
    assert SharedState.read(state.written(), 999.0).models


class Harmful:
    def __reduce__(self) -> Any:
        return sqlite3.connect, ("/nowhere/at/all",)


@pytest.mark.parametrize("state", [None, b"", b"nonsense", pickle.dumps(Harmful()), pickle.dumps({"a": 1})])
def test_bytes_that_are_no_state_run_nothing_and_begin_anew(state: Any) -> None:
    read = SharedState.read(state, 0.0)
    assert (read.cost, read.models) == (0.0, {})


def test_models_without_requests_are_forgotten_when_there_are_too_many() -> None:
    state = SharedState()
    state.exchange("a", report(0.0, [(-1, "start", 0.0, 1)]), 0.0)
    for number in range(200):
        key = (f"m{number}", None, None)
        state.exchange("a", Report(0.0, {key: []}, {}), 0.0)
    assert len(state.models) == 64
    assert KEY in state.models
    models = SharedModels(1, lambda: None)
    for number in range(200):
        models.model(f"m{number}", None, None, 0.0)
    assert len(models.report(0.0, 0.0, 0, 1).models) <= 64


class Alone:
    """One worker, and the state that it shares."""

    def __init__(self, *, workers: int = 1, **caps: Any) -> None:
        self.state = SharedState()
        self.wanted = 0
        self.models = SharedModels(workers, self.want)
        self.limits = Limits(now=0.0, shared=self.models, **caps)

    def want(self) -> None:
        self.wanted += 1

    def meet(self, now: float, *others: str) -> None:
        for other in others:
            self.state.exchange(other, report(now), now)
        self.models.take(self.state.exchange("me", self.models.report(now, 0.0, 0, 8), now), now)

    def lose(self, now: float) -> None:
        self.models.lost(self.models.report(now, 0.0, 0, 8), now)


def test_nothing_is_sent_before_the_others_were_asked() -> None:
    alone = Alone()
    assert alone.limits.wait("model", 100, 0.0) > 0
    assert alone.wanted
    alone.meet(0.1)
    assert alone.limits.wait("model", 100, 0.1) == 0.0


def test_a_worker_that_cannot_reach_the_others_goes_on_with_a_fair_share_of_the_caps() -> None:
    alone = Alone(rpm=600, tpm=60_000)
    alone.limits.wait("model", 100, 0.0)
    alone.meet(0.0, "b", "c", "d")
    alone.lose(0.1)
    started = 0
    for hundredth in range(6000):
        while alone.limits.wait("model", 100, hundredth / 100) <= 0:
            alone.limits.start("model", 100, hundredth / 100)
            started += 1
    assert 140 <= started <= 150


def test_a_worker_alone_keeps_to_its_share_of_a_rate_that_was_learned() -> None:
    simulated = simulation(FixedWindow(600), workers=4)
    simulated.run(120)
    worker = simulated._team[0]
    worker.models.lost(worker.models.report(simulated.now, 0.0, 0, 8), simulated.now)
    started = 0
    for step in range(6000):
        now = simulated.now + step / 100
        while worker.limits.wait("model", 100, now) <= 0:
            worker.limits.start("model", 100, now)
            started += 1
    assert 120 <= started <= 155


def test_what_happened_while_the_others_were_away_is_told_when_they_are_back() -> None:
    alone = Alone()
    alone.limits.wait("model", 100, 0.0)
    alone.meet(0.0)
    before = alone.limits.start("model", 100, 0.0)
    alone.meet(0.1)
    assert alone.state.models[KEY].in_flight == 1
    alone.lose(0.2)
    alone.limits.answered(before, {}, 0.3)
    meanwhile = alone.limits.start("model", 100, 0.3)
    alone.limits.completed(before, 0.4, tokens=90, time_to_first_content=0.1)
    alone.lose(0.5)
    alone.meet(0.6)
    assert alone.state.models[KEY].in_flight == 0
    # The one that began meanwhile was nobody's business but the worker's.
    alone.limits.answered(meanwhile, {}, 0.7)
    alone.limits.failed(meanwhile, RateLimitError("slow", status=429, retryable=True), 0.8)
    alone.meet(0.9)
    assert alone.state.models[KEY].in_flight == 0
    assert alone.limits.wait("model", 100, 0.9) == 0.0


def test_refusals_teach_a_worker_alone_too() -> None:
    alone = Alone()
    alone.limits.wait("model", 100, 0.0)
    alone.meet(0.0)
    alone.lose(0.1)
    refused = RateLimitError("slow", status=429, retryable=True)
    for step in range(12):
        ticket = alone.limits.start("model", 100, 0.2 + step / 100)
        alone.limits.failed(ticket, refused, 0.3 + step / 100)
    assert alone.limits.wait("model", 100, 0.5) > 0


def test_a_fair_share_of_the_money_is_left_to_a_worker_alone() -> None:
    alone = Alone()
    alone.state.exchange("b", report(0.0, cost=4.0), 0.0)
    alone.models.take(alone.state.exchange("me", alone.models.report(0.0, 1.0, 0, 8), 0.0), 0.0)
    assert alone.models.room(10.0, money=True) == pytest.approx(6.0)
    alone.lose(0.1)
    assert alone.models.room(10.0, money=True) == pytest.approx(1.0 + 5.0 / 2)


def test_a_refusal_stops_the_worker_until_the_others_know() -> None:
    alone = Alone()
    alone.limits.wait("model", 100, 0.0)
    alone.meet(0.0)
    ticket = alone.limits.start("model", 100, 0.0)
    assert alone.limits.wait("model", 100, 0.0) == 0.0
    alone.wanted = 0
    alone.limits.failed(ticket, RateLimitError("slow", status=429, retryable=True), 0.1)
    assert alone.wanted
    assert alone.limits.wait("model", 100, 0.1) > 0
    alone.meet(0.2)
    assert alone.limits.wait("model", 100, 0.2) == 0.0  # one refusal is chance


def test_limits_that_headers_announce_count_for_all() -> None:
    alone = Alone()
    alone.limits.wait("model", 100, 0.0)
    alone.meet(0.0)
    ticket = alone.limits.start("model", 100, 0.0)
    headers = {
        "X-RateLimit-Limit-Requests": "10",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "30s",
    }
    alone.limits.answered(ticket, headers, 0.1)
    alone.meet(0.2)
    reply = alone.state.exchange("b", report(0.3, want=1), 0.3)
    assert not reply.models[KEY].free
    assert not reply.models[KEY].grants


def test_what_was_granted_before_others_were_refused_is_void() -> None:
    alone = Alone(rpm=60_000)
    key = ("model", 60_000, None)
    starts: Any = [(-number, "start", 0.0, 100) for number in range(1, 13)]
    alone.state.exchange("b", Report(0.0, {key: starts}, {}), 0.0)
    alone.limits.wait("model", 100, 0.05)
    alone.meet(0.05)
    assert alone.limits.wait("model", 100, 0.05) == 0.0
    refusals: Any = [(number, "refused", 0.1, None) for number, *_ in starts]
    alone.state.exchange("b", Report(0.1, {key: refusals}, {}), 0.1)
    assert alone.state.models[key].is_resting
    alone.meet(0.11)
    assert alone.limits.wait("model", 100, 0.11) > 0
    alone.meet(0.12)
    assert alone.state.models[key].in_flight == 12
