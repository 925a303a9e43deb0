"""Other ways to read a stream than chunk by chunk: its text, typed events, SSE bytes for a browser.

Each is one small iterator over the stream's own next(); none buffers, and closing the stream ends them all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import orjson

from cometstream.answer.accumulate import Accumulator
from cometstream.answer.machine import Answer
from cometstream.answer.sse import Comment, Event, encode_event
from cometstream.errors import APIStatusError, CometError, ConfigurationError, StreamServerError
from cometstream.late import late_import
from cometstream.policy import is_seconds
from cometstream.request.describe import shown
from cometstream.views.chunks import ChatCompletionChunk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    from cometstream.answer.events import StreamEvent
    from cometstream.answer.smooth import Smoother

__all__ = ["HEARTBEAT", "BeatingReader", "EventReader", "FrameReader", "RelayReader", "TextReader", "checked_smoother"]

HEARTBEAT: Final = b": keep-alive\n\n"
"""What is sent where nothing else is to be sent: a comment, which every reader of event streams passes over."""


class TextReader:
    """Yields the first choice's text."""

    __slots__ = ("_closed", "_ending", "_next", "_smoother")

    def __init__(
        self,
        next_chunk: Callable[[], Awaitable[ChatCompletionChunk]],
        smooth: float | None,
        by: Literal["word", "grapheme"],
        closed: Callable[[], bool],
    ) -> None:
        self._next = next_chunk
        self._smoother = checked_smoother(smooth, by)
        self._closed = closed
        self._ending: Exception | None = None  # raised once what is held was handed over

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        smoother = self._smoother
        return await self._text() if smoother is None else await self._smooth_text(smoother)

    async def _text(self) -> str:
        while True:
            chunk = await self._next()
            text = "".join([choice.delta.content or "" for choice in chunk.choices if choice.index == 0])
            if text:
                return text

    async def _smooth_text(self, smoother: Smoother) -> str:
        while True:
            at, now = smoother.at, anyio.current_time()
            if at is None:
                if self._ending is not None:
                    raise self._ending
                smoother.add(await self._text(), now=anyio.current_time())
            elif self._closed():
                smoother.rest()
            elif at <= now:
                return smoother.take(now)
            elif isinstance(self._ending, CometError):
                return smoother.rest()
            elif self._ending is not None:
                await anyio.sleep(at - now)
            else:
                # The answer is read while pieces wait; a read that is cut short here is repeated, nothing of it is lost.
                with anyio.move_on_after(at - now):
                    try:
                        smoother.add(await self._text(), now=anyio.current_time())
                    except (StopAsyncIteration, CometError) as ending:
                        self._ending = ending


def checked_smoother(smooth: float | None, by: str) -> Smoother | None:
    """Return what spreads a text; None where it shall come as it comes.

    Raises:
        ConfigurationError: An option cannot be used.
    """
    if not isinstance(by, str) or by not in ("word", "grapheme"):
        raise ConfigurationError(f"by must be 'word' or 'grapheme'; got {shown(by)}")
    if smooth is not None and not is_seconds(smooth):
        raise ConfigurationError(f"smooth must be a number of seconds, 0 or more, or None; got {shown(smooth)}")
    if smooth is None:
        return None
    # Its tables of characters take longer to make than half of the package.
    with late_import:
        from cometstream.answer.smooth import Smoother

    return Smoother(smooth, "word" if by == "word" else "grapheme")


class EventReader:
    """Yields typed events, named as OpenAI's streaming helper names them."""

    __slots__ = ("_added_to", "_answer", "_chunks", "_events", "_fold", "_keep_alive", "_next", "_take_next")

    def __init__(
        self,
        pull: Callable[
            [Callable[[Answer], ChatCompletionChunk | Comment | None]], Awaitable[ChatCompletionChunk | Comment]
        ],
        answer: Callable[[], Answer | None],
        chunks: bool,
    ) -> None:
        if not isinstance(chunks, bool):
            raise ConfigurationError(f"chunks must be True or False; got {shown(chunks)}")
        # Programs that read no events do not wait for the import of their classes.
        with late_import:
            from cometstream.answer.events import EventFold, KeepAliveEvent

        self._take_next = Answer.next if chunks else Answer.leap
        self._next = partial(pull, self._take_next)
        self._keep_alive = KeepAliveEvent
        self._answer = answer
        first = answer()
        self._added_to = Accumulator() if first is None else first.accumulator
        self._chunks = chunks
        self._fold = EventFold(self._added_to, chunks=chunks)
        self._events: deque[StreamEvent] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._events:
            self._take(await self._next())
        return self._events.popleft()

    def at_once(self) -> StreamEvent | None:
        """Return the next event if it is here already; None where it must be waited for, or there is none."""
        while not self._events:
            answer = self._answer()
            item = self._take_next(answer) if answer is not None and answer.at_hand else None
            if item is None:
                return None
            self._take(item)
        return self._events.popleft()

    def _take(self, item: ChatCompletionChunk | Comment) -> None:
        if isinstance(item, Comment):
            self._events.append(self._keep_alive(item.text.decode("utf-8", "replace").strip()))
            return
        answer = self._answer()
        assert answer is not None  # the item came from it
        if self._added_to is not answer.accumulator:
            # Another attempt: nothing of it but this chunk was handed over.
            self._added_to = answer.accumulator
            self._fold = type(self._fold)(self._added_to, from_start=True, chunks=self._chunks)
        self._events.extend(self._fold.add(item))


class RelayReader:
    """Yields SSE bytes, all that have come at a time, and says in band how the answer ended."""

    __slots__ = ("_ended", "_ending", "_next")

    def __init__(
        self, next_bytes: Callable[[], Awaitable[bytes]], ending: Callable[[], tuple[str | None, CometError | None]]
    ) -> None:
        self._next = next_bytes
        self._ending = ending
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            return await self._next()
        except StopAsyncIteration:
            self._ended = True
            outcome, error = self._ending()
            return b"data: [DONE]\n\n" if outcome == "complete" else error_frame(error, outcome)
        except CometError as error:
            outcome, _ = self._ending()
            if outcome in (None, "cancelled"):
                raise  # no ending but a misuse: not entered, read by another task, or left
            self._ended = True
            return error_frame(error, outcome)


class BeatingReader:
    """Yields another reader's bytes, and a comment where there were none for some time."""

    __slots__ = ("_heartbeat", "_reader", "_reading")

    def __init__(self, reader: RelayReader, heartbeat: float) -> None:
        if not (is_seconds(heartbeat) and heartbeat > 0):
            raise ConfigurationError(
                f"heartbeat must be a number of seconds above 0, or None for none; got {shown(heartbeat)}"
            )
        self._reader = reader
        self._heartbeat = heartbeat
        self._reading: asyncio.Future[bytes] | None = None  # outlives a heartbeat

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        reading = self._reading or asyncio.ensure_future(self._reader.__anext__())
        self._reading = None
        try:
            done, _ = await asyncio.wait({reading}, timeout=self._heartbeat)
        except BaseException:
            reading.cancel()
            raise
        if done:
            return reading.result()
        self._reading = reading
        return HEARTBEAT


class FrameReader:
    """Yields the server's events as somebody writes them, all that have come at a time."""

    __slots__ = ("_answer", "_next", "_write")

    def __init__(
        self,
        next_item: Callable[[], Awaitable[ChatCompletionChunk | Comment]],
        answer: Callable[[], Answer | None],
        write: Callable[[Event | Comment, ChatCompletionChunk | None], bytes],
    ) -> None:
        self._next = next_item
        self._answer = answer
        self._write = write

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        item: ChatCompletionChunk | Comment | None = await self._next()
        answer, write = self._answer(), self._write
        assert answer is not None  # the item came from it
        # Each chunk is let go once it is written: hundreds that live on together have the garbage collector look at all there is.
        written: list[bytes] = []
        while item is not None:
            written.append(write(item, None) if isinstance(item, Comment) else write(answer.event, item))
            item = answer.next()
        return written[0] if len(written) == 1 else b"".join(written)


def error_frame(error: CometError | None, outcome: str | None) -> bytes:
    """Return the SSE bytes that tell a browser how an answer ended that did not end well.

    Only the public half of the error is in them: the rest is for the operator.
    """
    status = error.status if isinstance(error, (APIStatusError, StreamServerError)) else None
    body: dict[str, Any] = {
        "message": error.public_message if error is not None else "the stream was stopped",
        "type": type(error).__name__ if error is not None else "cancelled",
        "code": None if status is None else str(status),
        "outcome": outcome,
    }
    return encode_event(orjson.dumps({"error": body}))
