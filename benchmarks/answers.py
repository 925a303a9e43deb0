"""The answers that the load server sends, byte for byte, and what a client must have read at their end.

An answer is named by its parameters, and the name is the first part of the request's path, so that the server, the clients and
the scenarios speak of the same answer without a word between them.
"""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from typing import Any, Literal

MODEL = "gpt-5.4"
# Each client has types of its own for messages.
MESSAGES: list[Any] = [{"role": "user", "content": "Write about comets."}]
PROMPT_TOKENS = 11

_PASSAGE = (
    "A comet is an icy body that warms as it passes close to the Sun and begins to release gas, which makes an atmosphere "
    "around the nucleus and sometimes a tail of gas and dust blown out from it. "
)

# What uvicorn behind a gateway writes before an answer.
_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"server: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\n"
    b"x-request-id: 20260101000000000000000BENCHMARK\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)

_DOCUMENT_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"server: uvicorn\r\n"
    b"content-type: application/json\r\n"
    b"x-request-id: 20260101000000000000000BENCHMARK\r\n"
    b"content-length: %d\r\n\r\n"
)


@dataclass(frozen=True)
class Answer:
    """One answer.

    Args:
        kind: ``"text"`` for content, ``"json"`` for content that is a JSON object, ``"tools"`` for the arguments of one tool call.
        chunks: Pieces that the text or the arguments come in; the chunks with role, finish_reason and usage are not counted.
        size: Characters of one piece.
        gap_ms: Milliseconds between two pieces, each a write of its own; 0 sends everything in one.
        held: After half of its pieces a dripping answer stops until the server is told to go on.
        padded: Each chunk ends with random letters in a field ``obfuscation``, as OpenAI and CometAPI send it: no two are the same
            around their text.
        delay_ms: Milliseconds that a model would think before the answer is sent.
        streamed: As a stream of chunks; otherwise as one JSON document.
    """

    kind: Literal["text", "json", "tools"] = "text"
    chunks: int = 200
    size: int = 5
    gap_ms: int = 0
    held: bool = False
    padded: bool = True
    delay_ms: int = 0
    streamed: bool = True

    @property
    def name(self) -> str:
        flags = f"{int(self.held)}-{int(self.padded)}-{self.delay_ms}-{int(self.streamed)}"
        return f"{self.kind}-{self.chunks}-{self.size}-{self.gap_ms}-{flags}"

    @classmethod
    @cache  # a handful of answers, each wanted for every request
    def named(cls, name: str) -> Answer:
        kind, chunks, size, gap_ms, held, padded, delay_ms, streamed = name.split("-")
        known: dict[str, Literal["text", "json", "tools"]] = {"text": "text", "json": "json", "tools": "tools"}
        numbers = int(chunks), int(size), int(gap_ms)
        return cls(known[kind], *numbers, held == "1", padded == "1", int(delay_ms), streamed == "1")

    @cached_property
    def text(self) -> str:
        """The whole text, or the whole arguments; these, and a text of the kind ``"json"``, are an object with one text."""
        length = self.chunks * self.size
        before, after = ('{"text": "', '"}') if self.kind != "text" else ("", "")
        room = max(length - len(before) - len(after), 0)
        return before + (_PASSAGE * (room // len(_PASSAGE) + 1))[:room] + after

    @cached_property
    def writes(self) -> list[bytes]:
        """The response in the pieces that a server writes: head and role, each piece of text, and the end."""
        opening: dict[str, object]
        deltas: list[dict[str, object]]
        pieces = [self.text[at : at + self.size] for at in range(0, len(self.text), self.size)]
        if self.kind == "tools":
            call = {"index": 0, "id": "call_bench", "type": "function", "function": {"name": "save", "arguments": ""}}
            opening = {"role": "assistant", "content": None, "tool_calls": [call]}
            deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        else:
            opening = {"role": "assistant", "content": "", "refusal": None}
            deltas = [{"content": piece} for piece in pieces]
        finish = _choice({}, "tool_calls" if self.kind == "tools" else "stop")
        chunks = [_chunk([_choice(delta)]) for delta in (opening, *deltas)] + [
            _chunk([finish]),
            _chunk([], self._usage),
        ]
        if self.padded:
            _pad(chunks)
        first, *middle, last, with_usage = map(_event, chunks)
        return [_HEAD + first, *middle, last + with_usage + _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]

    @cached_property
    def whole(self) -> bytes:
        return b"".join(self.writes) if self.streamed else self._document

    @property
    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": self.chunks,
            "total_tokens": PROMPT_TOKENS + self.chunks,
        }

    @property
    def _document(self) -> bytes:
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        document = {**_chunk([choice], self._usage), "object": "chat.completion"}
        body = json.dumps(document, separators=(",", ":")).encode()
        return _DOCUMENT_HEAD % len(body) + body


def _choice(delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _chunk(choices: list[dict[str, object]], usage: dict[str, int] | None = None) -> dict[str, object]:
    return {
        "id": "chatcmpl-BenchmarkOfOneAnswerInManyPieces",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "gpt-5.4",
        "system_fingerprint": "fp_0123456789",
        "choices": choices,
        "usage": usage,
    }


def _pad(chunks: list[dict[str, object]]) -> None:
    """Add letters to each chunk, the same ones in every run; their number hides how long the chunk's text is."""
    random = Random(1)
    for chunk in chunks:
        chunk["obfuscation"] = "".join(random.choices(string.ascii_letters + string.digits, k=random.randint(1, 16)))


def _event(chunk: dict[str, object]) -> bytes:
    return _http_chunk(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
