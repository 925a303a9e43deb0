"""Rows D: how an answer ends."""

from __future__ import annotations

from cometstream.errors import EmptyStreamError, StreamTruncatedError, StreamUnterminatedError
from quirks.quirk import Answer, Quirk

TERMINATION = [
    Quirk(
        "D1 a finish, the end of the connection, no end mark",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

""",
        Answer(texts=("Hello",), finish=("stop",)),
    ),
    Quirk(
        "D2 text, and a clean end of the connection (D4, a reset, looks the same from here)",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n',
        Answer("truncated", texts=("Hel",), finish=(None,), error=StreamTruncatedError, retryable=True),
    ),
    Quirk(
        "D2 one choice of two has ended",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},{"index":1,"delta":{"content":"b"}}]}

""",
        Answer("truncated", texts=("a", "b"), finish=("stop", None), error=StreamTruncatedError, retryable=True),
    ),
    Quirk(
        "D3 text, an end mark, no finish",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\ndata: [DONE]\n\n',
        Answer("unterminated", texts=("Hel",), finish=(None,), error=StreamUnterminatedError, retryable=True),
    ),
    Quirk(
        "D5 finish_reason as an empty text in each chunk",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":""}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":""}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"finish_reason_empty": 2}),
    ),
    Quirk(
        "D5 finish_reason as an empty text, and nothing else",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":""}]}\n\ndata: [DONE]\n\n',
        Answer(
            "unterminated",
            texts=("Hel",),
            finish=(None,),
            notes={"finish_reason_empty": 1},
            error=StreamUnterminatedError,
            retryable=True,
        ),
    ),
    Quirk(
        "D6 finishReason beside finish_reason: null",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null,"finishReason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"finish_reason_camel_case": 1}),
    ),
    Quirk(
        "D6 both spellings at once",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop","finishReason":"STOP"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",)),
    ),
    Quirk(
        "D7 content after the finish",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":"stop"}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"content_after_finish": 1}),
    ),
    Quirk(
        "D8 only the end mark",
        b"data: [DONE]\n\n",
        Answer("unterminated", error=EmptyStreamError, retryable=True),
    ),
    Quirk("D8 zero bytes", b"", Answer("truncated", error=EmptyStreamError, retryable=True)),
    Quirk("D8 nothing but empty lines", b"\r\n \n\n", Answer("truncated", error=EmptyStreamError, retryable=True)),
    Quirk("D8 half a byte order mark", b"\xef\xbb", Answer("truncated", error=EmptyStreamError, retryable=True)),
    Quirk(
        "D8 chunks without a choice",
        b'data: {"id":"1","choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n',
        Answer("unterminated", usage={"total_tokens": 3}, error=EmptyStreamError, retryable=True),
    ),
    Quirk(
        "D9 the end mark in small letters",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [done]\n\n',
        Answer(texts=("Hello",), finish=("stop",), notes={"done_spelling": 1}),
    ),
    Quirk(
        "D9 the end mark with spaces around it",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata:   [DONE] \n\n',
        Answer(texts=("Hello",), finish=("stop",)),
    ),
]
