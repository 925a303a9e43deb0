"""``AsyncOpenAI``: OpenAI's client, by its names and shapes, over a ``CometSession``.

A program written for ``openai.AsyncOpenAI``'s chat completions changes the import and nothing else::

    from cometstream.openai import AsyncOpenAI

What differs:

=====================================================  =========================================================================
``openai``                                             here
=====================================================  =========================================================================
the key: ``OPENAI_API_KEY``                            ``COMETAPI_KEY``; no ``OPENAI_*`` variable is read
the URL: ``OPENAI_BASE_URL``                           ``COMETAPI_BASE_URL``, then ``https://api.cometapi.com/v1``
``timeout=60`` limits each wait for bytes              it limits each wait for content; keep-alives do not reset it
600 s without a byte are the default limit             10 s to connect, 300 s to the first content, 120 s between contents
retries end with the answer's head                     a stream that dies before its first content is repeated unseen
a cut answer is a transport error, or just ends        ``StreamTruncatedError``, with ``partial``
``[DONE]`` without a ``finish_reason`` ends the loop   ``StreamUnterminatedError``
usage of a stream only where asked for                 ``stream.completion.usage``; the loop gets its chunk only where asked for
the server refuses a misspelt or bad parameter         ``InvalidRequestError`` before it is sent; ``extra_body`` is not checked
500 with code ``invalid_request``: server error        ``BadRequestError``, ``status_code`` 500, not retried
``ConflictError``, ``UnprocessableEntityError``        ``APIStatusError`` with ``status_code`` 409, 422
``APIError`` is an ``OpenAIError``                     both are ``CometError``: ``except APIError`` catches a missing key too
``error.response``                                     ``error.status_code``, ``.headers``, ``.request_id``
``stream.response`` is httpx's                         it has ``status``, ``headers``, ``request_id``
``stream(...)``: an empty ``content.delta``            it is not an event
events' ``parsed``, ``parsed_arguments``               ``completion.tool_calls[0].parse()`` gives checked arguments
a stream that is neither read nor closed               it is closed when it is forgotten, with a ResourceWarning
``http_client=``, ``organization=``, ``extra_query=``  not possible; ``CometSession(client=...)`` takes an aiohttp session
``parse()``, ``with_raw_response``, other routes       not there
=====================================================  =========================================================================
"""

from __future__ import annotations

from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
)
from cometstream.openai.calls import NOT_GIVEN, Omit, not_given, omit
from cometstream.openai.client import AsyncOpenAI
from cometstream.openai.models import AsyncPage, AsyncPaginator
from cometstream.openai.streams import AsyncChatCompletionStream, AsyncChatCompletionStreamManager, AsyncStream
from cometstream.policy import NotGiven

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
    "InternalServerError",
    "NotFoundError",
    "NotGiven",
    "Omit",
    "OpenAIError",
    "PermissionDeniedError",
    "RateLimitError",
    "not_given",
    "omit",
]

OpenAIError = CometError
APIError = CometError
APIResponseValidationError = ProtocolError
