"""A run: the model answers, its tools run, and their results go back to it, until it has no more calls.

What happens in one round::

    asking      the request is sent
    reading     the answer streams; a call whose arguments are whole is started, if its tool is eager
    waiting     the answer has ended; its calls come to their ends, those that wait for a decision aside
    ended       or the next round

There is no queue between the stream and the caller: while no tool runs, the caller reads the stream itself. What tools tell waits
in a list of at most a few events for each call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from cometstream.errors import CometError, ToolCallError, UsageError
from cometstream.tools.calls import Calls
from cometstream.tools.carrying_out import CarryingOut
from cometstream.tools.events import (
    RoundFinishedEvent,
)
from cometstream.tools.invocation import Invocation
from cometstream.tools.round import Round
from cometstream.tools.state import dump_state
from cometstream.views.chunks import CompletionUsage

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from cometstream.answer.events import (
        StreamEvent,
    )
    from cometstream.readers import EventReader
    from cometstream.stream import ChatStream
    from cometstream.tools.definition import Tool
    from cometstream.tools.events import RunEvent
    from cometstream.tools.requests import RoundRequests
    from cometstream.tools.state import Progress
    from cometstream.views.completion import ChatCompletion

__all__ = ["RunOutcome", "ToolRun"]

RunOutcome = Literal["complete", "paused", "max_rounds", "withheld", "error", "cancelled"]

_TWO_READERS: Final = "another task is reading this run: one reader at a time"
_NOT_ENTERED: Final = "enter the run with `async with` before reading it"


class ToolRun:
    """One conversation with tools: enter it with ``async with``, then iterate its events.

    Made by ``run_tools`` and ``resume_tools``.

    Attributes:
        outcome: How the run ended; None while it goes on. ``complete``: the model answered without calls. ``paused``: calls wait
            for a decision, see ``pending`` and ``state()``. ``max_rounds``: the last round that was allowed had calls; they ran.
            ``withheld``: the model called tools, but its answer ended in a way that proves no call whole (``finish_reason`` is
            ``length``, say), so that none was run. ``error``: an error was raised. ``cancelled``: you left.
        completion: The last answer, as far as it came; None before.

    Raises:
        CometError: While reading: as a stream's, after what was started early was cancelled and told.
        ToolCallError: The model had to be corrected too often.

    Cancellation:
        Safe at any point. A read that was cancelled may be repeated. Leaving the block cancels what runs: async tools at once; the
        thread of a plain function goes on, and its result is dropped.
    """

    def __init__(
        self,
        requests: RoundRequests,
        tools: dict[str, Tool[..., Any]],
        progress: Progress,
        carrying_out: CarryingOut,
        *,
        max_rounds: int,
        max_corrections: int,
        secret: bytes | None,
        first: ChatStream | None = None,
        paused: Round | None = None,
    ) -> None:
        self.outcome: RunOutcome | None = None
        self.completion: ChatCompletion | None = None
        self._requests = requests
        self._tools = tools
        self._progress = progress
        self._carrying_out = carrying_out
        self._told: deque[RunEvent] = carrying_out.told
        self._workers = carrying_out.workers
        self._max_rounds = max_rounds
        self._max_corrections = max_corrections
        self._secret = secret
        self._first = first
        self._phase: Literal["new", "resuming", "asking", "reading", "waiting", "ended"] = "new"
        self._round: Round | None = None
        self._calls: Calls | None = None
        if paused is not None:
            self._begin(paused)
        self._failure: BaseException | None = None
        self._withheld = False
        self._busy = False
        self._stream: ChatStream | None = None
        self._events: EventReader | None = None
        self._read: asyncio.Task[StreamEvent] | None = None

    async def __aenter__(self) -> Self:
        if self._phase != "new":
            raise UsageError("this run was entered before: call run_tools() again for another")
        self._phase = "asking" if self._round is None else "resuming"
        self._carrying_out.step.begins()
        try:
            await self._workers.open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the run, also from another task: its tools are cancelled, and a reader's loop ends quietly.

        Cancellation:
            Everything is cancelled all the same.
        """
        if self._phase != "ended":
            self._phase = "ended"
            self.outcome = "cancelled"
            self._told.clear()
        try:
            await self._leave_stream()
            read, self._read = self._read, None
            if read is not None:
                read.cancel()
            await self._workers.stop()
            if read is not None:
                await asyncio.wait({read})
                if not read.cancelled():
                    read.exception()  # of use to nobody any more
        finally:
            self._step_ends("cancelled")

    @property
    def messages(self) -> list[Any]:
        """The conversation: what was given, each answer, and each result that was had, in the order of the calls; a new list.

        After an outcome other than ``paused`` it is ready for the next turn.
        """
        messages = list(self._progress.messages)
        if self._round is not None:
            completion = self.completion if self._stream is None else self._stream.completion
            messages += self._round.messages(completion, left=self.outcome not in (None, "paused"))
        return messages

    @property
    def pending(self) -> list[Invocation]:
        """The calls that wait for a decision, or for a result of yours."""
        return [] if self._round is None else [call.invocation for call in self._round.of_status("pending")]

    @property
    def rounds(self) -> int:
        """How many answers were taken, those of earlier processes included."""
        return self._progress.rounds

    @property
    def usage(self) -> CompletionUsage | None:
        """What all answers have used, added up over the rounds; None where the server told nothing."""
        usage = self._progress.usage
        return None if usage is None else CompletionUsage(usage)

    @property
    def cost(self) -> float | None:
        """What all answers cost, in US dollars, as ``completion.cost`` has it; None where nobody says."""
        return self._progress.cost

    def __repr__(self) -> str:
        return f"<ToolRun {self.outcome or self._phase}, {self.rounds} rounds>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        if self._phase == "new":
            raise UsageError(_NOT_ENTERED)
        if self._busy:
            raise UsageError(_TWO_READERS)
        self._busy = True
        try:
            while not self._told:
                if self._phase == "ended":
                    failure, self._failure = self._failure, None
                    if failure is not None:
                        raise failure from failure.__cause__
                    raise StopAsyncIteration
                await self._advance()
            return self._told.popleft()
        finally:
            self._busy = False

    async def until_done(self) -> ChatCompletion | None:
        """Read the run to its end and return the last answer; ``outcome`` tells how it ended.

        Raises:
            CometError: As iterating.
        Cancellation:
            Safe; it may be called again.
        """
        async for _ in self:
            pass
        return self.completion

    def state(self) -> str:
        """Return the run as JSON, for `resume_tools` in this or another process.

        It can be taken when the run has ended or is paused, and between two rounds: at ``round.finished``.

        Raises:
            UsageError: A round is under way.
            InvalidRequestError: The conversation holds what JSON cannot.
        """
        between = self._phase == "asking" and self._stream is None
        if not between and (self._phase != "ended" or self.outcome in ("error", "cancelled")):
            raise UsageError("a round is under way: take the state at round.finished, or when the run is paused")
        if self._told:
            raise UsageError("events of the round are still to be read: take the state at round.finished")
        round_, progress = self._round, self._progress
        calls = [] if round_ is None else list(round_.in_order())
        return dump_state(
            {
                "run": progress.run,
                "model": self._requests.model,
                "params": self._requests.stored,
                "messages": progress.messages,
                "round": progress.rounds,
                "max_rounds": self._max_rounds,
                "corrections": progress.corrections,
                "max_corrections": self._max_corrections,
                "usage": progress.usage,
                "cost": progress.cost,
                "outcome": self.outcome,
                "message": None if round_ is None else round_.message,
                "calls": [
                    {
                        "id": call.invocation.id,
                        "name": call.invocation.name,
                        "text": call.invocation.text,
                        "index": call.invocation.index,
                        "attempt": call.attempt,
                        "unknown": call.invocation.unknown,
                        "status": call.status,
                        "content": call.content,
                    }
                    for call in calls
                ],
            },
            self._secret,
        )

    # -- the way through a round ------------------------------------------------------------------------------------------

    async def _advance(self) -> None:
        if self._carrying_out.failure is not None and self._failure is None:
            await self._give_up(self._carrying_out.failure)
        elif self._phase == "asking":
            await self._ask()
        elif self._phase == "reading":
            await self._read_one()
        elif self._phase == "resuming":
            assert self._calls is not None  # the paused round's
            self._phase = "waiting"
            self._calls.resume()
        elif self._workers.running:
            await self._workers.wait()
        else:
            self._finish_round()

    async def _ask(self) -> None:
        progress = self._progress
        try:
            stream, self._first = self._first or self._requests.open(progress.messages, progress.rounds + 1), None
            self._stream = stream
            with self._carrying_out.step.within():
                await stream.__aenter__()
        except CometError as error:
            await self._give_up(error)
            return
        except BaseException:
            self._stream = None  # it has closed itself; the next read asks anew
            raise
        if self._phase == "asking":
            self._phase = "reading"
            self._begin(Round(progress.rounds + 1))
            self._events = stream.events()

    def _begin(self, round_: Round) -> None:
        self._round = round_
        self._calls = Calls(self._progress.run, round_, self._tools, self._carrying_out)

    async def _read_one(self) -> None:
        """Take what comes next of the answer, or what a tool tells before."""
        events, stream = self._events, self._stream
        assert events is not None
        assert stream is not None  # both made when the phase began
        try:
            if self._read is None and not self._workers.running:
                event = await events.__anext__()
            else:
                # Tools run: whoever is first is told first. The read goes on meanwhile, and is taken up by the next call.
                if self._read is None:
                    self._read = asyncio.ensure_future(events.__anext__())
                await self._workers.wait(self._read)
                if self._read is None or not self._read.done():
                    return
                read, self._read = self._read, None
                event = read.result()
        except StopAsyncIteration:
            if self._phase == "reading":
                await self._answered()
            return
        except CometError as error:
            if self._phase == "reading":
                await self._give_up(error)
            return
        if self._phase == "reading":
            self._told.append(event)
            assert self._calls is not None  # made when the phase began
            self._calls.look(event, lambda: stream.completion)

    async def _answered(self) -> None:
        """The answer has ended well."""
        await self._leave_stream()
        self._phase = "waiting"
        assert self._calls is not None
        assert self.completion is not None  # the first was made when the phase began, the other was just taken
        self._withheld = not self._calls.verified(self.completion)

    async def _give_up(self, error: BaseException) -> None:
        """The answer did not end well: cancel what was started, then raise."""
        self._failure = error
        await self._leave_stream()
        if self._calls is not None:
            self._calls.take_back()
        self._phase = "waiting"

    async def _leave_stream(self) -> None:
        """Keep what came of the answer, count what it used, and close it; nothing is waited for."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        await stream.aclose()
        if self._events is not None:
            self._events = None
            self.completion = stream.completion
            self._progress.add(self.completion)

    def _finish_round(self) -> None:
        round_, progress = self._round, self._progress
        if self._failure is not None:
            self._end("error")
            return
        assert round_ is not None  # a round without an answer has failed
        if round_.number > progress.rounds:
            progress.rounds = round_.number
        if self._withheld:
            self._end("withheld")
        elif round_.of_status("pending"):
            progress.corrections += round_.problem is not None
            self._phase, self.outcome = "ended", "paused"
            self._step_ends("paused")
        else:
            if round_.problem is not None:
                progress.corrections += 1
            has_calls = bool(round_.calls)
            self._commit()
            if round_.problem is not None and progress.corrections > self._max_corrections:
                self._failure = ToolCallError(
                    f"the model's tool calls could not be run in {progress.corrections} rounds (max_corrections is "
                    f"{self._max_corrections}): {round_.problem}",
                    partial=self.completion,
                )
                self._end("error")
            elif not has_calls:
                self._end("complete")
            elif progress.rounds >= self._max_rounds:
                self._end("max_rounds")
            else:
                self._phase = "asking"
        self._told.append(RoundFinishedEvent(round_.number, self.completion))

    def _end(self, outcome: RunOutcome) -> None:
        self._phase, self.outcome = "ended", outcome
        self._commit()
        self._step_ends(outcome)

    def _step_ends(self, outcome: RunOutcome) -> None:
        self._carrying_out.step.ends(outcome, self._failure, rounds=self.rounds)

    def _commit(self) -> None:
        """Add the round to the conversation: nothing of it changes any more."""
        if self._round is not None:
            self._progress.messages += self._round.messages(self.completion, left=True)
            self._round = self._calls = None
