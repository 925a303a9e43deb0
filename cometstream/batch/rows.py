"""The rows of a running batch: started as the limits allow, sent again if that may help, and handed over one by one.

No task watches the rows. Each event that may let a row start (another row ended, a result was taken, a request arrived, a timer
fired) calls `_pump`. It starts what it can, and sets a timer for the rest.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.claims import Claims
from cometstream.batch.repair import ask_again, wrong_output
from cometstream.batch.result import BatchProgress, BatchResult, Tally, total_tokens
from cometstream.batch.row_key import read_answer, row_key
from cometstream.batch.schedule import Row, Schedule, is_nobody_there, is_out_of_files, retry_delay
from cometstream.batch.source import NOTHING, Source
from cometstream.errors import CometError, ConfigurationError, InvalidRequestError, UsageError
from cometstream.observe import LOG
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from cometstream.answer.states import Outcome
    from cometstream.batch.ledger import Ledger, Verdict
    from cometstream.batch.limits import Limits, Ticket
    from cometstream.batch.price import Cost
    from cometstream.batch.shared_limits import Sharing
    from cometstream.policy import RetryPolicy
    from cometstream.session import CometSession
    from cometstream.steps import Step
    from cometstream.views.completion import ChatCompletion

__all__ = ["NOT_SENT", "Rows"]

NOT_SENT: Final = frozenset(
    {
        "self",
        "timeouts",
        "retry",
        "headers",
        "hooks",
        "pace",
        "on_incomplete",
        "fallback_models",
        "split_think",
        "max_event_size",
    }
)
"""Arguments of ``CometSession.stream`` that are not wire parameters: a row cannot have them."""

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
    ) -> None:
        self.limits = limits
        self.ended = False
        self._session = session
        self._source = Source(requests, self._pump)
        self._schedule = Schedule(limits.wait)
        self._retry = retry
        self._patient = patient
        self._options = options
        self._defaults = defaults
        self._ordered = ordered
        self._max_tokens = math.inf if max_tokens_total is None else max_tokens_total
        self._max_cost = math.inf if max_cost is None else max_cost
        self._repair = repair
        self._tally = Tally(cost)
        self._sharing = sharing
        self._claims = None if ledger is None else Claims(ledger)
        self._asking = 0  # rows that the ledger is asked for
        self._elsewhere: dict[Row, asyncio.TimerHandle] = {}  # rows that other workers have
        self._recording = 0  # answers that the ledger is writing
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._answered: float | None = None  # when a row was, the last time
        self._left: float | None = None
        self._trouble: str | None = None
        self._running: dict[Row, asyncio.Task[CometError | Verdict | None]] = {}
        self._expected = 0  # tokens, of what is on its way
        self._ready: deque[BatchResult] = deque()
        self._parked: dict[int, BatchResult] = {}  # done before their turn
        self._in_turn = 0
        self._pulled = 0
        self._yielded = 0
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
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
        if not self._yielded % _A_TURN and self._yielded:
            # If all requests are bad, nothing here ever waits, and no other task would run.
            await asyncio.sleep(0)
        while not self._ready:
            if self.ended:
                await self._stores_closed()
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            if self._reader is not None and not self._reader.done():
                raise UsageError("another task is reading this batch: one reader at a time")
            self._reader = self._loop.create_future()
            await self._reader  # if the read is cancelled, so is the future, and another task may read
        self._yielded += 1
        result = self._ready.popleft()
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
            for task in self._running.values():
                task.cancel()

    async def aclose(self) -> None:
        """End every request; see ``FanOut.aclose``."""
        self.abandon()
        self._ready.clear()
        current = asyncio.current_task()
        left: set[asyncio.Task[Any]] = set(self._running.values())
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
        turn = len(running) + _A_TURN
        while not self.ended and len(running) < limits.concurrency and len(self._ready) < limits.concurrency:
            if len(running) >= turn:
                self._wake_at(now)
                break
            if self._is_spent():
                break
            if self._tally.tokens + self._expected >= self._room(self._max_tokens, money=False):
                if not running:
                    self._start_no_more()
                break
            row = schedule.next(now)
            if row is not None:
                self._send(row, now)
                continue
            request = self._source.pull(ask=self._may_pull())
            if request is NOTHING:
                self._wake_at(max(schedule.due(now), now + _SOON))
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
            and self._pulled - self._yielded < _IN_HAND + 4 * places
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
        output = _read_response_format(row)[1]
        if output is not None:
            completion.asking_for(output)
        wrong = wrong_output(row, completion)
        self._tell(row, "complete" if wrong is None else "error", wrong, completion, from_ledger=True)

    def _prepare(self, row: Row) -> None:
        """Check the request, and make its first stream ready.

        Raises:
            InvalidRequestError: It cannot be sent.
        """
        request = row.request
        if not isinstance(request, Mapping):
            raise InvalidRequestError([f"request: is of type {type(request).__name__}; it must be a dict"])
        custom_id = request.get("custom_id")
        if custom_id is not None and not isinstance(custom_id, str):
            raise InvalidRequestError([f"custom_id: is of type {type(custom_id).__name__}; it must be a string"])
        row.custom_id = custom_id
        params = {"model": None, "messages": None, **self._defaults, **request}
        params.pop("custom_id", None)
        params.pop("stream", None)  # every answer is streamed, whatever its request says
        problems = [
            f"{name if isinstance(name, str) else shown(name)}: is not a wire parameter"
            for name in params
            if not isinstance(name, str) or name in NOT_SENT
        ]
        if problems:
            raise InvalidRequestError(problems)
        params.update(self._options)
        row.params = params
        row.stream = self._session.stream(**params)
        extra = params.get("extra_body")
        row.model = str(params["model"] if extra is None else extra.get("model", params["model"]))
        row.tokens = self.limits.estimate(row.model, params)
        if self._claims is not None:
            row.key = row_key(row.custom_id, row.index, params, _read_response_format(row)[0])

    def _send(self, row: Row, now: float) -> None:
        if row.attempts:
            self._tally.retries += 1
        row.attempts += 1
        self._step_of(row)
        self._expected += row.tokens
        ticket = self.limits.start(row.model, row.tokens, now)
        task = self._running[row] = self._loop.create_task(self._attempt(row, ticket))
        # Not at the end of the coroutine: a task that is cancelled early never begins it.
        task.add_done_callback(partial(self._attempt_done, row, ticket))

    async def _attempt(self, row: Row, ticket: Ticket) -> CometError | Verdict | None:
        """Send the row once and read its answer to its end; return what it died of, or why it was not sent."""
        try:
            if self._claims is not None and not row.claimed:
                verdict = await self._claims.claim(row)
                if not row.claimed:
                    return verdict
            if row.stream is None:
                row.stream = self._session.stream(**row.params)
            with self._step_of(row).within():
                async with row.stream as stream:
                    self._trouble = None
                    self.limits.answered(ticket, stream.response.headers, self._loop.time())
                    await stream.until_done()
        except CometError as error:
            # Its frames hold the body that was sent, and a batch may keep thousands of errors.
            return error.with_traceback(None)
        return None

    def _attempt_done(self, row: Row, ticket: Ticket, task: asyncio.Task[CometError | Verdict | None]) -> None:
        del self._running[row]
        self._expected -= row.tokens
        try:
            error = None if task.cancelled() else task.result()
            if self.ended:
                pass
            elif self._claims is not None and not row.claimed and not task.cancelled():
                self._not_sent(row, ticket, error)
            else:
                assert error is None or isinstance(error, CometError)
                self._learn(row, ticket, error)
        except Exception as caught:  # the reader must not wait for ever
            self._fail(caught)
        if self.ended:
            self._step_of(row).ends("cancelled", attempts=row.attempts)
            self._step_ends()
        self._pump()

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

    def _learn(self, row: Row, ticket: Ticket, error: CometError | None) -> None:
        """Learn from an attempt. Then hand its row's result over, or send the row again."""
        now = self._loop.time()
        stream, row.stream = row.stream, None
        if isinstance(error, UsageError):  # as in `_take`
            self._fail(error)
            return
        metrics = None if stream is None else stream.metrics
        row.measured(metrics)
        usage = None if metrics is None else metrics.usage
        tokens = total_tokens(usage)
        # An answer that broke off is paid for, too.
        began = metrics is not None and metrics.time_to_first_content is not None
        complete = stream is not None and stream.outcome == "complete"
        self._tally.attempt(row.model, usage, row.tokens if began else 0, complete=complete)
        if complete and stream is not None and metrics is not None:
            self._answered = now
            self.limits.completed(ticket, now, tokens=tokens, time_to_first_content=metrics.time_to_first_content)
            wrong = wrong_output(row, stream.completion)
            if wrong is not None and row.repairs < self._repair and not self._draining and ask_again(row, wrong):
                self._schedule.add_retry(row, now)
                return
            if self._claims is not None and wrong is None:
                self._recording += 1
                completion = stream.completion
                self._claims.finish(row, completion, metrics.request_id, partial(self._recorded, row, completion))
                return
            self._tell(row, "complete" if wrong is None else "error", wrong, stream.completion)
        elif error is None:
            self.limits.cancelled(ticket, now)
            row.claimed = False  # its request may have been paid
            self._tell(row, "cancelled", row.error)
            self._start_no_more()  # something cancelled our task: the event loop is shutting down
        else:
            self.limits.failed(ticket, error, now)
            row.error = error
            self._trouble = str(error) if is_nobody_there(error) else None
            if self._is_charged(error, ticket, now):
                row.charged = row.attempts if self._answered is None else row.charged + 1
            delay = retry_delay(row, error, self._retry, random.random())
            if delay is not None and not self._draining:
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
            self._step_of(row).ends(outcome, error, attempts=row.attempts)
        if self._claims is not None:
            self._claims.release(row)
        result = BatchResult(
            row.index, row.custom_id, row.request, completion, error, outcome, row.attempts, row.metrics, from_ledger
        )
        if self._ordered:
            self._parked[row.index] = result
            while (result_in_turn := self._parked.pop(self._in_turn, None)) is not None:
                self._in_turn += 1
                self._ready.append(result_in_turn)
        else:
            self._ready.append(result)
        self._wake_reader()
        if self._on_progress is not None:
            try:
                self._on_progress(self.progress)
            except Exception as caught:
                self._fail(_not_callable(caught) or caught)

    def _fail(self, error: Exception) -> None:
        """End the batch; the reader is told once it took every result."""
        if not self.ended:
            self._failure = error
            self._outcome = "error"
            self.abandon()
            self._ready.extend(self._parked.pop(index) for index in sorted(self._parked))

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
                row.step.ends("cancelled", attempts=row.attempts)
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
        self._wake_reader()

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

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_at(self, due: float) -> None:
        if due == math.inf or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._pump()


def _read_response_format(row: Row) -> tuple[Any, Any]:
    """Return the wire's form of what a row's ``response_format`` asks for, and how its answers are read."""
    asked = row.params.get("response_format")
    if asked is None:
        return None, None
    from cometstream.structured import read_response_format  # as in `fan_out`

    wire, output, _ = read_response_format(asked)
    return wire, output


def _not_callable(error: Exception) -> ConfigurationError | None:
    """Return what to raise where ``on_progress`` takes no progress; None where the error is its own."""
    own = error.__traceback__ is None or error.__traceback__.tb_next is not None
    if own or not isinstance(error, TypeError):
        return None
    told = ConfigurationError(f"on_progress cannot be called with a BatchProgress ({shown(error)})")
    told.__cause__ = error
    return told
