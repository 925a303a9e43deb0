"""Every error a caller can meet, as one tree.

::

    CometError                        the root; picklable and copyable
    ├── InvalidRequestError           also ValueError; the request does not match the specification, nothing was sent
    ├── ConfigurationError            also ValueError; a key, base URL, header or option cannot be used, nothing was sent
    │   └── ToolStateError            a saved state of a run with tools was changed, or another version wrote it
    ├── UsageError                    also RuntimeError; a closed session, two readers at once, a stream not entered
    ├── ToolError                     raised by a tool: its message is what the model is told
    ├── ToolCallError                 the model's tool calls cannot be run, and it was corrected often enough
    ├── APIConnectionError            also ConnectionError; there was no answer
    │   └── APITimeoutError           also TimeoutError; one of the four clocks, named by .clock
    ├── APIStatusError                an HTTP status other than 2xx; itself for 3xx, 402, 408, 409, 413, 422 ...
    │   ├── BadRequestError           400, and 500 with code invalid_request
    │   ├── AuthenticationError       401
    │   ├── PermissionDeniedError     403
    │   ├── NotFoundError             404
    │   ├── RateLimitError            429
    │   └── InternalServerError       5xx
    ├── OutputError                   an answer that is not the value that response_format asked for; .value is what came of it
    │   ├── OutputRefusedError        the model refused; .refusal has its words
    │   ├── OutputCutError            also StreamError; length, content_filter, or the connection was cut
    │   └── OutputInvalidError        also ValueError; .problems has each place that is wrong
    └── StreamError                   a 2xx answer that did not end well
        ├── ProtocolError             bytes that are not the protocol; .raw holds them
        ├── StreamServerError         an error frame inside the stream; .status and .code where it has them
        ├── StreamTruncatedError      cut or reset before the answer's end
        ├── StreamUnterminatedError   [DONE] without a finish_reason
        └── EmptyStreamError          a stream without any choice

Whether a request may be sent again is decided where its error is made, and stands in the error: ``retryable``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "CometError",
    "ConfigurationError",
    "EmptyStreamError",
    "InternalServerError",
    "InvalidRequestError",
    "NotFoundError",
    "OutputCutError",
    "OutputError",
    "OutputInvalidError",
    "OutputRefusedError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "StreamError",
    "StreamServerError",
    "StreamTruncatedError",
    "StreamUnterminatedError",
    "ToolCallError",
    "ToolError",
    "ToolStateError",
    "UsageError",
]


def _rebuild(cls: type[CometError], args: tuple[Any, ...], state: dict[str, Any]) -> CometError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class CometError(Exception):
    """The root of all errors that this library raises on purpose.

    Attributes:
        message: What happened, where, and what to do next.
        request_id: The gateway's id of the request, from a header or the error's message; None if there is none.
        retryable: Whether the same request may succeed when it is sent again. Set where the error is made.
        partial: The ``ChatCompletion`` as far as it had come; None if no stream had begun.
        public_message: What a browser's user may be told. It names no key, host or setting, and quotes no server.
        code: The server's code for the error; None if it sent none.
        type: The server's type of the error; None if it sent none.
        param: The parameter that the server names; None if it names none.
        body: The error as the server sent it; None if it did not come from a server.
    """

    public_message = "the answer could not be completed"
    code: str | None = None
    type: str | None = None
    param: str | None = None
    body: Any = None

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        retryable: bool = False,
        partial: Any = None,  # a ChatCompletion: views are built on errors, so its type cannot be named here
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.retryable = retryable
        self.partial = partial

    # Keyword-only arguments break the default protocol, which calls cls(*args).
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class InvalidRequestError(CometError, ValueError):
    """The request does not match the endpoint's specification; nothing was sent.

    Attributes:
        problems: All problems in the order of the request, each as ``"path: what is wrong; what is allowed"``.
    """

    public_message = "the request was refused"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__(f"the request was not sent, it has {head}: " + "; ".join(self.problems))


class ConfigurationError(CometError, ValueError):
    """A key, base URL, header, proxy or option cannot be used as it was given; nothing was sent."""


class ToolStateError(ConfigurationError):
    """A saved state of a run with tools was changed since it was made, or another version wrote it; nothing was run."""


class ToolError(CometError):
    """Raised by a tool of yours: the message is what the model is told in place of a result.

    Every other exception of a tool is told to the model without its words.
    """


class ToolCallError(CometError):
    """The model called tools that do not exist, or with arguments that do not validate, more often than was allowed."""


class UsageError(CometError, RuntimeError):
    """The object cannot do this now: it is closed, not entered, read by another task, or needs what cannot be loaded."""


class APIConnectionError(CometError, ConnectionError):
    """There was no answer: refused, reset before the head, name not found, TLS or proxy failure."""

    public_message = "the model could not be reached"

    def __init__(self, message: str, *, retryable: bool = True, **kwargs: Any) -> None:
        super().__init__(message, retryable=retryable, **kwargs)


class APITimeoutError(APIConnectionError, TimeoutError):
    """One of the four clocks ran out.

    Attributes:
        clock: ``"connect"``, ``"first_content"``, ``"content_idle"`` or ``"total"``, as in ``Timeouts``.
    """

    public_message = "the model did not answer in time"

    def __init__(self, message: str, *, clock: str, **kwargs: Any) -> None:
        # After `total` there is no time left for another attempt.
        kwargs.setdefault("retryable", clock != "total")
        super().__init__(message, **kwargs)
        self.clock = clock


class APIStatusError(CometError):
    """The server answered with a status other than 2xx, or with an error frame before the first content.

    Attributes:
        status: The HTTP status, or the one in an error frame.
        code: The error's code (``"invalid_request"``, ``"insufficient_user_quota"``); None if it has none.
        type: The error's type (``"comet_api_error"``); None if it has none.
        param: The parameter that the error names; None if it names none.
        body: The error as it came: parsed JSON, or text (cut at 64 KiB).
        headers: The answer's headers, case-insensitive; empty for an error frame.
        retry_after: Seconds that the server asks to wait; None if it does not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the wire's own name
        param: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.body = body
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.retry_after = retry_after

    @property
    def status_code(self) -> int:
        """``status``, under its name in OpenAI's client."""
        return self.status


class BadRequestError(APIStatusError):
    """400, or 500 with code ``invalid_request``: the request itself is wrong."""

    public_message = "the request was refused"


class AuthenticationError(APIStatusError):
    """401: the API key is missing, malformed or invalid."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this, or its quota is used up."""


class NotFoundError(APIStatusError):
    """404: no such model or route."""


class RateLimitError(APIStatusError):
    """429: too many requests; ``retry_after`` tells how long to wait, if the server said so."""

    public_message = "too many requests: try again later"


class InternalServerError(APIStatusError):
    """5xx: the gateway or the provider behind it failed."""


class StreamError(CometError):
    """A 2xx answer that did not end well; ``partial`` holds the part that came."""


class ProtocolError(StreamError):
    """The server sent bytes that are not the protocol.

    Attributes:
        raw: The wrong bytes, cut at 64 KiB.
    """

    def __init__(self, message: str, *, raw: bytes = b"", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.raw = raw[:65536]


class StreamServerError(StreamError):
    """The server reported an error inside the stream.

    Attributes:
        status: The HTTP status that the frame's code stands for; None if it stands for no status.
        code: The frame's code; None if it has none.
        type: The frame's type; None if it has none.
        body: The frame as it came.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the wire's own name
        body: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(message, **kwargs)
        self.status = status
        self.code = code
        self.type = type
        self.body = body


class StreamTruncatedError(StreamError):
    """The connection ended before the answer did."""

    public_message = "the answer was cut off"

    def __init__(self, message: str, *, retryable: bool = True, **kwargs: Any) -> None:
        super().__init__(message, retryable=retryable, **kwargs)


class StreamUnterminatedError(StreamError):
    """``[DONE]`` came without a ``finish_reason``: gateways write it even when the provider behind them failed."""

    public_message = "the answer may lack its end"

    def __init__(self, message: str, *, retryable: bool = True, **kwargs: Any) -> None:
        super().__init__(message, retryable=retryable, **kwargs)


class EmptyStreamError(StreamError):
    """The stream ended without any choice."""

    public_message = "the answer was empty"

    def __init__(self, message: str, *, retryable: bool = True, **kwargs: Any) -> None:
        super().__init__(message, retryable=retryable, **kwargs)


class OutputError(CometError):
    """The answer is not the value that ``response_format`` asked for.

    Attributes:
        value: The value as far as it came and was valid; None where nothing came.
    """

    public_message = "the answer has not the form that was asked for"
    value: Any = None


class OutputRefusedError(OutputError):
    """The model refused to answer.

    Attributes:
        refusal: Its words.
    """

    public_message = "the model refused to answer"
    code = "output_refused"
    refusal: str = ""


class OutputCutError(OutputError, StreamError):
    """The answer ended before its value did: it was too long, filtered, or the connection was cut.

    Attributes:
        finish_reason: Why the answer ended, ``"length"`` or ``"content_filter"``; None where it does not say.
    """

    public_message = "the answer was cut off"
    code = "output_cut"
    finish_reason: str | None = None


class OutputInvalidError(OutputError, ValueError):
    """The answer is no JSON, or does not match what was asked for.

    Attributes:
        problems: What is wrong, each as ``"path: what is wrong"``.
    """

    code = "output_invalid"
    problems: tuple[str, ...] = ()
