"""Every form in which servers write ``x-ratelimit-*`` is read, and nonsense is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from cometstream.batch.ratelimit_headers import Allowance, read_requests, read_tokens, seconds_until

_DATE = "Tue, 24 Nov 2026 15:00:00 GMT"
_UNIX = 1795532400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("17ms", 0.017),
        ("2m59.56s", 179.56),
        ("1h0m0s", 3600.0),
        ("1d2h", 93600.0),
        ("59.70s", 59.7),
        ("60", 60.0),
        ("0", 0.0),
        ("0.25", 0.25),
        (str(_UNIX + 30), 30.0),
        (str((_UNIX + 30) * 1000), 30.0),
        (str(_UNIX - 30), 0.0),
        ("2026-11-24T15:00:30Z", 30.0),
        ("2026-11-24T16:00:30+01:00", 30.0),
        ("Tue, 24 Nov 2026 15:00:30 GMT", 30.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("-5s", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("5 minutes", None),
    ],
)
def test_a_reset_is_read_in_every_form(text: str, seconds: float | None) -> None:
    read = seconds_until(text, _DATE)
    assert read == (None if seconds is None else pytest.approx(seconds))


def test_an_absolute_time_without_a_date_beside_it_is_none() -> None:
    assert seconds_until(str(_UNIX), None) is None
    assert seconds_until(str(_UNIX), "yesterday") is None
    assert seconds_until("2026-11-24T15:00:30Z", None) is None
    assert seconds_until("30s", None) == 30


@given(st.text(max_size=40), st.one_of(st.none(), st.text(max_size=40)))
def test_no_text_breaks_it(text: str, date: str | None) -> None:
    seconds = seconds_until(text, date)
    assert seconds is None or 0 <= seconds < float("inf")


def test_requests_and_tokens_are_read_as_openai_writes_them() -> None:
    headers = CIMultiDict(
        {
            "X-RateLimit-Limit-Requests": "5000",
            "X-RateLimit-Remaining-Requests": "4999",
            "X-RateLimit-Reset-Requests": "12ms",
            "X-RateLimit-Limit-Tokens": "160000",
            "X-RateLimit-Remaining-Tokens": "159976",
            "X-RateLimit-Reset-Tokens": "8s",
        }
    )
    assert read_requests(headers) == Allowance(5000, 4999, 0.012)
    assert read_tokens(headers) == Allowance(160000, 159976, 8.0)


def test_names_without_a_unit_are_requests() -> None:
    headers = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str((_UNIX + 7) * 1000)}
    assert read_requests(CIMultiDict({**headers, "Date": _DATE})) == Allowance(20, 0, 7.0)
    assert read_tokens(headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "0", "x-ratelimit-limit-requests": "-1"},
        {"x-ratelimit-remaining-requests": "19"},
        {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "later"},
    ],
)
def test_what_makes_no_sense_says_nothing(headers: dict[str, str]) -> None:
    assert read_requests(headers) is None


def test_a_limit_that_makes_no_sense_is_left_out() -> None:
    headers = {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "1s"}
    assert read_requests({**headers, "x-ratelimit-limit-requests": "3"}) == Allowance(None, 5, 1.0)
    assert read_requests({**headers, "x-ratelimit-limit-requests": "?"}) == Allowance(None, 5, 1.0)
