"""Rows B: what gateways do to the shape of a chunk."""

from __future__ import annotations

from quirks.quirk import Answer, Quirk

CHUNK_SHAPE = [
    Quirk(
        "B1 Azure's first chunk: no choices, no object, filter results",
        b"""\
data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]}

data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}}}],"created":1700000000,"id":"chatcmpl-1","model":"gpt-4.1","object":"chat.completion.chunk"}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",)),
        kept={
            "id": "chatcmpl-1",
            "model": "gpt-4.1",
            "created": 1700000000,
            "object": "chat.completion",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}],
            "choices": [{"content_filter_results": {"hate": {"filtered": False}}}],
        },
    ),
    Quirk(
        "B2 choices: null",
        b"""\
data: {"id":"1","choices":null}

data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}

data: {"id":"1","choices":null,"usage":{"total_tokens":3}}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), usage={"total_tokens": 3}, notes={"choices_null": 2}),
    ),
    Quirk(
        "B2 choices as an object",
        b"""\
data: {"id":"1","choices":{"index":0,"delta":{"content":"lost"}}}

data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"},"and a text"]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"choices_malformed": 1, "choice_malformed": 1}),
    ),
    Quirk(
        "B3 delta: null on the finish",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"delta_null": 1}),
    ),
    Quirk(
        "B3 delta as a text",
        b"""\
data: {"choices":[{"index":0,"delta":"Hel"}]}

data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"delta_malformed": 1}),
    ),
    Quirk(
        "B4 neither id nor object, created: null",
        b"""\
data: {"created":null,"choices":[{"index":0,"delta":{"content":"Hello"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",)),
        kept={"object": "chat.completion"},
    ),
    Quirk(
        "B5 a choice without index",
        b"""\
data: {"choices":[{"delta":{"content":"Hello"}}]}

data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"choice_index_missing": 2}),
    ),
    Quirk(
        "B6 choice 1 comes before choice 0",
        b"""\
data: {"choices":[{"index":1,"delta":{"content":"one"}}]}

data: {"choices":[{"index":0,"delta":{"content":"nul"}},{"index":1,"delta":{},"finish_reason":"length"}]}

data: {"choices":[{"index":0,"delta":{"content":"l"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("null", "one"), finish=("stop", "length")),
    ),
    Quirk(
        "B7 Magistral: content as a list of thinking and text, and of parts unknown here",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Let me "}]}]}}]}

data: {"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"see."}]},{"type":"text","text":"Hel"}]}}]}

data: {"choices":[{"index":0,"delta":{"content":[{"type":"reference","reference_ids":[3]}]}}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), reasoning="Let me see.", finish=("stop",), notes={"content_parts": 3}),
        kept={
            "choices": [
                {
                    "message": {
                        "content": [
                            {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]},
                            {"type": "text", "text": "Hello"},
                            {"type": "reference", "reference_ids": [3]},
                        ]
                    }
                }
            ]
        },
    ),
    Quirk(
        "B8 role in every chunk, nulls for all the rest",
        b"""\
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel","tool_calls":null,"refusal":null,"function_call":null,"audio":null,"reasoning_content":null},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"lo","tool_calls":null},"logprobs":{"content":null},"finish_reason":null}],"usage":null}

data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":null},"finish_reason":"stop"}],"usage":null}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",)),
        kept={"choices": [{"message": {"role": "assistant"}, "logprobs": None}]},
    ),
    Quirk(
        "B9 a legacy function call in fragments",
        b"""\
data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"function_call":{"name":"get_weather","arguments":""}}}]}

data: {"choices":[{"index":0,"delta":{"function_call":{"arguments":"{\\"city\\":"}}}]}

data: {"choices":[{"index":0,"delta":{"function_call":{"arguments":"\\"Oslo\\"}"}}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"function_call"}]}

data: [DONE]

""",
        Answer(texts=(None,), finish=("function_call",)),
        kept={"choices": [{"message": {"function_call": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}}]},
    ),
    Quirk(
        "B10 many tokens in one chunk, and many chunks in one read",
        b'data: {"choices":[{"index":0,"delta":{"content":"' + b"word " * 300 + b'"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"and"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":" out."}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n",
        Answer(texts=("word " * 300 + "and out.",), finish=("stop",)),
    ),
    Quirk(
        "B11 NaN for a log probability",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":{"content":[{"token":"Hello","logprob":-Infinity,"top_logprobs":[{"token":"x","logprob":NaN}]}]},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"json_lenient": 1}),
        kept={"choices": [{"logprobs": {"content": [{"token": "Hello", "logprob": float("-inf")}]}}]},
    ),
    Quirk(
        "B12 a surrogate pair cut apart between two chunks",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"go \\ud83d"}}]}

data: {"choices":[{"index":0,"delta":{"content":"\\ude80!"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("go \ufffd\ufffd!",), finish=("stop",), notes={"json_lenient": 2}),
    ),
    Quirk(
        "B13 a whole message in one chunk, where a delta belongs",
        b"""\
data: {"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"message_in_chunk": 1}),
    ),
    Quirk(
        "B13 the message so far beside each delta",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hel"},"message":{"role":"assistant","content":"Hel"}}]}

data: {"choices":[{"index":0,"delta":{"content":"lo"},"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(texts=("Hello",), finish=("stop",), notes={"message_in_chunk": 2}),
    ),
    Quirk(
        "B14 numbers where texts belong",
        b"""\
data: {"id":5,"model":1.5,"created":"1700000000","choices":[{"index":0,"delta":{"role":1,"content":5,"refusal":7,"reasoning":{"text":"?"}},"finish_reason":0}]}

data: {"id":5,"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":3,"finish_reason":"stop"}]}

data: [DONE]

""",
        Answer(
            texts=("Hello",),
            finish=("stop",),
            notes={
                "content_malformed": 1,
                "refusal_malformed": 1,
                "reasoning_malformed": 1,
                "finish_reason_malformed": 1,
                "logprobs_malformed": 1,
            },
        ),
        kept={"id": 5, "created": "1700000000"},
    ),
]
