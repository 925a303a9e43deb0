"""Rows A: what gateways do to the event stream itself."""

from __future__ import annotations

from cometstream.errors import ProtocolError, StreamTruncatedError
from quirks.quirk import Answer, Quirk

HELLO = Answer(texts=("Hello",), finish=("stop",))

FRAMING = [
    Quirk(
        "A0 the documented stream",
        b"""\
data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

""",
        HELLO,
        kept={"id": "chatcmpl-1", "object": "chat.completion"},
    ),
    Quirk(
        "A1 keep-alive comments before, between and after, also inside an event",
        b"""\
: OPENROUTER PROCESSING

: PING
:
data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}
: keep-alive

:no-space

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

: PING

data: [DONE]

""",
        Answer(
            texts=("Hello",),
            finish=("stop",),
            comments=(b" OPENROUTER PROCESSING", b" PING", b"", b" keep-alive", b"no-space", b" PING"),
        ),
    ),
    Quirk(
        "A2 content, then PING until the connection is given up: comments are never content",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}

: PING

: PING

: PING

""",
        Answer(
            "truncated",
            texts=("Hel",),
            finish=(None,),
            comments=(b" PING", b" PING", b" PING"),
            error=StreamTruncatedError,
            retryable=True,
        ),
    ),
    Quirk(
        "A3 a comment inside data",
        b"""\
data: : OPENROUTER PROCESSING

data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"comment_as_data": 1}),
    ),
    Quirk(
        "A4 data: null, and data without data",
        b"""\
data: null

data:

data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}

data: null

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"data_null": 2, "data_empty": 1}),
    ),
    Quirk(
        "A5 CRLF",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\r\n\r\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\n\r\n'
        b"data: [DONE]\r\n\r\n",
        HELLO,
    ),
    Quirk(
        "A5 lone CR",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\r\r'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\r'
        b"data: [DONE]\r\r",
        HELLO,
    ),
    Quirk(
        "A5 CR, LF and CRLF in one stream",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\r\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n\r'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\r\r\n'
        b"data: [DONE]\n\r\n",
        HELLO,
    ),
    Quirk(
        "A5 no space after the colon, and only the first of two belongs to it",
        b'data:{"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
        b'data:  {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data:[DONE]\n\n",
        HELLO,
    ),
    Quirk(
        "A5 a byte order mark",
        b'\xef\xbb\xbfdata: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        HELLO,
    ),
    Quirk(
        "A5 one object over several data lines, with event, id and retry",
        b"""\
event: message
id: 7
retry: 3000
data: {"choices":[
data: {"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}
data: ]}

data: [DONE]

""",
        HELLO,
    ),
    Quirk(
        "A6 U+2028, U+2029 and U+0085 raw in the text are no line ends",
        b'data: {"choices":[{"index":0,"delta":{"content":"a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d"},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n",
        Answer(texts=("a\u2028b\u2029c\u0085d",), finish=("stop",)),
    ),
    Quirk(
        "A6 characters of two, three and four bytes, cut by the reads",
        b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa9\xe2\x98\x84\xf0\x9f\x9a\x80"},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n",
        Answer(texts=("\u00e9\u2604\U0001f680",), finish=("stop",)),
    ),
    Quirk(
        "A7 the last event lacks its blank line and has the finish",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
        Answer(texts=("Hello",), finish=("stop",), notes={"event_unterminated": 1}),
    ),
    Quirk(
        "A7 the last event lacks its blank line and has no finish",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n',
        Answer(
            "truncated",
            texts=("Hello",),
            finish=(None,),
            notes={"event_unterminated": 1},
            error=StreamTruncatedError,
            retryable=True,
        ),
    ),
    Quirk(
        "A7 the last event is cut in its middle",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\ndata: {"choices":[{"index":0,"del',
        Answer("truncated", texts=("Hel",), finish=(None,), error=StreamTruncatedError, retryable=True),
    ),
    Quirk(
        "A7 the end mark lacks its blank line",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]',
        Answer(texts=("Hello",), finish=("stop",), notes={"event_unterminated": 1}),
    ),
    Quirk(
        "A8 half an object, then the next data line",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"con\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n\n',
        Answer("error", texts=("Hel",), finish=(None,), error=ProtocolError),
        raw=b'{"choices":[{"index":0,"delta":{"con\n{"choices":[{"index":0,"delta":{"content":"lo"}}]}',
    ),
    Quirk(
        "A8 half an object as an event of its own",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\ndata: {"choices":[{"index":0,"delta":{"con\n\n',
        Answer("error", texts=("Hel",), finish=(None,), error=ProtocolError),
        raw=b'{"choices":[{"index":0,"delta":{"con',
    ),
    Quirk(
        "A8 two objects in one event",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n\n',
        Answer("error", error=ProtocolError),
        raw=b'{"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n{"choices":[{"index":0,"delta":{"content":"lo"}}]}',
    ),
    Quirk(
        "A8 JSON, but no object",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\ndata: [1, 2]\n\n',
        Answer("error", texts=("Hel",), finish=(None,), error=ProtocolError),
        raw=b"[1, 2]",
    ),
    Quirk(
        "A10 bytes after the end mark are nobody's",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
        b'data: {"choices":[{"index":0,"delta":{"content":" and goodbye"}}]}\n\n'
        b'data: {"error":{"message":"too late"}}\n\n'
        b"<html>proxy footer</html>",
        HELLO,
    ),
    Quirk(
        "A11 bare JSON lines",
        b'{"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n'
        b'{"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n',
        Answer("error", error=ProtocolError),
        raw=b'{"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n'
        b'{"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n',
    ),
]

# A base64 image in one line: too long to write down, and too long to be cut everywhere.
IMAGE = b"iVBORw0KGgo" * 381_300
IMAGE_LINE = Quirk(
    "A9 one line of 4 MB",
    b'data: {"choices":[{"index":0,"delta":{"content":"' + IMAGE + b'"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    Answer(texts=(IMAGE.decode(),), finish=("stop",)),
)
