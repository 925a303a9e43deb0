"""OpenAI's client, by its names and shapes, over a ``CometSession``. Programs written for it have two ways.

The light client, for programs that create, stream, parse and read. Only the import changes ::

    from cometstream.openai import AsyncOpenAI

What it leaves out is listed in ``left_out``. Using that raises an error of one line, which names the other way: OpenAI's own client
over our transport, with all that OpenAI's client has ::

    from cometstream.openai.transport import CometTransport

    client = openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=CometTransport()))

The README's table lists how the light client differs from OpenAI's.
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
