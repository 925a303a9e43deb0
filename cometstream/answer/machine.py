"""One answer as a machine: bytes and endings in, chunks and comments out, and the truth about how it ended. No I/O, no clock.

Which states it goes through, and what each ending makes of it, is one table: ``states.py``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.body import Backlog, BodyReader
from cometstream.answer.error_body import ErrorBody, excerpt, read_error
from cometstream.answer.fast_lane import FastLane
from cometstream.answer.frames import Done, MessageChunk, chunk_beside, is_error, read_frame, without_error
from cometstream.answer.json_text import Halves
from cometstream.answer.restated import without_said
from cometstream.answer.sse import DEFAULT_MAX_SIZE, Comment, Event, encode_event
from cometstream.answer.states import OUTCOMES, TABLE
from cometstream.answer.think import ThinkSplitter
from cometstream.errors import (
    CometError,
    EmptyStreamError,
    ProtocolError,
    StreamTruncatedError,
    StreamUnterminatedError,
)
from cometstream.views.chunks import ChatCompletionChunk, finish_reason_of, is_error_reason
from cometstream.views.completion import ChatCompletion, completion_as_chunk
from cometstream.views.view import list_of_dicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.answer.budget import Budget
    from cometstream.answer.states import Happening, Outcome, State
    from cometstream.answer.typed_errors import ErrorContext

__all__ = ["Answer", "AnswerMaker"]

# States in which no chunk is handed over as it comes.
_STILL: Final = frozenset({"waiting", "failed", *OUTCOMES})

# Chunks without content that are held for the first with some, in bytes of data; and what each takes beside its data.
_MAX_HELD: Final = 16 * 1024 * 1024
_HELD_CHUNK: Final = 1024

# Bytes of an unfinished event that are progress, so that one large event may take its time and a trickle may not.
_PROGRESS: Final = 4096

# Bytes of data that may follow an error frame and still be searched for the usage.
_MAX_BEHIND_ERROR: Final = 64 * 1024

# Bytes of an unfinished event that no answer is given up for, whatever the others hold.
_FAIR_SHARE: Final = 64 * 1024


class Answer:
    """What one attempt's body says.

    Give it bytes with `receive` and the end with `ended`; take what is handed over with `next` until it returns None. Then either
    the answer is `over`, or it needs bytes.

    Args:
        context: What errors need to know.
        budget: The clocks; they are looked at when there is nothing more to hand over.
        streamed: An event stream was asked for; else one JSON document is expected.
        choices: Choices that were asked for: the request's ``n``.
        split_think: Read ``<think>`` at the beginning of a choice's text as reasoning.
        max_event_size: Bytes that a line, an event or a JSON document may have.
        backlog: What the answers of a session hold of unfinished events; None if there are no others.
        fast: Read chunks that repeat one another without parsing them whole. The results are the same without.

    Attributes:
        state: Where the answer is, one of `TABLE`'s states or an outcome.
        failure: Why it did not end well; None while it runs, and where it ended well.
        budget: As given; tell it when a wait for bytes begins.
        accumulator: What the chunks that were handed over add up to.
        flows: A chunk is handed over as it has come: nothing is held, nothing is about to happen, and the answer is not `over`.
        started: The first content, finish_reason or end was met: from now on a chunk is handed over as soon as it has come.
        chunks: How many chunks were handed over.
        done: [DONE] came.
        first_content: When the bytes of the first content were received, on the caller's clock; None before.
        on_first_content: Called with that time, if it is set.
    """

    __slots__ = (
        "_arrived",
        "_backlog",
        "_behind_error",
        "_body",
        "_broken",
        "_cause",
        "_choices",
        "_context",
        "_document",
        "_end",
        "_event",
        "_feed",
        "_halves",
        "_held",
        "_held_size",
        "_in_backlog",
        "_is_due",
        "_lane",
        "_looked",
        "_parser",
        "_pending",
        "_rest_read",
        "_splitter",
        "_streamed",
        "_unfinished",
        "_unread",
        "accumulator",
        "budget",
        "chunks",
        "done",
        "failure",
        "first_content",
        "flows",
        "on_first_content",
        "started",
        "state",
    )

    def __init__(
        self,
        context: ErrorContext,
        budget: Budget,
        *,
        streamed: bool = True,
        choices: int = 1,
        split_think: bool = False,
        max_event_size: int = DEFAULT_MAX_SIZE,
        backlog: Backlog | None = None,
        fast: bool = True,
    ) -> None:
        self._context = context
        self.budget = budget
        self._streamed = streamed
        self._choices = choices
        self._splitter = ThinkSplitter() if split_think else None
        self._body = BodyReader(max_size=max_event_size)
        self._parser = self._body.parser
        self._backlog = Backlog(max_event_size) if backlog is None else backlog
        self._in_backlog = 0
        self._feed: Callable[[bytes], list[Event | Comment]] = self._body.feed
        self.accumulator = Accumulator()
        self._halves = Halves()
        self._lane = FastLane(
            self.accumulator, patience=8 if fast and not split_think else None, max_size=max_event_size
        )
        self._unread = b""
        self._is_due = False  # a clock has run out, and the bytes that the next read brings are the last that count
        self._looked = False  # that read is over
        self.flows = False
        self._arrived: list[Event | Comment] = []  # what the bytes made whole, the last first
        # To be handed over before what has arrived; an empty deque would take more memory than the rest of an open stream's answer.
        self._held: deque[tuple[Event, ChatCompletionChunk]] | tuple[()] = ()
        self._held_size = 0
        self._pending: tuple[Happening, CometError | None] | None = None  # happens once nothing is held
        self._broken: ProtocolError | None = None  # the bytes could not be read further
        self._end: Literal["end", "cut"] | None = None  # the body gives no more
        self._cause: Exception | None = None  # what cut it
        self._rest_read = False  # what the body left unfinished was looked at
        self._behind_error = 0
        self._unfinished = 0  # bytes of an unfinished event that were counted as progress
        self._document: ChatCompletion | None = None  # the answer, where one JSON document is it, unchanged
        self._event: Event | bytes = b""
        self.state: State = "waiting"
        self.failure: CometError | None = None
        self.started = False
        self.chunks = 0
        self.done = False
        self.first_content: float | None = None
        self.on_first_content: Callable[[float], None] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """How the answer ended; None while it runs."""
        state = self.state
        return state if state in OUTCOMES else None

    @property
    def over(self) -> bool:
        """Whether the answer has its outcome and all that shall be handed over was. Not ``started``, it may be repeated."""
        return self.state in OUTCOMES and not (self.started and self._held)

    @property
    def at_hand(self) -> bool:
        """Whether bytes have come that were not handed over; they may be no whole chunk."""
        return bool(self._arrived or self._unread or self._held)

    @property
    def completion(self) -> ChatCompletion:
        """The completion as far as its chunks were handed over."""
        if self._document is not None and self.chunks:
            return self._document
        return self.accumulator.completion

    @property
    def event(self) -> Event:
        """The event that brought the chunk handed over last."""
        event = self._event
        return Event(event[6:-2]) if isinstance(event, bytes) else event

    @property
    def wire(self) -> bytes:
        """The same event as bytes, for whoever passes it on."""
        event = self._event
        if isinstance(event, bytes):
            return event
        return encode_event(event.data, event=event.event, id=event.id)

    def receive(self, data: bytes, now: float) -> None:
        """Take the next bytes; empty bytes say that a wait ended without any.

        Args:
            data: Bytes cut anywhere.
            now: Seconds on the caller's clock.
        """
        self.budget.read_at = now
        if self._unread:
            self._read()
        self._unread = data
        self._looked = self._is_due or not data
        self._is_due = False

    def ended(self, cause: Exception | None, now: float) -> None:
        """The body gives no more; call it once, after its last bytes.

        Args:
            cause: What cut it; None where it came to its own end.
            now: Seconds on the caller's clock.
        """
        self.budget.read_at = now
        self._cause = cause
        self._end = "end" if cause is None else "cut"

    def close(self) -> None:
        """The caller leaves: what was not handed over is dropped."""
        if self.state not in OUTCOMES:
            self._held = ()
            self._happens("close")

    def give_up(self) -> None:
        """No other attempt takes the place of this one, which nobody has seen: hand over what was held."""
        self.started = True

    def next(self, comments: bool = True) -> ChatCompletionChunk | Comment | None:
        """Return the next chunk, or a comment, in the order of arrival.

        None says that there is nothing to hand over now: the answer is `over`, or needs bytes.

        Args:
            comments: Return comments; else they are passed over.
        """
        chunk: ChatCompletionChunk | None
        while self.flows:
            if self._arrived:
                item = self._arrived.pop()
                if isinstance(item, Comment):
                    if comments:
                        self.budget.handed_over += 1
                        return item
                    continue
                # An event with a name may be an error, whatever its data looks like.
                chunk = self._lane.read(item.data) if type(item) is Event else None
                if chunk is None:
                    chunk = self._take(item)
                    if chunk is None:
                        break
                    self._hand_over(item, chunk)
                    self.flows = self._pending is None and self.state not in _STILL
                    return chunk
                self._event = item
            elif self._unread:
                chunk = self._lane.read_alone(self._unread) if self._parser.between else None
                if chunk is None:
                    self._read()
                    continue
                self._event = self._unread
                self._unread = b""
            elif self._end is None and self._broken is None:
                budget = self.budget
                if (budget.progress and budget.is_untimed) or budget.expired() is None:
                    return None
                break
            else:
                break
            self.chunks += 1
            self.budget.progress = True
            return chunk
        return self._next(comments)

    def _next(self, comments: bool) -> ChatCompletionChunk | Comment | None:
        """Return the next item where more may happen than that a chunk is handed over as it came."""
        self.flows = False
        while True:
            if self._held and self.started:
                event, chunk = self._held.popleft()
                self._held = self._held or ()
                self._hand_over(event, chunk)
                self.flows = not self._held and self._pending is None and self.state not in _STILL
                return chunk
            if self._pending is not None:
                happening, failure = self._pending
                self._pending = None
                self._happens(happening, failure)
            if self.state in OUTCOMES:
                return None
            if self._arrived:
                item = self._arrived.pop()
                if not isinstance(item, Comment):
                    self._take(item)
                elif comments:
                    self.budget.handed_over += 1
                    return item
            elif self._unread:
                self._read()
            elif self._broken is not None:
                self._then("bad_frame", self._broken)
            elif self._end is not None:
                self._read_end(self._end)
            else:
                clock = self.budget.expired()
                if clock is not None and self._looked:
                    self._clock_ran_out(clock)
                    continue
                # A slow caller's connection may have brought more since that read: one more read looks, then the clock counts.
                self._is_due = clock is not None
                self.flows = clock is None and self.started and self.state not in _STILL
                return None

    def leap(self) -> ChatCompletionChunk | Comment | None:
        """Return what `next` does; but chunks that came together and are alike may be one, for whoever asks what they added.

        It is one that they are like, with another text.
        """
        return self._lane.pattern if self._unread and self._read_repeats() else self.next()

    def pass_on(self, bare_chunks: bool) -> bytes | None:
        """Return all that can be handed over now as bytes, for whoever passes it on; None as `next`.

        Args:
            bare_chunks: Pass on chunks without choices, too.
        """
        if self._unread and (repeats := self._read_repeats()):
            return repeats
        passed: list[bytes] = []
        while (item := self.next()) is not None:
            if isinstance(item, Comment):
                passed.append(b":%b\n\n" % item.text)
            elif bare_chunks or item.choices:
                passed.append(self.wire)
        return b"".join(passed) if passed else None

    def _read_repeats(self) -> bytes:
        """Add all that has come, and return it, if nothing but chunks that are alike came together; else return ``b""``."""
        events = self._unread
        if not self.flows or self._arrived or not self._parser.between or not (count := self._lane.read_all(events)):
            return b""
        self._unread = b""
        self.chunks += count
        self.budget.progress = True
        return events

    def skim(self) -> None:
        """Add up what has come without handing it over: the chunks are of use to nobody."""
        while (self._unread and self._read_repeats()) or self._skim_arrived() or self.next(False) is not None:
            pass

    def _skim_arrived(self) -> bool:
        """Add up the chunks at hand that are alike; return whether there were any."""
        if not self.flows or not self._arrived or not (count := self._lane.skim(self._arrived)):
            return False
        self.chunks += count
        self.budget.progress = True
        return True

    def _then(self, happening: Happening, failure: CometError | None = None) -> None:
        """Let something happen that may end the answer, once everything that is held was handed over."""
        self._pending = happening, failure
        # Text that was kept back as the possible beginning of a tag is text after all.
        rest = self._splitter.flush() if self._splitter is not None else None
        if rest is not None:
            self._keep(Event(rest.to_json().encode()), rest)

    def _happens(self, happening: Happening, failure: CometError | None = None) -> None:
        """Change the state, by `TABLE` alone."""
        state = self.state = TABLE[self.state][happening]
        if state in OUTCOMES:
            self._hold_back(0)
            self._arrived.clear()
            self._unread = b""
            self._pending = None
            self.flows = False
        if state == "complete":
            self.failure = None
        elif self.failure is None and failure is not None:
            self.failure = failure
        if state == "failed":
            self._lane.close()
            self.budget.end_soon()

    def _read(self) -> None:
        """Make events of the bytes that were received last."""
        data, self._unread = self._unread, b""
        try:
            items = self._feed(data)
        except ProtocolError as error:
            self._broken = self._context.redact_error(error)
            return
        if self._arrived:
            self._arrived[:0] = reversed(items)
        else:
            items.reverse()
            self._arrived = items
        if not items or self._in_backlog:
            self._hold_back(self._body.unfinished)
        if self._parser.error is not None:
            self._broken = self._context.redact_error(self._parser.error)
        elif self._body.kind == "json":
            # Nothing of it can be handed over before its end, but it comes; white space does not count.
            self.budget.progress = self.budget.progress or not data.isspace()
        elif items:
            self._unfinished = 0
        elif self.started and self.state != "failed" and self._parser.unfinished - self._unfinished >= _PROGRESS:
            self._unfinished = self._parser.unfinished
            self.budget.progress = True

    def _hold_back(self, size: int) -> None:
        """Note how many bytes wait for the rest of their event; give up where all answers together hold too many."""
        backlog = self._backlog
        backlog.held += size - self._in_backlog
        self._in_backlog = size
        if backlog.held > backlog.limit and size > _FAIR_SHARE:
            self._broken = ProtocolError(
                "the answer was given up: the unfinished events of all streams of this session are larger than "
                f"{backlog.limit} bytes together (8 times max_event_size)"
            )

    def _take(self, event: Event) -> ChatCompletionChunk | None:
        """Return the chunk that an event brings if it can be handed over as it came; else hold it, or note what happens with it."""
        try:
            frame = read_frame(event, self.accumulator.note, self._halves)
        except ProtocolError as error:
            self._then("bad_frame", self._context.redact_error(error))
            return None
        if type(frame) is ChatCompletionChunk and self.flows and self._splitter is None:
            return frame
        if isinstance(frame, Done):
            # What a proxy appends after it is nobody's.
            self.done = True
            has_evidence = self.state in ("finished", "refinished") and self._splitter is None
            self._then("done", None if has_evidence else self._incomplete("done"))
        elif self.state == "failed":
            self._take_behind_error(event, frame)
        elif isinstance(frame, ChatCompletionChunk):
            self._hold(event, frame)
        elif isinstance(frame, ErrorBody):
            self._take_error(event, frame)
        return None

    def _take_error(self, event: Event, body: ErrorBody) -> None:
        beside = chunk_beside(body)
        if beside is not None and (self.started or beside.has_content()):
            # The error is told by the failure alone: whoever passes events on must not pass on the server's words about it.
            self._hold(Event(orjson.dumps(without_error(beside.raw))), beside)
        self._then("error_frame", self._context.frame_error(body, started=self.started))

    def _take_behind_error(self, event: Event, frame: ChatCompletionChunk | ErrorBody | None) -> None:
        """Behind an error frame the usage counts, and nothing else does."""
        self._behind_error += len(event.data)
        if self._behind_error > _MAX_BEHIND_ERROR:
            self._then("end")
        elif isinstance(frame, ChatCompletionChunk):
            self.accumulator.add_usage(frame.raw)

    def _hold(self, event: Event, chunk: ChatCompletionChunk) -> None:
        if type(chunk) is MessageChunk:
            news = without_said(chunk.raw, self.accumulator.choices)
            if news is not chunk.raw:
                self.accumulator.note("message_restated")
                event, chunk = Event(orjson.dumps(news)), ChatCompletionChunk(news)
        if self._splitter is not None:
            split = self._splitter.split(chunk)
            if split is not chunk:
                event, chunk = Event(split.to_json().encode()), split
        self._keep(event, chunk)
        if self.started:
            return
        if chunk.has_content():
            self.first_content = self.budget.read_at
            if self.on_first_content is not None:
                self.on_first_content(self.first_content)
        else:
            finish_reasons = [finish_reason_of(choice) for choice in list_of_dicts(chunk.raw.get("choices"))]
            if any(map(is_error_reason, finish_reasons)):
                self._then("error_frame", self._finished_by_error(chunk))
                return
            if not any(finish_reasons):
                self._held_size += len(event.data) + _HELD_CHUNK
                if self._held_size > _MAX_HELD:
                    failure = ProtocolError("the answer was given up: too many chunks came without content")
                    self._then("bad_frame", failure)
                return
        self._start()

    def _keep(self, event: Event, chunk: ChatCompletionChunk) -> None:
        if not self._held:
            self._held = deque()
        self._held.append((event, chunk))

    def _start(self) -> None:
        self.started = True
        self._feed = self._body.started()
        self.budget.progress = True

    def _hand_over(self, event: Event, chunk: ChatCompletionChunk) -> None:
        """Add a chunk that was read whole, and change the state by what it brought."""
        self._event = event
        self.chunks += 1
        has_content = self._lane.add(event.data, chunk.raw)
        self.budget.handed_over += 1
        if has_content:
            self.budget.progress = True
        if self.state in OUTCOMES:
            return  # the attempt was given up with chunks that were held
        accumulator = self.accumulator
        if accumulator.went_on:
            accumulator.went_on = False
            self._happens("goes_on")
        elif has_content:
            self._happens("content")
        if accumulator.errored:
            if self._pending is None:
                self._then("error_frame", self._finished_by_error(chunk))
        elif self.state in ("waiting", "flowing", "reopened") and self._all_finished():
            self._happens("finish")

    def _finished_by_error(self, chunk: ChatCompletionChunk) -> CometError:
        reasons = [finish_reason_of(choice) for choice in list_of_dicts(chunk.raw.get("choices"))]
        reason = next(filter(is_error_reason, reasons), "error")
        body = ErrorBody(f"the model's answer ended with finish_reason: {reason}", raw=chunk.raw)
        return self._context.frame_error(body, started=self.started)

    def _all_finished(self) -> bool:
        return self.accumulator.finished and len(self.accumulator.choices) >= self._choices

    def _read_end(self, end: Literal["end", "cut"]) -> None:
        """The body gives no more: first read what it left, and once that was handed over let the end happen."""
        if not self._rest_read:
            self._read_rest()
            return
        failure = self._incomplete(end, self._cause)
        self._then("bad_frame" if isinstance(failure, ProtocolError) else end, failure)

    def _read_rest(self) -> None:
        self._rest_read = True
        try:
            for item in self._body.end():
                self.accumulator.note("event_unterminated")
                self._arrived.append(item)
        except ProtocolError as error:
            self._broken = self._context.redact_error(error)
            return
        if self._body.cut:
            self._end = "cut"
        elif self._body.kind == "json":
            self._end, self._cause = "end", None  # the document is whole: what cut the connection took nothing from it
            self._take_document(self._body.document)

    def _clock_ran_out(self, clock: str) -> None:
        if clock == "grace":
            self._happens("clock")
            return
        if self._body.kind == "json":
            # An answer in one piece may have come whole, although the end of its body is missing.
            self._end = "end"
            self._read_rest()
            if self._end == "end":
                return
        self._then("clock", self.budget.error(clock))

    def _take_document(self, document: Any) -> None:
        """The answer is one JSON document: a completion, a single chunk, or an error."""
        choices = document.get("choices") if isinstance(document, dict) else None
        if isinstance(choices, list) and not is_error(document):
            chunk = ChatCompletionChunk(document)
            if any(isinstance(choice, dict) and "message" in choice for choice in choices):
                if self._splitter is None:
                    self._document = ChatCompletion(document, {"json_body": 1} if self._streamed else None)
                chunk = ChatCompletionChunk(completion_as_chunk(document))
            if self._streamed:
                self.accumulator.note("json_body")
            # Where a document was asked for it is the event, as the server wrote it.
            self._hold(Event(chunk.to_json().encode() if self._streamed else self._body.raw), chunk)
            return
        body = read_error(document)
        if body is not None:
            beside = chunk_beside(body)
            self._take_error(Event(b"" if beside is None else beside.to_json().encode()), body)
        else:
            self._broken = ProtocolError(
                f"the answer is JSON, but neither a completion nor an error: {self._head()}", raw=self._raw_head()
            )

    def _incomplete(self, happening: Happening, cause: Exception | None = None) -> CometError:
        """Return the error for an end without the evidence that the answer is whole."""
        if cause is not None:
            # Never its repr: that of some prints the request's headers.
            name, text = type(cause).__name__, self._context.redact(" ".join(str(cause).split()))
            return StreamTruncatedError(f"the connection was cut before the answer's end ({name}: {text})")
        if happening == "cut":
            return StreamTruncatedError("the connection was closed in the middle of an event")
        accumulator = self.accumulator
        if not accumulator.choices and not any(chunk.choices for _, chunk in self._held):
            head = self._head()
            if not self._streamed and head and self._body.kind != "json":
                return ProtocolError(f"the answer is not JSON: {head}", raw=self._raw_head())
            shown = f"; it begins: {head}" if head and not self.chunks else ""
            return EmptyStreamError(f"the answer ended without a choice{shown}")
        missing = self._missing()
        if happening == "done":
            return StreamUnterminatedError(f"[DONE] came {missing}: the answer may lack its end")
        return StreamTruncatedError(f"the connection was closed {missing}")

    def _missing(self) -> str:
        came = len(self.accumulator.choices)
        if came < self._choices and self.accumulator.finished:
            return f"after {came} of the {self._choices} choices that were asked for"
        return "without a finish_reason"

    def _head(self) -> str:
        return self._context.redact(excerpt(self._body.head.decode("utf-8", "replace")))

    def _raw_head(self) -> bytes:
        return self._context.redact_error(ProtocolError("", raw=self._body.head)).raw


class AnswerMaker:
    """Makes an ``Answer`` for each attempt of one request, from that attempt's clocks. It takes up less room than a partial."""

    __slots__ = ("_backlog", "_choices", "_context", "_max_event_size", "_split_think", "_streamed")

    def __init__(
        self,
        context: ErrorContext,
        *,
        streamed: bool,
        choices: int,
        split_think: bool,
        max_event_size: int,
        backlog: Backlog,
    ) -> None:
        self._context = context
        self._streamed = streamed
        self._choices = choices
        self._split_think = split_think
        self._max_event_size = max_event_size
        self._backlog = backlog

    def __call__(self, budget: Budget) -> Answer:
        """Return the answer of the next attempt."""
        return Answer(
            self._context,
            budget,
            streamed=self._streamed,
            choices=self._choices,
            split_think=self._split_think,
            max_event_size=self._max_event_size,
            backlog=self._backlog,
        )
