"""Rows R: what gateways call reasoning."""

from __future__ import annotations

from quirks.quirk import Answer, Quirk

FINISH = b'data: {"choices":[{"index":0,"delta":{"content":"42"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWER = Answer(texts=("42",), reasoning="Six by seven.", finish=("stop",))

REASONING = [
    Quirk(
        "R1 reasoning_content",
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Six by "}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"seven.","content":""}}]}\n\n' + FINISH,
        ANSWER,
        kept={"choices": [{"message": {"reasoning_content": "Six by seven.", "content": "42"}}]},
    ),
    Quirk(
        "R2 reasoning, and the same in reasoning_details",
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"Six by ",'
        b'"reasoning_details":[{"type":"reasoning.text","text":"Six by "}]}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"seven.",'
        b'"reasoning_details":[{"type":"reasoning.text","text":"seven."}]}}]}\n\n' + FINISH,
        ANSWER,
        kept={
            "choices": [
                {
                    "message": {
                        "reasoning": "Six by seven.",
                        "reasoning_details": [
                            {"type": "reasoning.text", "text": "Six by "},
                            {"type": "reasoning.text", "text": "seven."},
                        ],
                    }
                }
            ]
        },
    ),
    Quirk(
        "R3 one of the names is null, or both say the same",
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Six ","reasoning":null}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"reasoning":"by ","reasoning_content":"by "}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"","reasoning":"seven."}}]}\n\n' + FINISH,
        ANSWER,
    ),
    Quirk(
        "R3 the thinking parts of the content say it once more",
        b'data: {"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":"Six by seven."}],'
        b'"reasoning":"Six by seven."}}]}\n\n' + FINISH,
        Answer(texts=("42",), reasoning="Six by seven.", finish=("stop",), notes={"content_parts": 1}),
    ),
    Quirk(
        "R4 thinking in the content, the tags cut apart, split on request",
        b'data: {"choices":[{"index":0,"delta":{"content":"<thi"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"nk>\\nSix by "}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"seven.</"}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"content":"think>\\n"}}]}\n\n' + FINISH,
        ANSWER,
        split_thinking=True,
    ),
    Quirk(
        "R4 thinking in the content stays there unless asked for",
        b'data: {"choices":[{"index":0,"delta":{"content":"<think>\\nSix by seven.\\n</think>\\n"}}]}\n\n' + FINISH,
        Answer(texts=("<think>\nSix by seven.\n</think>\n42",), finish=("stop",)),
    ),
]
