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
from cometstream.policy import NOT_GIVEN, Clocks, NotGiven, RetryPolicy, Timeouts, retry_after

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
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "5"])
def test_a_time_that_is_none_is_refused_by_name(clock: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"timeouts.{clock}"):
        Timeouts(**{clock: value})


def test_something_else_than_timeouts_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"write Timeouts\(total=60\)"):
        Clocks().with_(60)  # type: ignore[arg-type]


def test_not_given_prints_as_itself_and_survives_copying() -> None:
    assert repr(NOT_GIVEN) == "NOT_GIVEN"
    for twin in (copy.deepcopy(Timeouts(total=3)), pickle.loads(pickle.dumps(Timeouts(total=3)))):
        assert isinstance(twin.connect, NotGiven)
        assert Clocks().with_(twin) == Clocks(total=3)


# -- retries -----------------------------------------------------------------------------------------------------------------


def test_a_retry_option_is_a_policy_a_number_or_none() -> None:
    policy = RetryPolicy(max_retries=7)
    assert RetryPolicy.of(policy) is policy
    assert RetryPolicy.of(3) == RetryPolicy(max_retries=3)
    assert RetryPolicy.of(None).max_retries == 0
    for value in (True, 1.5, "2"):
        with pytest.raises(ConfigurationError, match="retry: "):
            RetryPolicy.of(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("max_retries", True),
        ("initial_delay", -1),
        ("max_delay", float("nan")),
        ("max_retry_after", "60"),
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
        (APITimeoutError("x", clock="content_idle"), False),
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


def test_a_wish_of_the_server_is_obeyed_up_to_its_bound() -> None:
    def wish(seconds: float | None) -> APIStatusError:
        return RateLimitError("x", status=429, retry_after=seconds, retryable=True)

    policy = RetryPolicy()
    assert policy.delay(1, wish(30.0), 0.5) == 30
    assert policy.delay(1, wish(0.0), 0.5) == 0
    assert policy.delay(1, wish(60.0), 0.5) == 60
    assert policy.delay(1, wish(60.5), 0.5) is None
    assert policy.delay(1, wish(None), 0.5) == 0.25


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
