"""What went wrong, as the error that a caller meets: its class, its message, whether it may be retried, and no secret in it.

Classified by status and code, never by the text: gateways localise their messages.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import orjson

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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.answer.error_body import ErrorBody

__all__ = ["RETRYABLE_STATUSES", "VERSION_AT_ITS_END", "ErrorContext", "is_retryable", "is_unknown_model"]

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

_CLASSES: Final[Mapping[int, type[APIStatusError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}

VERSION_AT_ITS_END: Final = r"/v\d[^/]*$"
"""A pattern: how the base URL of an API ends, as a rule."""

# What stands where the key stood; and how much of a key's beginning tells more than that it is one.
_KEY: Final = "[the API key]"
_TELLING: Final = 8


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
