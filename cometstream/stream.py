"""One answer as it streams: enter, read, leave. What the bytes mean is ``answer/machine.py``'s to say.

A token's way through this file: ``_pull`` asks the machine for the next chunk, and waits for bytes when it has none. There is no
task, queue or generator in between.
"""

from __future__ import annotations

import asyncio
import math
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, overload

from cometstream.answer.budget import Budget
from cometstream.errors import CometError, UsageError
from cometstream.metrics import StreamMetrics, StreamResponse
from cometstream.observe import Call, settle
from cometstream.readable import Readable
from cometstream.transport.incoming import Interrupted
from cometstream.transport.pool import running_loop
from cometstream.transport.timer import ReadTimer
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.output import ParsedT_co

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from cometstream.answer.machine import Answer
    from cometstream.answer.states import Outcome
    from cometstream.partials import GrowingOutput
    from cometstream.policy import Clocks
    from cometstream.transport.incoming import Connector, Incoming
    from cometstream.views.completion import ChatCompletion
    from cometstream.views.cost import Prices

__all__ = ["ChatStream"]

_Taken = TypeVar("_Taken")

# Bytes that are read before other tasks get a turn, where a read never has to wait: a compressed answer unpacks to many.
_A_TURN: Final = 256 * 1024

_LEFT: Final = (
    "this stream was closed when its `async with` block was left: read it inside the block. A web framework reads a response after "
    "the handler has returned; cometstream.relay has responses that enter the stream themselves"
)

_TWO_READERS: Final = "another task is reading or opening this stream: one reader at a time"


class ChatStream(Readable[ParsedT_co]):
    """One streamed answer: enter it with ``async with``, then iterate.

    ``async for chunk in stream`` yields ``ChatCompletionChunk`` objects. ``text()``, ``events()`` and ``relay()`` are other ways to
    read the same stream; one reader at a time, one after another is fine. Leaving the block closes the connection at once.

    Args:
        connect: Opens the next attempt; it is given what the last one died of, and raises when there is none left.
        make_answer: Makes the machine that reads an attempt's body, from the clocks that are left to it.
        clocks: The four clocks.
        on_incomplete: ``"raise"``, or ``"return"`` to end quietly where the answer is truncated or unterminated.
        pace: Seconds that arrivals may gather between two reads, once there is content.
        usage_asked: The caller asked for the usage, so that it is relayed, too.
        output: What ``response_format`` asked for, where that is JSON.
        prices: What the completion's ``cost`` goes by; None for no prices.
        call: What is told of the stream; None for nobody.

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
        "_answer",
        "_call",
        "_clocks",
        "_connect",
        "_entered",
        "_failure",
        "_in_a_turn",
        "_incoming",
        "_left",
        "_loop",
        "_make_answer",
        "_on_incomplete",
        "_outcome",
        "_output",
        "_pace",
        "_prices",
        "_refusal",
        "_state",
        "_timer",
        "_total_due",
        "_usage_asked",
        "_waiting",
    )

    def __init__(
        self,
        connect: Connector,
        make_answer: Callable[[Budget], Answer],
        *,
        clocks: Clocks,
        on_incomplete: Literal["raise", "return"] = "raise",
        pace: float = 0.0,
        usage_asked: bool = True,
        output: GrowingOutput[ParsedT_co] | None = None,
        prices: Prices | None = None,
        call: Call | None = None,
    ) -> None:
        self._connect: Connector | None = connect
        self._output = output
        self._make_answer: Callable[[Budget], Answer] | None = make_answer
        self._clocks = clocks
        self._on_incomplete = on_incomplete
        self._pace = pace
        self._prices = prices
        self._call = Call("") if call is None else call
        self._usage_asked = usage_asked
        # "left" is closed by the end of its block; "closed" is everything else that closed it, the stop button above all.
        self._state: Literal["new", "open", "ended", "left", "closed"] = "new"
        self._outcome: Outcome | None = None
        self._waiting = False  # for bytes, or for an attempt to open
        self._in_a_turn = 0
        self._entered: float | None = None
        self._left: float | None = None
        self._total_due = math.inf
        self._answer: Answer | None = None  # with it come the next two
        self._incoming: Incoming
        self._timer: ReadTimer
        self._failure: CometError | None = None
        self._refusal: CometError | None = None  # of the attempt that was to take the last one's place

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise UsageError("this stream was entered before: call session.stream() again for another request")
        self._loop = running_loop()
        self._entered = self._loop.time()
        self._total_due = math.inf if self._clocks.total is None else self._entered + self._clocks.total
        self._state = "open"
        self._call.starts(self._entered)
        try:
            await self._open(None)
        except CometError as error:
            self._close("error", error)
            raise
        except BaseException:
            self._close("cancelled")
            raise
        return self

    def __del__(self) -> None:
        if self._state == "open" and self._answer is not None:
            warnings.warn(
                f"unclosed {self!r}: read it to its end, or leave it by `async with` or `await stream.aclose()`",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
            if self._loop.is_closed():
                self._incoming.forget()
            else:
                self._loop.call_soon_threadsafe(self._close, "cancelled")

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        was_read = self._waiting or self._state == "closed"
        self._close("cancelled")
        if not was_read:
            self._state = "left"
        # A coroutine that is closed may not wait.
        if self._call.under_way is not None and exc_type is not GeneratorExit:
            await settle([self._call.under_way])

    async def aclose(self) -> None:
        """End the stream, also from another task: a reader's loop ends quietly, the connection is closed at once.

        Cancellation:
            Nothing is awaited.
        """
        self._close("cancelled")

    @property
    def completion(self) -> ChatCompletion[ParsedT_co]:
        """The completion as far as its chunks were handed over."""
        completion = self._accumulator().completion if self._answer is None else self._answer.completion
        completion.prices = self._prices
        return completion if self._output is None else completion.asking_for(self._output)

    @property
    def outcome(self) -> Outcome | None:
        """How the answer ended; None while it runs.

        ``complete``: every choice that was asked for gave a finish_reason. ``unterminated``: [DONE] came without one.
        ``truncated``: cut before. ``error``: an error frame, a bad frame or a clock. ``cancelled``: you left.
        """
        return self._outcome

    @property
    def error(self) -> CometError | None:
        """Why the answer did not end well; None while it runs, where it is complete, and where you left."""
        return self._failure if self._outcome in ("error", "truncated", "unterminated") else None

    @property
    def response(self) -> StreamResponse:
        """Status, headers and request id of the answer.

        Raises:
            UsageError: There is none yet.
        """
        if self._answer is None:
            raise UsageError("no answer yet: enter the stream with `async with` first")
        return StreamResponse(self._incoming.status, self._incoming.headers, self._incoming.request_id)

    @property
    def metrics(self) -> StreamMetrics:
        """What the stream cost so far."""
        answer = self._answer
        until = self._loop.time() if self._left is None and self._entered is not None else self._left
        incoming = None if answer is None else self._incoming
        return self._call.measure(answer, incoming, self.completion, self._outcome, until)

    def __repr__(self) -> str:
        return f"<ChatStream {self._outcome or self._state}, {self._answer.chunks if self._answer else 0} chunks>"

    def __aiter__(self) -> Self:
        return self

    @overload
    async def _pull(self) -> ChatCompletionChunk: ...

    @overload
    async def _pull(self, take: Callable[[Answer], _Taken | None]) -> _Taken: ...

    async def _pull(self, take: Callable[[Answer], Any] | None = None) -> Any:
        """Return the next chunk, or what else is taken, in the order of arrival: the one way out, and the one wait for bytes.

        Args:
            take: Takes of the answer what is handed over next, in the form that is wanted; None where that must be waited for.
        Raises:
            StopAsyncIteration: The answer is over, or was closed.
            CometError: It did not end well.
        """
        while True:
            answer = self._answer
            if self._state != "open" or answer is None:
                self._raise_ending()
            elif (item := answer.next(False) if take is None else take(answer)) is not None:
                return item
            elif self._waiting:
                raise UsageError(_TWO_READERS)
            elif not answer.flows and answer.over:  # while it flows it is not over, which costs less to see
                await self._finish(answer)
            else:
                if answer.started and self._connect is not None:
                    # The request is not sent again: let go of what only another attempt needs, 1 KB of an open stream.
                    self._connect = self._make_answer = None
                now = self._loop.time()
                self._waiting = True
                # When content begins is told as it happened, and hedges of a batch go by it: arrivals gather from then on.
                began = answer.first_content is not None
                self._timer.wait_begins(now, answer.budget.wait_begins(now), gather=began)
                try:
                    data = await self._incoming.read()
                except BaseException as error:
                    self._interrupted(answer, error)
                    continue
                self._waiting = False
                now = self._loop.time()
                if self._pace:
                    self._timer.wait_ends(now, len(data))
                else:
                    self._timer.waiting = False
                if data:
                    if (gaps := self._call.gaps) is not None:
                        gaps.add(now)
                    answer.receive(data, now)
                    self._in_a_turn += len(data)
                    if self._in_a_turn > _A_TURN:
                        self._in_a_turn = 0
                        await asyncio.sleep(0)
                else:
                    answer.ended(None, now)

    __anext__ = _pull

    def _interrupted(self, answer: Answer, error: BaseException) -> None:
        """A read was cut off: by the connection, by a clock, or by its task's cancellation, which is raised again."""
        self._waiting = False
        now = self._loop.time()
        if not isinstance(error, Exception):
            self._timer.wait_ends(now, 0)
            answer.budget.wait_broken_off(now)
            raise error
        # Of aiohttp's parsers the one in Python lets more than ClientError through.
        data = self._incoming.rescue()
        self._timer.wait_ends(now, len(data))
        answer.receive(data, now)
        # A connection that was closed because `total` ran out was not cut.
        if not isinstance(error, Interrupted) and now < self._total_due:
            answer.ended(error, now)

    async def _finish(self, answer: Answer) -> None:
        """The answer is over: settle the outcome, or repeat an attempt if nobody has seen anything of it."""
        failure = self._failure = self._refusal or answer.failure
        if failure is not None:
            if failure.request_id is None:
                failure.request_id = self._incoming.request_id
            if not answer.started:
                # Chunks without content are still held. If this was the last attempt they are handed over, then the error.
                try:
                    await self._open(failure)
                except CometError as error:
                    self._refusal = None if error is failure else error
                    answer.give_up()
                return
            failure.partial = self.completion
        self._outcome = answer.outcome if self._refusal is None else "error"
        self._state = "ended"
        try:
            if answer.done:
                await self._incoming.drain()
        finally:
            self._release(self.error)

    def _raise_ending(self) -> NoReturn:
        if self._state == "new":
            raise UsageError("enter the stream with `async with` before reading it")
        if self._state == "open":
            raise UsageError(_TWO_READERS)  # the other one is still entering
        if self._state == "left" and self._outcome == "cancelled":
            raise UsageError(_LEFT)
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
        if self._answer is not None:
            self._timer.stop()
            self._incoming.close()
        assert self._connect is not None  # nothing was handed over yet
        assert self._make_answer is not None
        self._waiting = True
        try:
            incoming = await self._connect(failure, self._total_due)
        finally:
            self._waiting = False
        if incoming is None or self._state == "closed":
            if incoming is not None:
                incoming.close()
            return
        self._incoming = incoming
        self._timer = ReadTimer(self._loop, incoming, gate=incoming.gate() if self._pace else None, pace=self._pace)
        self._timer.close_at(self._total_due)
        budget = Budget(self._clocks, waited=incoming.waited, total_due=self._total_due)
        answer = self._answer = self._make_answer(budget)
        answer.on_first_content = self._call.content_begins
        self._failure = None
        # A short answer is here as soon as its head: nothing to wait for, and no clock to set.
        data = incoming.at_hand()
        if data is not None:
            now = self._loop.time()
            answer.receive(data, now)
            answer.ended(None, now)

    def _close(self, outcome: Outcome, error: CometError | None = None) -> None:
        if self._state in ("left", "closed"):
            return
        self._state = "closed"
        answer = self._answer
        if answer is not None and self._outcome is None:
            # An attempt that has died unseen says nothing of the next one, which was to be opened.
            counts = answer.outcome in (None, "complete") or (answer.started and answer.over)
            answer.close()
            if counts:
                self._outcome = answer.outcome if self._refusal is None else "error"
        self._outcome = self._outcome or outcome
        if self._connect is not None:
            self._connect.cancel()
        self._release(error)

    def _release(self, error: CometError | None) -> None:
        if self._left is not None:
            return  # it was read to its end, and is left now
        if self._answer is not None:
            self._timer.stop()
            self._incoming.close()
        if self._entered is not None and self._outcome is not None:
            self._left = self._loop.time()
            self._call.ends(self, self._outcome, error, self._left)
