from __future__ import annotations

from typing import Any

import orjson
import pytest

from cometstream.batch.output_line import bad_row_line, error_code, read_output_line, result_line
from cometstream.batch.result import BatchResult
from cometstream.batch.row_id import fingerprint, row_id
from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CometError,
    EmptyStreamError,
    InvalidRequestError,
    ProtocolError,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.metrics import StreamMetrics
from cometstream.views.completion import ChatCompletion

WHOLE = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop"}]}
PARTIAL = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": None}]}


def result(outcome: Any, body: dict[str, Any] | None = None, error: CometError | None = None) -> BatchResult:
    completion = None if body is None else ChatCompletion(body)
    metrics = StreamMetrics("req-m", 1, 0.1, 0.2, 3, 100, None)
    return BatchResult(0, "a", {}, completion, error, outcome, 1, metrics)


def line(given: BatchResult) -> Any:
    return orjson.loads(result_line(given, id="batch_row_x", custom_id="a"))


def test_an_answer_has_the_shape_of_openais_batch_output() -> None:
    assert line(result("complete", WHOLE)) == {
        "id": "batch_row_x",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "req-m", "body": WHOLE},
        "error": None,
    }


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("truncated", StreamTruncatedError("cut")), ("unterminated", StreamUnterminatedError("no end"))],
)
def test_a_row_that_broke_off_keeps_what_came_and_is_a_failure(outcome: str, error: CometError) -> None:
    told = line(result(outcome, PARTIAL, error))
    assert told["response"] == {"status_code": 200, "request_id": "req-m", "body": PARTIAL}
    assert told["error"] == {"code": outcome, "message": str(error)}


def test_a_status_is_told_with_the_body_that_the_server_sent() -> None:
    body = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    error = APIStatusError("429 slow down", status=429, code="rate_limit_exceeded", body=body, request_id="req-e")
    told = line(result("error", None, error))
    assert told["response"] == {"status_code": 429, "request_id": "req-e", "body": body}
    assert told["error"] == {"code": "rate_limit_exceeded", "message": "429 slow down"}


def test_a_body_that_is_no_object_becomes_one_of_openais_shape() -> None:
    error = APIStatusError("502 <html>", status=502, body="<html>")
    told = line(result("error", None, error))
    assert told["response"]["body"] == {"error": {"message": "502 <html>", "type": None, "param": None, "code": None}}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequestError(["temperature: is 3"]), "invalid_request"),
        (APIStatusError("502", status=502), "http_502"),
        (APITimeoutError("late", clock="content_idle"), "timeout_content_idle"),
        (APIConnectionError("refused"), "connection_error"),
        (ProtocolError("no JSON"), "protocol_error"),
        (EmptyStreamError("nothing"), "error"),
        (StreamServerError("overloaded", code="overloaded_error"), "overloaded_error"),
    ],
)
def test_each_failure_has_a_code(error: CometError, code: str) -> None:
    assert error_code(result("error", None, error)) == code
    told = line(result("error", None, error))
    assert told["error"]["message"] == str(error)
    assert read_output_line(orjson.dumps(told)).failed


def test_a_bad_row_says_that_it_was_not_sent() -> None:
    told = orjson.loads(bad_row_line(["a: is 1", "b: is 2"], id="i", custom_id="c"))
    assert told["response"] is None
    assert told["error"] == {"code": "invalid_request", "message": "the row was not sent: a: is 1; b: is 2"}


@pytest.mark.parametrize(
    ("response", "error", "failed"),
    [
        ({"status_code": 200, "body": {}}, None, False),
        ({"status_code": 200, "body": {}}, {"code": "truncated"}, True),
        ({"status_code": 400, "body": {}}, None, True),  # as OpenAI writes it
        ({"body": {}}, None, True),
        (None, {"code": "batch_expired"}, True),
    ],
)
def test_a_line_tells_whether_its_row_failed(response: Any, error: Any, failed: bool) -> None:
    told = read_output_line(orjson.dumps({"id": "i", "custom_id": "a", "response": response, "error": error}))
    assert told == ("a", "i", failed)


@pytest.mark.parametrize(
    "text", [b"", b"\0\0\0", b'{"id":"i","custom_id":"a","resp', b"[]", b"{}", b'{"custom_id":7}', b'{"custom_id":"a"}']
)
def test_what_is_no_output_line_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_output_line(text)


def test_only_our_own_ids_are_held_against_a_row() -> None:
    own = fingerprint(row_id("a", b"{}", "m"))
    assert own is not None
    for custom_id, body in (("a", b"[]"), ("b", b"{}")):
        other = fingerprint(row_id(custom_id, body, "m"))
        assert other is not None
        assert other.row != own.row
        assert other.model == own.model
    other = fingerprint(row_id("a", b"{}", "another model"))
    assert other is not None
    assert other.row == own.row
    assert other.model != own.model
    assert fingerprint("batch_req_6780a1f5d3888190a0fda3a2a3c81e59") is None
    assert fingerprint("batch_row_" + "x" * 32) is None
    assert fingerprint("") is None
