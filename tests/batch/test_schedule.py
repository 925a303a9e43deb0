from __future__ import annotations

import math
from typing import Any

import pytest

from cometstream import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    CometError,
    ConfigurationError,
    EmptyStreamError,
    InternalServerError,
    InvalidRequestError,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.batch.schedule import Row, Schedule, is_nobody_there, retry_delay


def row(index: int, model: str = "a", *, attempts: int = 0, tokens: int = 1) -> Row:
    made = Row(index, None, {})
    made.model, made.attempts, made.charged, made.tokens = model, attempts, attempts, tokens
    return made


class Waits:
    """Limits whose waits a test sets, by model."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def __call__(self, model: str, tokens: int, now: float) -> float:
        return self.of.get(model, 0.0)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def schedule(waits: Waits) -> Schedule:
    return Schedule(waits)


def taken(schedule: Schedule, now: float = 0.0) -> list[int]:
    rows = []
    while (found := schedule.next(now)) is not None:
        rows.append(found.index)
    return rows


def test_rows_of_a_model_start_in_their_order(schedule: Schedule) -> None:
    for index in range(3):
        schedule.add(row(index))
    assert len(schedule) == 3
    assert schedule.due(7.0) == 7.0
    assert taken(schedule) == [0, 1, 2]
    assert len(schedule) == 0
    assert schedule.due(7.0) == math.inf


def test_a_model_that_must_wait_holds_back_its_own_rows_only(schedule: Schedule, waits: Waits) -> None:
    schedule.add(row(0, "a"))
    schedule.add(row(1, "b"))
    waits.of = {"a": 20.0}
    assert taken(schedule) == [1]
    assert schedule.due(5.0) == 25.0
    waits.of = {}
    assert taken(schedule) == [0]


def test_a_retry_waits_for_its_time(schedule: Schedule) -> None:
    schedule.add_retry(row(0, attempts=1), due=10.0)
    schedule.add_retry(row(1, attempts=1), due=5.0)
    assert schedule.next(4.9) is None
    assert schedule.due(4.9) == 5.0
    assert taken(schedule, 5.0) == [1]
    assert taken(schedule, 10.0) == [0]


def test_first_attempts_and_retries_take_turns(schedule: Schedule) -> None:
    for index in range(3):
        schedule.add(row(index))
        schedule.add_retry(row(10 + index, attempts=1), due=0.0)
    assert taken(schedule) == [0, 10, 1, 11, 2, 12]


def test_retries_alone_and_first_attempts_alone_need_no_turn(schedule: Schedule) -> None:
    for index in range(3):
        schedule.add_retry(row(10 + index, attempts=1), due=0.0)
    assert taken(schedule) == [10, 11, 12]
    for index in range(3):
        schedule.add(row(index))
    assert taken(schedule) == [0, 1, 2]


def test_one_model_needs_no_look_ahead_and_two_a_bounded_one(schedule: Schedule, waits: Waits) -> None:
    assert schedule.may_look_ahead(3)
    waits.of = {"a": 60.0}
    schedule.add(row(0, "a"))
    assert not schedule.may_look_ahead(3)
    waits.of = {}
    assert taken(schedule) == [0]
    waits.of = {"a": 60.0}
    schedule.add(row(1, "b"))
    assert taken(schedule) == [1]
    for index in range(2, 5):
        assert schedule.may_look_ahead(3)
        schedule.add(row(index, "a"))
    assert not schedule.may_look_ahead(3)


def test_a_retry_does_not_keep_rows_from_being_pulled(schedule: Schedule) -> None:
    schedule.add_retry(row(0, attempts=1), due=99.0)
    assert schedule.may_look_ahead(1)


def test_clearing_gives_every_row_once(schedule: Schedule, waits: Waits) -> None:
    waits.of = {"a": 1.0, "b": 1.0}
    schedule.add(row(0, "a"))
    schedule.add(row(1, "b"))
    schedule.add_retry(row(2, "a", attempts=1), due=0.0)
    schedule.add_retry(row(3, "a", attempts=1), due=9.0)
    assert schedule.next(0.0) is None
    assert sorted(row.index for row in schedule.clear()) == [0, 1, 2, 3]
    assert len(schedule) == 0
    assert schedule.may_look_ahead(1)


POLICY = RetryPolicy(max_retries=2, initial_delay=1.0, max_delay=8.0)


def again(error: CometError, **kwargs: Any) -> float | None:
    return retry_delay(row(0, attempts=1, **kwargs), error, POLICY, 1.0)


def _no_file() -> CometError:
    error = APIConnectionError("no file descriptor is left", retryable=False)
    error.errno = 24
    return error


@pytest.mark.parametrize(
    "error",
    [
        StreamTruncatedError("cut"),
        ProtocolError("half a frame"),
        EmptyStreamError("nothing"),
        StreamServerError("overloaded", retryable=True),
        APITimeoutError("stalled", clock="content_idle"),
        APITimeoutError("no head", clock="first_content"),
        APITimeoutError("no connection", clock="connect"),
        APIConnectionError("reset"),
        InternalServerError("down", status=503, retryable=True),
        RateLimitError("slower", status=429, retryable=True),
        _no_file(),
    ],
    ids=lambda error: str(error),
)
def test_what_may_go_well_the_next_time_is_sent_again(error: CometError) -> None:
    assert again(error) == 1.0


@pytest.mark.parametrize(
    "error",
    [
        StreamServerError("no quota", retryable=False),
        APITimeoutError("too long", clock="total"),
        APIConnectionError("bad certificate", retryable=False),
        BadRequestError("bad", status=400),
        InternalServerError("the request is bad", status=500, retryable=False),
        InvalidRequestError(["messages: is missing"]),
        ConfigurationError("bad header"),
    ],
    ids=lambda error: str(error),
)
def test_what_would_go_the_same_way_is_not_sent_again(error: CometError) -> None:
    assert again(error) is None


def test_an_answer_without_a_finish_reason_is_asked_for_once_more() -> None:
    one = row(0, attempts=1)
    error = StreamUnterminatedError("no finish_reason")
    assert retry_delay(one, error, POLICY, 1.0) == 1.0
    one.attempts = one.charged = 2
    assert retry_delay(one, error, POLICY, 1.0) is None


def test_waits_double_and_retries_end() -> None:
    error = StreamTruncatedError("cut")
    delays = [retry_delay(row(0, attempts=attempts), error, POLICY, 1.0) for attempts in (1, 2, 3)]
    assert delays == [1.0, 2.0, None]


def test_attempts_that_are_not_charged_cost_no_retry() -> None:
    one = row(0, attempts=9)
    one.charged = 2
    assert retry_delay(one, StreamTruncatedError("cut"), POLICY, 1.0) == 8.0


@pytest.mark.parametrize("wish", [0.0, 0.2])
def test_a_server_that_asks_for_no_wait_is_not_asked_again_at_once(wish: float) -> None:
    assert again(RateLimitError("now", status=429, retryable=True, retry_after=wish)) == 1.0 + wish


@pytest.mark.parametrize(
    ("error", "nobody"),
    [
        (APIConnectionError("refused"), True),
        (APITimeoutError("no connection", clock="connect"), True),
        (InternalServerError("bad gateway", status=502, retryable=True), True),
        (APITimeoutError("no head", clock="first_content"), False),
        (APIConnectionError("bad certificate", retryable=False), False),
        (InternalServerError("the request is bad", status=500, retryable=False), False),
        (RateLimitError("slower", status=429, retryable=True), False),
        (StreamTruncatedError("cut"), False),
    ],
    ids=lambda value: str(value),
)
def test_only_a_server_that_did_not_take_the_request_up_is_nobody(error: CometError, nobody: bool) -> None:
    assert is_nobody_there(error) is nobody


def test_the_server_s_own_wait_is_obeyed_up_to_its_bound() -> None:
    def asking(seconds: float) -> CometError:
        return RateLimitError("slower", status=429, retryable=True, retry_after=seconds)

    assert again(asking(60.0)) == 60.0 + 15.0  # a quarter more, where the jitter is at its end
    assert again(asking(61.0)) is None
