"""Reads a body with the machine that every stream has, without a stream around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cometstream import ChatCompletion, CometError
from cometstream.answer.budget import Budget
from cometstream.answer.machine import Answer
from cometstream.answer.sse import DEFAULT_MAX_SIZE, Comment, Event, SSEParser
from cometstream.answer.typed_errors import ErrorContext
from cometstream.policy import Clocks
from cometstream.views.chunks import ChatCompletionChunk

CONTEXT = ErrorContext(base_url="https://api.cometapi.com/v1", key_source="COMETAPI_KEY", secrets=("sk-secret",))

Item = ChatCompletionChunk | Comment

_Taken = TypeVar("_Taken")


@dataclass(frozen=True)
class Wire:
    """What a body was read as; two are equal where nobody could tell them apart."""

    outcome: str
    completion: ChatCompletion
    normalizations: dict[str, int]
    comments: list[str]
    error: CometError | None = field(compare=False)
    message: str
    items: list[Item]
    """What was handed over, in its order."""
    events: list[Event]
    """The events of the chunks among them."""
    text: str
    """The completion's JSON, which shows the order of its keys too."""


def items_of(answer: Answer, pieces: Iterable[bytes], *, was_cut: bool = False) -> Iterator[Item]:
    """Give a machine a body in pieces, and hand over what it does; an attempt that nobody saw is given up at its end."""
    return taken_of(answer, Answer.next, pieces, was_cut=was_cut)


def taken_of(
    answer: Answer, take: Callable[[Answer], _Taken | None], pieces: Iterable[bytes], *, was_cut: bool = False
) -> Iterator[_Taken]:
    """The same, in the form in which it is taken."""

    def items() -> Iterator[_Taken]:
        while (item := take(answer)) is not None:
            yield item

    for piece in pieces:
        answer.receive(piece, 0.0)
        yield from items()
    answer.ended(ConnectionResetError("Connection reset by peer") if was_cut else None, 0.0)
    yield from items()
    if not answer.started and answer.failure is not None:
        answer.give_up()
        yield from items()
    assert answer.over


def answer_of(
    *,
    split_think: bool = False,
    fast: bool = True,
    choices: int = 1,
    streamed: bool = True,
    max_event_size: int = DEFAULT_MAX_SIZE,
) -> Answer:
    """Return a machine.

    Args:
        split_think: As a stream's option.
        fast: Read chunks that repeat one another the fast way; else parse each whole.
        choices: Choices that were asked for.
        streamed: An event stream was asked for.
        max_event_size: Bytes that a line, an event or a JSON document may have.
    """
    return Answer(
        CONTEXT,
        Budget(Clocks()),
        streamed=streamed,
        choices=choices,
        split_think=split_think,
        max_event_size=max_event_size,
        fast=fast,
    )


def read_wire(pieces: Iterable[bytes], *, was_cut: bool = False, **options: Any) -> Wire:
    """Read a body from its pieces.

    Args:
        pieces: The body's bytes.
        was_cut: The transport told that bytes are missing.
        **options: As `answer_of`.
    """
    answer = answer_of(**options)
    items: list[Item] = []
    events: list[Event] = []
    for item in items_of(answer, pieces, was_cut=was_cut):
        items.append(item)
        if not isinstance(item, Comment):
            (event,) = SSEParser().feed(answer.wire)
            assert isinstance(event, Event)
            events.append(event)
    completion, error = answer.completion, answer.failure
    return Wire(
        outcome=str(answer.outcome),
        completion=completion,
        normalizations=completion.normalizations,
        comments=[item.text.decode("utf-8", "replace") for item in items if isinstance(item, Comment)],
        error=error,
        message=f"{type(error)} {error}",
        items=items,
        events=events,
        text=completion.to_json(),
    )
