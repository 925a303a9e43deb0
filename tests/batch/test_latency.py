"""A queue at the server shows in the medians; slow rows do not."""

from __future__ import annotations

from random import Random

from cometstream.batch.latency import LatencyWatch


def _add(watch: LatencyWatch, times: list[float]) -> int:
    return sum(watch.add(seconds) for seconds in times)


def test_a_few_slow_rows_are_no_queue() -> None:
    random, watch = Random(3), LatencyWatch()
    times = [random.lognormvariate(-0.7, 0.6) * (40 if random.random() < 0.2 else 1) for _ in range(31 * 200)]
    assert _add(watch, times) == 0


def test_times_that_double_and_more_are_a_queue() -> None:
    watch = LatencyWatch()
    assert _add(watch, [0.5] * 31) == 0
    assert _add(watch, [1.5] * 31) == 1


def test_a_quarter_of_a_second_is_none() -> None:
    watch = LatencyWatch()
    assert _add(watch, [0.01] * 31 + [0.2] * 310) == 0


def test_a_step_down_that_did_not_help_is_the_last() -> None:
    watch = LatencyWatch()
    assert _add(watch, [0.5] * 31 + [3.0] * 31 * 20) == 1, "longer prompts are no queue"


def test_a_queue_that_shrinks_is_followed_down() -> None:
    watch = LatencyWatch()
    _add(watch, [0.5] * 31)
    assert [watch.add(seconds) for seconds in [4.0] * 31 + [3.0] * 31 + [2.2] * 31].count(True) == 3
