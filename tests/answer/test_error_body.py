"""Whatever a gateway calls an error is read into one shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import json_shapes

from cometstream.answer.error_body import ErrorBody, excerpt, parse_error, read_error
from cometstream.answer.typed_errors import ErrorContext
from cometstream.errors import (
    APIStatusError,
    CometError,
)

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
