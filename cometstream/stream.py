"""One answer as it streams: reading, holding, and the truth about how it ended.

A token's way through this file: ``readany()`` on the body -> ``BodyReader.feed`` -> ``read_frame`` -> ``Accumulator.add`` -> your
``async for``. No task, queue or generator stands in between.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.body import BodyReader
from cometstream.answer.error_body import ErrorBody, ErrorContext, excerpt, failed_choice, read_error
from cometstream.answer.frames import Done, Frame, chunk_beside, read_frame
from cometstream.answer.json_text import Halves
from cometstream.answer.sse import DEFAULT_MAX_SIZE, Comment, Event, SSEParser
from cometstream.answer.stencil import Stencil
from cometstream.errors import (
    CometError,
    EmptyStreamError,
    ProtocolError,
    StreamTruncatedError,
    StreamUnterminatedError,
    UsageError,
)
from cometstream.metrics import StreamMetrics, StreamResponse
from cometstream.readers import EventReader, RelayReader, TextReader
from cometstream.transport.gate import Gate
from cometstream.transport.quirks import receive_less
from cometstream.transport.timer import ClockFired, ReadClock
from cometstream.views.chunks import ChatCompletionChunk, finish_reason_of
from cometstream.views.completion import ChatCompletion, completion_as_chunk
from cometstream.views.view import list_of_dicts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import aiohttp
    from typing_extensions import Self

    from cometstream.metrics import Attempt, Connector, Outcome
    from cometstream.policy import Clocks

__all__ = ["ChatStream"]

# What a server may take after [DONE] to end its response, so that the connection can be used again.
_DRAIN: Final = 0.25

_MAX_DRAINED: Final = 64 * 1024

# Chunks without content that are held for the first with some, in bytes of data; and what each takes beside its data.
_MAX_HELD: Final = DEFAULT_MAX_SIZE
_HELD_CHUNK: Final = 1024

_ERROR_FINISH: Final = "the model's answer ended with finish_reason: error"


class ChatStream:
    """One streamed answer: enter it with ``async with``, then iterate.

    ``async for chunk in stream`` yields ``ChatCompletionChunk`` objects. ``text()``, ``events()`` and ``relay()`` are other ways to
    read the same stream; one reader at a time, one after another is fine. Leaving the block closes the connection at once.

    Args:
        connect: Opens the next attempt; it is given what the last one died of, and raises when there is none left.
        clocks: The four clocks.
        context: What errors need to know.
        on_incomplete: ``"raise"``, or ``"return"`` to end quietly where the answer is truncated or unterminated.
        pace: Seconds that arrivals may gather between two reads.
        streamed: Whether an event stream was asked for; else one JSON document is expected.

    Raises:
        APIStatusError: On entering: the last attempt's status, typed.
        APIConnectionError: On entering: no answer could be had.
        APITimeoutError: On entering or reading: a clock ran out.
        StreamError: While reading, after every whole chunk was handed over; ``partial`` holds what came.

    Cancellation:
        Safe at any point. A read that was cancelled may be repeated; leaving the block closes the connection.
    """

    __slots__ = (
        "__weakref__",
        "_accumulator",
        "_arrived",
        "_attempt",
        "_body",
        "_chunks",
        "_clock",
        "_clocks",
        "_connect",
        "_content",
        "_context",
        "_document",
        "_end",
        "_entered",
        "_failed_by_frame",
        "_failure",
        "_feed",
        "_first_content",
        "_flowing",
        "_halves",
        "_held",
        "_held_size",
        "_left",
        "_loop",
        "_note",
        "_on_incomplete",
        "_outcome",
        "_pace",
        "_parser",
        "_response",
        "_scope",
        "_started",
        "_state",
        "_stencil",
        "_streamed",
        "_total_due",
        "_transport",
        "_waiting",
    )

    def __init__(
        self,
        connect: Connector,
        *,
        clocks: Clocks,
        context: ErrorContext,
        on_incomplete: Literal["raise", "return"] = "raise",
        pace: float = 0.0,
        streamed: bool = True,
    ) -> None:
        self._connect = connect
        self._accumulator = Accumulator()
        self._note = self._accumulator.note
        self._clocks = clocks
        self._context = context
        self._on_incomplete = on_incomplete
        self._pace = pace
        self._streamed = streamed
        self._state: Literal["new", "open", "ended", "closed"] = "new"
        self._outcome: Outcome | None = None
        self._scope: anyio.CancelScope | None = None  # the wait for the response's end, for aclose() to cut short
        self._waiting = False  # for bytes, or for an attempt to open
        self._entered: float | None = None
        self._left: float | None = None
        self._total_due = math.inf
        self._attempt: Attempt | None = None  # with it come the next two
        self._content: aiohttp.StreamReader
        self._clock: ReadClock
        self._transport: asyncio.Transport | None = None
        self._response: StreamResponse | None = None
        self._arrived: list[Event | Comment]  # what a read made whole, the last first
        self._body: BodyReader
        self._parser: SSEParser  # the body's
        self._feed: Callable[[bytes], list[Event | Comment]]
        self._stencil: Stencil
        self._halves: Halves
        self._reset()

    def _reset(self) -> None:
        """Forget the last attempt."""
        self._arrived = []
        self._held: deque[Frame] | None = None  # chunks to hand over; before `_started` they wait for it
        self._held_size = 0
        self._accumulator.normalizations.clear()  # nothing else came into it: chunks are added as they are handed over
        self._document: ChatCompletion | None = None  # the answer, where it came as one JSON document
        self._started = False  # the first content, finish_reason or end has come: nothing is repeated any more
        self._flowing = False  # open and started, nothing is held, and neither end nor failure has come
        self._chunks = 0
        self._first_content: float | None = None
        self._end: Literal["done", "eof"] | None = None
        self._failure: CometError | None = None
        self._failed_by_frame = False

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise UsageError("this stream was entered before: call session.stream() again for another request")
        self._loop = asyncio.get_running_loop()
        self._entered = self._loop.time()
        if self._clocks.total is not None:
            self._total_due = self._entered + self._clocks.total
        self._state = "open"
        try:
            await self._open(None)
        except BaseException as error:
            self._close("error" if isinstance(error, CometError) else "cancelled")
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close("cancelled")

    async def aclose(self) -> None:
        """End the stream, also from another task: a reader's loop ends quietly, the connection is closed at once.

        Cancellation:
            Nothing is awaited.
        """
        self._close("cancelled")

    @property
    def completion(self) -> ChatCompletion:
        """The completion as far as its chunks were handed over."""
        if self._document is not None and self._chunks:
            return self._document
        return self._accumulator.completion

    @property
    def outcome(self) -> Outcome | None:
        """How the answer ended; None while it runs.

        ``complete``: every choice gave a finish_reason. ``unterminated``: [DONE] without one. ``truncated``: cut before.
        ``error``: an error frame, a bad frame or a clock. ``cancelled``: you left.
        """
        return self._outcome

    @property
    def response(self) -> StreamResponse:
        """Status, headers and request id of the answer.

        Raises:
            UsageError: There is none yet.
        """
        if self._response is None:
            raise UsageError("no answer yet: enter the stream with `async with` first")
        return self._response

    @property
    def metrics(self) -> StreamMetrics:
        """What the stream cost so far."""
        began, first, attempt = self._entered, self._first_content, self._attempt
        duration = 0.0
        if began is not None:
            duration = (self._loop.time() if self._left is None else self._left) - began
        return StreamMetrics(
            request_id=attempt.request_id if attempt else None,
            attempts=self._connect.made,
            time_to_first_content=None if first is None or began is None else first - began,
            duration=duration,
            chunks=self._chunks,
            bytes=attempt.response.content.total_bytes if attempt else 0,
            usage=self.completion.usage,
        )

    def __repr__(self) -> str:
        return f"<ChatStream {self._outcome or self._state}, {self._chunks} chunks>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        # The straight way of nearly every chunk: it arrives, it is read, it is handed over.
        while self._flowing:
            clock = self._clock
            if self._arrived:
                event = self._arrived.pop()
                if isinstance(event, Comment):
                    continue
                frame = self._read_frame(event)
                if not isinstance(frame, ChatCompletionChunk):
                    self._take(event, frame)
                    continue
                chunk = frame
            elif self._waiting or clock.fired is not None or self._accumulator.errored:
                break
            else:
                self._waiting = True
                clock.wait_begins()
                try:
                    data = await self._content.readany()
                except BaseException as error:
                    self._interrupted(error)
                    break
                self._waiting = False
                if clock.every_read:
                    clock.wait_ends(len(data))
                alone = self._stencil.read_alone(data) if self._parser.between and self._flowing else None
                if alone is None:
                    self._came(data)
                    continue
                chunk = alone
            self._chunks += 1
            if self._accumulator.add(chunk):
                clock.progress = True
            else:
                clock.wait_ends(1)
            return chunk
        while True:
            item = await self._next()
            if isinstance(item, Frame):
                return item.chunk

    def text(self, *, smooth: float | None = None) -> TextReader:
        """Iterate the first choice's text.

        Args:
            smooth: Seconds over which a burst may be spread, in small pieces, for a display; None yields texts as they came.
        """
        return TextReader(self.__anext__, smooth, lambda: self._state == "closed")

    def events(self) -> EventReader:
        """Iterate typed events: ``content.delta``, ``tool_calls.function.arguments.done``, ``keep_alive`` and the rest."""
        return EventReader(self._next, self._accumulator)

    def relay(self) -> RelayReader:
        """Iterate SSE bytes for a browser: the server's events as they came, its keep-alives at once.

        Where the ending is not complete the last bytes are an error frame instead of ``[DONE]``; nothing is raised.
        """
        return RelayReader(self._next, lambda: (self._outcome, self._failure))

    async def until_done(self) -> ChatCompletion:
        """Read to the end and return the completion.

        Raises:
            CometError: As iterating.
        Cancellation:
            Safe; what was read stays in ``completion``.
        """
        try:
            while True:
                self._skim()
                await self.__anext__()
        except StopAsyncIteration:
            return self.completion

    def _skim(self) -> None:
        """Add up what has arrived, where nobody wants to see its chunks: to hand each over costs as much as to read it."""
        while self._flowing and self._arrived:
            event = self._arrived.pop()
            if isinstance(event, Comment):
                continue
            frame = self._read_frame(event)
            if isinstance(frame, ChatCompletionChunk):
                self._hand_over(frame)
            else:
                self._take(event, frame)

    async def _next(self) -> Frame | Comment:
        """Return the next frame, or comment, in the order of arrival.

        Raises:
            StopAsyncIteration: The answer is over, or was closed.
            CometError: It did not end well.
        """
        while True:
            if self._state != "open":
                self._raise_ending()
            if self._started and self._held:
                frame = self._held.popleft()
                if not self._held:
                    self._held = None
                    self._flowing = self._failure is None and self._end is None
                self._hand_over(frame.chunk)
                return frame
            if self._arrived:
                item = self._arrived.pop()
                if isinstance(item, Comment):
                    self._clock.wait_ends(1)
                    return item
                self._take(item, self._read_frame(item))
            elif self._waiting:
                raise UsageError("another task is reading or opening this stream: one reader at a time")
            elif self._accumulator.errored and not self._failed_by_frame:
                self._fail_by_frame(ErrorBody(_ERROR_FINISH))
            elif self._failure is None and self._end is None:
                await self._read()
            else:
                await self._finish()

    def _read_frame(self, event: Event) -> ChatCompletionChunk | ErrorBody | Done | None:
        try:
            return read_frame(event, self._note, self._stencil, self._halves)
        except ProtocolError as error:
            self._fail(error)
            return None

    def _take(self, event: Event, frame: ChatCompletionChunk | ErrorBody | Done | None) -> None:
        """Keep a chunk to be handed over, or note the end or the failure that the event brings."""
        if isinstance(frame, ChatCompletionChunk):
            self._hold(Frame(event, frame))
        elif isinstance(frame, ErrorBody):
            beside = chunk_beside(frame)
            if beside is not None and (self._started or beside.has_content()):
                self._hold(Frame(event, beside))
            self._fail_by_frame(frame)
        elif isinstance(frame, Done):
            # What a proxy appends after it is nobody's.
            self._end = "done"
            self._flowing = False
            self._arrived.clear()

    def _hold(self, frame: Frame) -> None:
        if self._held is None:
            self._held = deque()
        self._held.append(frame)
        self._flowing = False
        if self._started:
            return
        if frame.chunk.has_content():
            self._first_content = self._loop.time()
        else:
            finish_reasons = [finish_reason_of(choice) for choice in list_of_dicts(frame.chunk.raw.get("choices"))]
            if "error" in finish_reasons:
                self._fail_by_frame(ErrorBody(_ERROR_FINISH, raw=frame.chunk.raw))
                return
            if not any(finish_reasons):
                self._held_size += len(frame.event.data) + _HELD_CHUNK
                if self._held_size > _MAX_HELD:
                    self._fail(ProtocolError("the answer was given up: too many chunks came without content"))
                return
        self._started = True
        self._feed = self._body.started()
        self._clock.progress = True

    def _hand_over(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        self._chunks += 1
        if self._accumulator.add(chunk):
            self._clock.progress = True
        else:
            self._clock.wait_ends(1)
        return chunk

    def _fail(self, error: CometError) -> None:
        """Note what ended the stream; what came before it is handed over first."""
        self._failure = error
        self._flowing = False
        self._arrived.clear()

    def _fail_by_frame(self, body: ErrorBody) -> None:
        self._failed_by_frame = True
        self._fail(self._context.frame_error(body, started=self._started))

    async def _read(self) -> None:
        """Wait for bytes once, and take what they make whole."""
        clock = self._clock
        expired = clock.verdict()
        if expired is not None:
            self._failure = expired
            return
        if self._content.is_eof() and self._content.exception() is None:
            # A short answer is here as soon as its head: nothing to wait for, and no clock to set.
            self._came(self._content.read_nowait())
            return
        self._waiting = True
        clock.wait_begins()
        try:
            data = await self._content.readany()
        except BaseException as error:
            self._interrupted(error)
            return
        self._waiting = False
        if clock.every_read:
            clock.wait_ends(len(data))
        self._came(data)

    def _interrupted(self, error: BaseException) -> None:
        """A read was cut off: by the connection, by a clock, or by its task's cancellation.

        Raises:
            BaseException: `error`, where it is no Exception.
        """
        self._waiting = False
        data = b""
        try:
            if not isinstance(error, Exception):
                raise error
            # Of aiohttp's parsers the one in Python lets more than ClientError through. What came before it is withheld.
            self._clock.clear_exception()
            data = self._content.read_nowait()
        finally:
            self._clock.wait_ends(len(data))
        self._came(data, error)

    def _came(self, data: bytes, cause: Exception | None = None) -> None:
        """Take what the bytes of a read make whole.

        Args:
            data: The bytes; none are the end of the body, or nothing came before `cause`.
            cause: What ended the body, or the clock that fired.
        """
        if self._state != "open":
            return
        try:
            self._arrived = self._feed(data)
            if len(self._arrived) > 1:
                self._arrived.reverse()
            if data and cause is None and self._started and self._body.error is None:
                return
            self._failure = self._body.error
            if data and self._body.kind == "json":
                self._clock.progress = True  # nothing of it can be handed over before its end, but it comes
            if isinstance(cause, ClockFired):
                if not data:
                    self._failure = self._clock.verdict()
                    self._look_for_document()
            elif cause is not None or not data:
                self._end_body(cause)
        except ProtocolError as error:
            self._failure = error
        self._flowing = self._flowing and self._failure is None and self._end is None

    def _end_body(self, cause: Exception | None) -> None:
        """The connection gives no more: look at what it left, and note why it ended."""
        self._end = "eof"
        for item in self._body.end():
            self._accumulator.note("event_unterminated")
            self._arrived.insert(0, item)
        if self._body.kind == "json" and not self._body.cut:
            self._take_document(self._body.document)
        elif cause is not None:
            # Never its repr: that of some prints the request's headers.
            name, text = type(cause).__name__, self._context.redact(" ".join(str(cause).split()))
            self._failure = StreamTruncatedError(f"the connection was cut before the answer's end ({name}: {text})")
        elif self._body.cut:
            self._failure = StreamTruncatedError("the connection was closed in the middle of an event")

    def _look_for_document(self) -> None:
        """A clock has fired: an answer in one piece may have come whole all the same, and only its end is missing."""
        if self._failure is None or self._body.kind != "json":
            return
        try:
            self._body.end()
        except ProtocolError:
            return
        if not self._body.cut:
            self._failure = None
            self._end = "eof"
            self._take_document(self._body.document)

    def _take_document(self, document: Any) -> None:
        """The answer is one JSON document: a completion, a single chunk, or an error."""
        choices = document.get("choices") if isinstance(document, dict) else None
        if isinstance(choices, list) and not document.get("error") and failed_choice(choices) is None:
            chunk = ChatCompletionChunk(document)
            if any(isinstance(choice, dict) and "message" in choice for choice in choices):
                self._document = ChatCompletion(document, {"json_body": 1} if self._streamed else None)
                chunk = ChatCompletionChunk(completion_as_chunk(document))
            if self._streamed:
                self._accumulator.note("json_body")
            self._hold(Frame(Event(chunk.to_json().encode()), chunk))
            return
        body = read_error(document)
        if body is not None:
            beside = chunk_beside(body)
            self._take(Event(b"" if beside is None else beside.to_json().encode()), body)
        else:
            self._failure = ProtocolError(
                f"the answer is JSON, but neither a completion nor an error: {self._head()}", raw=self._body.head
            )

    async def _finish(self) -> None:
        """Everything that arrived was read: settle the outcome, or repeat an attempt of which nobody has seen anything."""
        if self._accumulator.finished and not self._failed_by_frame:
            self._failure = None
            await self._settle("complete")
            return
        failure = self._failure or self._incomplete()
        if isinstance(failure, ProtocolError):
            failure = self._context.redact_error(failure)
        self._failure = failure
        if failure.request_id is None and self._attempt is not None:
            failure.request_id = self._attempt.request_id
        if not self._started:
            # Chunks without content are still held. If this was the last attempt they are handed over, then the error.
            try:
                await self._open(failure)
            except CometError as error:
                self._failure = error
                self._started = True
            return
        failure.partial = self.completion
        if isinstance(failure, StreamTruncatedError):
            await self._settle("truncated")
        elif isinstance(failure, StreamUnterminatedError):
            await self._settle("unterminated")
        elif isinstance(failure, EmptyStreamError):
            await self._settle("unterminated" if self._end == "done" else "truncated")
        else:
            await self._settle("error")

    def _incomplete(self) -> CometError:
        """Return the error for an end without a finish_reason."""
        if not self._accumulator.choices and not any(frame.chunk.choices for frame in self._held or ()):
            head = self._head()
            if not self._streamed and head:
                return ProtocolError(f"the answer is no JSON: {head}", raw=self._body.head)
            shown = f"; it begins: {head}" if head and not self._chunks else ""
            return EmptyStreamError(f"the answer ended without one choice{shown}")
        if self._end == "done":
            return StreamUnterminatedError("[DONE] came without a finish_reason: the answer may lack its end")
        return StreamTruncatedError("the connection was closed before a finish_reason came")

    def _head(self) -> str:
        return self._context.redact(excerpt(self._body.head.decode("utf-8", "replace")))

    async def _settle(self, outcome: Outcome) -> None:
        """Set the outcome, then give the server a moment to end its response, so that the connection is used again."""
        self._outcome = outcome
        self._state = "ended"
        self._flowing = False
        response = self._attempt.response if self._attempt is not None and self._end == "done" else None
        try:
            if response is not None and response.connection is not None:
                left = _MAX_DRAINED
                with anyio.move_on_after(_DRAIN) as self._scope:
                    while response.connection is not None and left > 0 and (data := await response.content.readany()):
                        left -= len(data)  # reads that always find bytes would never let the time run out
        except Exception:
            pass  # the answer is whole; only the connection is not to be used again
        finally:
            self._scope = None
            self._release()

    def _raise_ending(self) -> None:
        if self._state == "new":
            raise UsageError("enter the stream with `async with` before reading it")
        if self._failure is not None and self._state == "ended":
            quiet = self._on_incomplete == "return" and self._outcome in ("truncated", "unterminated")
            if not quiet:
                raise self._failure from None  # nothing of aiohttp's is chained to it
        raise StopAsyncIteration

    async def _open(self, failure: CometError | None) -> None:
        """Open the next attempt; on return there is one, or the stream was closed meanwhile.

        Raises:
            CometError: There is none left.
        """
        self._drop_response()
        self._waiting = True
        try:
            opened = await self._connect(failure, self._total_due)
        finally:
            self._waiting = False
        if opened is None:
            return
        if failure is not None:
            self._reset()
        self._body = BodyReader()
        self._parser = self._body.parser
        self._feed = self._body.feed
        self._stencil = Stencil()
        self._halves = Halves()
        response = opened.response
        transport = self._transport = response.connection.transport if response.connection is not None else None
        receive_less(transport)
        self._attempt, self._content = opened, response.content
        self._clock = ReadClock(
            self._clocks,
            response.content,
            waited=opened.waited,
            total_due=self._total_due,
            gate=Gate(transport) if self._pace and transport is not None else None,
            pace=self._pace,
        )
        if self._state == "closed":
            self._drop_response()
            return
        self._response = StreamResponse(response.status, response.headers, opened.request_id)

    def _close(self, outcome: Outcome) -> None:
        if self._state == "closed":
            return
        self._state = "closed"
        self._flowing = False
        self._arrived.clear()
        if self._outcome is None:
            self._outcome = "complete" if self._accumulator.finished and not self._failed_by_frame else outcome
        if self._scope is not None:
            self._scope.cancel()
        self._connect.cancel()
        self._release()

    def _release(self) -> None:
        if self._left is None and self._entered is not None:
            self._left = self._loop.time()
        self._drop_response()

    def _drop_response(self) -> None:
        """Close the connection at once; one whose answer was read to its end is back in the pool already."""
        if self._attempt is not None:
            self._clock.stop()
            response = self._attempt.response
            if response.connection is not None and self._transport is not None:
                # close() would wait for the peer under TLS, and a stalled one would keep the socket. One that the peer has
                # closed is no longer the connection's, and still wants to be told, or asyncio warns of it.
                self._transport.abort()
            response.close()
