"""What a stream tells of itself is a frozen dataclass like any other, though it is filled in one go."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import pickle
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import virtual_clock
from support.serving import CHAT, ask, serving

from cometstream import CometError, RetryPolicy, StreamMetrics, Timeouts
from cometstream.batch import fan_out
from cometstream.metrics import Gaps
from cometstream.testing import DONE, Reply, chunk, frame

METRICS = StreamMetrics("req", 1, 0.1, 0.2, 3, 100, None)


def test_metrics_are_equal_by_their_fields_and_show_them() -> None:
    same = StreamMetrics(
        request_id="req", attempts=1, time_to_first_content=0.1, duration=0.2, chunks=3, bytes=100, usage=None
    )
    assert same == METRICS != dataclasses.replace(METRICS, chunks=4)
    assert hash(same) == hash(METRICS)
    assert repr(METRICS).startswith(
        "StreamMetrics(request_id='req', attempts=1, time_to_first_content=0.1, duration=0.2, chunks=3, bytes=100, usage=None, "
        "cost=None, cost_source='unknown', outcome=None, "
    )
    assert list(dataclasses.asdict(METRICS)) == [field.name for field in dataclasses.fields(StreamMetrics)]


def test_metrics_are_copied_and_pickled_and_never_change() -> None:
    assert METRICS == copy.copy(METRICS) == pickle.loads(pickle.dumps(METRICS))
    with pytest.raises(dataclasses.FrozenInstanceError):
        METRICS.chunks = 4  # type: ignore[misc] # that it is refused is the test


# The sketch of the gaps


@example([1.0, 6.103515625e-05], 0.5)
@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_percentile_of_the_gaps_is_right_to_13_percent(gaps: list[float], share: float) -> None:
    sketch, now = Gaps(0.0), 0.0
    measured = []
    for gap in gaps:
        measured.append(now + gap - now)  # as floats have it
        now += gap
        sketch.add(now)
    exact = sorted(measured)[max(0, math.ceil(share * len(measured)) - 1)]
    told = sketch.percentile(share)
    assert told is not None
    if exact < 300:
        assert abs(told - exact) <= 0.13 * (exact + 1e-4)
    assert sketch.longest == max(measured)
    assert told <= sketch.longest


def test_without_a_gap_there_is_no_percentile() -> None:
    assert Gaps(5.0).percentile(0.5) is None


def test_a_clock_that_goes_backwards_breaks_nothing() -> None:
    sketch = Gaps(5.0)
    for now in (6.0, 2.0, 3.0, 4.0):
        sketch.add(now)
    assert sketch.longest == 1.0
    assert sketch.percentile(0.95) == pytest.approx(1.0, rel=0.13)


def test_the_sketch_has_one_size_however_many_gaps_there_were() -> None:
    sketch = Gaps(0.0)
    empty = sys.getsizeof(sketch._counters)
    for turn in range(10_000):
        sketch.add(turn * 0.02)
    assert sys.getsizeof(sketch._counters) == empty < 400
    assert len(sketch._reads) < 8


@given(st.lists(st.floats(0.0, 1000.0), max_size=30))
def test_to_ask_between_reads_changes_nothing(gaps: list[float]) -> None:
    asked, sketch, now = Gaps(1.0), Gaps(1.0), 1.0
    for gap in gaps:
        now += gap
        asked.add(now)
        sketch.add(now)
        assert asked.last == sketch.last == now
        asked.percentile(0.5)
    assert asked.longest == sketch.longest
    assert [asked.percentile(share) for share in (0.1, 0.5, 0.95)] == [sketch.percentile(s) for s in (0.1, 0.5, 0.95)]


# A record on every exit


def measured(*replies: Reply, leave_after: int | None = None, **call: Any) -> StreamMetrics:
    """Return the metrics of one call, however it ended."""

    async def main() -> StreamMetrics:
        async with serving(*replies) as (_, session):
            stream = session.stream(**{**CHAT, **call})
            try:
                async with stream:
                    if leave_after is None:
                        await stream.until_done()
                    else:
                        for _ in range(leave_after):
                            await stream.__anext__()
            except CometError:
                pass
            return stream.metrics

    return virtual_clock.run(main())


TEXT = chunk({"content": "Hello"})
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23}}
STOP = chunk({}, finish_reason="stop")
ONE_RETRY = RetryPolicy(max_retries=1, initial_delay=0.0)


def test_a_whole_answer_tells_its_speed() -> None:
    answer = Reply.sse(1.0, TEXT, 0.5, TEXT, 0.5, TEXT, 3.0, STOP, 1.0, USAGE, DONE).after(2.0)
    metrics = measured(answer.with_headers({"x-request-id": "gw-1"}))
    assert (metrics.outcome, metrics.request_id, metrics.model) == ("complete", "gw-1", CHAT["model"])
    assert metrics.model_answered == TEXT["model"]
    assert (metrics.finish_reasons, metrics.usage_source) == (("stop",), "reported")
    assert metrics.time_to_first_byte == pytest.approx(2.0, abs=0.01)
    assert metrics.time_to_first_content == pytest.approx(3.0, abs=0.01)
    assert metrics.gap_p50 == pytest.approx(0.5, rel=0.13)
    assert metrics.gap_p95 == pytest.approx(3.0, rel=0.13)
    assert metrics.gap_max == pytest.approx(3.0, abs=0.01)
    assert metrics.tokens_per_second == pytest.approx(20 / 5.0, rel=0.01)
    assert (metrics.failures, metrics.fallbacks, metrics.error) == ((), (), None)


def test_an_answer_that_comes_at_once_has_no_gaps_and_no_speed() -> None:
    metrics = measured(Reply.sse(b"".join(map(frame, (TEXT, STOP, USAGE))) + DONE))
    assert metrics.outcome == "complete"
    assert (metrics.gap_p50, metrics.gap_p95, metrics.gap_max, metrics.tokens_per_second) == (None,) * 4


def test_each_failed_attempt_is_told_with_its_reason() -> None:
    limited = Reply.error(429, code="slow_down", retry_after=2).with_headers({"x-request-id": "gw-0"})
    metrics = measured(
        limited, Reply.error(503), Reply.error(503), Reply.text("Hello"), retry=ONE_RETRY, fallback_models=["b", "c"]
    )
    assert (metrics.outcome, metrics.attempts, metrics.error) == ("complete", 4, None)
    assert (metrics.model, metrics.fallbacks) == (CHAT["model"], ("b",))
    first, _, third = metrics.failures
    assert (first.number, first.error, first.status, first.code) == (1, "RateLimitError", 429, "slow_down")
    assert (first.request_id, first.reason) == ("gw-0", "RateLimitError 429 slow_down")
    assert first.wait == pytest.approx(2.0, abs=0.6)
    assert [failed.followed_by for failed in metrics.failures] == ["retry", "fallback", "retry"]
    assert [failed.model for failed in metrics.failures] == [CHAT["model"], CHAT["model"], "b"]
    assert [failed.next_model for failed in metrics.failures] == [CHAT["model"], "b", "b"]
    assert first.client_request_id == third.client_request_id == metrics.client_request_id != ""


@pytest.mark.parametrize(
    ("reply", "outcome", "reason"),
    [
        (Reply.error(401), "error", "AuthenticationError 401"),
        (Reply.error(400), "error", "BadRequestError 400"),
        (Reply.raw().reset(), "error", "APIConnectionError"),
        (Reply.raw().stall(), "error", "APITimeoutError (timeouts.first_content)"),
        (Reply.sse(TEXT).stall(), "error", "APITimeoutError (timeouts.content_idle)"),
        (Reply.sse(TEXT).cut(), "truncated", "StreamTruncatedError"),
        (Reply.sse(TEXT, DONE), "unterminated", "StreamUnterminatedError"),
        (Reply.sse(TEXT, {"error": {"code": 502, "message": "no"}}), "error", "StreamServerError 502 502"),
        (Reply.sse(DONE), "unterminated", "EmptyStreamError"),
    ],
)
def test_a_call_that_fails_has_a_record_that_says_why(reply: Reply, outcome: str, reason: str) -> None:
    metrics = measured(reply, retry=None, timeouts=Timeouts(first_content=5, content_idle=5))
    assert metrics.outcome == outcome
    assert metrics.error is not None
    assert metrics.error.reason == reason
    assert metrics.error.followed_by == "end"
    assert len(metrics.failures) == metrics.attempts == 1
    assert metrics.usage_source == "unknown"


def test_a_call_that_is_left_has_a_record_without_a_failure() -> None:
    metrics = measured(Reply.sse(TEXT).stall(), leave_after=1)
    assert (metrics.outcome, metrics.chunks, metrics.failures) == ("cancelled", 1, ())


def test_a_record_with_failures_is_pickled_and_copied_and_shows_no_message() -> None:
    metrics = measured(Reply.error(400, "secret words"), retry=None)
    assert pickle.loads(pickle.dumps(metrics)) == copy.copy(metrics) == metrics
    assert "secret" not in repr(metrics)


def test_a_completion_that_was_not_streamed_has_its_record_too() -> None:
    async def main() -> None:
        async with serving(Reply.error(503), Reply.text("Hello"), retry=ONE_RETRY) as (_, session):
            completion = await session.complete(**CHAT)
            assert (completion.metrics.outcome, completion.metrics.attempts) == ("complete", 2)
            assert completion.metrics.request_id == completion.request_id

    virtual_clock.run(main())


def test_a_row_of_a_batch_has_the_failures_of_all_its_attempts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cometstream")

    async def main() -> StreamMetrics | None:
        refused = [Reply.error(503), Reply.error(429, code="slow_down"), Reply.error(400)]
        async with serving(*refused) as (_, session), fan_out(session, [CHAT], retry=ONE_RETRY.of(5)) as batch:
            async for result in batch:
                return result.metrics
        return None

    metrics = virtual_clock.run(main())
    assert metrics is not None
    assert (metrics.attempts, metrics.outcome) == (3, "error")
    assert [(failed.number, failed.reason, failed.followed_by) for failed in metrics.failures] == [
        (1, "InternalServerError 503", "retry"),
        (2, "RateLimitError 429 slow_down", "retry"),
        (3, "BadRequestError 400", "end"),
    ]
    assert metrics.failures[0].wait > 0
    waits = [record.getMessage() for record in caplog.records if record.getMessage().startswith("row 0: ")]
    assert [line.split(";")[0] for line in waits] == ["row 0: InternalServerError", "row 0: RateLimitError"]


async def test_a_completion_of_a_stream_has_none_the_stream_has_it() -> None:
    async with serving(Reply.text("Hello")) as (_, session):
        assert (await ask(session)).metrics is None
