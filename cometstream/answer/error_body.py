"""Error bodies and error frames: whatever a gateway calls an error, to one shape, and from there to the typed error.

Classified by status and code, never by the text: gateways localise their messages.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.json_text import parse_json
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
from cometstream.frozen import dataclass
from cometstream.views.view import int_or_none, list_of_dicts, text_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ERROR_CODES",
    "ERROR_MESSAGES",
    "RETRYABLE_STATUSES",
    "VERSION_AT_ITS_END",
    "ErrorBody",
    "ErrorContext",
    "failed_base",
    "failed_choice",
    "failed_groq",
    "is_retryable",
    "is_unknown_model",
    "parse_error",
    "read_error",
]

# Under which names a body tells what went wrong, and under which its code.
ERROR_MESSAGES: Final = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage")
ERROR_CODES: Final = ("code", "error_code", "errorCode", "err_code")

# 52x are Cloudflare's own, 529 is a provider's "overloaded".
RETRYABLE_STATUSES: Final = frozenset({408, 409, 429, *range(500, 600)})

# Waiting helps none of these: the quota is used up, the channel has no key, the request is at fault.
_PERMANENT_CODES: Final = frozenset(
    {
        "billing_hard_limit_reached",
        "billing_not_active",
        "channel:invalid_key",
        "channel:no_available_key",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_balance",
        "insufficient_quota",
        "insufficient_user_quota",
        "invalid_api_key",
        "invalid_request",
        "invalid_request_error",
        "model_not_found",
        "pre_consume_token_quota_failed",
        "quota_exceeded",
    }
)

# These are compiled where they are first needed, so that no import waits for what only errors need.
VERSION_AT_ITS_END: Final = r"/v\d[^/]*$"
"""A pattern: how the base URL of an API ends, as a rule."""

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

_CLASSES: Final[Mapping[int, type[APIStatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}

# What stands where the key stood; and how much of a key's beginning tells more than that it is one.
_KEY: Final = "[the API key]"
_TELLING: Final = 8

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


def is_unknown_model(error: CometError | None) -> bool:
    """Whether an error says that the model does not exist or is not served."""
    return isinstance(error, APIStatusError) and (error.code == "model_not_found" or error.status == 404)


def is_retryable(status: int | None, body: ErrorBody, headers: Mapping[str, str] | None = None) -> bool:
    """Whether another attempt may mend what a server reports: the one place that decides it.

    Args:
        status: The HTTP status, or the one that an error frame stands for. None is retryable: requests at fault are refused
            before a stream begins.
        body: The error; some codes no wait mends.
        headers: The answer's headers; ``x-should-retry``, as OpenAI sends it, overrules all else.
    """
    told = headers.get("x-should-retry", "").strip().lower() if headers else ""
    if told in ("true", "false"):
        return told == "true"
    permanent = body.code in _PERMANENT_CODES or body.type in _PERMANENT_CODES
    return not permanent and (status is None or status in RETRYABLE_STATUSES)


def _without(secret: str, text: str) -> str:
    """Return `text` without a secret, also where the text's end cut it apart."""
    if secret[:_TELLING] not in text:
        return text
    text = text.replace(secret, _KEY)
    whole = text.rstrip("'\".")
    # Only the last len(secret) characters can be a secret that was cut, and only where it begins.
    start = whole.find(secret[:_TELLING], max(0, len(whole) - len(secret) + 1))
    while start >= 0:
        if secret.startswith(whole[start:]):
            return whole[:start] + _KEY + text[len(whole) :]
        start = whole.find(secret[:_TELLING], start + 1)
    return text


class ErrorContext:
    """What a typed error needs to know beyond the answer: where it came from, and what must not be told.

    Args:
        base_url: The endpoint's base URL, for the messages that name it.
        key_source: Where the key was found (``"api_key="``, ``"COMETAPI_KEY"``).
        secrets: What must not be told, the longest first: keys and passwords, replaced wherever a server echoes them.
    """

    __slots__ = ("base_url", "key_source", "secrets")

    def __init__(self, base_url: str, key_source: str, secrets: tuple[str, ...]) -> None:
        self.base_url = base_url
        self.key_source = key_source
        self.secrets = secrets

    def status_error(
        self,
        status: int,
        body: ErrorBody,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        location: str | None = None,
    ) -> APIStatusError:
        """Return the typed error for a status: from the HTTP status line, or from an error frame's code."""
        body = self._without_key(body)
        cls = _CLASSES.get(status, InternalServerError if status >= 500 else APIStatusError)
        if status == 500 and body.code == "invalid_request":
            # The endpoint's own documents: "a request-shape error surfaced as a server-status response".
            cls = BadRequestError
        message = f"{status}: {body.message or 'no message'}"
        if location is not None:
            message += (
                f" (redirect to {self.redact(location)}; not followed, it would send the prompt to another address)"
            )
        message += self._hint(status, body)
        return cls(
            message,
            status=status,
            code=body.code,
            type=body.type,
            param=body.param,
            body=body.raw,
            headers=headers,
            retry_after=body.retry_after if retry_after is None else retry_after,
            request_id=request_id or body.request_id,
            retryable=is_retryable(status, body, headers),
        )

    def frame_error(self, body: ErrorBody, *, started: bool, request_id: str | None = None) -> CometError:
        """Return the typed error for an error frame.

        Before the first content it is the class that its code would raise as an HTTP status, and a code that stands for
        none is retryable, since requests at fault are refused before a stream begins; afterwards it is StreamServerError.
        """
        if not started and body.status is not None and body.status >= 400:
            return self.status_error(body.status, body, request_id=request_id)
        body = self._without_key(body)
        known = "" if body.code is None else f" (code {body.code})"
        return StreamServerError(
            f"the server reported an error inside the stream{known}: {body.message or 'no message'}",
            status=body.status,
            code=body.code,
            type=body.type,
            body=body.raw,
            request_id=request_id or body.request_id,
            retryable=is_retryable(body.status, body),
        )

    def _without_key(self, body: ErrorBody) -> ErrorBody:
        return replace(
            body,
            message=self.redact(body.message),
            code=body.code and self.redact(body.code),
            type=body.type and self.redact(body.type),
            param=body.param and self.redact(body.param),
            raw=self.redact_json(body.raw),
        )

    def secrets_may_be_in(self, text: str) -> bool:
        """Whether `redact` may have something to take out of `text`, or of a part of it."""
        return any(secret[:_TELLING] in text for secret in self.secrets)

    def redact(self, text: str) -> str:
        """Return `text` without the key, also where an excerpt's end cut the key apart."""
        for secret in self.secrets:
            text = _without(secret, text)
        return text

    def redact_error(self, error: ProtocolError) -> ProtocolError:
        """Return an error that quotes the server, without the key; of a page in place of an answer it tells what it may be."""
        message, raw = self.redact(error.message), error.raw
        if raw.lstrip()[:1] == b"<":
            message += self._address_hint()
        for secret in self.secrets:
            raw = raw.replace(secret.encode(), _KEY.encode())
        return ProtocolError(message, raw=raw, request_id=error.request_id)

    def redact_json(self, value: Any) -> Any:
        """Return a JSON value without the key in any of its texts; the value itself where the key is in none."""
        return self._redact_json(value) if self.secrets and self._may_be_in(value) else value

    def _may_be_in(self, value: Any) -> bool:
        """Whether a value has the key's beginning anywhere, which one look at its JSON tells: walking it takes far longer."""
        try:
            text = orjson.dumps(value)
        except TypeError:
            return True
        return any(orjson.dumps(secret[:_TELLING])[1:-1] in text for secret in self.secrets)

    def _redact_json(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {self.redact(key): self._redact_json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._redact_json(item) for item in value]
        return value

    def _hint(self, status: int, body: ErrorBody) -> str:
        is_page = isinstance(body.raw, str) and body.raw.lstrip().startswith("<")
        if status == 401:
            return f". The key came from {self.key_source}; check that it belongs to {self.base_url}"
        if status == 403 and is_page:
            return (
                ". This page is not the API's: a firewall before it may have refused the address of this machine or words of the "
                "prompt; ask the gateway's support, with the time and your address"
            )
        if 300 <= status < 400:
            return self._address_hint() or f". The path may be wrong; the request went to {self.base_url}"
        if body.code == "model_not_found" or status == 404:
            return (
                f". If the model is unknown: its ids are on CometAPI's Models page; the request went to {self.base_url}"
                + self._address_hint()
            )
        return ""

    def _address_hint(self) -> str:
        """Return what is missing at the base URL's end, where that is what a page or a redirect in place of an answer means."""
        if re.search(VERSION_AT_ITS_END, self.base_url) is not None:
            return ""
        return f". The base URL {self.base_url} does not end with /v1, as CometAPI's does: https://api.cometapi.com/v1"
