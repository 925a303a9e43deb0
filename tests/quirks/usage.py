"""Rows U: what gateways report as usage."""

from __future__ import annotations

from quirks.quirk import Answer, Quirk

HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def hello(usage: dict[str, object] | None) -> Answer:
    return Answer(texts=("Hello",), finish=("stop",), usage=usage)


USAGE = [
    Quirk(
        "U1 usage in a last chunk without choices",
        HELLO + b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}\n\n' + DONE,
        hello({"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}),
    ),
    Quirk(
        "U2 usage, then chunks with null, with {} and without it",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}],"usage":{"total_tokens":3}}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}],"usage":null}\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{}}\n\n'
        b'data: {"choices":[]}\n\n' + DONE,
        hello({"total_tokens": 3}),
    ),
    Quirk(
        "U2 usage that is none",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}\n\n'
        b'data: {"choices":[],"usage":"n/a"}\n\ndata: {"choices":[],"usage":7}\n\n' + DONE,
        hello({"total_tokens": 3}),
    ),
    Quirk(
        "U3 cumulative usage in each chunk",
        b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}],"usage":{"completion_tokens":1,"total_tokens":3}}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}],'
        b'"usage":{"completion_tokens":2,"total_tokens":4}}\n\n' + DONE,
        hello({"completion_tokens": 2, "total_tokens": 4}),
    ),
    Quirk(
        "U4 Groq's own place for it",
        HELLO + b'data: {"choices":[],"x_groq":{"id":"req_1","usage":{"total_tokens":3}}}\n\n'
        b'data: {"choices":[],"x_groq":{"id":"req_1"}}\n\n' + DONE,
        hello({"total_tokens": 3}),
        kept={"x_groq": {"id": "req_1"}},
    ),
    Quirk(
        "U5 details of cache and reasoning, and a cost",
        HELLO + b'data: {"choices":[],"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":8,'
        b'"completion_tokens_details":{"reasoning_tokens":4},"cost":0.00014}}\n\n' + DONE,
        hello(
            {
                "prompt_tokens": 9,
                "prompt_cache_hit_tokens": 8,
                "completion_tokens_details": {"reasoning_tokens": 4},
                "cost": 0.00014,
            }
        ),
    ),
    Quirk("U6 none, though it was asked for: unknown, not guessed", HELLO + DONE, hello(None)),
]
