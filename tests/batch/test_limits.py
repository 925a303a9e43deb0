"""One object says when the next request of a batch may start, and learns from how each went."""

from __future__ import annotations

import errno
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from cometstream.batch.limits import ConcurrencyChange, Limits, Ticket
from cometstream.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    CometError,
    ConfigurationError,
    EmptyStreamError,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    StreamServerError,
    StreamTruncatedError,
)


def _complete(limits: Limits, now: float, *, model: str = "m", tokens: int | None = 100, first: float = 0.5) -> None:
    ticket = limits.start(model, 100, now)
    limits.answered(ticket, {}, now)
    limits.completed(ticket, now, tokens=tokens, time_to_first_content=first)


def _refusal(retry_after: float | None = None, **headers: str) -> RateLimitError:
    return RateLimitError(
        "slow down", status=429, retry_after=retry_after, retryable=True, headers=CIMultiDict(headers)
    )


def _fail_all(limits: Limits, error: CometError, now: float) -> None:
    for ticket in [limits.start("m", 100, now) for _ in range(limits.concurrency)]:
        limits.failed(ticket, error, now)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"concurrency": 0}, "concurrency must be|got 0"),
        ({"concurrency": -3}, "concurrency must be|got -3"),
        ({"concurrency": True}, "concurrency must be|got True"),
        ({"concurrency": 2.5}, "concurrency must be|got 2.5"),
        ({"concurrency": "many"}, "concurrency must be|got 'many'"),
        ({"concurrency": None}, "concurrency must be|got None"),
        ({"rpm": 0}, "rpm must be|got 0"),
        ({"rpm": -1.0}, "rpm must be|got -1.0"),
        ({"rpm": True}, "rpm must be|got True"),
        ({"rpm": math.nan}, "rpm must be|got nan"),
        ({"rpm": math.inf}, "rpm must be|got inf"),
        ({"rpm": "60"}, "rpm must be|got '60'"),
        ({"tpm": 0.0}, "tpm must be|got 0.0"),
        ({"tpm": 5e-324}, "tpm must be|got 5e-324"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_in_one_line(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Limits(now=0.0, **options)
    begins, ends = what.split("|")
    assert str(caught.value).startswith(begins)
    assert str(caught.value).endswith(ends)
    assert "\n" not in str(caught.value)


def test_without_limits_nothing_waits() -> None:
    limits = Limits(now=0.0)
    assert (limits.concurrency, limits.reason) == (16, "starting")
    assert limits.history[-1] == ConcurrencyChange(0.0, 16, "starting")
    ticket = None
    for _ in range(1000):
        assert limits.wait("m", 10**6, 0.0) == 0.0
        ticket = limits.start("m", 10**6, 0.0)
    assert ticket is not None
    assert (ticket.tokens, ticket.time) == (10**6, 0.0)


def test_a_cap_is_kept_for_each_model_alone() -> None:
    limits = Limits(now=0.0, rpm=60)
    limits.start("a", 1, 0.0)
    assert limits.wait("a", 1, 0.0) == pytest.approx(1.0, rel=0.02)
    assert limits.wait("b", 1, 0.0) == 0.0


def test_reported_usage_corrects_the_estimate() -> None:
    limits = Limits(now=0.0, tpm=6000)
    ticket = limits.start("m", 4000, 0.0)
    dear = limits.wait("m", 90, 0.0)
    limits.completed(ticket, 0.0, tokens=100, time_to_first_content=None)
    assert limits.wait("m", 90, 0.0) < dear / 20
    ticket = limits.start("m", 10, 100.0)
    limits.completed(ticket, 100.0, tokens=5000, time_to_first_content=None)
    assert limits.wait("m", 10, 100.0) > 40


def test_without_reported_usage_the_estimate_stays() -> None:
    limits = Limits(now=0.0, tpm=6000)
    limits.completed(limits.start("m", 4000, 0.0), 0.0, tokens=None, time_to_first_content=None)
    assert limits.wait("m", 90, 0.0) > 30


def test_a_refused_request_gives_its_tokens_back() -> None:
    limits = Limits(now=0.0, tpm=6000)
    _complete(limits, 0.0, tokens=0)
    limits.failed(limits.start("m", 6000, 0.0), BadRequestError("no", status=400), 0.0)
    assert limits.wait("m", 90, 0.5) == 0.0


def test_a_cancelled_request_leaves_what_it_took() -> None:
    limits = Limits(now=0.0, tpm=6000)
    limits.cancelled(limits.start("m", 6000, 0.0), 0.0)
    assert limits.wait("m", 90, 0.0) > 30


def test_headers_of_a_success_are_obeyed() -> None:
    limits = Limits(now=0.0)
    ticket = limits.start("m", 100, 0.0)
    headers = {"X-RateLimit-Remaining-Requests": "2", "X-RateLimit-Reset-Requests": "6s"}
    limits.answered(ticket, CIMultiDict(headers), 0.1)
    for _ in range(2):
        assert limits.wait("m", 100, 0.1) == 0.0
        limits.start("m", 100, 0.1)
    assert limits.wait("m", 100, 0.1) == pytest.approx(2.0), "then one goes ahead, since headers may be wrong"
    assert limits.wait("m", 100, 6.1) == 0.0
    assert limits.wait("other", 100, 0.1) == 0.0


def test_headers_of_tokens_are_obeyed() -> None:
    limits = Limits(now=0.0)
    ticket = limits.start("m", 100, 0.0)
    headers = {"x-ratelimit-remaining-tokens": "150", "x-ratelimit-reset-tokens": "17ms"}
    limits.answered(ticket, CIMultiDict(headers), 0.0)
    assert limits.wait("m", 100, 0.0) == 0.0
    limits.start("m", 100, 0.0)
    assert limits.wait("m", 100, 0.0) == pytest.approx(0.017)


def test_headers_of_a_refusal_are_obeyed_too() -> None:
    limits = Limits(now=0.0)
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}
    limits.failed(limits.start("m", 1, 0.0), _refusal(None, **headers), 0.0)
    assert limits.wait("m", 1, 0.0) == pytest.approx(2.0), "then one goes ahead, since headers may be wrong"


def _refuse(limits: Limits, model: str, error: CometError, times: int) -> None:
    for moment in range(times):
        now = 10.0 + moment / 1000
        limits.failed(limits.start(model, 1, now), error, now)


def test_one_refusal_with_a_retry_after_stops_nothing_and_many_in_a_row_stop_their_model() -> None:
    limits = Limits(now=0.0)
    for second in range(10):
        _complete(limits, float(second))
    _refuse(limits, "m", _refusal(25.0), 1)
    assert limits.wait("m", 1, 10.0) == 0.0
    _refuse(limits, "m", _refusal(25.0), 9)
    assert limits.wait("m", 1, 10.01) > 0.0
    assert limits.wait("other", 1, 10.0) == 0.0


def test_one_503_with_a_retry_after_stops_nothing_and_many_in_a_row_stop_their_model() -> None:
    limits, busy = Limits(now=0.0), InternalServerError("busy", status=503, retry_after=7.0)
    _refuse(limits, "m", busy, 1)
    assert limits.wait("m", 1, 10.0) == 0.0
    _refuse(limits, "m", busy, 9)
    assert limits.wait("m", 1, 10.01) > 6.0
    assert limits.wait("other", 1, 10.0) == 0.0


def test_a_503_without_retry_after_stops_nothing() -> None:
    limits = Limits(now=0.0)
    limits.failed(limits.start("m", 1, 0.0), InternalServerError("busy", status=503), 0.0)
    assert limits.wait("m", 1, 0.0) == 0.0


def test_a_spent_quota_is_no_rate_limit() -> None:
    limits = Limits(now=0.0)
    limits.failed(limits.start("m", 1, 0.0), RateLimitError("pay", status=429, code="insufficient_quota"), 0.0)
    assert limits.wait("m", 1, 0.0) == 0.0
    assert limits.concurrency == 16


def test_a_refusal_inside_a_stream_is_one_too() -> None:
    limits = Limits(now=0.0)
    _refuse(limits, "m", StreamServerError("slow down", status=429, retryable=True), 10)
    assert limits.wait("m", 1, 10.01) > 0.0


def test_refusals_of_a_server_that_takes_nothing_lower_the_concurrency() -> None:
    limits = Limits(now=0.0)
    _fail_all(limits, _refusal(), 0.0)
    for second in range(60, 70):
        limits.failed(limits.start("m", 1, float(second)), _refusal(), float(second))
    assert limits.concurrency <= 2
    assert limits.reason == "429 from m"


def test_refusals_that_teach_a_rate_leave_the_concurrency() -> None:
    limits = Limits(now=0.0)
    for moment in range(100):
        _complete(limits, moment / 10)
    before = limits.concurrency
    _fail_all(limits, _refusal(), 10.0)
    assert limits.concurrency == before


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (APIConnectionError("refused"), "connection errors"),
        (APITimeoutError("late", clock="first_content"), "timeouts"),
        (APITimeoutError("late", clock="content_idle"), "timeouts"),
        (InternalServerError("down", status=502), "status 502"),
        (StreamTruncatedError("cut"), "answers were cut"),
        (EmptyStreamError("nothing"), "answers were cut"),
        (StreamServerError("oops"), "errors inside answers"),
        (StreamServerError("oops", status=500), "status 500"),
    ],
)
def test_failures_that_load_explains_lower_the_concurrency(error: CometError, reason: str) -> None:
    limits = Limits(now=0.0)
    _fail_all(limits, error, 0.0)
    assert (limits.concurrency, limits.reason) == (8, reason)


@pytest.mark.parametrize(
    "error",
    [
        BadRequestError("no", status=400),
        APITimeoutError("late", clock="total"),
        ProtocolError("what"),
        StreamServerError("filtered", status=400),
    ],
)
def test_failures_that_load_does_not_explain_change_nothing(error: CometError) -> None:
    limits = Limits(now=0.0)
    for second in range(5):
        _fail_all(limits, error, float(second))
    assert (limits.concurrency, limits.reason) == (16, "starting")


def test_an_outage_brings_it_down_and_it_comes_back() -> None:
    limits = Limits(now=0.0)
    for second in range(1, 6):
        for ticket in [limits.start("m", 1, float(second)) for _ in range(limits.concurrency)]:
            limits.completed(ticket, second + 0.5, tokens=1, time_to_first_content=0.2)
    high = limits.concurrency
    assert high > 60
    for second in range(10, 16):
        _fail_all(limits, APIConnectionError("refused"), float(second))
    assert limits.concurrency <= 2
    for second in range(20, 40):
        for ticket in [limits.start("m", 1, float(second)) for _ in range(limits.concurrency)]:
            limits.completed(ticket, second + 0.5, tokens=1, time_to_first_content=0.2)
    assert limits.concurrency >= high / 2


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_file_descriptors_that_ran_out_are_a_ceiling(number: int) -> None:
    limits = Limits(now=0.0)
    tickets = [limits.start("m", 1, 0.0) for _ in range(11)]
    error = APIConnectionError("no file descriptor is left")
    error.errno = number
    limits.failed(tickets[0], error, 0.0)
    assert limits.concurrency == 9


def test_answers_that_begin_later_lower_the_concurrency_a_little() -> None:
    limits = Limits(now=0.0)
    for moment in range(31):
        _complete(limits, moment / 10)
    for moment in range(31):
        _complete(limits, 10 + moment / 10, first=3.0)
    assert (limits.concurrency, limits.reason) == (12, "answers became slower")
    for moment in range(310):
        _complete(limits, 20 + moment / 10, first=3.0)
    assert limits.concurrency == 12, "what does not help is not done twice"


def test_a_fixed_concurrency_stays() -> None:
    limits = Limits(now=0.0, concurrency=5)
    for second in range(20):
        _complete(limits, float(second))
        _fail_all(limits, APIConnectionError("refused"), float(second))
    assert (limits.concurrency, limits.reason, len(limits.history)) == (5, "fixed", 1)


def test_the_typical_answer_of_a_model_is_learned() -> None:
    limits = Limits(now=0.0)
    body = {"messages": [{"role": "user", "content": "hi there, comet " * 10}], "max_tokens": 4096}
    first = limits.estimate("m", body)
    assert first > 500
    for second in range(200):
        ticket = limits.start("m", limits.estimate("m", body), float(second))
        limits.completed(ticket, float(second), tokens=70, time_to_first_content=None)
    assert limits.estimate("m", body) == pytest.approx(70, abs=5)
    assert limits.estimate("other", body) == first


def test_thousands_of_models_are_bounded() -> None:
    limits = Limits(now=0.0, rpm=60)
    kept = limits.start("kept", 1, 0.0)
    for number in range(10_000):
        _complete(limits, 0.0, model=f"m{number}")
    assert len(limits._models) <= 4096
    assert limits.wait("kept", 1, 0.0) > 0.0, "a model with requests on their way is not forgotten"
    limits.completed(kept, 0.0, tokens=1, time_to_first_content=None)


def test_a_ticket_s_names_are_all_it_holds() -> None:
    ticket = Limits(now=0.0).start("m", 3, 1.5)
    assert isinstance(ticket, Ticket)
    untyped: Any = ticket
    with pytest.raises(AttributeError):
        untyped.foo = 1


_HEADERS = st.dictionaries(
    st.sampled_from(
        [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
    ),
    st.sampled_from(["0", "1", "50", "-1", "nan", "6m0s", "12ms", "1s", "soon", "1e300", ""]),
)
_OUTCOMES = st.one_of(
    st.just("complete"),
    st.just("cancel"),
    st.builds(_refusal, st.one_of(st.none(), st.floats(0, 100))),
    st.builds(lambda: APIConnectionError("refused")),
    st.builds(lambda: InternalServerError("busy", status=503, retry_after=3.0)),
)


@settings(max_examples=150, deadline=None)
@given(
    rpm=st.one_of(st.none(), st.floats(0.5, 1e5)),
    tpm=st.one_of(st.none(), st.floats(10, 1e7)),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10**6), _HEADERS, _OUTCOMES), max_size=30),
)
def test_whatever_happens_a_wait_is_finite_and_ends_with_a_start(
    rpm: float | None, tpm: float | None, steps: list[tuple[float, int, dict[str, str], Any]]
) -> None:
    limits, now = Limits(now=0.0, rpm=rpm, tpm=tpm), 0.0
    for passed, tokens, headers, outcome in steps:
        now += passed
        for _ in range(6):
            wait = limits.wait("m", tokens, now)
            assert 0.0 <= wait < 1e9
            if wait == 0.0:
                break
            now += wait
        assert limits.wait("m", tokens, now) <= 1e-6 * (1 + now)
        ticket = limits.start("m", tokens, now)
        if outcome == "complete":
            limits.answered(ticket, headers, now + 0.1)
            limits.completed(ticket, now + 0.5, tokens=tokens // 2, time_to_first_content=0.1)
        elif outcome == "cancel":
            limits.cancelled(ticket, now)
        else:
            limits.failed(ticket, outcome, now + 0.1)
        assert 1 <= limits.concurrency <= 1000
