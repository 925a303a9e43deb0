from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.error_body import (
    RETRYABLE_STATUSES,
    ErrorBody,
    ErrorContext,
    excerpt,
    is_unknown_model,
    parse_error,
    read_error,
)
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


# -- H1: whatever the body looks like, its best message; and what came is kept ------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            b'{"error":{"message":"no","type":"comet_api_error","param":"model","code":"invalid_request"}}',
            ErrorBody("no", "invalid_request", "comet_api_error", "model", 400),
        ),
        (
            b'{"error":{"message":"no","type":"comet_api_error","param":"","code":""}}',
            ErrorBody("no", None, "comet_api_error"),
        ),
        (b'{"error":{"message":"no","type":null,"param":null,"code":null}}', ErrorBody("no")),
        (b'{"error":{"message":"no","code":429}}', ErrorBody("no", "429", status=429)),
        (b'{"error":{"message":"no","code":"503"}}', ErrorBody("no", "503", status=503)),
        (b'{"error":{"message":"no","code":true}}', ErrorBody("no")),
        (b'{"error":{"message":"no","code":7}}', ErrorBody("no", "7")),
        (b'{"error":{"message":"no","status":"UNAVAILABLE","code":503}}', ErrorBody("no", "503", status=503)),
        (b'{"error":{"message":"no","status":502}}', ErrorBody("no", status=502)),
        (b'{"error":{"message":"no","status_code":404}}', ErrorBody("no", status=404)),
        (
            b'{"error":{"message":"no","type":"rate_limit_error"}}',
            ErrorBody("no", None, "rate_limit_error", status=429),
        ),
        (b'{"error":{"code":500}}', ErrorBody("", "500", status=500)),
        (b'{"error":{"message":{"a":1}}}', ErrorBody('{"a":1}')),
        (b'{"error":"no"}', ErrorBody("no")),
        (b'{"error":"no","code":401}', ErrorBody("no", "401", status=401)),
        (b'{"error":["a","b"]}', ErrorBody('["a","b"]')),
        (b'[{"error":{"message":"no","code":400}}]', ErrorBody("no", "400", status=400)),
        (b'{"message":"no"}', ErrorBody("no")),
        (b'{"detail":"no"}', ErrorBody("no")),
        (
            b'{"detail":[{"loc":["body","model"],"msg":"missing"}]}',
            ErrorBody('[{"loc":["body","model"],"msg":"missing"}]'),
        ),
        (b'{"msg":"no","code":403}', ErrorBody("no", "403", status=403)),
        (b'{"error_msg":"no"}', ErrorBody("no")),
        (b'{"error":null,"message":"no"}', ErrorBody("no")),
        (b'"no"', ErrorBody("no")),
        (b'\xef\xbb\xbf {"error":"no"}', ErrorBody("no")),
        (b'{"error":"n\xffo"}', ErrorBody("n\ufffdo")),
        (b'{"error":"no","x":NaN}', ErrorBody("no")),
        (b"  Bad \n gateway ", ErrorBody("Bad gateway")),
        (
            b"<html><head><title>502</title></head><body><p>Bad\n gateway</p></body></html>",
            ErrorBody("502: Bad gateway"),
        ),
        (b"<p>Bad</p>", ErrorBody("Bad")),
        (b'{"status":"failed"}', ErrorBody('{"status":"failed"}')),
        (b"[]", ErrorBody("[]")),
        (b"7", ErrorBody("7")),
        (b"", ErrorBody("")),
        (b"\xff\xfe", ErrorBody("\ufffd\ufffd")),
    ],
)
def test_a_body_of_any_shape_gives_its_best_message(body: bytes, error: ErrorBody) -> None:
    assert replace(parse_error(body), raw=None) == error


def test_what_came_is_kept() -> None:
    assert parse_error(b'{"error":{"message":"no","hint":[1]}}').raw == {"error": {"message": "no", "hint": [1]}}
    assert parse_error(b'{"status":"failed"}').raw == {"status": "failed"}
    assert parse_error(b"<p>Bad</p>").raw == "<p>Bad</p>"


def test_what_is_no_error_is_none() -> None:
    for parsed in (None, 7, "", [], [1, 2], {}, {"error": None}, {"error": ""}, {"error": {}}, {"message": ""}):
        assert read_error(parsed) is None


def test_the_request_id_is_found_in_the_message() -> None:
    assert (
        parse_error(b'{"error":{"message":"no (request id: 2025010112-abc.D_e)"}}').request_id == "2025010112-abc.D_e"
    )
    assert parse_error(b'{"error":{"message":"no (request id: )"}}').request_id is None
    assert raised(500, b'{"error":{"message":"no (Request ID: r1)"}}').request_id == "r1"
    assert raised(500, b'{"error":{"message":"no (request id: r1)"}}', request_id="r2").request_id == "r2"


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\n b\t c") == "a b c"
    assert excerpt("x" * 400) == "x" * 300 + "..."
    assert excerpt("<script>x<y</script><b>bold</b>") == "bold"


@pytest.mark.parametrize("unit", ["<", "<script", "<title>", "<!--", "<head ", "<a <"])
def test_an_excerpt_of_a_hostile_page_looks_at_its_beginning_only(unit: str) -> None:
    page = unit * 1_000_000
    assert excerpt(page) == excerpt(page[:4096])


@given(st.binary(max_size=60) | json_shapes.values.map(orjson.dumps))
def test_no_body_raises(body: bytes) -> None:
    for status in (400, 500):
        assert isinstance(CONTEXT.status_error(status, parse_error(body)), APIStatusError)
    for started in (False, True):
        assert isinstance(CONTEXT.frame_error(parse_error(body), started=started), CometError)


@pytest.mark.parametrize("depth", [300, 1000, 1100, 100_000])
def test_brackets_without_end_are_text(depth: int) -> None:
    body = b'{"error":' * depth + b"[" * depth + b"]" * depth + b"}" * depth
    assert raised(500, body).message.startswith('500: {"error":')
    assert parse_error(b"[" * depth).raw == "[" * depth


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


# -- errors in other dress ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "status", "retryable"),
    [
        (1002, 429, True),
        (1004, 401, False),
        (1008, 402, False),
        (2013, 400, False),
        (1013, 500, True),
        (9999, None, True),
    ],
)
def test_minimax_tells_of_an_error_in_base_resp(base: int, status: int | None, retryable: bool) -> None:
    error = read_error({"choices": None, "base_resp": {"status_code": base, "status_msg": "it failed"}})
    assert error is not None
    assert (error.message, error.code, error.status) == ("it failed", str(base), status)
    assert CONTEXT.frame_error(error, started=False).retryable is retryable


@pytest.mark.parametrize("base", [None, "x", {}, {"status_code": 0, "status_msg": "x"}, {"status_code": None}])
def test_a_base_resp_that_says_all_is_well_is_no_error(base: Any) -> None:
    assert read_error({"base_resp": base}) is None


@pytest.mark.parametrize(
    ("word", "status"), [("RESOURCE_EXHAUSTED", 429), ("UNAVAILABLE", 503), ("INVALID_ARGUMENT", 400), ("NEW", None)]
)
def test_googles_words_stand_for_a_status(word: str, status: int | None) -> None:
    error = read_error({"error": {"message": "x", "status": word}})
    assert error is not None
    assert error.status == status


RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"details": [{"@type": RETRY_INFO, "retryDelay": "2s"}]}, 2.0),
        ({"details": [5, {"@type": "x", "retryDelay": "9s"}, {"@type": RETRY_INFO, "retryDelay": "1.5s"}]}, 1.5),
        ({"details": [{"@type": RETRY_INFO, "retry_delay": {"seconds": 2, "nanos": 500_000_000}}]}, 2.5),
        ({"details": [{"@type": RETRY_INFO, "retryDelay": {"seconds": "3"}}]}, 3.0),
        ({"details": [{"@type": RETRY_INFO, "retryDelay": {"nanos": "x"}}]}, None),
        ({"details": [{"@type": RETRY_INFO}]}, None),
        ({"details": "2s"}, None),
        ({"retry_after": 3}, 3.0),
        ({"retryAfter": "4"}, 4.0),
        ({"retry_after_seconds": 0.5}, 0.5),
        ({"retry_after": True}, None),
        ({"retry_after": -1}, None),
        ({"retry_after": 1e300}, None),
        ({"retry_after": "soon"}, None),
        ({"message": "try again in 5s"}, None),
    ],
)
def test_a_body_may_ask_to_wait(fields: dict[str, Any], seconds: float | None) -> None:
    error = read_error([{"error": {"message": "quota", "code": 429, **fields}}])
    assert error is not None
    assert error.retry_after == seconds
    assert CONTEXT.status_error(429, error).retry_after == seconds
    assert CONTEXT.status_error(429, error, retry_after=7.0).retry_after == 7.0, "the header is nearer"


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


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("<html><head><title>Down</title></head><body>Sorry</body></html>", "Down: Sorry"),
        ("<html><header>Top</header><script>x</script><p>Text</p><SCRIPT>y</SCRIPT >end", "Top Text end"),
        ("<HTML><HEAD><TITLE>Down</TITLE></HEAD><BODY>Sorry</BODY></HTML>", "Down: Sorry"),
        ("<html><style>x</style", ""),
        ("<html><script>x", "x"),
    ],
)
def test_a_page_is_shown_without_what_nobody_sees(page: str, shown: str) -> None:
    assert excerpt(page) == shown


# -- the key ------------------------------------------------------------------------------------------------------------------


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


def test_groq_tells_in_x_groq_why_it_stopped_early() -> None:
    chunk = {"id": "c", "choices": [], "x_groq": {"id": "r", "error": "over_capacity"}}
    error = read_error(chunk)
    assert error is not None
    assert (error.message, error.code) == ("the stream was stopped early: over_capacity", "over_capacity")
    for groqs in (None, 7, {}, {"id": "r"}, {"error": None}, {"error": ""}, {"error": 7}):
        assert read_error({"choices": [], "x_groq": groqs}) is None
    named = read_error({"x_groq": {"error": "over_capacity"}, "error": {"message": "no"}})
    assert named is not None
    assert named.message == "no"
