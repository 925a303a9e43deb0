"""The ways to read a stream beside its chunks, as its methods: text, events, SSE bytes, the server's frames, a growing value."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.machine import Answer
from cometstream.errors import CometError, ConfigurationError, UsageError
from cometstream.late import late_import
from cometstream.readers import BeatingReader, EventReader, FrameReader, RelayReader, TextReader
from cometstream.request.describe import shown
from cometstream.views.output import Parsed, ParsedT_co

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.answer.sse import Comment, Event
    from cometstream.answer.states import Outcome
    from cometstream.partials import GrowingOutput, Part, PartialReader
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion

__all__ = ["Readable"]

_Taken = TypeVar("_Taken")


class Readable(Parsed[ParsedT_co]):
    """What `ChatStream` can be read as; each way goes through its one ``_pull``."""

    __slots__ = ()

    _answer: Answer | None
    _failure: CometError | None
    _outcome: Outcome | None
    _output: GrowingOutput[ParsedT_co] | None
    _state: Literal["new", "open", "ended", "left", "closed"]
    _usage_asked: bool

    @property
    def completion(self) -> ChatCompletion[ParsedT_co]:
        """The completion as far as its chunks were handed over."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """End the stream."""
        raise NotImplementedError

    @overload
    async def _pull(self) -> ChatCompletionChunk: ...

    @overload
    async def _pull(self, take: Callable[[Answer], _Taken | None]) -> _Taken: ...

    async def _pull(self, take: Callable[[Answer], Any] | None = None) -> Any:
        raise NotImplementedError

    def text(self, *, smooth: float | None = None, by: Literal["word", "grapheme"] = "word") -> TextReader:
        """Iterate the first choice's text.

        Args:
            smooth: Seconds over which a burst may be spread for a display, which is never later than that; None yields texts as
                they came.
            by: What a smooth piece is: a word, which in scripts without spaces is a character, or always a character.
        Raises:
            ConfigurationError: An argument cannot be used.
        """
        return TextReader(self._pull, smooth, by, lambda: self._state in ("left", "closed"))

    def events(self, *, chunks: bool = True) -> EventReader:
        """Iterate typed events: ``content.delta``, ``tool_calls.function.arguments.done``, ``keep_alive`` and the rest.

        Args:
            chunks: Give each chunk as an event, too, before those that tell what it added. Else pieces of one text that came
                together may be one event.
        """
        return EventReader(lambda take: self._pull(take), lambda: self._answer, chunks)

    def relay(self, *, heartbeat: float | None = None) -> RelayReader | BeatingReader:
        """Iterate SSE bytes for a browser: the server's events as they came, its keep-alives at once.

        What came together is one piece, so that it is written together. Where the ending is not complete the last bytes are an
        error frame instead of ``[DONE]``; nothing is raised. The chunk with the usage is left out unless you asked for it.
        ``cometstream.relay`` does more, from before the answer's head on.

        Args:
            heartbeat: Seconds of silence after which a comment is sent, so that proxies keep the connection; None for no comments.
        Raises:
            ConfigurationError: `heartbeat` is not a time above 0.
        """
        take = partial(Answer.pass_on, bare_chunks=self._usage_asked)
        reader = RelayReader(lambda: self._pull(take), lambda: (self._outcome, self._failure))
        return reader if heartbeat is None else BeatingReader(reader, heartbeat)

    def frames(self, write: Callable[[Event | Comment, ChatCompletionChunk | None], bytes]) -> FrameReader:
        """Iterate the server's own events as bytes: all that have come at a time, each written by a function.

        For whoever passes them on. ``[DONE]`` is not among them, nor an error frame, which raises.

        Args:
            write: Is given an event and its chunk, or a keep-alive comment and None, and returns the bytes to pass on. An event's
                ``data`` is the server's bytes.
        """
        return FrameReader(partial(self._pull, Answer.next), lambda: self._answer, write)

    def partials(
        self, *, on_part: Callable[[Part], object] | None = None, stop_on_invalid: bool = False
    ) -> PartialReader[ParsedT_co]:
        """Iterate the value that ``response_format`` asked for, as it grows: once for each piece of the first choice's text.

        It is the same object each time, and grows: copy what you keep. A field that has not come is None, a text is there as far as
        it came, all else once it is finished, in the form that its type asks for; what is not valid stays as JSON has it.

        Args:
            on_part: A function that is not async; called with each ``Part`` that is finished, those within it first.
            stop_on_invalid: End the stream, and stop paying, as soon as a part is not valid.
        Raises:
            UsageError: The request has no ``response_format``, or one that is text.
            ConfigurationError: An option cannot be used.
        """
        with late_import:
            from cometstream.partials import PartialReader

        if self._output is None:
            raise UsageError("partials() needs a response_format: a type, or {'type': 'json_object'}")
        if on_part is not None and (not callable(on_part) or inspect.iscoroutinefunction(on_part)):
            raise ConfigurationError(
                f"on_part must be a function of one argument that is not async; got {shown(on_part)}"
            )
        if not isinstance(stop_on_invalid, bool):
            raise ConfigurationError(f"stop_on_invalid must be True or False; got {shown(stop_on_invalid)}")
        return PartialReader(
            self._pull,
            self._accumulator,
            self._output,
            completion=lambda: self.completion,
            is_complete=lambda: self._outcome == "complete",
            close=self.aclose,
            on_part=on_part,
            stop_on_invalid=stop_on_invalid,
        )

    async def until_done(self) -> ChatCompletion[ParsedT_co]:
        """Read to the end and return the completion.

        Raises:
            CometError: As iterating.
        Cancellation:
            Safe; what was read stays in ``completion``.
        """
        try:
            while True:
                await self._pull()
                # Nobody wants to see the chunks: what has arrived is added up at once.
                assert self._answer is not None  # it gave the chunk
                self._answer.skim()
        except StopAsyncIteration:
            return self.completion

    def _accumulator(self) -> Accumulator:
        """Return what the chunks add up to; that of another attempt is another."""
        return Accumulator() if self._answer is None else self._answer.accumulator
