"""One line of the output: writes a row's result in the shape of OpenAI's Batch output, and reads such a line."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CometError,
    InvalidRequestError,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cometstream.batch.result import BatchResult

__all__ = ["OutputLine", "bad_row_line", "error_code", "read_output_line", "result_line"]


class OutputLine(NamedTuple):
    """What a line says of its row.

    Attributes:
        custom_id: The row's name.
        id: The line's own id.
        failed: Whether the row failed.
    """

    custom_id: str
    id: str
    failed: bool


def result_line(result: BatchResult, *, id: str, custom_id: str) -> bytes:  # noqa: A002 - the wire's own name
    """Return a result as one line, without its end.

    A row that failed has an ``error``. If a server answered, it also has a ``response``: the status and the body, or what came of
    the completion before it broke off.

    Args:
        result: How the row ended; not cancelled.
        id: The line's id.
        custom_id: The row's name.

    Source:
        OpenAI's API reference, "The request output object" of the Batch API.
    """
    error = result.error
    response: dict[str, Any] | None = None
    if result.completion is not None:
        response = _response(HTTPStatus.OK, result, result.completion.to_dict())
    elif isinstance(error, APIStatusError):
        response = _response(error.status, result, _error_body(error))
    return _line(id, custom_id, response, None if error is None else _error(error_code(result), str(error)))


def bad_row_line(problems: Sequence[str], *, id: str, custom_id: str) -> bytes:  # noqa: A002 - the wire's own name
    """Return the line of a row that was not sent, without its end."""
    return _line(id, custom_id, None, _error("invalid_request", f"the row was not sent: {'; '.join(problems)}"))


def error_code(result: BatchResult) -> str:
    """Return a word for why a row failed: the server's own code, if it gave one."""
    error = result.error
    if result.outcome in ("truncated", "unterminated"):
        return result.outcome
    if isinstance(error, CometError) and isinstance(error.code, str) and error.code:
        return error.code
    if isinstance(error, InvalidRequestError):
        return "invalid_request"
    if isinstance(error, APIStatusError):
        return f"http_{error.status}"
    if isinstance(error, APITimeoutError):
        return f"timeout_{error.clock}"
    if isinstance(error, APIConnectionError):
        return "connection_error"
    return "protocol_error" if isinstance(error, ProtocolError) else "error"


def read_output_line(line: bytes) -> OutputLine:
    """Return what a line says; also a line of OpenAI's own.

    Raises:
        ValueError: It is not a line of a batch's output.
    """
    value = orjson.loads(line)
    if not isinstance(value, dict) or not isinstance(value.get("custom_id"), str):
        raise ValueError("has no custom_id")
    if "response" not in value or "error" not in value:
        raise ValueError("has no response and error")
    response = value["response"]
    status = response.get("status_code") if isinstance(response, dict) else None
    failed = value["error"] is not None or not isinstance(status, int) or not 200 <= status < 300
    id_ = value.get("id")
    return OutputLine(value["custom_id"], id_ if isinstance(id_, str) else "", failed)


def _line(id_: str, custom_id: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    return orjson.dumps({"id": id_, "custom_id": custom_id, "response": response, "error": error})


def _response(status: int, result: BatchResult, body: dict[str, Any]) -> dict[str, Any]:
    request_id = result.error.request_id if result.error is not None else None
    if request_id is None and result.metrics is not None:
        request_id = result.metrics.request_id
    if request_id is None and result.completion is not None:
        request_id = result.completion.request_id
    return {"status_code": int(status), "request_id": request_id, "body": body}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _error_body(error: APIStatusError) -> dict[str, Any]:
    """Return the error as it came, or in OpenAI's shape where it was no JSON object."""
    if isinstance(error.body, dict):
        return error.body
    return {"error": {"message": str(error), "type": error.type, "param": error.param, "code": error.code}}
