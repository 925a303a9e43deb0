"""The concurrency grows while it is used and all is well, backs off once a round trip, and comes back."""

from __future__ import annotations

from cometstream.batch.concurrency import AdaptiveConcurrency


def _adaptive(ceiling: int = 1000) -> AdaptiveConcurrency:
    return AdaptiveConcurrency(fixed=None, ceiling=ceiling, now=0.0)


def _start(concurrency: AdaptiveConcurrency, now: float, count: int | None = None) -> int:
    count = concurrency.limit if count is None else count
    for _ in range(count):
        concurrency.started(now)
    return count


def _round(concurrency: AdaptiveConcurrency, now: float, *, used: int | None = None) -> None:
    """One round trip in which all places, or `used` of them, are taken and end well."""
    for _ in range(_start(concurrency, now, used)):
        concurrency.succeeded(now, now + 0.5)


def _fail_round(concurrency: AdaptiveConcurrency, now: float) -> None:
    for _ in range(_start(concurrency, now)):
        concurrency.erred(now, now + 0.5, "connection errors")


def test_it_doubles_until_the_ceiling_while_all_is_well() -> None:
    concurrency = _adaptive(ceiling=200)
    seen = [concurrency.limit]
    for now in range(1, 6):
        _round(concurrency, float(now))
        seen.append(concurrency.limit)
    assert seen == [16, 32, 64, 128, 200, 200]
    assert concurrency.reason == "growing"
    assert concurrency.in_flight == 0


def test_it_does_not_grow_where_it_is_not_used() -> None:
    concurrency = _adaptive()
    for now in range(1, 50):
        _round(concurrency, float(now), used=8)
    assert concurrency.limit == 16
    assert concurrency.reason == "starting"


def test_after_congestion_it_grows_by_steps_and_no_longer_doubles() -> None:
    concurrency = _adaptive()
    for now in range(1, 4):
        _round(concurrency, float(now))
    _fail_round(concurrency, 4.0)
    low = concurrency.limit
    assert low == 64
    assert concurrency.reason == "connection errors"
    _round(concurrency, 5.0)
    grown = concurrency.limit
    assert low < grown <= low + 6


def test_a_round_trip_of_failures_is_one_decrease() -> None:
    concurrency = _adaptive()
    for now in range(1, 4):
        _round(concurrency, float(now))
    _start(concurrency, 3.0, 300)
    for moment in range(300):
        concurrency.erred(3.0, 4.0 + moment / 100, "connection errors")
    assert concurrency.limit == 64


def test_a_run_of_failures_brings_it_to_one_within_a_few_rounds_and_it_recovers() -> None:
    concurrency = _adaptive()
    for now in range(1, 7):
        _round(concurrency, float(now))
    assert concurrency.limit == 1000
    for now in range(10, 16):
        _fail_round(concurrency, float(now))
    assert concurrency.limit <= 2
    rounds = 0
    while concurrency.limit < 400:
        rounds += 1
        _round(concurrency, 20.0 + rounds)
    assert rounds <= 12


def test_single_failures_among_many_answers_are_no_congestion() -> None:
    concurrency = _adaptive()
    for now in range(1, 100):
        concurrency.started(now - 0.5)
        concurrency.erred(now - 0.5, float(now), "status 500")
        _round(concurrency, float(now))
    assert concurrency.limit == 1000


def test_failures_do_not_bring_it_below_one() -> None:
    concurrency = _adaptive()
    for now in range(100):
        _fail_round(concurrency, float(now))
    assert concurrency.limit == 1


def test_a_fixed_number_never_changes() -> None:
    concurrency = AdaptiveConcurrency(fixed=7, ceiling=1000, now=0.0)
    for now in range(1, 10):
        _round(concurrency, float(now))
        _fail_round(concurrency, now + 0.6)
        concurrency.slower(float(now))
    assert (concurrency.limit, concurrency.reason, len(concurrency.history)) == (7, "fixed", 1)


def test_a_fixed_number_yields_to_file_descriptors_that_ran_out() -> None:
    concurrency = AdaptiveConcurrency(fixed=50, ceiling=1000, now=0.0)
    for _ in range(21):
        concurrency.started(1.0)
    concurrency.out_of_files(1.0)
    assert (concurrency.limit, concurrency.reason) == (18, "out of file descriptors")
    for now in range(2, 10):
        _round(concurrency, float(now))
    assert concurrency.limit == 18


def test_file_descriptors_that_ran_out_are_a_ceiling_below_what_was_open() -> None:
    concurrency = _adaptive()
    for now in range(1, 5):
        _round(concurrency, float(now))
    concurrency.in_flight = 101
    concurrency.out_of_files(10.0)
    assert concurrency.limit == 90
    assert concurrency.reason == "out of file descriptors"
    concurrency.in_flight = 0
    for now in range(20, 200):
        _round(concurrency, float(now))
    assert concurrency.limit == 90


def test_the_history_is_bounded_and_growth_of_a_second_is_one_entry() -> None:
    concurrency = _adaptive()
    for moment in range(10):
        _round(concurrency, 5 + moment / 100)
    assert [change.reason for change in concurrency.history] == ["starting", "growing"]
    assert concurrency.history[-1].concurrency == concurrency.limit == 1000
    for now in range(5000):
        _fail_round(concurrency, float(now))
        _round(concurrency, now + 0.6)
    assert len(concurrency.history) <= 1000
    assert concurrency.history[-1].concurrency == concurrency.limit
