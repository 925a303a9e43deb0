"""What the simulated server sends in answer to one attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import orjson

__all__ = ["Frame", "Script", "Stop", "Writer", "draw_script"]

Stop = Literal["done", "error", "garbage"]

_WORDS = (
    "a",
    " comet",
    "'s tail",
    "\n",
    " \u00e9t\u00e9",
    " \U0001f30c",
    ' "quoted"',
    " back\\slash",
    "{",
    "data: ",
    " 1",
)
_FINISHES = ("stop", "length", "tool_calls")


class Frame:
    """One event, or comment, of the body.

    Attributes:
        data: Its bytes, the blank line at the end included.
        least: How many of them make it whole: a CR ends a line without the LF behind it, a comment is one line.
        whole: How many of them make it readable where the body ends behind them.
        raw: The chunk; None for what is not one.
        texts: The content in it, by choice.
        content: The choices to which it brings content of any kind.
        finishes: The choices that finish with it.
        stop: What it ends the answer by.
        comment: Whether it is a comment.
    """

    __slots__ = ("comment", "content", "data", "finishes", "least", "raw", "stop", "texts", "whole")

    def __init__(
        self,
        data: bytes,
        whole: int,
        *,
        raw: dict[str, Any] | None = None,
        texts: tuple[tuple[int, str], ...] = (),
        content: tuple[int, ...] = (),
        finishes: tuple[int, ...] = (),
        stop: Stop | None = None,
        comment: bool = False,
    ) -> None:
        self.data = data
        self.least = whole + 1 if comment else len(data) - data.endswith(b"\r\n")
        self.whole = whole
        self.raw = raw
        self.texts = texts
        self.content = content
        self.finishes = finishes
        self.stop: Stop | None = stop
        self.comment = comment


@dataclass
class Script:
    """One answer with status 200.

    Attributes:
        frames: What it is made of, in order.
        document: The body is one JSON document.
        body: The bytes that are sent, perhaps not all of the frames.
        end: How the body ends.
    """

    frames: list[Frame]
    document: bool
    body: bytes
    end: Literal["eof", "reset"]
    starts: list[int] = field(default_factory=list)
    stops_at: int | None = None  # bytes after which the answer ends itself

    def __post_init__(self) -> None:
        at = 0
        for frame in self.frames:
            self.starts.append(at)
            at += len(frame.data)
            if frame.stop is not None and self.stops_at is None:
                self.stops_at = at


class Writer:
    """Writes the frames of one answer."""

    def __init__(self, rng: Random, name: str, eol: str, space: str) -> None:
        self.frames: list[Frame] = []
        self._rng = rng
        self._name = name
        self._prefix = f"data:{space}".encode()
        self._end = (eol * 2).encode()
        self._count = 0

    def data(self, data: bytes, **what: Any) -> None:
        line = self._prefix + data
        self.frames.append(Frame(line + self._end, len(line), **what))

    def comment(self) -> None:
        line = b": keep-alive"
        self.frames.append(Frame(line + self._end, len(line), comment=True))

    def chunk(
        self,
        choice: int,
        delta: dict[str, Any],
        finish: str | None = None,
        *,
        text: str = "",
        content: bool = False,
        stop: Stop | None = None,
    ) -> None:
        raw: dict[str, Any] = {
            "id": self._name,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": choice, "delta": delta, "finish_reason": finish}],
        }
        self.data(
            orjson.dumps(raw),
            raw=raw,
            texts=((choice, text),) if text else (),
            content=(choice,) if content else (),
            finishes=(choice,) if finish in _FINISHES else (),
            stop=stop,
        )

    def text(self, choice: int, text: str | None = None, finish: str | None = None) -> None:
        if text is None:
            self._count += 1
            text = f"{self._count}{self._rng.choice(_WORDS)}"
        self.chunk(choice, {"content": text}, finish, text=text, content=True)

    def usage(self) -> None:
        raw: dict[str, Any] = {
            "id": self._name,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": self._count, "total_tokens": self._count + 3},
        }
        self.data(orjson.dumps(raw), raw=raw)

    def error(self) -> None:
        code = self._rng.choice((429, 503, None, "invalid_request_error", "insufficient_quota"))
        self.data(orjson.dumps({"error": {"message": "simulated", "code": code}}), stop="error")


def draw_script(rng: Random, name: str, n: int, *, streamed: bool) -> Script:
    """Draw one answer.

    Args:
        rng: What it is drawn from.
        name: The id of its chunks, no other attempt's.
        n: Choices that were asked for.
        streamed: Whether an event stream was asked for.
    """
    document = not streamed or rng.random() < 0.05
    if document:
        frames = [_document(rng, name, n)]
    else:
        frames = [] if rng.random() < 0.03 else _stream(rng, name, n)
    body = b"".join([frame.data for frame in frames])
    end: Literal["eof", "reset"] = "reset" if rng.random() < 0.12 else "eof"
    if rng.random() < 0.15:
        body = body[: rng.randrange(len(body) + 1)]
    return Script(frames, document, body, end)


def _document(rng: Random, name: str, n: int) -> Frame:
    space = rng.choice((b"", b"\n", b" "))
    if rng.random() < 0.15:
        data = orjson.dumps(
            {"error": {"message": "simulated", "code": rng.choice((429, 503, "invalid_request_error"))}}
        )
        return Frame(data + space, len(data), stop="error")
    count = n if rng.random() < 0.9 else 1
    raw = {
        "id": name,
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": f"document {name}, choice {index}"},
                "finish_reason": "stop" if rng.random() < 0.9 else None,
            }
            for index in range(count)
        ],
    }
    data = orjson.dumps(raw)
    choices: Any = raw["choices"]
    return Frame(
        data + space,
        len(data),
        raw=raw,
        texts=tuple((choice["index"], choice["message"]["content"]) for choice in choices),
        content=tuple(choice["index"] for choice in choices),
        finishes=tuple(choice["index"] for choice in choices if choice["finish_reason"]),
    )


def _stream(rng: Random, name: str, n: int) -> list[Frame]:
    draw = rng.random
    writer = Writer(rng, name, "\r\n" if draw() < 0.1 else "\n", "" if draw() < 0.1 else " ")
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        writer.comment()
    for choice in range(n):
        if draw() < 0.8:
            writer.chunk(choice, {"role": "assistant", "content": ""})
    failure = rng.randrange(16) if draw() < 0.12 else None
    choice = 0
    for index in range(rng.choice((0, 1, 2, 4, 6, 9, 14))):
        if index == failure:
            _fail(writer, rng)
        kind = draw()
        if n > 1 and draw() < 0.3:
            choice = rng.randrange(n)
        if kind < 0.78:
            writer.text(choice)
        elif kind < 0.83:
            writer.chunk(choice, {"reasoning_content": "hm"}, content=True)
        elif kind < 0.87:
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            writer.chunk(choice, {"tool_calls": [call]}, content=True)
        elif kind < 0.94:
            writer.comment()
        elif kind < 0.96:
            writer.chunk(choice, {})
        elif kind < 0.97:
            writer.chunk(choice, {}, rng.choice(("", "null")))
        elif kind < 0.98:
            writer.data(b"null")
        else:
            writer.text(choice, "x" * rng.choice((5_000, 20_000)))
    for choice in range(n):
        if draw() < 0.88:
            if draw() < 0.2:
                writer.text(choice, finish=rng.choice(_FINISHES))
            else:
                writer.chunk(choice, {}, rng.choice(_FINISHES))
    while draw() < 0.08:
        choice = rng.randrange(n)
        writer.text(choice)
        if draw() < 0.6:
            writer.chunk(choice, {}, "stop")
    if failure is not None and failure > 10:
        _fail(writer, rng)
    if draw() < 0.6:
        writer.usage()
    if draw() < 0.8:
        writer.data(b"[DONE]", stop="done")
        if draw() < 0.1:
            writer.text(0)
    return writer.frames


def _fail(writer: Writer, rng: Random) -> None:
    kind = rng.random()
    if kind < 0.5:
        writer.error()
    elif kind < 0.65:
        writer.chunk(0, {}, "error", stop="error")
    else:
        writer.data(b"<html>Bad gateway</html>", stop="garbage")
