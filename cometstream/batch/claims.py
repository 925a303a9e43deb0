"""The rows of one batch in a ledger: asked for, claimed and finished, many in one step, and without holding up the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cometstream.batch.ledger import Ask
from cometstream.batch.row_key import written_answer
from cometstream.errors import CometError
from cometstream.observe import LOG

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from cometstream.batch.ledger import Ledger, LedgerStore, Verdict
    from cometstream.batch.schedule import Row
    from cometstream.views.completion import ChatCompletion

    Then: TypeAlias = Callable[[Verdict | CometError], object]

__all__ = ["Claims"]

# Seconds between two tries where the ledger is not reached, and the seconds after which a batch gives up.
_AGAIN: Final = 0.5
_PATIENCE: Final = 60.0
# A worker says that it lives so many times within a lease.
_BEATS: Final = 4
# The most questions in one step: others wait for the file meanwhile.
_A_STEP: Final = 256


class Claims:
    """What one batch asks its ledger. One task puts the questions that came meanwhile, and says that this worker lives.

    Args:
        ledger: The job's.

    Attributes:
        sent_again: Rows that were sent although a worker that is gone may have sent them before.
        task: Ends when the ledger is closed; None before the first question.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.sent_again = 0
        self.task: asyncio.Task[None] | None = None
        self._store: LedgerStore = ledger.store()
        self._beat = ledger.lease / _BEATS
        self._loop = asyncio.get_running_loop()
        self._asked: list[tuple[Ask, Then]] = []
        self._wake = asyncio.Event()
        self._held: set[bytes] = set()
        self._beaten: float | None = None
        self._lost: float | None = None  # since when the ledger is not reached
        self._opened = False
        self._ending = False

    def find(self, row: Row, then: Then) -> None:
        """Ask for a row's answer; `then` is called with it, or with what else is to be said of the row."""
        if row.key in self._held:  # the same row twice in one batch
            self._loop.call_soon(then, "busy")
        else:
            self._ask(Ask("find", row.key), then)

    async def claim(self, row: Row) -> Verdict:
        """Take a row, so that it may be sent.

        Raises:
            CometError: The ledger cannot be used, so nothing may be sent.
        """
        if row.key in self._held:
            return "busy"
        self._held.add(row.key)
        claimed: asyncio.Future[Verdict | CometError] = self._loop.create_future()
        self._ask(Ask("claim", row.key, row.custom_id or f"#{row.index}"), _setter(claimed))
        verdict: Verdict | CometError = "busy"
        try:
            verdict = await claimed
        finally:
            row.claimed = verdict in ("mine", "mine again")
            if not row.claimed:
                self._held.discard(row.key)
        if isinstance(verdict, CometError):
            raise verdict
        self.sent_again += verdict == "mine again"
        return verdict

    def finish(self, row: Row, completion: ChatCompletion, request_id: str | None, then: Then) -> None:
        """Write a row's answer; `then` is called when it is written."""
        answer = written_answer(completion, request_id)

        def written(verdict: Verdict | CometError) -> None:
            self._held.discard(row.key)
            then(verdict)

        row.claimed = False
        self._ask(Ask("finish", row.key, row.custom_id or f"#{row.index}", answer), written)

    def release(self, row: Row) -> None:
        """Give a row back that has no answer, and of which no request is under way."""
        if row.claimed:
            row.claimed = False
            self._held.discard(row.key)
            self._ask(Ask("release", row.key), _ignore)

    def end(self) -> None:
        """Ask nothing more; what is to be written is written, then the ledger is closed."""
        self._ending = True
        self._asked = [(ask, then) for ask, then in self._asked if ask.kind in ("finish", "release")]
        self._wake.set()

    def _ask(self, ask: Ask, then: Then) -> None:
        self._asked.append((ask, then))
        if self.task is None:
            self.task = self._loop.create_task(self._run())
        self._wake.set()

    async def _run(self) -> None:
        """Put the questions, in the order in which they came."""
        try:
            while not (self._ending and not self._asked):
                await self._turn()
        finally:
            await self._store.close(leave=self._ending)

    async def _turn(self) -> None:
        try:
            await self._step()
            self._lost = None
            await self._rest()
        except CometError as error:
            now = self._loop.time()
            self._lost = now if self._lost is None else self._lost
            if not error.retryable or self._ending or now - self._lost > _PATIENCE:
                self._give_up(error)
            else:
                LOG.warning("%s; trying again", error)
                await asyncio.sleep(_AGAIN)

    async def _step(self) -> None:
        if not self._opened:
            await self._store.open()
            self._opened = True
        now = self._loop.time()
        renew = self._beaten is None or now - self._beaten >= self._beat
        asked = self._asked[:_A_STEP]
        if not asked and not renew:
            return
        verdicts = await self._store.apply([ask for ask, _ in asked], renew=renew)
        if renew:
            self._beaten = now
        del self._asked[: len(asked)]
        for (_, then), verdict in zip(asked, verdicts, strict=True):
            then(verdict)

    async def _rest(self) -> None:
        """Wait for a question, or for the next sign of life."""
        if self._asked or self._ending:
            return
        self._wake.clear()
        beat = self._loop.call_later(self._beat, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            beat.cancel()

    def _give_up(self, error: CometError) -> None:
        asked, self._asked = self._asked, []
        for _, then in asked:
            then(error)


def _setter(future: asyncio.Future[Verdict | CometError]) -> Then:
    def then(verdict: Verdict | CometError) -> None:
        if not future.done():
            future.set_result(verdict)

    return then


def _ignore(verdict: Verdict | CometError) -> None: ...
