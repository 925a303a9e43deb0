"""The rows of a running batch: started as the limits allow, sent again if that may help, and handed over one by one.

No task watches the rows. Each event that may let a row start (another row ended, a result was taken, a request arrived, a timer
fired) calls `_pump`. It starts what it can, and sets a timer for the rest.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.attempt import Attempt
from cometstream.batch.claims import Claims
from cometstream.batch.hedging import Hedge, Hedging
from cometstream.batch.on_progress import not_callable
from cometstream.batch.outbox import Outbox
from cometstream.batch.repair import ask_again, wrong_output
from cometstream.batch.result import BatchProgress, BatchResult, Tally, total_tokens
from cometstream.batch.row_key import read_answer
from cometstream.batch.row_request import Preparation, read_response_format
from cometstream.batch.schedule import Row, Schedule, is_nobody_there, is_out_of_files, may_be_mended, retry_delay
from cometstream.batch.source import NOTHING, Source
from cometstream.errors import APIStatusError, CometError, ConfigurationError, InvalidRequestError, UsageError
from cometstream.observe import LOG
from cometstream.request.describe import shown
from cometstream.steps import Step  # when the feature is imported: its first use may have no file

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from cometstream.answer.states import Outcome
    from cometstream.batch.ledger import Ledger, Verdict
    from cometstream.batch.limits import Limits, Ticket
    from cometstream.batch.price import Cost
    from cometstream.batch.shared_limits import Sharing
    from cometstream.policy import RetryPolicy
    from cometstream.session import CometSession
    from cometstream.stream import ChatStream
    from cometstream.views.completion import ChatCompletion

__all__ = ["Rows"]

# Rows that may be in hand beside a few for each request at a time. Rows that wait for another attempt are among them, and a few
# bad rows must not keep the good ones from starting.
_IN_HAND: Final = 256

# Seconds after the last answer in which attempts that reached no server are not counted: a gateway that is down for minutes is not
# the row's fault. If there was no answer yet, the address may be wrong, and the user should learn that soon.
_OUTAGE: Final = 600.0
_NEVER_UP: Final = 60.0

# Requests that are started in one turn of the event loop. A thousand would block it for a tenth of a second.
_A_TURN: Final = 64

# Rows that the ledger is asked for at a time, and seconds until it is asked again for one that another worker has.
_ASKED: Final = 64
_ELSEWHERE: Final = 1.0

# The shortest time to wait for a limit, so that rounding does not make the loop spin.
_SOON: Final = 0.001


class Rows:
    """All rows of one batch; see ``fan_out`` for the arguments.

    Args:
        patient: Outlast a gateway that is down for minutes, beyond what `retry` grants each row.
        options: What each row's stream is opened with.

    Attributes:
        limits: What may start, and when.
        ended: Nothing is on its way any more, and nothing will be.
    """

    def __init__(
        self,
        session: CometSession,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        limits: Limits,
        retry: RetryPolicy,
        patient: bool,
        options: Mapping[str, Any],
        defaults: Mapping[str, Any],
        ordered: bool,
        max_tokens_total: int | None,
        cost: Cost,
        max_cost: float | None,
        repair: int,
        on_progress: Callable[[BatchProgress], object] | None,
        ledger: Ledger | None = None,
        sharing: Sharing | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        self.limits = limits
        self.ended = False
        self._session = session
        self._source = Source(requests, self._pump)
        self._schedule = Schedule(limits.wait)
        self._retry = retry
        self._patient = patient
        self._max_tokens = math.inf if max_tokens_total is None else max_tokens_total
        self._max_cost = math.inf if max_cost is None else max_cost
        self._repair = repair
        self._tally = Tally(cost)
        self._sharing = sharing
        self._claims = None if ledger is None else Claims(ledger)
        preparation = Preparation(
            session, defaults=defaults, options=options, estimate=limits.estimate, has_ledger=ledger is not None
        )
        self._prepare = preparation.prepare
        self._hedging = Hedging(hedge, self._wait_for_room, self._tally.cost_of)
        self._asking = 0  # rows that the ledger is asked for
        self._elsewhere: dict[Row, asyncio.TimerHandle] = {}  # rows that other workers have
        self._recording = 0  # answers that the ledger is writing
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._answered: float | None = None  # when a row was, the last time
        self._left: float | None = None
        self._trouble: str | None = None
        self._when_done = self._attempt_done  # made once, for all attempts
        self._running: dict[asyncio.Task[CometError | Verdict | None], Attempt] = {}
        self._expected = 0  # tokens, of what is on its way
        self._outbox = Outbox(ordered=ordered)
        self._pulled = 0
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._draining = False
        self._pumping = False
        self._forget_session: Callable[[], None] | None = None
        self._failure: Exception | None = None  # raised once every result was taken
        self._step = session.step("batch")
        self._outcome = "cancelled"  # how the batch ended; a natural end says so

    def start(self) -> None:
        """Begin to pull and to send; a second call does nothing."""
        if self._began is None and not self.ended:
            self._began = self._loop.time()
            if self._session.closed:
                self._session_closed()
                return
            self._forget_session = self._session.on_close(self._session_closed)
            self._step.begins()
            if self._sharing is not None:
                self._sharing.start(self._shared, self._pump, self._fail)
            self._pump()

    async def result(self) -> BatchResult:
        """Return the next result; see ``FanOut.__anext__``."""
        self.start()
        if self._outbox.taken and not self._outbox.taken % _A_TURN:
            # If all requests are bad, nothing here ever waits, and no other task would run.
            await asyncio.sleep(0)
        while not self._outbox:
            if self.ended:
                await self._stores_closed()
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            await self._outbox.wait()
        result = self._outbox.take()
        self._pump()
        return result

    def drain(self) -> None:
        """Start nothing more; see ``FanOut.drain``."""
        if not self.ended and not self._draining:
            self._start_no_more()
            self.start()
            self._pump()

    def abandon(self) -> None:
        """End every request, without waiting for their ends."""
        self._end()
        if not self._loop.is_closed():
            for task in self._running:
                task.cancel()

    async def aclose(self) -> None:
        """End every request; see ``FanOut.aclose``."""
        self.abandon()
        self._outbox.clear()
        current = asyncio.current_task()
        left: set[asyncio.Task[Any]] = set(self._running)
        if self._source.task is not None:
            left.add(self._source.task)
        left.discard(current)  # an iterator of requests, or on_progress, may end its own batch
        if left:
            await asyncio.wait(left)
        await self._stores_closed()

    @property
    def progress(self) -> BatchProgress:
        """How far the batch has come."""
        tally, began = self._tally, self._began
        until = self._left if self._left is not None else self._loop.time()
        return BatchProgress(
            done=tally.done,
            failed=tally.failed,
            running=len(self._running),
            waiting=len(self._schedule) + self._asking + len(self._elsewhere),
            retries=tally.retries,
            prompt_tokens=tally.prompt_tokens,
            completion_tokens=tally.completion_tokens,
            cost=tally.cost,
            concurrency=self.limits.concurrency,
            concurrency_reason=self.limits.reason,
            elapsed=0.0 if began is None else until - began,
            total=self._source.total,
            trouble=self._trouble,
            from_ledger=tally.from_ledger,
            maybe_paid_twice=0 if self._claims is None else self._claims.sent_again,
            hedged=self._hedging.hedged,
            hedges_won=self._hedging.won,
        )

    def _pump(self) -> None:
        """Start what may start now, and set a timer for the rest."""
        if self.ended or self._pumping or self._began is None:
            return
        self._pumping = True
        try:
            self._start_rows(self._loop.time())
        except Exception as error:  # the caller's: of on_progress, or a warning that the filters turn into an error
            self._fail(error)
        finally:
            self._pumping = False

    def _start_rows(self, now: float) -> None:
        limits, schedule, running = self.limits, self._schedule, self._running
        turn, places = len(running) + _A_TURN, limits.concurrency
        while not self.ended and len(running) < places and len(self._outbox) < places:
            if len(running) >= turn:
                self._wake_at(now)
                break
            if self._is_spent():
                break
            if self._tally.tokens + self._expected >= self._room(self._max_tokens, money=False):
                if not running:
                    self._start_no_more()
                break
            # A hedge may free two places. Rows that wait for a rate go before it.
            late = None if self._draining else self._hedging.next(now)
            if late is not None:
                self._send_hedge(late, now)
                continue
            row = schedule.next(now)
            if row is not None:
                self._send(row, now)
                continue
            request = self._source.pull(ask=self._may_pull())
            if request is NOTHING:
                due = schedule.due(now) if self._draining else min(schedule.due(now), self._hedging.due(now))
                self._wake_at(max(due, now + _SOON))
                break
            self._take(request)
        on_its_way = running or schedule or self._asking or self._elsewhere or self._recording
        if not self.ended and not on_its_way and (self._draining or self._source.ended):
            self._failure = self._failure or self._source.failure
            self._outcome = "complete" if self._failure is None else "error"
            self._end()

    def _is_spent(self) -> bool:
        """Whether the money is spent, or cannot be counted; no more rows start then."""
        unpriced = self._tally.unpriced
        if self._max_cost == math.inf or (
            unpriced is None and self._tally.spent < self._room(self._max_cost, money=True)
        ):
            return False
        if not self._draining:
            if unpriced is not None:
                self._failure = ConfigurationError(
                    f"max_cost: the cost of {shown(unpriced)} is not known (no price, or no usage in its answers), "
                    "so no more rows were sent"
                )
            self._start_no_more()
        return True

    def _room(self, most: float, *, money: bool) -> float:
        """Return what this batch may spend of what all workers may spend together."""
        return most if self._sharing is None else self._sharing.room(most, money=money)

    def _shared(self) -> tuple[float, int, int]:
        """Return what other workers need to know: money and tokens spent, and how many more requests could run."""
        return self._tally.spent, self._tally.tokens, self.limits.concurrency - len(self._running)

    def _start_no_more(self) -> None:
        self._draining = True
        for timer in self._elsewhere.values():
            timer.cancel()
        elsewhere, self._elsewhere = self._elsewhere, {}
        for row in (*self._schedule.clear(), *elsewhere):
            self._tell(row, "cancelled", row.error)

    def _may_pull(self) -> bool:
        places = self.limits.concurrency
        return (
            not self._draining
            and self._asking < _ASKED
            and self._schedule.may_look_ahead(_IN_HAND)
            and self._pulled - self._outbox.taken < _IN_HAND + 4 * places
        )

    def _take(self, request: Any) -> None:
        """Make a row of a request. If it cannot be sent, its result is ready at once."""
        row = Row(self._pulled, None, request)
        self._pulled += 1
        try:
            self._prepare(row)
        except UsageError as error:  # the session, or the client that it was given, is closed
            self._fail(error)
            return
        except CometError as error:
            # Its frames hold the results before it, and theirs those before them.
            self._tell(row, "error", error.with_traceback(None))
            return
        except Warning as warning:  # the caller's filters make an error of it
            self._tell(row, "error", InvalidRequestError([f"request: {type(warning).__name__}: {warning}"]))
            return
        except Exception as error:  # of a mapping of the caller's own
            self._tell(row, "error", InvalidRequestError([f"request: cannot be read ({shown(error)})"]))
            return
        if self._claims is not None:
            self._look_up(row)
        elif self._draining:  # it was asked for before
            self._tell(row, "cancelled", None)
        else:
            self._schedule.add(row)

    def _look_up(self, row: Row) -> None:
        """Ask the ledger whether a row is finished, before it waits for a limit."""
        assert self._claims is not None
        self._elsewhere.pop(row, None)
        self._asking += 1
        self._claims.find(row, partial(self._looked_up, row))

    def _looked_up(self, row: Row, verdict: Verdict | CometError) -> None:
        self._asking -= 1
        if self.ended:
            return
        try:
            if isinstance(verdict, CometError):
                self._fail(verdict)
            elif isinstance(verdict, bytes):
                self._found(row, verdict)
            elif self._draining:
                self._tell(row, "cancelled", None)
            elif verdict == "busy":
                self._wait_elsewhere(row)
            else:
                self._schedule.add(row)
        except Exception as error:  # the reader must not wait for ever
            self._fail(error)
        self._pump()

    def _wait_elsewhere(self, row: Row) -> None:
        """Another worker has the row: wait until it has an answer, or is gone."""
        self._elsewhere[row] = self._loop.call_later(_ELSEWHERE, self._look_up, row)

    def _found(self, row: Row, answer: bytes) -> None:
        """Hand over what the ledger has of a row."""
        completion = read_answer(answer)
        completion.prices = self._session.prices
        output = read_response_format(row)[1]
        if output is not None:
            completion.asking_for(output)
        wrong = wrong_output(row, completion)
        self._tell(row, "complete" if wrong is None else "error", wrong, completion, from_ledger=True)

    def _send(self, row: Row, now: float) -> None:
        if row.attempts:
            self._tally.retries += 1
        row.attempts += 1
        self._step_of(row)
        attempt = Attempt(row, self.limits.start(row.model, row.tokens, now))
        attempt.stream, row.stream = row.stream, None
        self._start_attempt(attempt)

    def _send_hedge(self, late: Attempt, now: float) -> None:
        row = late.row
        LOG.info("row %d: no content after %.3f s; a second request is sent", row.index, now - (late.sent or now))
        self._start_attempt(Attempt(row, self.limits.start(row.model, row.tokens, now), other=late))

    def _wait_for_room(self, row: Row, now: float) -> float:
        """Return the seconds until a hedge may be sent, as far as the limits of its model say."""
        return math.inf if self._schedule.has_waiting(row.model) else self.limits.wait(row.model, row.tokens, now)

    def _start_attempt(self, attempt: Attempt) -> None:
        self._expected += attempt.row.tokens
        task = attempt.task = self._loop.create_task(self._attempt(attempt))
        self._running[task] = attempt
        # Not at the end of the coroutine: a task that is cancelled early never begins it.
        task.add_done_callback(self._when_done)

    async def _attempt(self, attempt: Attempt) -> CometError | Verdict | None:
        """Send the row once and read its answer to its end; return what it died of, or why it was not sent."""
        row, hedging = attempt.row, self._hedging
        try:
            if self._claims is not None and not row.claimed:
                verdict = await self._claims.claim(row)
                if not row.claimed:
                    return verdict
            if attempt.stream is None:
                attempt.stream = self._session.stream(**row.params)
            now = self._loop.time()
            hedging.sends(attempt, now, concurrency=self.limits.concurrency)
            if hedging.is_on:
                self._wake_at(hedging.due(now))
            with self._step_of(row).within():
                async with attempt.stream as stream:
                    self._trouble = None
                    self.limits.answered(attempt.ticket, stream.response.headers, self._loop.time())
                    if hedging.is_on:
                        await self._read_first_content(attempt, stream)
                    await stream.until_done()
        except CometError as error:
            # Its frames hold the body that was sent, and a batch may keep thousands of errors.
            return error.with_traceback(None)
        return None

    async def _read_first_content(self, attempt: Attempt, stream: ChatStream) -> None:
        """Read until content begins, or a finish_reason: then the other one of two requests is not needed any more."""
        async for _ in stream:
            # What came of an attempt that failed without content is handed over, too.
            metrics = stream.metrics
            if metrics.time_to_first_content is not None or metrics.finish_reasons:
                self._hedging.content(attempt, self._loop.time())
                self._end_other(attempt)
                return

    def _attempt_done(self, task: asyncio.Task[CometError | Verdict | None]) -> None:
        attempt = self._running.pop(task)
        row = attempt.row
        self._expected -= row.tokens
        self._hedging.ended(attempt)
        try:
            error = None if task.cancelled() else task.result()
            if self.ended:
                pass
            elif attempt.has_lost or self._other_goes_on(attempt, error):
                self._ended_beside(attempt, error)
            elif self._claims is not None and not row.claimed and not task.cancelled():
                self._not_sent(row, attempt.ticket, error)
            else:
                assert error is None or isinstance(error, CometError)
                self._learn(attempt, error)
        except Exception as caught:  # the reader must not wait for ever
            self._fail(caught)
        if self.ended:
            self._step_of(row).ends("cancelled", attempts=row.requests)
            self._step_ends()
        self._pump()

    def _other_goes_on(self, attempt: Attempt, error: object) -> bool:
        """Whether the row's fate is that of the other one of two requests: this one has failed in a way that proves nothing."""
        other = attempt.other
        if other is None or other.has_lost or other.task not in self._running or isinstance(error, UsageError):
            return False
        return isinstance(error, CometError) and (attempt.is_hedge or may_be_mended(error, self._retry))

    def _end_other(self, attempt: Attempt) -> None:
        """Close the connection of the other one of two requests: this one decides."""
        other = attempt.other
        if other is not None and other.task in self._running:
            other.has_lost = True
            other.task.cancel()

    def _ended_beside(self, attempt: Attempt, error: object) -> None:
        """Count one of two requests that does not decide how its row ends."""
        now, row = self._loop.time(), attempt.row
        expected = 0
        if isinstance(error, CometError):
            self._failed(attempt, error, now)
            row.error = row.error if attempt.has_lost else error
        else:
            self.limits.cancelled(attempt.ticket, now)
            if attempt.sent is not None:
                expected = row.tokens  # nobody says what it cost
        usage = None if attempt.stream is None else attempt.stream.metrics.usage
        self._tally.attempt(row.model, usage, expected, complete=False)

    def _failed(self, attempt: Attempt, error: CometError, now: float) -> None:
        self.limits.failed(attempt.ticket, error, now)
        self._hedging.failed(attempt, error, now)
        asked = (isinstance(error, APIStatusError) and error.retry_after) or 0.0
        if asked <= self._retry.max_retry_after:
            attempt.rest = now + asked

    def _not_sent(self, row: Row, ticket: Ticket, why: CometError | Verdict | None) -> None:
        """The ledger did not give the row to this batch."""
        self.limits.cancelled(ticket, self._loop.time())
        row.attempts -= 1
        if isinstance(why, bytes):
            self._found(row, why)
        elif isinstance(why, CometError):
            self._fail(why)
        elif self._draining:
            self._tell(row, "cancelled", None)
        else:
            self._wait_elsewhere(row)

    def _learn(self, attempt: Attempt, error: CometError | None) -> None:
        """Learn from an attempt. Then hand its row's result over, or send the row again."""
        now = self._loop.time()
        row, ticket, stream = attempt.row, attempt.ticket, attempt.stream
        if isinstance(error, UsageError):  # as in `_take`
            self._fail(error)
            return
        self._end_other(attempt)
        metrics = None if stream is None else stream.metrics
        row.measured(attempt.metrics(metrics))
        other, attempt.other = attempt.other, None  # errors and results are not to hold each other
        usage = None if metrics is None else metrics.usage
        tokens = total_tokens(usage)
        # An answer that broke off is paid for, too.
        began = metrics is not None and metrics.time_to_first_content is not None
        complete = stream is not None and stream.outcome == "complete"
        self._tally.attempt(row.model, usage, row.tokens if began else 0, complete=complete)
        if complete and stream is not None and metrics is not None:
            self._answered = now
            self._hedging.won += attempt.is_hedge
            self.limits.completed(ticket, now, tokens=tokens, time_to_first_content=metrics.time_to_first_content)
            completion = stream.completion
            wrong = wrong_output(row, completion)
            if wrong is not None and row.repairs < self._repair and not self._draining and ask_again(row, wrong):
                self._schedule.add_retry(row, now)
                return
            if self._claims is not None and wrong is None:
                self._recording += 1
                self._claims.finish(row, completion, metrics.request_id, partial(self._recorded, row, completion))
                return
            self._tell(row, "complete" if wrong is None else "error", wrong, completion)
        elif error is None:
            self.limits.cancelled(ticket, now)
            row.claimed = False  # its request may have been paid
            self._tell(row, "cancelled", row.error)
            self._start_no_more()  # something cancelled our task: the event loop is shutting down
        else:
            self._failed(attempt, error, now)
            row.error = error
            self._trouble = str(error) if is_nobody_there(error) else None
            if self._is_charged(error, ticket, now):
                row.charged = row.attempts if self._answered is None else row.charged + 1
            delay = retry_delay(row, error, self._retry, random.random())
            if delay is not None and not self._draining:
                delay = max(delay, 0.0 if other is None else other.rest - now)
                row.waits(delay)
                LOG.info("row %d: %s; another attempt follows in %.3f s", row.index, type(error).__name__, delay)
                self._schedule.add_retry(row, now + delay)
                return
            outcome = stream.outcome if stream is not None and stream.outcome is not None else "error"
            self._tell(row, outcome if delay is None else "cancelled", error, error.partial)

    def _recorded(self, row: Row, completion: ChatCompletion, verdict: Verdict | CometError) -> None:
        """The ledger has an answer: whoever takes it now need not fear that it is paid again."""
        self._recording -= 1
        if self.ended:
            return
        self._tell(row, "complete", None, completion)
        if isinstance(verdict, CometError):
            self._fail(verdict)
        self._pump()

    def _is_charged(self, error: CometError, ticket: Ticket, now: float) -> bool:
        """Whether an attempt counts against the retries of its row."""
        if is_out_of_files(error):
            return not self._running  # else it is the batch's own doing
        if not self._patient or not is_nobody_there(error) or self._began is None:
            return True
        if self._answered is None:
            return now - self._began > _NEVER_UP
        return self._answered > ticket.time or now - self._answered > _OUTAGE

    def _tell(
        self,
        row: Row,
        outcome: Outcome,
        error: CometError | None,
        completion: ChatCompletion | None = None,
        *,
        from_ledger: bool = False,
    ) -> None:
        """Hand the row's result to the reader, now or in its turn."""
        self._tally.row(outcome, from_ledger=from_ledger)
        if row.attempts or error is not None:
            self._step_of(row).ends(outcome, error, attempts=row.requests)
        if self._claims is not None:
            self._claims.release(row)
        result = BatchResult(
            row.index, row.custom_id, row.request, completion, error, outcome, row.requests, row.metrics, from_ledger
        )
        self._outbox.add(result)
        if self._on_progress is not None:
            try:
                self._on_progress(self.progress)
            except Exception as caught:
                self._fail(not_callable(caught) or caught)

    def _fail(self, error: Exception) -> None:
        """End the batch; the reader is told once it took every result."""
        if not self.ended:
            self._failure = error
            self._outcome = "error"
            self.abandon()
            self._outbox.end_turns()

    def _session_closed(self) -> None:
        self._fail(UsageError("the session of this batch is closed: make another CometSession"))

    def _end(self) -> None:
        """Nothing starts any more."""
        if self.ended:
            return
        self.ended = True
        self._left = self._loop.time()
        for row in self._schedule.clear():
            if row.step is not None:
                row.step.ends("cancelled", attempts=row.requests)
            if self._claims is not None:
                self._claims.release(row)
        self._step_ends()
        for timer in self._elsewhere.values():
            timer.cancel()
        if self._claims is not None and not self._loop.is_closed():
            self._claims.end()
        if self._sharing is not None and not self._loop.is_closed():
            self._sharing.end()
        if self._forget_session is not None:
            self._forget_session()
        if self._timer is not None:
            self._timer.cancel()
        if not self._loop.is_closed():
            self._source.cancel()
        self._outbox.wake()

    def _step_of(self, row: Row) -> Step:
        """Return the row, as listeners hear of it; it begins with its first attempt."""
        if row.step is None:
            row.step = self._step.child("row", row.custom_id, index=row.index, model=row.model).begins()
        return row.step

    def _step_ends(self) -> None:
        """Tell listeners of the batch's end, once its last request has ended."""
        if not self._running:
            self._step.ends(self._outcome, self._failure, done=self._tally.done, failed=self._tally.failed)

    async def _stores_closed(self) -> None:
        """Wait until all that is to be written is written."""
        tasks = {
            stored.task for stored in (self._claims, self._sharing) if stored is not None and stored.task is not None
        }
        tasks.discard(asyncio.current_task())
        if tasks:
            await asyncio.wait(tasks)

    def _wake_at(self, due: float) -> None:
        if due == math.inf or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        # uvloop's handle of what is due at once does not know when that is.
        self._timer, self._timer_due = self._loop.call_at(due, self._tick), due

    def _tick(self) -> None:
        self._timer = None
        self._pump()
