"""OpenAI's client, by its names and shapes, over a ``CometSession``; two doors for programs that are written for it.

The light one, for programs that create, stream, parse and read: only the import changes ::

    from cometstream.openai import AsyncOpenAI

What it leaves out is listed in ``left_out``, and fails at the first touch with one line that names the other door: OpenAI's own
client over our transport, which has everything of OpenAI's ::

    from cometstream.openai.transport import CometTransport

    client = openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=CometTransport()))

What differs in the light one is what the README's table says.
"""

from __future__ import annotations

from cometstream.openai.blocking import ChatCompletionStream, ChatCompletionStreamManager, OpenAI, Stream, SyncPage
from cometstream.openai.calls import NOT_GIVEN, Omit, not_given, omit
from cometstream.openai.client import AsyncOpenAI
from cometstream.openai.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContentFilterFinishReasonError,
    InternalServerError,
    LengthFinishReasonError,
    NotFoundError,
    OpenAIError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from cometstream.openai.left_out import DefaultAsyncHttpxClient, DefaultHttpxClient
from cometstream.openai.models import AsyncPage, AsyncPaginator
from cometstream.openai.parsing import pydantic_function_tool
from cometstream.openai.streams import AsyncChatCompletionStream, AsyncChatCompletionStreamManager, AsyncStream
from cometstream.policy import NotGiven, Timeouts

__all__ = [
    "NOT_GIVEN",
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncChatCompletionStream",
    "AsyncChatCompletionStreamManager",
    "AsyncOpenAI",
    "AsyncPage",
    "AsyncPaginator",
    "AsyncStream",
    "AuthenticationError",
    "BadRequestError",
    "ChatCompletionStream",
    "ChatCompletionStreamManager",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "DefaultAsyncHttpxClient",
    "DefaultHttpxClient",
    "InternalServerError",
    "LengthFinishReasonError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAI",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "Stream",
    "SyncPage",
    "Timeout",
    "UnprocessableEntityError",
    "not_given",
    "omit",
    "pydantic_function_tool",
]

Timeout = Timeouts
