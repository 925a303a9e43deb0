"""One deviation of a gateway: its bytes, what they must come to, and the way from the one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cometstream.errors import (
    CometError,
    EmptyStreamError,
    ProtocolError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.wire.accumulate import Accumulator
from cometstream.wire.body import BodyReader
from cometstream.wire.chunks import ChatCompletionChunk
from cometstream.wire.completion import ChatCompletion, completion_as_chunk
from cometstream.wire.error_body import ErrorBody, ErrorContext, read_error
from cometstream.wire.frames import Done, read_frame
from cometstream.wire.sse import Comment, Event
from cometstream.wire.think import ThinkSplitter

CONTEXT = ErrorContext(base_url="https://api.cometapi.com/v1", key_source="COMETAPI_KEY", secret="sk-secret")


@dataclass(frozen=True)
class Call:
    """A tool call as it must come out; `arguments` None stands for one that must not be executed."""

    id: str
    name: str
    arguments: dict[str, Any] | None


@dataclass(frozen=True)
class Answer:
    """What a body comes to.

    Attributes:
        outcome: As ``ChatStream.outcome``.
        texts: The content of each choice, by index.
        reasoning: The first choice's.
        calls: The first choice's.
        finish: The finish reason of each choice, by index.
        usage: As reported; None is unknown.
        notes: The normalisations.
        error: The class of what is raised at the end; None for nothing.
        status: The error's, where it has one.
        code: The error's, where it has one.
        retryable: The error's.
        comments: Texts of the comments, in order.
    """

    outcome: str = "complete"
    texts: tuple[str | None, ...] = ()
    reasoning: str | None = None
    calls: tuple[Call, ...] = ()
    finish: tuple[str | None, ...] = ()
    usage: Mapping[str, Any] | None = None
    notes: Mapping[str, int] = field(default_factory=dict)
    error: type[CometError] | None = None
    status: int | None = None
    code: str | None = None
    retryable: bool = False
    comments: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Quirk:
    """A row of the table of quirks.

    Attributes:
        row: Its place in the table, and what is sent.
        wire: The body, whole, as the gateway sends it.
        answer: What it must come to, however it is cut.
        kept: What ``completion.to_dict()`` must hold, at least.
        raw: What the ProtocolError must hold of the bytes at fault.
        split_thinking: Whether the caller asked for ``<think>`` to be split off.
    """

    row: str
    wire: bytes
    answer: Answer
    kept: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    split_thinking: bool = False


@dataclass
class Reading:
    """How far a body has been read, as a stream reads it."""

    accumulator: Accumulator = field(default_factory=Accumulator)
    splitter: ThinkSplitter | None = None
    comments: list[bytes] = field(default_factory=list)
    error: CometError | None = None
    error_frame: bool = False
    started: bool = False
    done: bool = False

    def take(self, item: Event | Comment) -> bool:
        """Take what the parser gave; return whether to go on."""
        if isinstance(item, Comment):
            self.comments.append(item.text)
            return True
        try:
            frame = read_frame(item, self.accumulator.note)
        except ProtocolError as error:
            self.error = error
            return False
        if isinstance(frame, ChatCompletionChunk):
            self.add(frame)
        elif isinstance(frame, ErrorBody):
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
            self.accumulator.note("json_body")
            self.add(ChatCompletionChunk(completion_as_chunk(document)))
            return
        body = read_error(document)
        if body is None:
            self.error = ProtocolError("JSON, but neither a completion nor an error")
        else:
            self.fail(body)

    def outcome(self) -> str:
        if self.accumulator.finished and not self.error_frame:
            self.error = None
            return "complete"
        if self.error is not None:
            return "error"
        if not self.accumulator.choices:
            self.error = EmptyStreamError("no choice")
        elif self.done:
            self.error = StreamUnterminatedError("no finish_reason")
        else:
            self.error = StreamTruncatedError("no finish_reason")
        return "unterminated" if self.done else "truncated"


def read_wire(
    pieces: Iterable[bytes], *, split_thinking: bool = False
) -> tuple[Answer, ChatCompletion, CometError | None]:
    """Read a body from its pieces with the parts of ``wire/``, in the order in which a stream uses them."""
    reader = BodyReader()
    reading = Reading(splitter=ThinkSplitter() if split_thinking else None)
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
    outcome = reading.outcome()
    completion, error = reading.accumulator.completion, reading.error
    answer = Answer(
        outcome=outcome,
        texts=tuple(choice.message.content for choice in completion.choices),
        reasoning=completion.reasoning,
        calls=tuple(
            Call(call.id, call.function.name, call.parse() if call.executable else None)
            for call in completion.tool_calls
        ),
        finish=tuple(choice.finish_reason for choice in completion.choices),
        usage=completion.usage.to_dict() if completion.usage else None,
        notes=completion.normalizations,
        error=type(error) if error else None,
        status=getattr(error, "status", None),
        code=getattr(error, "code", None),
        retryable=error.retryable if error else False,
        comments=tuple(reading.comments),
    )
    return answer, completion, error
