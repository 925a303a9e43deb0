"""Rows E: errors under HTTP 200."""

from __future__ import annotations

from cometstream.errors import (
    EmptyStreamError,
    InternalServerError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    StreamServerError,
)
from quirks.quirk import Answer, Quirk

HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'

ERRORS = [
    Quirk(
        "E1 an error frame after content",
        HELLO + b'data: {"error":{"code":502,"message":"upstream went away"}}\n\ndata: [DONE]\n\n',
        Answer(
            "error", texts=("Hello",), finish=(None,), error=StreamServerError, status=502, code="502", retryable=True
        ),
    ),
    Quirk(
        "E1 an error frame before content is what its code would be as a status",
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
        b'data: {"error":{"code":502,"message":"upstream went away"}}\n\n',
        Answer(
            "error", texts=(None,), finish=(None,), error=InternalServerError, status=502, code="502", retryable=True
        ),
    ),
    Quirk(
        "E1 an error frame whose code is a text",
        b'data: {"error":{"code":"rate_limit_exceeded","message":"slower","type":"requests"}}\n\n',
        Answer("error", error=RateLimitError, status=429, code="rate_limit_exceeded", retryable=True),
    ),
    Quirk(
        "E1 error: null is none",
        b'data: {"error":null,"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n",
        Answer(texts=("Hello",), finish=("stop",)),
    ),
    Quirk(
        "E2 an error beside finish_reason error",
        HELLO + b'data: {"error":{"code":502,"message":"bad gateway"},"choices":[{"index":0,"delta":{"content":""},'
        b'"finish_reason":"error"}]}\n\ndata: [DONE]\n\n',
        Answer(
            "error", texts=("Hello",), finish=(None,), error=StreamServerError, status=502, code="502", retryable=True
        ),
    ),
    Quirk(
        "E3 finish_reason error alone",
        HELLO + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\ndata: [DONE]\n\n',
        Answer("error", texts=("Hello",), finish=("error",), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E4 event: error",
        HELLO + b'event: error\ndata: {"message":"overloaded"}\n\n',
        Answer("error", texts=("Hello",), finish=(None,), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E4 event: error with a text, with a number, with nothing known",
        HELLO + b"event: error\ndata: it broke\n\n",
        Answer("error", texts=("Hello",), finish=(None,), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E4 event: error with JSON that tells nothing",
        HELLO + b"event: error\ndata: 7\n\n",
        Answer("error", texts=("Hello",), finish=(None,), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E4 other events are chunks",
        b'event: completion\ndata: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n',
        Answer(texts=("Hello",), finish=("stop",)),
    ),
    Quirk(
        "E5 the error is a text",
        HELLO + b'data: {"error":"something broke"}\n\n',
        Answer("error", texts=("Hello",), finish=(None,), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E5 the error is neither text nor object",
        HELLO + b'data: {"error":true}\n\n',
        Answer("error", texts=("Hello",), finish=(None,), error=StreamServerError, retryable=True),
    ),
    Quirk(
        "E6 new-api's quota error",
        b'data: {"error":{"message":"\xe7\x94\xa8\xe6\x88\xb7\xe9\xa2\x9d\xe5\xba\xa6\xe4\xb8\x8d\xe8\xb6\xb3",'
        b'"type":"new_api_error","param":"","code":"insufficient_user_quota"}}\n\n',
        Answer("error", error=PermissionDeniedError, status=403, code="insufficient_user_quota"),
    ),
    Quirk(
        "E7 a whole completion as JSON",
        b"""\

{
  "id": "chatcmpl-1",
  "object": "chat.completion",
  "created": 1700000000,
  "model": "gpt-5.4",
  "choices": [
    {
      "index": 0,
      "message": {"role": "assistant", "content": "Hello", "reasoning_content": "Hm."},
      "logprobs": null,
      "finish_reason": "stop"
    }
  ],
  "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
}
""",
        Answer(
            texts=("Hello",),
            reasoning="Hm.",
            finish=("stop",),
            usage={"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
            notes={"json_body": 1},
        ),
        kept={"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "gpt-5.4"},
    ),
    Quirk(
        "E7 a whole completion behind a byte order mark",
        b'\xef\xbb\xbf{"choices":[{"index":0,"message":{"content":"Hello"},"finish_reason":"stop"}]}',
        Answer(texts=("Hello",), finish=("stop",), notes={"json_body": 1}),
    ),
    Quirk(
        "E7 a whole completion that is cut",
        b'{"choices":[{"index":0,"message":{"content":"H\xc3\xa9l',
        Answer("truncated", error=EmptyStreamError, retryable=True),
    ),
    Quirk(
        "E8 a JSON error",
        b'{"error":{"message":"no channel (request id: 20250101abc)","type":"new_api_error","code":"429"}}',
        Answer("error", error=RateLimitError, status=429, code="429", retryable=True),
    ),
    Quirk(
        "E8 JSON that is nothing known",
        b'{"status":"ok"}',
        Answer("error", error=ProtocolError),
    ),
    Quirk(
        "E8 an HTML page",
        b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>cloudflare</h1></body></html>\n",
        Answer("error", error=ProtocolError),
        raw=b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body><h1>cloudflare</h1></body></html>\n",
    ),
    Quirk(
        "E9 an error frame, no end mark, after the finish too",
        HELLO + b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"error":{"message":"late","code":500}}\n\n',
        Answer(
            "error", texts=("Hello",), finish=("stop",), error=StreamServerError, status=500, code="500", retryable=True
        ),
    ),
    Quirk(
        "E10 vLLM's error object as a frame",
        HELLO + b'data: {"object":"error","message":"out of memory","type":"InternalServerError","code":500}\n\n'
        b"data: [DONE]\n\n",
        Answer(
            "error", texts=("Hello",), finish=(None,), error=StreamServerError, status=500, code="500", retryable=True
        ),
    ),
]
