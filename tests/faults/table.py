"""The table of faults: what goes wrong, at which moment, and what whoever asked gets.

Every request of a row meets the same fault, and two retries are allowed. What cannot happen stands in NEVER, with the reason;
a cell that stands in neither fails a test.

Where one JSON document was asked for, nothing can be shown before its end: so nothing of it is kept, and a document that breaks
off is asked for again. Nobody watches a row of a batch either: what breaks off, or is malformed, is asked for again, and what came
last is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from cometstream import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    EmptyStreamError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    StreamServerError,
    StreamTruncatedError,
)

__all__ = ["ALL", "MOMENTS", "NEVER", "SSE", "TABLE", "Never", "Row"]

MOMENTS = (
    "before headers",  # nothing of the answer has come
    "before content",  # its head, and a chunk with nothing but a role; of a document the head alone
    "mid-stream",      # "Hello"; half of the document
    "after finish",    # the finish_reason; all of the document, but not the end of the body
    "after [DONE]",    # [DONE], but not the end of the body
)  # fmt: skip

# Another way to ask is one more name here, and how it asks in `ways.py`.
SSE = ("stream", "stream, late", "relay")
JSON = ("complete",)
BATCH = ("fan_out",)
ONE = (*SSE, *JSON)
LIVE = (*SSE, *BATCH)
ALL = (*ONE, *BATCH)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        fault: What happens, by its name in ``kinds.py``.
        moment: How far the answer has come by then; see MOMENTS.
        by: The ways of asking that the row is about.
        error: The class that is raised: before headers by entering the stream, afterwards by reading it. Once it is entered,
            ``relay`` raises nothing: it writes an error frame of this name instead of [DONE]. None: the answer is complete.
        retry: The error's ``retryable``.
        tries: The attempts: 3 where it was sent again, since nobody had seen anything of it, else 1.
        kept: The content that the caller has in the end, in ``error.partial`` or the completion; None where he has neither.
        clock: Which of the four clocks fired.
        outcome: The stream's. ``complete`` shows none, its rows of errors have None or share a stream's.
        connection: What becomes of the last one: closed, reused by the next request, or none was made.
    """

    fault: str
    moment: str
    by: tuple[str, ...]
    error: type[CometError] | None
    retry: bool | None
    tries: int
    kept: str | None
    clock: str | None
    outcome: str | None
    connection: str


@dataclass(frozen=True)
class Never:
    """Cells that cannot occur, and why."""

    faults: tuple[str, ...]
    moments: tuple[str, ...]
    by: tuple[str, ...]
    reason: str


# ruff: noqa: E501 - one line of the table is one line
# fmt: off
TABLE = (
    #   fault                moment            by     error                  retry  tries  kept     clock            outcome      connection
    Row("refused",           "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "none"),
    Row("DNS failure",       "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "none"),

    Row("proxy refused",     "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "none"),
    Row("proxy reset",       "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("proxy stall",       "before headers", ALL,   APITimeoutError,       True,  3,     None,    "connect",       "error",     "closed"),
    Row("proxy 407",         "before headers", ALL,   APIConnectionError,    False, 1,     None,    None,            "error",     "closed"),
    Row("proxy 502",         "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),

    Row("bad certificate",   "before headers", ALL,   APIConnectionError,    False, 1,     None,    None,            "error",     "closed"),
    Row("TLS to plain port", "before headers", ALL,   APIConnectionError,    False, 1,     None,    None,            "error",     "closed"),
    Row("TLS reset",         "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("TLS cut",           "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("TLS stall",         "before headers", ALL,   APITimeoutError,       True,  3,     None,    "connect",       "error",     "closed"),
    Row("TLS bad record",    "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("TLS bad record",    "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("TLS bad record",    "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("TLS bad record",    "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("TLS bad record",    "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("TLS bad record",    "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("TLS bad record",    "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("302",               "before headers", ALL,   APIStatusError,        False, 1,     None,    None,            "error",     "reused"),
    Row("307",               "before headers", ALL,   APIStatusError,        False, 1,     None,    None,            "error",     "reused"),
    Row("400",               "before headers", ALL,   BadRequestError,       False, 1,     None,    None,            "error",     "reused"),
    Row("401",               "before headers", ALL,   AuthenticationError,   False, 1,     None,    None,            "error",     "reused"),
    Row("402",               "before headers", ALL,   APIStatusError,        False, 1,     None,    None,            "error",     "reused"),
    Row("403",               "before headers", ALL,   PermissionDeniedError, False, 1,     None,    None,            "error",     "reused"),
    Row("404",               "before headers", ALL,   NotFoundError,         False, 1,     None,    None,            "error",     "reused"),
    Row("408",               "before headers", ALL,   APIStatusError,        True,  3,     None,    None,            "error",     "reused"),
    Row("409",               "before headers", ALL,   APIStatusError,        True,  3,     None,    None,            "error",     "reused"),
    Row("413",               "before headers", ALL,   APIStatusError,        False, 1,     None,    None,            "error",     "reused"),
    Row("422",               "before headers", ALL,   APIStatusError,        False, 1,     None,    None,            "error",     "reused"),
    Row("429",               "before headers", ALL,   RateLimitError,        True,  3,     None,    None,            "error",     "reused"),
    Row("429 quota",         "before headers", ALL,   RateLimitError,        False, 1,     None,    None,            "error",     "reused"),
    Row("500",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("500 by request",    "before headers", ALL,   BadRequestError,       False, 1,     None,    None,            "error",     "reused"),
    Row("502",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("503",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("504",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("520",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("521",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("522",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("523",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("524",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),
    Row("529",               "before headers", ALL,   InternalServerError,   True,  3,     None,    None,            "error",     "reused"),

    # The connection ends, or breaks.
    Row("reset",             "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("reset",             "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("reset",             "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("reset",             "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("reset",             "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("reset",             "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("reset",             "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("cut",               "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("cut",               "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("cut",               "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("cut",               "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("cut",               "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("cut",               "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("cut",               "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("half-close",        "before headers", ALL,   APIConnectionError,    True,  3,     None,    None,            "error",     "closed"),
    Row("half-close",        "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("half-close",        "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("half-close",        "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("half-close",        "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("half-close",        "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("half-close",        "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("broken framing",    "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("broken framing",    "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("broken framing",    "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("broken framing",    "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("broken framing",    "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("broken framing",    "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    # The body ends as it should, but too early.
    Row("early end",         "before content", LIVE,  StreamTruncatedError,  True,  3,     "",      None,            "truncated", "reused"),
    Row("early end",         "before content", JSON,  EmptyStreamError,      True,  3,     "",      None,            None,        "reused"),
    Row("early end",         "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "reused"),
    Row("early end",         "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "reused"),
    Row("early end",         "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "reused"),
    Row("early end",         "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "reused"),

    # It is slow, or has no end. Of a document every byte is progress, and only `total` bounds it.
    Row("stall",             "before headers", ALL,   APITimeoutError,       True,  3,     None,    "first_content", "error",     "closed"),
    Row("stall",             "before content", ALL,   APITimeoutError,       True,  3,     "",      "first_content", "error",     "closed"),
    Row("stall",             "mid-stream",     SSE,   APITimeoutError,       True,  1,     "Hello", "content_idle",  "error",     "closed"),
    Row("stall",             "mid-stream",     BATCH, APITimeoutError,       True,  3,     "Hello", "content_idle",  "error",     "closed"),
    Row("stall",             "mid-stream",     JSON,  APITimeoutError,       True,  1,     "",      "content_idle",  None,        "closed"),
    Row("stall",             "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("stall",             "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("slow drip",         "before headers", ALL,   APITimeoutError,       True,  3,     None,    "first_content", "error",     "closed"),
    Row("slow drip",         "before content", LIVE,  APITimeoutError,       True,  3,     "",      "first_content", "error",     "closed"),
    Row("slow drip",         "before content", JSON,  APITimeoutError,       False, 1,     "",      "total",         None,        "closed"),
    Row("slow drip",         "mid-stream",     SSE,   APITimeoutError,       True,  1,     "Hello", "content_idle",  "error",     "closed"),
    Row("slow drip",         "mid-stream",     BATCH, APITimeoutError,       True,  3,     "Hello", "content_idle",  "error",     "closed"),
    Row("slow drip",         "mid-stream",     JSON,  APITimeoutError,       False, 1,     "",      "total",         None,        "closed"),
    Row("slow drip",         "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("slow drip",         "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("endless comments",  "before content", ALL,   APITimeoutError,       True,  3,     "",      "first_content", "error",     "closed"),
    Row("endless comments",  "mid-stream",     SSE,   APITimeoutError,       True,  1,     "Hello", "content_idle",  "error",     "closed"),
    Row("endless comments",  "mid-stream",     BATCH, APITimeoutError,       True,  3,     "Hello", "content_idle",  "error",     "closed"),
    Row("endless comments",  "mid-stream",     JSON,  APITimeoutError,       True,  1,     "",      "content_idle",  None,        "closed"),
    Row("endless comments",  "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("endless comments",  "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("endless reasoning", "before content", LIVE,  APITimeoutError,       False, 1,     "",      "total",         "error",     "closed"),
    Row("endless reasoning", "mid-stream",     LIVE,  APITimeoutError,       False, 1,     "Hello", "total",         "error",     "closed"),
    Row("endless reasoning", "after finish",   LIVE,  APITimeoutError,       False, 1,     "Hello", "total",         "error",     "closed"),
    Row("endless reasoning", "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("endless 103",       "before headers", ALL,   APITimeoutError,       True,  3,     None,    "first_content", "error",     "closed"),

    # It is too much.
    Row("endless headers",   "before headers", ONE,   ProtocolError,         False, 1,     None,    None,            "error",     "closed"),
    Row("endless headers",   "before headers", BATCH, ProtocolError,         False, 3,     None,    None,            "error",     "closed"),
    Row("endless headers",   "before content", ALL,   StreamTruncatedError,  True,  3,     "",      None,            "truncated", "closed"),
    Row("endless headers",   "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "closed"),
    Row("endless headers",   "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "closed"),
    Row("endless headers",   "mid-stream",     JSON,  StreamTruncatedError,  True,  3,     "",      None,            None,        "closed"),
    Row("endless headers",   "after finish",   ALL,   None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("endless headers",   "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("100 MB line",       "before headers", ONE,   ProtocolError,         False, 1,     None,    None,            "error",     "closed"),
    Row("100 MB line",       "before headers", BATCH, ProtocolError,         False, 3,     None,    None,            "error",     "closed"),
    Row("100 MB line",       "before content", ONE,   ProtocolError,         False, 1,     "",      None,            "error",     "closed"),
    Row("100 MB line",       "before content", BATCH, ProtocolError,         False, 3,     "",      None,            "error",     "closed"),
    Row("100 MB line",       "mid-stream",     SSE,   ProtocolError,         False, 1,     "Hello", None,            "error",     "closed"),
    Row("100 MB line",       "mid-stream",     BATCH, ProtocolError,         False, 3,     "Hello", None,            "error",     "closed"),
    Row("100 MB line",       "mid-stream",     JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("100 MB line",       "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("100 MB line",       "after finish",   JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("100 MB line",       "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("gzip bomb",         "before content", ONE,   ProtocolError,         False, 1,     "",      None,            "error",     "closed"),
    Row("gzip bomb",         "before content", BATCH, ProtocolError,         False, 3,     "",      None,            "error",     "closed"),
    Row("gzip bomb",         "mid-stream",     SSE,   ProtocolError,         False, 1,     "Hello", None,            "error",     "closed"),
    Row("gzip bomb",         "mid-stream",     BATCH, ProtocolError,         False, 3,     "Hello", None,            "error",     "closed"),
    Row("gzip bomb",         "mid-stream",     JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("gzip bomb",         "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("gzip bomb",         "after finish",   JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("gzip bomb",         "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("deflate bomb",      "before content", ONE,   ProtocolError,         False, 1,     "",      None,            "error",     "closed"),
    Row("deflate bomb",      "before content", BATCH, ProtocolError,         False, 3,     "",      None,            "error",     "closed"),
    Row("deflate bomb",      "mid-stream",     SSE,   ProtocolError,         False, 1,     "Hello", None,            "error",     "closed"),
    Row("deflate bomb",      "mid-stream",     BATCH, ProtocolError,         False, 3,     "Hello", None,            "error",     "closed"),
    Row("deflate bomb",      "mid-stream",     JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("deflate bomb",      "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("deflate bomb",      "after finish",   JSON,  ProtocolError,         False, 1,     "",      None,            None,        "closed"),
    Row("deflate bomb",      "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    # It says something else. What follows a document makes it none; what follows a finish_reason changes an event stream only
    # if it is an error frame.
    Row("garbage",           "before headers", ONE,   ProtocolError,         False, 1,     None,    None,            "error",     "closed"),
    Row("garbage",           "before headers", BATCH, ProtocolError,         False, 3,     None,    None,            "error",     "closed"),
    Row("garbage",           "before content", SSE,   ProtocolError,         False, 1,     "",      None,            "error",     "closed"),
    Row("garbage",           "before content", BATCH, ProtocolError,         False, 3,     "",      None,            "error",     "closed"),
    Row("garbage",           "before content", JSON,  ProtocolError,         False, 1,     "",      None,            None,        "reused"),
    Row("garbage",           "mid-stream",     SSE,   ProtocolError,         False, 1,     "Hello", None,            "error",     "closed"),
    Row("garbage",           "mid-stream",     BATCH, ProtocolError,         False, 3,     "Hello", None,            "error",     "closed"),
    Row("garbage",           "mid-stream",     JSON,  ProtocolError,         False, 1,     "",      None,            None,        "reused"),
    Row("garbage",           "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),
    Row("garbage",           "after finish",   JSON,  ProtocolError,         False, 1,     "",      None,            None,        "reused"),
    Row("garbage",           "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("error frame",       "before content", LIVE,  InternalServerError,   True,  3,     "",      None,            "error",     "closed"),
    Row("error frame",       "before content", JSON,  InternalServerError,   True,  3,     "",      None,            None,        "reused"),
    Row("error frame",       "mid-stream",     SSE,   StreamServerError,     True,  1,     "Hello", None,            "error",     "closed"),
    Row("error frame",       "mid-stream",     BATCH, StreamServerError,     True,  3,     "Hello", None,            "error",     "closed"),
    Row("error frame",       "after finish",   SSE,   StreamServerError,     True,  1,     "Hello", None,            "error",     "closed"),
    Row("error frame",       "after finish",   BATCH, StreamServerError,     True,  3,     "Hello", None,            "error",     "closed"),
    Row("error frame",       "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "closed"),

    Row("200 HTML",          "before content", ONE,   ProtocolError,         False, 1,     "",      None,            "error",     "reused"),
    Row("200 HTML",          "before content", BATCH, ProtocolError,         False, 3,     "",      None,            "error",     "reused"),
    Row("200 HTML",          "mid-stream",     SSE,   StreamTruncatedError,  True,  1,     "Hello", None,            "truncated", "reused"),
    Row("200 HTML",          "mid-stream",     BATCH, StreamTruncatedError,  True,  3,     "Hello", None,            "truncated", "reused"),
    Row("200 HTML",          "mid-stream",     JSON,  ProtocolError,         False, 1,     "",      None,            None,        "reused"),
    Row("200 HTML",          "after finish",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "reused"),
    Row("200 HTML",          "after finish",   JSON,  ProtocolError,         False, 1,     "",      None,            None,        "reused"),
    Row("200 HTML",          "after [DONE]",   LIVE,  None,                  None,  1,     "Hello", None,            "complete",  "reused"),
)

# Whole groups of faults, for what no fault of the group can do.
_OPENING = (
    "refused", "DNS failure", "proxy refused", "proxy reset", "proxy stall", "proxy 407", "proxy 502",
    "bad certificate", "TLS to plain port", "TLS reset", "TLS cut", "TLS stall",
)
_STATUSES = (
    "302", "307", "400", "401", "402", "403", "404", "408", "409", "413", "422", "429", "429 quota",
    "500", "500 by request", "502", "503", "504", "520", "521", "522", "523", "524", "529",
)
_IN_A_BODY = (
    "broken framing", "early end", "endless comments", "endless reasoning", "gzip bomb", "deflate bomb", "error frame", "200 HTML",
)
_AT_ANY_TIME = (
    "TLS bad record", "reset", "cut", "half-close", "stall", "slow drip", "endless headers", "100 MB line", "garbage",
)
_AFTER_HEADERS = MOMENTS[1:]

NEVER = (
    Never(_OPENING,               _AFTER_HEADERS,     ALL,  "the connection is made by then"),
    Never(_STATUSES,              _AFTER_HEADERS,     ALL,  "a status stands in the head, and an answer has one head"),
    Never(("endless 103",),       _AFTER_HEADERS,     ALL,  "an interim head comes before the head"),
    Never(_IN_A_BODY,             ("before headers",), ALL, "it is part of a body, and the body comes after its head"),
    Never(("early end",),         ("after [DONE]",),  LIVE, "this is where the body has to end"),
    Never(("early end",),         ("after finish",),  JSON, "this is where the body has to end"),
    Never(("slow drip",),         ("after finish",),  JSON, "what drips after a document is white space or garbage"),
    Never(("endless reasoning",), ("before content", "mid-stream", "after finish"), JSON, "that is a document which drips"),
    Never(("error frame",),       ("mid-stream", "after finish"), JSON, "a document is an answer or an error, from its beginning"),
    Never((*_IN_A_BODY, *_AT_ANY_TIME), ("after [DONE]",), JSON, "a document has no [DONE]"),
)
# fmt: on
