"""OpenAI's errors. Each is one of ours, too, and has the attributes of OpenAI's.

::

    OpenAIError                         our CometError
    ├── APIError                        .request, .body (the error inside the server's body), .code, .param, .type
    │   ├── APIConnectionError, APITimeoutError
    │   ├── APIResponseValidationError  our ProtocolError
    │   ├── APIStatusError              .response, .status_code, .request_id; with its eight classes by status
    │   └── StreamError                 our StreamError: an answer that did not end well
    ├── LengthFinishReasonError, ContentFilterFinishReasonError
    └── ConfigurationError              ours

A request that is refused before it is sent is a ``BadRequestError``, as if the server had refused it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

import cometstream.errors as ours
from cometstream.openai.left_out import where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "Request",
    "Response",
    "StreamError",
    "UnprocessableEntityError",
    "openais",
    "translated",
]

OpenAIError = ours.CometError


@dataclass(frozen=True)
class Request:
    """Where a request went."""

    method: str
    url: str


@dataclass(frozen=True)
class Response:
    """The head of an answer, and of an error its body.

    Attributes:
        status_code: The HTTP status.
        headers: The headers, case-insensitive.
        request: The request.
        content: The body of an error; the body of a stream is read by iterating it.
        request_id: The gateway's id of the request.
    """

    status_code: int
    headers: Mapping[str, str]
    request: Request
    content: bytes = field(default=b"", repr=False)
    request_id: str | None = None

    @property
    def status(self) -> int:
        """``status_code``, under the name that ``CometSession``'s streams give it."""
        return self.status_code

    @property
    def text(self) -> str:
        """``content`` as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return ``content`` parsed."""
        return orjson.loads(self.content)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code < 300

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(where(f"response.{name}"))


class APIError(ours.CometError):
    """Any failure of a request."""

    request: Request = Request("POST", "")


class APIConnectionError(APIError, ours.APIConnectionError):
    """There was no answer."""


class APITimeoutError(APIConnectionError, ours.APITimeoutError):
    """The answer did not come in time."""


class APIResponseValidationError(APIError, ours.ProtocolError):
    """The answer is not valid."""


class StreamError(APIError, ours.StreamError):
    """The answer did not end well."""


class StreamServerError(StreamError, ours.StreamServerError):
    """The server reported an error inside the stream."""


class StreamTruncatedError(StreamError, ours.StreamTruncatedError):
    """The connection ended before the answer did."""


class StreamUnterminatedError(StreamError, ours.StreamUnterminatedError):
    """``[DONE]`` came without a ``finish_reason``."""


class EmptyStreamError(StreamError, ours.EmptyStreamError):
    """The stream ended without any choice."""


class APIStatusError(APIError, ours.APIStatusError):
    """The server answered with an error status."""

    @property
    def response(self) -> Response:
        """The answer."""
        sent = self.__dict__.get("_sent")
        content = sent.encode() if isinstance(sent, str) else orjson.dumps(sent)
        return Response(self.status, self.headers, self.request, content, self.request_id)


class BadRequestError(APIStatusError, ours.BadRequestError):
    """400, or refused before it was sent."""


class RefusedRequestError(BadRequestError, ours.InvalidRequestError):
    """The request does not match the specification; nothing was sent."""


class AuthenticationError(APIStatusError, ours.AuthenticationError):
    """401."""


class PermissionDeniedError(APIStatusError, ours.PermissionDeniedError):
    """403."""


class NotFoundError(APIStatusError, ours.NotFoundError):
    """404."""


class ConflictError(APIStatusError):
    """409."""


class UnprocessableEntityError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError, ours.RateLimitError):
    """429."""


class InternalServerError(APIStatusError, ours.InternalServerError):
    """5xx."""


class LengthFinishReasonError(ours.CometError):
    """The answer cannot be parsed: it was cut at its length limit.

    Attributes:
        completion: The answer.
    """

    def __init__(self, *, completion: Any) -> None:
        super().__init__(
            f"the answer was cut at its length limit and cannot be parsed: raise max_completion_tokens ({completion.usage})"
        )
        self.completion = completion


class ContentFilterFinishReasonError(ours.CometError):
    """The answer cannot be parsed: a content filter ended it.

    Attributes:
        completion: The answer.
    """

    def __init__(self, *, completion: Any = None) -> None:
        super().__init__("a content filter ended the answer, so it cannot be parsed")
        self.completion = completion


# The first class that fits is taken.
_CLASSES: Final[tuple[tuple[type[ours.CometError], type[APIError]], ...]] = (
    (ours.InvalidRequestError, RefusedRequestError),
    (ours.APITimeoutError, APITimeoutError),
    (ours.APIConnectionError, APIConnectionError),
    (ours.BadRequestError, BadRequestError),
    (ours.AuthenticationError, AuthenticationError),
    (ours.PermissionDeniedError, PermissionDeniedError),
    (ours.NotFoundError, NotFoundError),
    (ours.RateLimitError, RateLimitError),
    (ours.InternalServerError, InternalServerError),
    (ours.APIStatusError, APIStatusError),
    (ours.StreamServerError, StreamServerError),
    (ours.StreamTruncatedError, StreamTruncatedError),
    (ours.StreamUnterminatedError, StreamUnterminatedError),
    (ours.EmptyStreamError, EmptyStreamError),
    (ours.ProtocolError, APIResponseValidationError),
    (ours.StreamError, StreamError),
)
_BY_STATUS: Final = {409: ConflictError, 422: UnprocessableEntityError}


def openais(error: ours.CometError, request: Request) -> ours.CometError:
    """Return an error as one of OpenAI's classes. An error that has no such class is returned as it is."""
    if isinstance(error, APIError):
        return error
    cls = next((theirs for mine, theirs in _CLASSES if isinstance(error, mine)), None)
    if cls is None:
        return error
    if cls is APIStatusError and isinstance(error, ours.APIStatusError):
        cls = _BY_STATUS.get(error.status, cls)
    made = cls.__new__(cls)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    made.request = request
    if isinstance(error, ours.InvalidRequestError):
        # What the server would say.
        problem = {"message": error.message, "type": "invalid_request_error", "param": None, "code": None}
        made.__dict__.update(status=400, headers={}, retry_after=None, body={"error": problem})
    made.__dict__["_sent"] = made.body
    if isinstance(made.body, dict):
        made.body = made.body.get("error", made.body)
    return made


@contextmanager
def translated(url: str, method: str = "POST") -> Iterator[None]:
    """Raise OpenAI's errors instead of ours."""
    try:
        yield
    except ours.CometError as error:
        made = openais(error, Request(method, url))
        if made is error:
            raise
        raise made from None
