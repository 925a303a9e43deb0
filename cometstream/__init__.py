"""cometstream: an asyncio-first streaming client for CometAPI's OpenAI-compatible chat completions.

The way of a token::

    CometSession.stream(...)          session.py            the request, checked and encoded by request/
      -> Attempts                     attempts.py           one POST after another, until somebody has seen content
        -> Exchange, Incoming         transport/            request -> open body, or a typed error
      -> ChatStream._pull             stream.py             the one place that waits for bytes; hands them to the machine
        -> Answer.receive, next       answer/machine.py     bytes -> what is handed over, and how the answer ended
             body -> sse -> frames -> accumulate            every chunk
             fast_lane                                      a chunk that repeats the one before in all but its text
      -> your `async for chunk in stream`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.sse import SSEParser, encode_event
from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    ConfigurationError,
    EmptyStreamError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    OutputCutError,
    OutputError,
    OutputInvalidError,
    OutputRefusedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    StreamError,
    StreamServerError,
    StreamTruncatedError,
    StreamUnterminatedError,
    ToolCallError,
    ToolError,
    ToolStateError,
    UsageError,
)
from cometstream.metrics import StreamMetrics, StreamResponse
from cometstream.policy import RetryPolicy, Timeouts
from cometstream.request.providers import ParameterWarning
from cometstream.session import CometSession
from cometstream.stream import ChatStream
from cometstream.version import __version__
from cometstream.views.chunks import (
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    CompletionUsage,
)
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage, ToolCall

if TYPE_CHECKING:
    from cometstream.answer.partial_json import PartialJSON
    from cometstream.batch import (
        BatchProgress,
        BatchResult,
        ConcurrencyChange,
        FanOut,
        Hedge,
        Ledger,
        SharedLimits,
        fan_out,
    )
    from cometstream.conversation import Conversation
    from cometstream.failed import FailedAttempt
    from cometstream.hooks import Hooks
    from cometstream.observe import Call
    from cometstream.partials import Part
    from cometstream.structured import Schema
    from cometstream.tools import Tool, ToolRun, resume_tools, run_tools, tool
    from cometstream.views.models import Model

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "Accumulator",
    "AuthenticationError",
    "BadRequestError",
    "BatchProgress",
    "BatchResult",
    "Call",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionMessage",
    "ChatStream",
    "Choice",
    "ChoiceDelta",
    "ChoiceDeltaToolCall",
    "CometError",
    "CometSession",
    "CompletionUsage",
    "ConcurrencyChange",
    "ConfigurationError",
    "Conversation",
    "EmptyStreamError",
    "FailedAttempt",
    "FanOut",
    "Hedge",
    "Hooks",
    "InternalServerError",
    "InvalidRequestError",
    "Ledger",
    "Model",
    "NotFoundError",
    "OutputCutError",
    "OutputError",
    "OutputInvalidError",
    "OutputRefusedError",
    "ParameterWarning",
    "Part",
    "PartialJSON",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RetryPolicy",
    "SSEParser",
    "Schema",
    "SharedLimits",
    "StreamError",
    "StreamMetrics",
    "StreamResponse",
    "StreamServerError",
    "StreamTruncatedError",
    "StreamUnterminatedError",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolCallError",
    "ToolError",
    "ToolRun",
    "ToolStateError",
    "UsageError",
    "__version__",
    "encode_event",
    "fan_out",
    "resume_tools",
    "run_tools",
    "tool",
]

# Programs that send one request at a time do not wait for the import of what runs many, and so on.
_LATE = {
    **dict.fromkeys(
        ("BatchProgress", "BatchResult", "ConcurrencyChange", "FanOut", "Hedge", "Ledger", "SharedLimits", "fan_out"),
        "cometstream.batch",
    ),
    "Call": "cometstream.observe",
    "Conversation": "cometstream.conversation",
    "FailedAttempt": "cometstream.failed",
    "Hooks": "cometstream.hooks",
    "Model": "cometstream.views.models",
    "Part": "cometstream.partials",
    "PartialJSON": "cometstream.answer.partial_json",
    "Schema": "cometstream.structured",
    **dict.fromkeys(("Tool", "ToolRun", "resume_tools", "run_tools", "tool"), "cometstream.tools"),
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
