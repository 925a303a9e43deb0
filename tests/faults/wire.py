"""The good answer, by hand, up to each moment at which a fault can strike."""

from __future__ import annotations

from typing import Final

__all__ = ["BLOCK", "CHUNKS", "END", "ERROR", "HTML", "JSON_HEAD", "SSE_HEAD", "TEXT", "json_until", "sse_until"]

# What the answer says, and in how many chunks.
TEXT: Final = "Hello"
CHUNKS: Final = 3

SSE_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

# The end of a chunked body.
END: Final = b"0\r\n\r\n"

_EVENTS: Final = {
    "before content": b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    "mid-stream": b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n',
    "after finish": b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    "after [DONE]": b"data: [DONE]\n\n",
}

_DOCUMENT: Final = {
    "before content": b"",
    "mid-stream": b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hel',
    "after finish": b'lo"},"finish_reason":"stop"}]}',
}

ERROR: Final = b'{"error":{"code":502,"message":"the provider died"}}'

HTML: Final = b"<html><head><title>502 Bad Gateway</title></head>\n<body>\n<h1>502 Bad Gateway</h1>\n</body></html>\n"

# A piece of a line that does not end.
BLOCK: Final = b"a" * 2**20


def sse_until(moment: str) -> bytes:
    """The event stream as far as it has come at a moment after its head."""
    return _until(_EVENTS, moment)


def json_until(moment: str) -> bytes:
    """The JSON document as far as it has come at a moment after its head."""
    return _until(_DOCUMENT, moment)


def _until(pieces: dict[str, bytes], moment: str) -> bytes:
    moments = list(pieces)
    return b"".join(pieces[name] for name in moments[: moments.index(moment) + 1])
