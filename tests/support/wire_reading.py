"""Reads a body with the parts of ``wire/`` alone, in the order in which a stream uses them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.body import BodyReader
from cometstream.answer.error_body import ErrorBody, ErrorContext, read_error
from cometstream.answer.frames import Done, chunk_beside, read_frame
from cometstream.answer.json_text import Halves
from cometstream.answer.sse import Comment, Event
from cometstream.answer.stencil import Stencil
from cometstream.answer.think import ThinkSplitter
from cometstream.errors import (
    CometError,
    EmptyStreamError,
    ProtocolError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.completion import ChatCompletion, completion_as_chunk

CONTEXT = ErrorContext(base_url="https://api.cometapi.com/v1", key_source="COMETAPI_KEY", secret="sk-secret")


@dataclass
class Reading:
    """How far a body has been read, as a stream reads it."""

    accumulator: Accumulator = field(default_factory=Accumulator)
    splitter: ThinkSplitter | None = None
    stencil: Stencil | None = None
    halves: Halves = field(default_factory=Halves)
    comments: list[str] = field(default_factory=list)
    error: CometError | None = None
    document: ChatCompletion | None = None
    error_frame: bool = False
    started: bool = False
    done: bool = False

    def take(self, item: Event | Comment) -> bool:
        """Take what the parser gave; return whether to go on."""
        if isinstance(item, Comment):
            self.comments.append(item.text.decode("utf-8", "replace"))
            return True
        try:
            frame = read_frame(item, self.accumulator.note, self.stencil, self.halves)
        except ProtocolError as error:
            self.error = error
            return False
        if isinstance(frame, ChatCompletionChunk):
            self.add(frame)
        elif isinstance(frame, ErrorBody):
            beside = chunk_beside(frame)
            if beside is not None and (self.started or beside.has_content()):
                self.started = self.accumulator.add(beside) or self.started
            self.fail(frame)
        elif isinstance(frame, Done):
            self.done = True
        return self.error is None and not self.done

    def add(self, chunk: ChatCompletionChunk) -> None:
        if self.splitter is not None:
            chunk = self.splitter.split(chunk)
        self.started = self.accumulator.add(chunk) or self.started
        if self.accumulator.errored:
            self.fail(ErrorBody("the model's answer ended with finish_reason: error", raw=chunk.raw))

    def fail(self, body: ErrorBody) -> None:
        self.error_frame = True
        self.error = CONTEXT.frame_error(body, started=self.started)

    def take_document(self, document: Any) -> None:
        if isinstance(document, dict) and isinstance(document.get("choices"), list) and not document.get("error"):
            self.document = ChatCompletion(document, {"json_body": 1})
            self.add(ChatCompletionChunk(completion_as_chunk(document)))
            return
        body = read_error(document)
        if body is None:
            self.error = ProtocolError("JSON, but neither a completion nor an error")
        else:
            self.fail(body)

    def outcome(self, was_cut: bool) -> str:
        if self.accumulator.finished and not self.error_frame:
            self.error = None
            return "complete"
        if self.error is not None:
            return "error"
        if was_cut:
            self.error = StreamTruncatedError("cut in the middle of an event")
        elif not self.accumulator.choices:
            self.error = EmptyStreamError("no choice")
        elif self.done:
            self.error = StreamUnterminatedError("no finish_reason")
        else:
            self.error = StreamTruncatedError("no finish_reason")
        return "unterminated" if self.done else "truncated"


@dataclass(frozen=True)
class Wire:
    """What ``wire/`` made of a body; two are equal where nobody could tell them apart."""

    outcome: str
    completion: ChatCompletion
    normalizations: dict[str, int]
    comments: list[str]
    error: CometError | None = field(compare=False)
    message: str
    text: str
    """The completion's JSON, which shows the order of its keys too."""


def read_wire(
    pieces: Iterable[bytes], *, was_cut: bool = False, split_thinking: bool = False, with_stencil: bool = True
) -> Wire:
    """Read a body from its pieces with the parts of ``wire/``, in the order in which a stream uses them.

    Args:
        pieces: The body's bytes.
        was_cut: The transport told that bytes are missing.
        split_thinking: Split ``<think>`` off.
        with_stencil: Read chunks that repeat one another as a stream does, but from the first on; else parse each whole.
    """
    reader = BodyReader()
    reading = Reading(
        splitter=ThinkSplitter() if split_thinking else None, stencil=Stencil(patience=1) if with_stencil else None
    )
    try:
        for piece in pieces:
            if not all(reading.take(item) for item in reader.feed(piece)):
                break
        else:
            for item in reader.end():
                reading.accumulator.note("event_unterminated")
                if not reading.take(item):
                    break
            if reader.document is not None:
                reading.take_document(reader.document)
    except ProtocolError as error:
        reading.error = error
    outcome = reading.outcome(reader.cut or (was_cut and not reading.done))
    completion = reading.document or reading.accumulator.completion
    error = reading.error
    message = f"{type(error)} {error}"
    notes = completion.normalizations
    return Wire(outcome, completion, notes, reading.comments, error, message, completion.to_json())
