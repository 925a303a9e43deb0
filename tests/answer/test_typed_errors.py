"""What was read as an error is raised as the class that its status and code stand for, and no secret is in it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.answer.error_body import ErrorBody, parse_error
from cometstream.answer.typed_errors import RETRYABLE_STATUSES, ErrorContext, is_unknown_model
from cometstream.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    CometError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    StreamServerError,
)
from cometstream.policy import RetryPolicy

KEY = "sk-0123456789abcdef"
CONTEXT = ErrorContext(base_url="https://api.cometapi.com/v1", key_source="COMETAPI_KEY", secrets=(KEY,))


def raised(status: int, body: bytes, **more: Any) -> APIStatusError:
    return CONTEXT.status_error(status, parse_error(body), **more)


# -- the class is told by status and code, never by the text ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "cls", "retryable"),
    [
        (400, b"{}", BadRequestError, False),
        (401, b"{}", AuthenticationError, False),
        (402, b"{}", APIStatusError, False),
        (403, b"{}", PermissionDeniedError, False),
        (404, b"{}", NotFoundError, False),
        (408, b"{}", APIStatusError, True),
        (409, b"{}", APIStatusError, True),
        (413, b"{}", APIStatusError, False),
        (422, b"{}", APIStatusError, False),
        (429, b"{}", RateLimitError, True),
        (500, b"{}", InternalServerError, True),
        (503, '{"error":{"message":"\u670d\u52a1\u7e41\u5fd9"}}'.encode(), InternalServerError, True),
        (524, b"<html>", InternalServerError, True),
        (529, b'{"error":{"type":"overloaded_error"}}', InternalServerError, True),
        # H2 and the endpoint's own: a status alone would say try again.
        (500, b'{"error":{"code":"invalid_request"}}', BadRequestError, False),
        (503, b'{"error":{"code":"channel:no_available_key"}}', InternalServerError, False),
        (429, b'{"error":{"code":"insufficient_quota"}}', RateLimitError, False),
        (429, b'{"error":{"type":"insufficient_quota"}}', RateLimitError, False),
        (403, b'{"error":{"type":"new_api_error","code":"insufficient_user_quota"}}', PermissionDeniedError, False),
        (307, b"", APIStatusError, False),
    ],
)
def test_status_and_code_make_the_class(status: int, body: bytes, cls: type[APIStatusError], retryable: bool) -> None:
    error = raised(status, body)
    assert type(error) is cls
    assert (error.status, error.retryable) == (status, retryable)
    assert RetryPolicy().allows(error) is retryable


def test_everything_that_the_server_told_is_on_the_error() -> None:
    body = b'{"error":{"message":"slower","type":"t","param":"p","code":"c"}}'
    error = raised(429, body, headers={"x": "y"}, retry_after=3.0, request_id="r")
    assert (error.code, error.type, error.param, error.body) == ("c", "t", "p", orjson.loads(body))
    assert (error.headers, error.retry_after, error.request_id) == ({"x": "y"}, 3.0, "r")
    assert str(error) == "429: slower"
    assert str(raised(502, b"")) == "502: no message"


def test_messages_help() -> None:
    assert "COMETAPI_KEY; check that it belongs to https://api.cometapi.com/v1" in str(raised(401, b"{}"))
    for error in (raised(404, b"{}"), raised(400, b'{"error":{"message":"?","code":"model_not_found"}}')):
        assert "Models page; the request went to https://api.cometapi.com/v1" in str(error)
    redirect = raised(307, b"", location=f"https://elsewhere.example/?key={KEY}")
    assert "redirect to https://elsewhere.example/?key=[the API key]; not followed" in str(redirect)


def test_an_unknown_model_is_told_by_code_or_status() -> None:
    assert is_unknown_model(raised(404, b"{}"))
    assert is_unknown_model(raised(503, b'{"error":{"message":"?","code":"model_not_found"}}'))
    assert not is_unknown_model(raised(400, b'{"error":{"message":"model not found"}}'))
    assert not is_unknown_model(StreamServerError("x", status=404))
    assert not is_unknown_model(None)


@pytest.mark.parametrize(
    ("status", "code", "told", "retryable"),
    [
        (500, None, "false", False),
        (500, None, " FALSE ", False),
        (400, None, "true", True),
        (429, "insufficient_quota", "true", True),
        (429, "insufficient_quota", "", False),
        (500, None, "perhaps", True),
        (400, None, "perhaps", False),
    ],
)
def test_a_header_may_say_whether_to_try_again(status: int, code: str | None, told: str, retryable: bool) -> None:
    error = CONTEXT.status_error(status, ErrorBody("x", code=code), headers={"x-should-retry": told})
    assert error.retryable is retryable


# -- error frames ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "cls", "retryable"),
    [
        (b'{"error":{"code":502,"message":"m"}}', 502, InternalServerError, True),
        (b'{"error":{"code":400,"message":"m"}}', 400, BadRequestError, False),
        (b'{"error":{"code":302,"message":"m"}}', 302, StreamServerError, False),
        (b'{"error":{"code":"content_policy_violation","message":"m"}}', 400, BadRequestError, False),
        (b'{"error":"m"}', None, StreamServerError, True),
        (b'{"error":{"message":"m","code":"quota_exceeded"}}', None, StreamServerError, False),
    ],
)
def test_a_frame_before_the_content_is_what_its_code_says(
    body: bytes, status: int | None, cls: type[CometError], retryable: bool
) -> None:
    error = CONTEXT.frame_error(parse_error(body), started=False, request_id="r")
    assert type(error) is cls
    assert (getattr(error, "status", None), error.retryable, error.request_id) == (status, retryable, "r")
    later = CONTEXT.frame_error(parse_error(body), started=True)
    assert type(later) is StreamServerError
    assert (later.status, later.retryable) == (status, retryable)
    assert later.body == orjson.loads(body)
    assert "the server reported an error inside the stream" in str(later)


def test_a_frame_names_its_code() -> None:
    error = CONTEXT.frame_error(parse_error(b'{"error":{"code":"c","type":"t"}}'), started=True)
    assert str(error) == "the server reported an error inside the stream (code c): no message"
    assert (error.code, error.type) == ("c", "t")


# -- the key ---------------------------------------------------------------------------------------------------------------------


def everything(error: CometError) -> str:
    return f"{error!s} {error!r} {vars(error)}"


@pytest.mark.parametrize("field", ["message", "code", "type", "param", "other"])
def test_a_key_that_the_server_echoes_stands_nowhere_on_the_error(field: str) -> None:
    body = parse_error(orjson.dumps({"error": {"message": "m", field: f"<{KEY}>", "list": [{KEY: KEY}, 1]}}))
    for error in (CONTEXT.status_error(401, body), CONTEXT.frame_error(body, started=True)):
        assert "0123456789" not in everything(error)
        assert "[the API key]" in everything(error)


@pytest.mark.parametrize("before", range(280, 301))
def test_a_key_that_an_excerpt_cuts_apart_stands_nowhere_either(before: int) -> None:
    error = raised(500, b"x" * before + KEY.encode() + b" and so on" * 20)
    assert KEY[:9] not in everything(error)


def test_an_error_that_quotes_the_server_is_quoted_without_the_key() -> None:
    raw = b'{"key":"' + KEY.encode() + b'"'
    error = CONTEXT.redact_error(ProtocolError(f"an event's data is no JSON: {raw.decode()}", raw=raw, request_id="r"))
    assert (str(error), error.raw) == ('an event\'s data is no JSON: {"key":"[the API key]"', b'{"key":"[the API key]"')
    assert error.request_id == "r"
    plain = ErrorContext(base_url="", key_source="", secrets=())
    assert plain.redact_error(ProtocolError("x", raw=raw)).raw == raw


def test_without_a_key_nothing_is_replaced() -> None:
    plain = ErrorContext(base_url="", key_source="", secrets=())
    assert plain.redact("abc") == "abc"
    assert CONTEXT.redact("ends with sk-01234") == "ends with [the API key]"
    assert CONTEXT.redact("ends with sk-01234...") == "ends with [the API key]..."
    assert CONTEXT.redact("quotes 'sk-01234'...") == "quotes '[the API key]'..."
    assert CONTEXT.redact("ends with sk-0123") == "ends with sk-0123"
    assert KEY not in repr(CONTEXT)


def test_the_retried_statuses_are_those_that_waiting_may_mend() -> None:
    assert {408, 409, 429, 500, 502, 503, 504, 520, 524, 529} <= RETRYABLE_STATUSES
    assert RETRYABLE_STATUSES.isdisjoint({400, 401, 403, 404, 413, 422})


@given(st.text("ab", min_size=1, max_size=20), st.text("ab'\".", max_size=40))
def test_a_key_that_was_cut_is_found_wherever_it_begins(key: str, text: str) -> None:
    context = ErrorContext("https://api.cometapi.com/v1", "api_key=", (key,))
    rest = text.replace(key, "[the API key]")
    whole = rest.rstrip("'\".")
    longest = next((n for n in range(len(key) - 1, 7, -1) if whole.endswith(key[:n])), 0)
    cut = whole[: len(whole) - longest] + "[the API key]" + rest[len(whole) :] if longest else rest
    assert context.redact(text) == cut


def test_a_value_without_the_key_is_not_copied() -> None:
    value = {"a": ["x" * 100, {"b": "y"}]}
    assert CONTEXT.redact_json(value) is value
    assert CONTEXT.redact_json([KEY, 1 << 70]) == ["[the API key]", 1 << 70], "also in what JSON cannot hold"
    assert ErrorContext("", "", ()).redact_json(value) is value


def test_a_key_that_seems_to_begin_twice_is_found() -> None:
    context = ErrorContext("https://api.cometapi.com/v1", "api_key=", ("sk-sk-sk-sk-0123456789",))
    assert context.redact("it is sk-sk-sk-sk-sk-sk-0") == "it is sk-sk-[the API key]"
