from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CometError,
    ConfigurationError,
    EmptyStreamError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    StreamServerError,
    StreamTruncatedError,
    UsageError,
)
from cometstream.policy import NOT_GIVEN, Clocks, RetryBudget, RetryPolicy, Timeouts, retry_after

# -- clocks ------------------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_documented_ones() -> None:
    assert Clocks() == Clocks(connect=10.0, first_content=300.0, content_idle=120.0, total=None)


def test_a_clock_that_is_not_given_is_the_sessions_and_none_is_off() -> None:
    session = Clocks().with_(Timeouts(connect=5, content_idle=None))
    assert session == Clocks(5, 300.0, None, None)
    assert session.with_(Timeouts(total=60)) == Clocks(5, 300.0, None, 60)
    assert session.with_(NOT_GIVEN) == session
    assert session.with_(None) == Clocks(None, None, None, None)


@pytest.mark.parametrize("clock", ["connect", "first_content", "content_idle", "total"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), 10**400, True, "5"])
def test_a_value_that_is_not_a_time_is_refused_by_name(clock: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"timeouts.{clock}"):
        Timeouts(**{clock: value})


def test_something_else_than_timeouts_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"such as Timeouts\(total=60\), or None \(no limits\); got 60"):
        Clocks().with_(60)  # type: ignore[arg-type] # that it is refused is the test


def test_not_given_prints_as_itself_and_survives_copying() -> None:
    assert repr(NOT_GIVEN) == "NOT_GIVEN"
    for twin in (copy.deepcopy(Timeouts(total=3)), pickle.loads(pickle.dumps(Timeouts(total=3)))):
        assert twin.connect is NOT_GIVEN
        assert Clocks().with_(twin) == Clocks(total=3)


# -- retries -----------------------------------------------------------------------------------------------------------------


def test_a_retry_option_is_a_policy_a_number_or_none() -> None:
    policy = RetryPolicy(max_retries=7)
    assert RetryPolicy.of(policy) is policy
    assert RetryPolicy.of(3) == RetryPolicy(max_retries=3)
    assert RetryPolicy.of(None).max_retries == 0
    values: list[Any] = [True, 1.5, "2", -1]
    for value in values:
        with pytest.raises(ConfigurationError, match="retry must be a RetryPolicy, a number of retries"):
            RetryPolicy.of(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", True),
        ("initial_delay", -1),
        ("max_delay", float("nan")),
        ("max_retry_after", "60"),
        ("max_retry_after", 10**400),
        ("statuses", 503),
        ("statuses", {"503"}),
        ("budget", 0),
        ("budget", 1.5),
        ("budget", True),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"retry.{field}"):
        RetryPolicy(**{field: value})


@pytest.mark.parametrize(
    ("error", "allowed"),
    [
        (APIConnectionError("x"), True),
        (APITimeoutError("x", clock="connect"), True),
        (APITimeoutError("x", clock="first_content"), True),
        (APITimeoutError("x", clock="content_idle"), True),
        (APITimeoutError("x", clock="total"), False),
        (StreamTruncatedError("x"), True),
        (EmptyStreamError("x"), True),
        (ProtocolError("x"), False),
        (StreamServerError("x", retryable=True), True),
        (StreamServerError("x"), False),
        (RateLimitError("x", status=429, retryable=True), True),
        (RateLimitError("x", status=429, retryable=False), False),
        (UsageError("x"), False),
    ],
)
def test_what_is_sent_again(error: CometError, allowed: bool) -> None:
    assert RetryPolicy().allows(error) is allowed


def test_the_statuses_are_the_callers_to_choose() -> None:
    overloaded = InternalServerError("x", status=503, retryable=True)
    teapot = APIStatusError("x", status=418)
    policy = RetryPolicy(statuses=frozenset({418}))
    assert (policy.allows(overloaded), policy.allows(teapot)) == (False, True)
    assert (RetryPolicy().allows(overloaded), RetryPolicy().allows(teapot)) == (True, False)


def test_waits_double_up_to_the_bound_with_full_jitter() -> None:
    policy, error = RetryPolicy(), APIConnectionError("x")
    assert [policy.delay(retry, error, 1.0) for retry in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert [policy.delay(retry, error, 0.5) for retry in (1, 2, 99_999)] == [0.25, 0.5, 4]
    assert policy.delay(3, error, 0.0) == 0


def asked(seconds: float | None) -> APIStatusError:
    return RateLimitError("x", status=429, retry_after=seconds, retryable=True)


def test_retry_after_is_the_shortest_wait_up_to_its_bound() -> None:
    policy = RetryPolicy()
    assert [policy.delay(1, asked(seconds), 0.0) for seconds in (0.0, 1.0, 30.0, 60.0)] == [0, 1, 30, 60]
    assert policy.delay(1, asked(60.5), 0.5) is None
    assert policy.delay(1, asked(None), 0.5) == 0.25


def test_retry_after_0_waits_as_long_as_the_policy_does_without_it() -> None:
    policy, error = RetryPolicy(), APIConnectionError("x")
    for retry in range(1, 8):
        for jitter in (0.25, 1.0):
            assert policy.delay(retry, asked(0.0), jitter) == policy.delay(retry, error, jitter)


def test_clients_that_are_asked_to_come_back_together_come_back_spread() -> None:
    policy = RetryPolicy()
    for seconds, spread in ((1.0, 0.5), (8.0, 2.0), (60.0, 15.0)):
        waits = [policy.delay(1, asked(seconds), jitter / 10) or 0.0 for jitter in range(11)]
        assert waits == pytest.approx([seconds + spread * jitter / 10 for jitter in range(11)])
    # Later retries spread over the policy's own backoff, where that is longer.
    assert policy.delay(5, asked(1.0), 1.0) == 9.0


def test_a_policy_pickles_and_compares_by_its_values() -> None:
    statuses: Any = {418}  # a set, as callers write it
    policy = RetryPolicy(max_retries=3, statuses=statuses, budget=None)
    for twin in (pickle.loads(pickle.dumps(policy)), copy.deepcopy(policy)):
        assert twin == policy
        assert hash(twin) == hash(policy)
    assert policy.statuses == frozenset({418})
    assert policy != RetryPolicy(max_retries=3, statuses=frozenset({418}))


# -- the budget --------------------------------------------------------------------------------------------------------------


def failures(budget: RetryBudget, policy: RetryPolicy, number: int) -> list[bool]:
    return [budget.failed(policy) for _ in range(number)]


def test_a_budget_allows_retries_until_that_many_failures_came_without_an_answer() -> None:
    assert failures(RetryBudget(), RetryPolicy(budget=5), 7) == [True] * 4 + [False] * 3
    assert failures(RetryBudget(), RetryPolicy(budget=None), 1000) == [True] * 1000


def test_an_answer_takes_half_a_failure_back_but_saves_nothing_up() -> None:
    budget, policy = RetryBudget(), RetryPolicy(budget=3)
    for _ in range(100):
        budget.succeeded()
    assert failures(budget, policy, 3) == [True, True, False]
    for _ in range(4):
        budget.succeeded()
    assert failures(budget, policy, 2) == [True, False]


def test_a_long_outage_is_forgiven_after_as_many_answers_as_a_full_bucket_holds() -> None:
    budget, policy = RetryBudget(), RetryPolicy(budget=10)
    failures(budget, policy, 10_000)
    for _ in range(24):
        budget.succeeded()
    assert failures(budget, policy, 2) == [True, False]


@pytest.mark.parametrize(("share", "goes_on"), [(4, True), (3, False)])
def test_retries_go_on_while_less_than_a_third_of_the_attempts_fails(share: int, goes_on: bool) -> None:
    budget, policy = RetryBudget(), RetryPolicy()
    allowed = []
    for attempt in range(3000):
        if attempt % share == 0 or (share == 3 and attempt % 30 == 1):
            allowed.append(budget.failed(policy))
        else:
            budget.succeeded()
    assert all(allowed) is goes_on


def test_policies_with_different_budgets_share_the_count() -> None:
    budget = RetryBudget()
    failures(budget, RetryPolicy(budget=100), 20)
    assert not budget.failed(RetryPolicy(budget=10))
    assert budget.failed(RetryPolicy(budget=100))


# -- Retry-After -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of the process cannot be changed here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


MORNING = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT"}, 30),
        ({"Retry-After": "Sunday, 06-Nov-94 08:50:07 GMT"}, 30),
        ({"Retry-After": "Sun Nov  6 08:50:07 1994"}, 30),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 -0000"}, 30),
        ({"Retry-After": "Sun, 06 Nov 1994 10:50:07 +0200"}, 30),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT"}, 0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "Retry-After": "3"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "3"}, 3),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Sun, 99 Nov 1994 08:50:07 GMT"}, None),
        ({"Retry-After": "Sun, 06 Nov 99999999999999999999 08:50:07 GMT"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 +9999999"}, None),
    ],
)
def test_the_wish_to_wait_is_read_in_every_form_in_every_time_zone(
    headers: dict[str, str], seconds: float | None, far_east: None
) -> None:
    assert retry_after(CIMultiDict(headers), MORNING) == seconds


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(["Sun,", "06", "Nov", "94", "1994", "08:50:07", "GMT", "+0000", "-", ":", "999999999999"])
    ).map(" ".join)
)
def test_no_wish_raises(value: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        wish = retry_after(CIMultiDict({name: value}), MORNING)
        assert wish is None or wish >= 0


def test_a_number_of_retries_leaves_the_rest_of_the_base() -> None:
    base = RetryPolicy(max_retries=9, initial_delay=3.0)
    assert RetryPolicy.of(2, base) == RetryPolicy(max_retries=2, initial_delay=3.0)
    assert RetryPolicy.of(None, base).max_retries == 0
