"""Chunks to typed events: what each chunk added, under the names of OpenAI's streaming helper.

::

    chunk                                   every chunk, with the completion so far
    reasoning.delta, .done                  a name of our own; the rest are OpenAI's
    content.delta, .done
    refusal.delta, .done
    logprobs.content.delta, .done           and logprobs.refusal
    tool_calls.function.arguments.delta, .done
    keep_alive                              a comment of the server's, made by the reader

A delta tells what is new and is never empty, but for a tool call's first, which tells that the call begins. A done tells that no
more is expected: of reasoning when another delta or a call begins, of texts and their log probabilities when a call begins, of a
call when the next begins, of everything when the choice has its ``finish_reason``. Where a gateway sends more after a done,
further deltas follow, and another done at the next such moment; so the last done has it all. A done does not prove that
an answer or a call came whole: the stream's outcome and ``ToolCall.executable`` are.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from cometstream.answer.partial_arguments import PartialArguments
from cometstream.views.arguments import said_once
from cometstream.views.parts import ChatCompletionTokenLogprob
from cometstream.views.view import list_of_dicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.answer.accumulate import Accumulator, ChoiceState
    from cometstream.answer.tool_calls import ToolCallState
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion

__all__ = [
    "ChunkEvent",
    "ContentDeltaEvent",
    "ContentDoneEvent",
    "EventFold",
    "FunctionToolCallArgumentsDeltaEvent",
    "FunctionToolCallArgumentsDoneEvent",
    "KeepAliveEvent",
    "LogprobsContentDeltaEvent",
    "LogprobsContentDoneEvent",
    "LogprobsRefusalDeltaEvent",
    "LogprobsRefusalDoneEvent",
    "ReasoningDeltaEvent",
    "ReasoningDoneEvent",
    "RefusalDeltaEvent",
    "RefusalDoneEvent",
    "StreamEvent",
]

_short = reprlib.Repr()
_short.maxstring = 120
_short.maxother = 300


class _Event:
    """Equal and printed by the fields that ``__match_args__`` names; what was accumulated is joined when it is read.

    An event shares the accumulator's growing lists and remembers how long they were: joining a snapshot for every
    delta would cost the square of the answer's length.
    """

    __slots__ = ()

    __match_args__: ClassVar[tuple[str, ...]]

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    __hash__ = None  # type: ignore[assignment] # equal by content, and some of it is lists and views

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_short.repr(getattr(self, name))}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class ChunkEvent(_Event):
    """A chunk as it arrived; it comes before the events that tell what it added.

    Attributes:
        chunk: The chunk.
    """

    type: ClassVar[Literal["chunk"]] = "chunk"
    __match_args__ = ("chunk",)

    chunk: ChatCompletionChunk
    _accumulator: Accumulator

    @property
    def snapshot(self) -> ChatCompletion:
        """The completion so far, as it stands when this is read: up to this chunk until the next one is taken."""
        return self._accumulator.completion


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class _TextDeltaEvent(_Event):
    __match_args__ = ("delta", "snapshot", "choice_index")

    delta: str
    choice_index: int
    _pieces: list[str]
    _end: int

    @property
    def snapshot(self) -> str:
        """The text up to and with this delta; joined at each reading."""
        return "".join(self._pieces[: self._end])


class ContentDeltaEvent(_TextDeltaEvent):
    """A piece of a choice's text: ``delta``, ``snapshot``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["content.delta"]] = "content.delta"
    parsed: ClassVar[None] = None  # OpenAI's events have it; who parses gives events of his own


class RefusalDeltaEvent(_TextDeltaEvent):
    """A piece of a choice's refusal: ``delta``, ``snapshot``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["refusal.delta"]] = "refusal.delta"


class ReasoningDeltaEvent(_TextDeltaEvent):
    """A piece of a choice's reasoning: ``delta``, ``snapshot``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["reasoning.delta"]] = "reasoning.delta"


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class _TokensDeltaEvent(_Event):
    _new: list[Any]
    choice_index: int
    _tokens: list[Any]
    _end: int

    @property
    def snapshot(self) -> list[ChatCompletionTokenLogprob]:
        """The tokens up to and with these; a new list at each reading."""
        return _views(self._tokens[: self._end])


def _views(tokens: list[Any]) -> list[ChatCompletionTokenLogprob]:
    return [ChatCompletionTokenLogprob(token) for token in list_of_dicts(tokens)]


class LogprobsContentDeltaEvent(_TokensDeltaEvent):
    """Log probabilities of tokens of a choice's text: ``content``, ``snapshot``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["logprobs.content.delta"]] = "logprobs.content.delta"
    __match_args__ = ("content", "snapshot", "choice_index")

    @property
    def content(self) -> list[ChatCompletionTokenLogprob]:
        """The new tokens."""
        return _views(self._new)


class LogprobsRefusalDeltaEvent(_TokensDeltaEvent):
    """Log probabilities of tokens of a choice's refusal: ``refusal``, ``snapshot``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["logprobs.refusal.delta"]] = "logprobs.refusal.delta"
    __match_args__ = ("refusal", "snapshot", "choice_index")

    @property
    def refusal(self) -> list[ChatCompletionTokenLogprob]:
        """The new tokens."""
        return _views(self._new)


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class _DoneEvent(_Event):
    choice_index: int
    _items: list[Any]
    _end: int


class ContentDoneEvent(_DoneEvent):
    """A choice's text is done: ``content``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["content.done"]] = "content.done"
    parsed: ClassVar[None] = None
    __match_args__ = ("content", "choice_index")

    @property
    def content(self) -> str:
        """The text; joined at each reading."""
        return "".join(self._items[: self._end])


class RefusalDoneEvent(_DoneEvent):
    """A choice's refusal is done: ``refusal``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["refusal.done"]] = "refusal.done"
    __match_args__ = ("refusal", "choice_index")

    @property
    def refusal(self) -> str:
        """The refusal; joined at each reading."""
        return "".join(self._items[: self._end])


class ReasoningDoneEvent(_DoneEvent):
    """A choice's reasoning is done: ``reasoning``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["reasoning.done"]] = "reasoning.done"
    __match_args__ = ("reasoning", "choice_index")

    @property
    def reasoning(self) -> str:
        """The reasoning; joined at each reading."""
        return "".join(self._items[: self._end])


class LogprobsContentDoneEvent(_DoneEvent):
    """The log probabilities of a choice's text are done: ``content``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["logprobs.content.done"]] = "logprobs.content.done"
    __match_args__ = ("content", "choice_index")

    @property
    def content(self) -> list[ChatCompletionTokenLogprob]:
        """All tokens; a new list at each reading."""
        return _views(self._items[: self._end])


class LogprobsRefusalDoneEvent(_DoneEvent):
    """The log probabilities of a choice's refusal are done: ``refusal``, ``choice_index``."""

    __slots__ = ()
    type: ClassVar[Literal["logprobs.refusal.done"]] = "logprobs.refusal.done"
    __match_args__ = ("refusal", "choice_index")

    @property
    def refusal(self) -> list[ChatCompletionTokenLogprob]:
        """All tokens; a new list at each reading."""
        return _views(self._items[: self._end])


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class _ToolCallEvent(_Event):
    index: int
    id: str | None
    choice_index: int
    _names: list[str]
    _named: int
    _pieces: list[str]
    _end: int

    @property
    def name(self) -> str:
        """The function's name as far as it came; joined at each reading."""
        return "".join(self._names[: self._named])

    @property
    def arguments(self) -> str:
        """The arguments' JSON text so far; joined at each reading."""
        return "".join(self._pieces[: self._end])


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class FunctionToolCallArgumentsDeltaEvent(_ToolCallEvent):
    """A call begins, or a piece of its arguments came; the input of a ``custom`` tool counts as its arguments.

    Attributes:
        index: The call's place among the calls of its choice, whatever the wire's own index says.
        id: The call's id; None where none has come.
        arguments_delta: The piece; ``""`` only where the call begins without one.
    """

    type: ClassVar[Literal["tool_calls.function.arguments.delta"]] = "tool_calls.function.arguments.delta"
    __match_args__ = ("name", "index", "id", "arguments", "arguments_delta", "choice_index")

    arguments_delta: str
    _partial: PartialArguments

    @property
    def parsed_arguments(self) -> dict[str, Any] | None:
        """The arguments as far as they came; None before they begin, and for a ``custom`` tool, whose input is a text.

        They are parsed when this is read, each piece once. It is the same object in all deltas of a call, and grows: copy what you
        keep. Do not act on it before the call is done and ``ToolCall.executable``.
        """
        return self._partial.value(self._end)


class FunctionToolCallArgumentsDoneEvent(_ToolCallEvent):
    """A call is done: ``name``, ``index``, ``id``, ``arguments``, ``choice_index``, as in the deltas."""

    __slots__ = ()
    type: ClassVar[Literal["tool_calls.function.arguments.done"]] = "tool_calls.function.arguments.done"
    parsed_arguments: ClassVar[None] = None  # as `ContentDeltaEvent.parsed`
    __match_args__ = ("name", "index", "id", "arguments", "choice_index")

    @property
    def arguments(self) -> str:
        """The arguments' JSON text; said once, where the gateway said it twice. Joined at each reading."""
        return said_once(self._pieces[: self._end])[0]


@dataclass(frozen=True, slots=True, eq=False, repr=False, match_args=False)
class KeepAliveEvent(_Event):
    """The server sent a comment: it is alive, and says nothing yet.

    Attributes:
        comment: The comment's text, often ``""`` or ``"PING"``.
    """

    type: ClassVar[Literal["keep_alive"]] = "keep_alive"
    __match_args__ = ("comment",)

    comment: str


StreamEvent: TypeAlias = (
    ChunkEvent
    | ContentDeltaEvent
    | ContentDoneEvent
    | RefusalDeltaEvent
    | RefusalDoneEvent
    | ReasoningDeltaEvent
    | ReasoningDoneEvent
    | LogprobsContentDeltaEvent
    | LogprobsContentDoneEvent
    | LogprobsRefusalDeltaEvent
    | LogprobsRefusalDoneEvent
    | FunctionToolCallArgumentsDeltaEvent
    | FunctionToolCallArgumentsDoneEvent
    | KeepAliveEvent
)


class EventFold:
    """Tells what each chunk added to an accumulator, as events.

    It compares lengths, so a chunk costs what is new in it. A fold made when chunks were added already begins where they
    ended.

    Args:
        accumulator: The accumulator that the chunks are added to.
        from_start: Tell of the chunks that were added before, too.
        chunks: Give each chunk as an event, too.
    """

    def __init__(self, accumulator: Accumulator, *, from_start: bool = False, chunks: bool = True) -> None:
        self._accumulator = accumulator
        self._chunks = chunks
        self._choices = (
            {} if from_start else {index: _ChoiceFold(state) for index, state in accumulator.choices.items()}
        )
        for fold in self._choices.values():
            fold.add_events([])  # what came before is another reader's

    def add(self, chunk: ChatCompletionChunk) -> list[StreamEvent]:
        """Return the events of `chunk`, which the accumulator was given just before."""
        events: list[StreamEvent] = [ChunkEvent(chunk, self._accumulator)] if self._chunks else []
        for choice in chunk.choices:
            fold = self._choices.get(choice.index)
            if fold is None:
                fold = self._choices[choice.index] = _ChoiceFold(self._accumulator.choices[choice.index])
            fold.add_events(events)
        return events


class _ChoiceFold:
    """How far the events of one choice have come."""

    __slots__ = (
        "_answer",
        "_calls",
        "_content",
        "_no_logprobs",
        "_open_calls",
        "_reasoning",
        "_refusal",
        "_state",
        "_visits",
    )

    def __init__(self, state: ChoiceState) -> None:
        index = state.index
        self._state = state
        self._reasoning = _Track(state.reasoning, index, "".join, ReasoningDeltaEvent, ReasoningDoneEvent)
        self._content = _Track(state.content, index, "".join, ContentDeltaEvent, ContentDoneEvent)
        self._refusal = _Track(state.refusal, index, "".join, RefusalDeltaEvent, RefusalDoneEvent)
        self._answer = [self._content, self._refusal]  # and log probabilities, once there are any
        self._no_logprobs = {"content", "refusal"}  # the kinds of log probabilities that have not begun
        self._calls: list[_CallTrack] = []
        self._open_calls: dict[int, _CallTrack] = {}
        self._visits = 0  # of calls, which need no second look

    def add_events(self, events: list[StreamEvent]) -> None:
        state = self._state
        calls = state.tool_calls.calls
        if state.finish_reason is None and not (calls or state.reasoning or state.refusal or state.logprobs):
            # As long as there is nothing but text, as in most answers, the rest need not be looked at.
            self._content.add_delta(events)
            return
        call_begins = len(calls) > len(self._calls)
        self._reasoning.add_delta(events)
        if self._reasoning.open and (call_begins or self._content.pending() or self._refusal.pending()):
            self._reasoning.add_done(events)
        if state.logprobs and self._no_logprobs:
            self._follow_logprobs()
        answer = self._answer
        for track in answer:
            track.add_delta(events)
        if call_begins:
            for track in answer:
                track.add_done(events)
        self._add_calls(events)
        if state.finish_reason is not None:
            for track in (self._reasoning, *answer):
                track.add_done(events)
            self._end_calls(events)

    def _follow_logprobs(self) -> None:
        # Most answers have none, and their lists are made when the first token comes.
        logprobs, index, missing = self._state.logprobs, self._state.index, self._no_logprobs
        if "content" in missing and (tokens := logprobs.get("content")) is not None:
            missing.remove("content")
            self._answer.append(_Track(tokens, index, list, LogprobsContentDeltaEvent, LogprobsContentDoneEvent))
        if "refusal" in missing and (tokens := logprobs.get("refusal")) is not None:
            missing.remove("refusal")
            self._answer.append(_Track(tokens, index, list, LogprobsRefusalDeltaEvent, LogprobsRefusalDoneEvent))

    def _add_calls(self, events: list[StreamEvent]) -> None:
        calls = self._state.tool_calls
        visited = calls.visits[self._visits :]
        if not visited:
            return
        # The last visit may go on.
        self._visits = len(calls.visits) - 1
        for place in visited if len(visited) == 1 else sorted(set(visited)):
            if place == len(self._calls):
                self._end_calls(events)
                self._calls.append(_CallTrack(calls.calls[place], place, self._state.index))
            track = self._calls[place]
            if track.add_delta(events):
                self._open_calls[place] = track

    def _end_calls(self, events: list[StreamEvent]) -> None:
        for track in self._open_calls.values():
            track.add_done(events)
        self._open_calls.clear()


class _Track:
    """One growing list of a choice, and how far into it the events have come; open while a done is owed."""

    __slots__ = ("_delta", "_done", "_index", "_items", "_join", "_seen", "open")

    def __init__(
        self,
        items: list[Any],
        index: int,
        join: Callable[[list[Any]], Any],
        delta: Callable[[Any, int, list[Any], int], StreamEvent],
        done: Callable[[int, list[Any], int], StreamEvent],
    ) -> None:
        self._items = items
        self._index = index
        self._join = join
        self._delta = delta
        self._done = done
        self._seen = 0
        self.open = False

    def pending(self) -> bool:
        return any(self._items[self._seen :])

    def add_delta(self, events: list[StreamEvent]) -> None:
        end = len(self._items)
        if end == self._seen:
            return
        new = self._join(self._items[self._seen : end])
        self._seen = end
        if new:
            self.open = True
            events.append(self._delta(new, self._index, self._items, end))

    def add_done(self, events: list[StreamEvent]) -> None:
        if self.open:
            self.open = False
            events.append(self._done(self._index, self._items, self._seen))


class _CallTrack:
    """One call, and how far into its arguments the events have come."""

    __slots__ = ("_begun", "_call", "_index", "_partial", "_place", "_seen")

    def __init__(self, call: ToolCallState, place: int, index: int) -> None:
        self._call = call
        self._place = place
        self._index = index
        self._partial = PartialArguments(call)
        self._seen = 0
        self._begun = False

    def add_delta(self, events: list[StreamEvent]) -> bool:
        """Add what is new; return whether anything is."""
        call = self._call
        end = len(call.arguments)
        delta = "".join(call.arguments[self._seen : end])
        self._seen = end
        if self._begun and not delta:
            return False
        self._begun = True
        names = call.names
        events.append(
            FunctionToolCallArgumentsDeltaEvent(
                self._place, call.id, self._index, names, len(names), call.arguments, end, delta, self._partial
            )
        )
        return True

    def add_done(self, events: list[StreamEvent]) -> None:
        call, names = self._call, self._call.names
        events.append(
            FunctionToolCallArgumentsDoneEvent(
                self._place, call.id, self._index, names, len(names), call.arguments, self._seen
            )
        )
