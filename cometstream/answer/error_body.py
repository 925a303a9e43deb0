"""Error bodies and error frames: whatever a gateway calls an error, to one shape. ``typed_errors`` makes the errors of it."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from cometstream.answer.json_text import parse_json
from cometstream.frozen import dataclass
from cometstream.views.view import int_or_none, list_of_dicts, text_or_none

__all__ = [
    "ERROR_CODES",
    "ERROR_MESSAGES",
    "ErrorBody",
    "excerpt",
    "failed_base",
    "failed_choice",
    "failed_groq",
    "parse_error",
    "read_error",
]

# Under which names a body tells what went wrong, and under which its code.
ERROR_MESSAGES: Final = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage")
ERROR_CODES: Final = ("code", "error_code", "errorCode", "err_code")

# The HTTP status that a code or type without a number stands for; in capitals they are Google's.
_STATUS_OF: Final = {
    "DEADLINE_EXCEEDED": 504,
    "FAILED_PRECONDITION": 400,
    "INTERNAL": 500,
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
    "UNAVAILABLE": 503,
    "authentication_error": 401,
    "content_policy_violation": 400,
    "context_length_exceeded": 400,
    "insufficient_balance": 402,
    "insufficient_quota": 429,
    "insufficient_user_quota": 403,
    "internal_server_error": 500,
    "invalid_api_key": 401,
    "invalid_request": 400,
    "invalid_request_error": 400,
    "model_not_found": 404,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "pre_consume_token_quota_failed": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "service_unavailable": 503,
    "timeout": 504,
}

# What the numbers in MiniMax's `base_resp` stand for; the others are told as they are.
_STATUS_OF_BASE: Final = {
    1000: 500,
    1001: 504,
    1002: 429,
    1004: 401,
    1008: 402,
    1013: 500,
    1024: 500,
    1026: 400,
    1027: 400,
    1033: 500,
    1039: 429,
    1041: 429,
    1042: 400,
    2013: 400,
    2045: 429,
    2049: 401,
    2056: 429,
}

# Patterns that are compiled when they are first needed, so that no import waits for what only errors need.
_REQUEST_ID: Final = r"(?i)\(request id: ([\w.:-]{1,128})\)"
_TAGS: Final = r"<[^<>]*>"
_UNSEEN: Final = ("script", "style", "head")
_DURATION: Final = r"([0-9]{1,8}(?:\.[0-9]{1,9})?) ?s?"

# Seconds that no honest server asks to wait: three years.
_LONGEST: Final = 1e8
_TITLE: Final = r"(?i)<title[^<>]*>([^<]*)</title"


@dataclass(frozen=True, init=False)
class ErrorBody:
    """An error as the server told it, in one shape.

    Attributes:
        message: Its text, as the server wrote it; ``""`` where it gave none.
        code: Its own code as text; None if it gave none.
        type: Its own type; None if it gave none.
        param: The parameter that it names; None if it names none.
        status: The HTTP status that its code stands for; None if it stands for no status.
        retry_after: Seconds that it asks to wait; None if it asks for nothing.
        raw: The body as it came: parsed JSON, or text.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    raw: Any = None

    def __init__(
        self,
        message: str,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name
        param: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        raw: Any = None,
    ) -> None:
        self.__dict__.update(
            message=message, code=code, type=type, param=param, status=status, retry_after=retry_after, raw=raw
        )

    @property
    def request_id(self) -> str | None:
        """The request id that gateways write into the message."""
        found = re.search(_REQUEST_ID, self.message)
        return found[1] if found else None


def parse_error(body: bytes) -> ErrorBody:
    """Read the body of an answer that is an error: JSON of any shape, text or HTML, whatever its label says."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    try:
        parsed = parse_json(text)
    except ValueError:
        return ErrorBody(excerpt(text), raw=text)
    error = read_error(parsed)
    return error if error is not None else ErrorBody(excerpt(text), raw=parsed)


def read_error(parsed: Any) -> ErrorBody | None:
    """Read a parsed JSON value as an error.

    ``{"error": {...}}``, ``{"error": "text"}``, both also inside a choice, ``{"detail": ...}`` and ``{"message": ...}`` are
    known; None for anything else.
    """
    if isinstance(parsed, list) and len(parsed) == 1:
        return read_error(parsed[0])
    if not isinstance(parsed, dict):
        return ErrorBody(parsed, raw=parsed) if isinstance(parsed, str) and parsed else None
    base = failed_base(parsed)
    if base is not None and not parsed.get("error"):
        code = base["status_code"]
        fields = {
            "message": base.get("status_msg"),
            "code": code,
            "status": _STATUS_OF_BASE.get(int_or_none(code) or 0),
        }
        return _from_fields(fields, parsed)
    stopped = failed_groq(parsed)
    if stopped is not None and not parsed.get("error"):
        return _from_fields({"message": f"the stream was stopped early: {stopped}", "code": stopped}, parsed)
    told_by = parsed if parsed.get("error") else failed_choice(parsed.get("choices")) or parsed
    error = told_by.get("error")
    if isinstance(error, dict) and error:
        return _from_fields(error, parsed)
    if isinstance(error, (str, list)) and error:
        return _from_fields({**told_by, "message": error if isinstance(error, str) else _compact(error)}, parsed)
    for key in ERROR_MESSAGES:
        message = parsed.get(key)
        if message:
            return _from_fields({**parsed, "message": message}, parsed)
    return None


def failed_choice(choices: object) -> dict[str, Any] | None:
    """Return the first of a chunk's choices that holds an error; None where none does, as nearly always."""
    if type(choices) is list:
        for choice in choices:
            if type(choice) is dict and "error" in choice and choice["error"]:
                return choice
    return None


def failed_base(parsed: dict[str, Any]) -> dict[str, Any] | None:
    """Return MiniMax's ``base_resp`` where it says that something failed: its code is 0 where all is well."""
    base = parsed.get("base_resp")
    return base if isinstance(base, dict) and int_or_none(base.get("status_code")) else None


def failed_groq(parsed: dict[str, Any]) -> str | None:
    """Return why Groq stopped a stream early, which it says in ``x_groq`` of an otherwise plain chunk; None where it did not."""
    groqs = parsed.get("x_groq")
    return (text_or_none(groqs.get("error")) or None) if isinstance(groqs, dict) else None


def _from_fields(fields: dict[str, Any], raw: Any) -> ErrorBody:
    message = fields.get("message")
    if not isinstance(message, str):
        message = _compact(message) if message else ""
    code = next((fields[name] for name in ERROR_CODES if fields.get(name) not in (None, "")), None)
    code_text = str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) and code != "" else None
    kind = text_or_none(fields.get("type")) or None
    named = fields.get("status")  # a number, or Google's word
    status = _status(code_text) or _status(named) or _status(fields.get("status_code"))
    words = (code_text, kind, text_or_none(named))
    return ErrorBody(
        message=message,
        code=code_text,
        type=kind,
        param=text_or_none(fields.get("param")) or None,
        status=status or next((_STATUS_OF[word] for word in words if word in _STATUS_OF), None),
        retry_after=_retry_after(fields),
        raw=raw,
    )


def _retry_after(fields: dict[str, Any]) -> float | None:
    """Return the seconds that a body asks to wait: in a field of its own, or in Google's RetryInfo."""
    wishes = [fields.get("retry_after"), fields.get("retryAfter"), fields.get("retry_after_seconds")]
    wishes += [
        detail.get("retryDelay", detail.get("retry_delay"))
        for detail in list_of_dicts(fields.get("details"))
        if str(detail.get("@type", "")).endswith("google.rpc.RetryInfo")
    ]
    return next((seconds for wish in wishes if (seconds := _seconds(wish)) is not None), None)


def _seconds(wish: object) -> float | None:
    """Read a duration: a number, ``"2"``, ``"2.5s"``, or ``{"seconds": 2, "nanos": 500000000}``."""
    if isinstance(wish, dict):
        seconds, nanos = _seconds(wish.get("seconds", 0)), wish.get("nanos") or 0
        return seconds + nanos / 1e9 if seconds is not None and type(nanos) is int and 0 <= nanos < 1e9 else None
    if isinstance(wish, str):
        found = re.fullmatch(_DURATION, wish.strip())
        return float(found[1]) if found else None
    if isinstance(wish, bool) or not isinstance(wish, (int, float)):
        return None
    return float(wish) if 0 <= wish < _LONGEST else None


def _status(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and 300 <= value <= 599 else None


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def excerpt(text: str, most: int = 300) -> str:
    """Return the readable beginning of a text or HTML page on one line."""
    text = text[:4096]
    if text[:1] == "<":
        title = re.search(_TITLE, text)
        body = re.sub(_TAGS, " ", _without_unseen(text))
        text = f"{title[1].strip()}: {body}" if title else body
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most] + "..."


def _without_unseen(page: str) -> str:
    """Return a page without its scripts, styles and head, each looked for once: a page may open a thousand and close none."""
    for name in _UNSEEN:
        shown: list[str] = []
        rest, small = page, page.lower()
        start = 0
        while (begin := small.find(f"<{name}", start)) >= 0:
            end = small.find(f"</{name}", begin)
            if end < 0:
                break
            if small[begin + len(name) + 1 : begin + len(name) + 2].isalpha():  # <header> is not <head>
                shown.append(rest[start : begin + 1])
                start = begin + 1
                continue
            shown.append(rest[start:begin])
            close = small.find(">", end)
            start = len(rest) if close < 0 else close + 1
        page = "".join(shown) + rest[start:]
    return page
