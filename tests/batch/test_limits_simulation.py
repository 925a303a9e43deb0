"""Against every kind of hidden limit the rate settles just below it, and few requests are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
from support.limited_servers import (
    Chance,
    Channels,
    FixedWindow,
    LeakyBucket,
    Parallel,
    Queue,
    Server,
    Simulation,
    SlidingWindow,
    no_connection,
)

from cometstream.batch.limits import Limits

_KINDS: dict[str, Callable[[float], Server]] = {
    "fixed window": FixedWindow,
    "fixed window, began 37 s ago": lambda rpm: FixedWindow(rpm, offset=-37.0),
    "sliding window": SlidingWindow,
    "bucket, no burst": lambda rpm: LeakyBucket(rpm, 1),
    "bucket, burst of 10": lambda rpm: LeakyBucket(rpm, 10),
    "bucket, burst of a minute": lambda rpm: LeakyBucket(rpm, rpm),
}
_TELLS = pytest.mark.parametrize("tells", [True, False], ids=["Retry-After", "no Retry-After"])


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@_TELLS
@pytest.mark.parametrize("rpm", [30, 100, 600, 6000])
@pytest.mark.parametrize("kind", _KINDS)
def test_nine_tenths_of_a_hidden_limit_are_used_and_three_percent_refused_at_the_most(
    kind: str, rpm: float, tells: bool
) -> None:
    simulation = Simulation(Limits(now=0.0), _KINDS[kind](rpm), tells=tells)
    taken, refused = simulation.run(660).of(1, 11)
    # A bucket that takes one at a time shows little in ten minutes of so few requests.
    slow = kind == "bucket, no burst" and rpm <= 100
    assert taken >= (0.8 if slow else 0.9) * rpm
    assert refused <= (0.06 if slow else 0.03)


@_TELLS
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["fixed window", "sliding window", "bucket, burst of 10", "bucket, burst of a minute"])
def test_of_600_a_minute_96_percent_are_used_and_half_a_percent_refused_at_the_most(
    kind: str, tells: bool, seed: int
) -> None:
    taken, refused = Simulation(Limits(now=0.0), _KINDS[kind](600), tells=tells, seed=seed).run(660).of(1, 11)
    assert taken >= 0.96 * 600
    assert refused <= 0.005


# What a semaphore of the best size reaches: an answer takes 4.6 s on average, a refusal or a head 0.11 s.
_ANSWER, _HEAD = 4.6, 0.11
_BY_CHANCE: dict[str, tuple[Callable[[float, int], Server], float]] = {
    "1 %": (lambda wish, seed: Chance(0.01, wish, seed=seed), 0.01),
    "5 %": (lambda wish, seed: Chance(0.05, wish, seed=seed), 0.05),
    "20 %": (lambda wish, seed: Chance(0.2, wish, seed=seed), 0.2),
    "one of 4 channels": (lambda wish, seed: Channels(4, wish), 0.25),
    "one of 10 channels": (lambda wish, seed: Channels(10, wish), 0.1),
}


@pytest.mark.parametrize(("wish", "tells"), [(12.0, True), (1.0, False)])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("concurrency", [20, 200])
@pytest.mark.parametrize("kind", _BY_CHANCE)
def test_refusals_by_chance_cost_what_they_cost_a_semaphore(
    kind: str, concurrency: int, seed: int, wish: float, tells: bool
) -> None:
    make, share = _BY_CHANCE[kind]
    simulation = Simulation(Limits(now=0.0, concurrency=concurrency), make(wish, seed), tells=tells, seed=seed)
    taken, _ = simulation.run(300).of(0, 5)
    assert taken >= 0.8 * concurrency * 60 / (_ANSWER + _HEAD / (1 - share))


@pytest.mark.parametrize("kind", _BY_CHANCE)
def test_refusals_by_chance_do_not_keep_the_concurrency_from_growing(kind: str) -> None:
    make, share = _BY_CHANCE[kind]
    taken, _ = Simulation(Limits(now=0.0), make(12.0, 5)).run(300).of(1, 5)
    assert taken >= 0.8 * 1000 * 60 / (_ANSWER + _HEAD / (1 - share))


@pytest.mark.parametrize(("wish", "tells"), [(12.0, True), (1.0, False)])
@pytest.mark.parametrize("seed", [3, 8])
@pytest.mark.parametrize("concurrency", ["auto", 200])
@pytest.mark.parametrize("slots", [1, 5, 50])
def test_a_limit_of_how_many_run_at_a_time_is_used(
    slots: int, concurrency: Literal["auto"] | int, seed: int, wish: float, tells: bool
) -> None:
    simulation = Simulation(Limits(now=0.0, concurrency=concurrency), Parallel(slots, wish), tells=tells, seed=seed)
    taken, _ = simulation.run(300).of(0, 5)
    assert taken >= 0.8 * slots * 60 / (_ANSWER + _HEAD)


@pytest.mark.parametrize("concurrency", [20, 200])
def test_headers_that_say_wrongly_that_nothing_is_left_are_proved_wrong(concurrency: int) -> None:
    headers = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }
    simulation = Simulation(Limits(now=0.0, concurrency=concurrency), FixedWindow(10**9), announces=lambda now: headers)
    taken, _ = simulation.run(300).of(0, 5)
    assert taken >= 0.8 * concurrency * 60 / (_ANSWER + _HEAD)


@_TELLS
@pytest.mark.parametrize("factor", [0.5, 2.0])
@pytest.mark.parametrize("kind", ["fixed window", "sliding window", "bucket, burst of 10"])
def test_a_limit_that_changes_is_followed_within_some_minutes(kind: str, factor: float, tells: bool) -> None:
    server = _KINDS[kind](600)
    simulation = Simulation(Limits(now=0.0), server, tells=tells)
    simulation.run(300)
    server.rpm *= factor
    taken, refused = simulation.run(900).of(10, 15)
    assert taken >= 0.9 * 600 * factor
    assert refused <= 0.03


@_TELLS
@pytest.mark.parametrize("rpm", [60, 900])
@pytest.mark.parametrize("kind", ["fixed window", "fixed window, began 37 s ago", "bucket, burst of a minute"])
def test_a_limit_that_headers_tell_is_used_and_hardly_ever_met(kind: str, rpm: float, tells: bool) -> None:
    server = _KINDS[kind](rpm)
    assert isinstance(server, (FixedWindow, LeakyBucket))
    simulation = Simulation(Limits(now=0.0), server, tells=tells, announces=server.announces)
    taken, refused = simulation.run(660).of(1, 11)
    assert taken >= 0.9 * rpm
    assert refused <= 0.005


def test_a_server_s_outage_brings_the_concurrency_down_and_it_recovers() -> None:
    simulation = Simulation(Limits(now=0.0), FixedWindow(10**9), fails=lambda now: None, ends_within=(0.5, 1.0))
    simulation.run(60)
    before = simulation.limits.concurrency
    simulation.fails = no_connection
    simulation.run(70)
    assert simulation.limits.concurrency <= 2
    simulation.fails = lambda now: None
    simulation.run(130)
    assert simulation.limits.concurrency >= before / 2


def test_a_server_that_refuses_everything_for_minutes_is_asked_seldom_and_used_again() -> None:
    simulation = Simulation(Limits(now=0.0), server := FixedWindow(600), tells=False)
    simulation.run(180)
    server.rpm = 0
    simulation.run(480)
    refused = sum(simulation.log.refused.get(minute, 0) for minute in range(4, 8))
    assert refused <= 24
    server.rpm = 600
    taken, _ = simulation.run(840).of(9, 14)
    assert taken >= 0.9 * 600


def test_a_server_that_queues_keeps_its_throughput_and_no_endless_queue() -> None:
    server = Queue(slots=50)
    simulation = Simulation(Limits(now=0.0), server, first_content=server.first_content, ends_within=(1.9, 2.1))
    simulation.run(900)
    taken, _ = simulation.log.of(5, 15)
    assert taken >= 0.9 * 50 / 2.5 * 60
    assert simulation.limits.concurrency <= 300


def test_the_concurrency_grows_to_what_a_rate_needs() -> None:
    simulation = Simulation(Limits(now=0.0), FixedWindow(10**9), ends_within=(4.0, 6.0))
    simulation.run(120)
    assert simulation.limits.concurrency == simulation.peak == 1000


def test_a_cap_of_the_caller_s_is_kept_and_used() -> None:
    simulation = Simulation(Limits(now=0.0, rpm=240), SlidingWindow(240))
    taken, refused = simulation.run(660).of(0, 11)
    assert taken >= 0.95 * 240
    assert refused == 0.0
