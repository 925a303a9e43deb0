"""``fan_out``: many requests through one session. Each answer is read whole; one that broke off is asked for again."""

from __future__ import annotations

import asyncio
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakKeyDictionary

from cometstream.answer.json_output import JSON_OUTPUT
from cometstream.batch.buckets import Caps
from cometstream.batch.hedging import checked_hedge
from cometstream.batch.ledger import checked_ledger
from cometstream.batch.limits import Limits
from cometstream.batch.on_progress import check_on_progress
from cometstream.batch.price import Cost
from cometstream.batch.row_request import NOT_SENT
from cometstream.batch.rows import Rows
from cometstream.batch.shared_limits import Sharing, checked_shared_limits
from cometstream.batch.source import check_requests
from cometstream.config import checked_event_size
from cometstream.errors import ConfigurationError, UsageError
from cometstream.late import late_import
from cometstream.policy import NOT_GIVEN, NotGiven, RetryPolicy, Timeouts, is_seconds
from cometstream.request.chat import check_defaults
from cometstream.request.describe import kind, shown
from cometstream.request.params import OtherChatParams
from cometstream.session import CometSession
from cometstream.views.output import Parsed, ParsedT_co

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from cometstream.batch.hedging import Hedge
    from cometstream.batch.ledger import Ledger
    from cometstream.batch.limits import ConcurrencyChange
    from cometstream.batch.price import Price
    from cometstream.batch.result import BatchProgress, BatchResult
    from cometstream.batch.shared_limits import SharedLimits
    from cometstream.request.params import Message, ResponseFormatParam
    from cometstream.structured import Schema
    from cometstream.views.output import AskedT

__all__ = ["FanOut", "fan_out"]

# No user watches the tokens of a batch. Waking twice a second for each stream costs a quarter of waking for each token.
_PACE: Final = 0.5

# A batch runs for hours and may lose no row: it waits longer than a user would, and up to an hour if the server asks for it.
_RETRY: Final = RetryPolicy(max_retries=5, initial_delay=1.0, max_delay=60.0, max_retry_after=3600.0)


_CAPS: Final[WeakKeyDictionary[CometSession, WeakKeyDictionary[asyncio.AbstractEventLoop, Caps]]] = WeakKeyDictionary()


class FanOut(Parsed[ParsedT_co]):
    """A running batch, made by ``fan_out``. Iterating it gives one ``BatchResult`` for each row.

    Leaving its ``async with`` block ends all requests under way. Without such a block, the first read starts the batch, and
    dropping it before its end gives a ResourceWarning.
    """

    def __init__(self, make_rows: Callable[[], Rows]) -> None:
        self._make_rows = make_rows
        self._rows: Rows | None = None  # the tasks hold it and not this object, so that a dropped batch is noticed

    async def __aenter__(self) -> Self:
        rows = self._made()
        if rows.ended:
            raise UsageError("this batch has ended: call fan_out() again for another")
        rows.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult[ParsedT_co]:
        """Return the next row's result.

        Raises:
            UsageError: The session was closed, or another task is reading.
            ConfigurationError: The requests cannot be read, ``on_progress`` cannot be called, or ``max_cost`` is given and the
                cost is not known.
            Exception: What ``on_progress`` or the iterator of the requests raised, after the results of the rows before.
        Cancellation:
            Safe; the rows go on, and no result is lost.
        """
        return await self._made().result()

    def drain(self) -> None:
        """Start no more rows. Requests under way come to their end; rows that wait come back as ``cancelled``."""
        self._made().drain()

    async def aclose(self) -> None:
        """End the batch and all its requests. It may be called from another task; the reader's loop then ends without an error.

        Cancellation:
            The requests are still ended.
        """
        await self._made().aclose()

    @property
    def progress(self) -> BatchProgress:
        """How far the batch has come."""
        return self._made().progress

    @property
    def history(self) -> Sequence[ConcurrencyChange]:
        """How the number of requests at a time changed, when and why; the newest change is the last."""
        return self._made().limits.history

    def _made(self) -> Rows:
        if self._rows is None:
            self._rows = self._make_rows()
        return self._rows

    def __del__(self) -> None:
        if self._rows is not None and not self._rows.ended:
            self._rows.abandon()
            warnings.warn(
                "a batch was dropped before its end: use `async with fan_out(...) as batch`, or batch.aclose()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


class BatchParams(OtherChatParams, total=False):
    """The wire's parameters that the rows of a batch can share."""

    model: str
    messages: Sequence[Message]
    extra_body: Mapping[str, Any] | None


def fan_out(
    session: CometSession,
    requests: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
    *,
    concurrency: int | Literal["auto"] = "auto",
    rpm: float | None = None,
    tpm: float | None = None,
    pace: float = _PACE,
    retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
    timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
    ordered: bool = False,
    max_tokens_total: int | None = None,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[BatchProgress], object] | None = None,
    split_think: bool = False,
    max_event_size: int | NotGiven = NOT_GIVEN,
    response_format: type[AskedT] | Schema[AskedT] | ResponseFormatParam | None = None,
    repair: int = 0,
    ledger: Ledger | str | os.PathLike[str] | None = None,
    shared_limits: SharedLimits | str | os.PathLike[str] | None = None,
    hedge: Hedge | float | str | None = None,
    **defaults: Unpack[BatchParams],
) -> FanOut[AskedT]:
    """Return a batch. Enter it with ``async with``, then iterate it: each row gives one ``BatchResult``. Nothing is sent before.

    Every answer is streamed, so that no proxy cuts a silent connection and a stall shows early. A row whose answer was cut,
    stalled or malformed is sent again, since you have not seen its content yet. A row whose answer had no finish_reason is sent
    once more.

    Args:
        session: The session whose pool and key are used.
        requests: Dicts of wire parameters, each optionally with a ``custom_id`` (a string) and ``extra_body``: a list, an iterator
            or an async iterator, which may be endless. A request is pulled when it can be started. If the requests are for
            several models, up to 256 more are pulled, to find one that need not wait. An iterator that is not async is read in
            the event loop's thread. Do not change a request before you have its result.
        concurrency: Requests at a time. ``"auto"`` grows up to 1,000 while answers come well, and shrinks after refusals, errors
            and slow answers.
        rpm: The most requests a minute for each model, 0.001 or more; None for no cap. Batches of one session that run at the
            same time with the same cap share it. Limits that the server announces or enforces are obeyed as well.
        tpm: The most tokens a minute for each model, 0.001 or more; None for no cap. Tokens are estimated first, and corrected
            by the reported usage.
        pace: Seconds that arrivals of a stream may gather between two reads once there is content. The end of a row may be noticed
            that much later.
        retry: A ``RetryPolicy``, a number of retries, or None (no retries). The default is five retries with waits of up to a
            minute, or up to an hour if the server asks for it. With the default, attempts that reach no server are not counted
            for ten minutes after the last answer, or for the first minute if there was no answer yet.
        timeouts: The clocks for each attempt; clocks that are not given are the session's.
        ordered: Yield results in the order of the requests; otherwise as the rows end. Rows that are done before their turn are
            kept: up to 256, and four more for each request at a time.
        max_tokens_total: Start no more rows once so many tokens are used or expected from requests under way; None for no limit.
        price: The cost of a million input and a million output tokens, as in ``(1.25, 10)``, and optionally of a million cached
            input tokens; or a mapping from models to such prices. It is used for ``progress.cost`` if the server reports no cost.
            Models without one have the price of ``session.catalog()``, where that was called.
        max_cost: Start no more rows once so much money is spent, in the currency of ``price``; None for no limit. Requests that are
            under way then come to their end, so their cost may exceed it.
        on_progress: A function that is not async; called with the ``BatchProgress`` after each row.
        split_think: As in ``CometSession.stream``, for every row.
        max_event_size: As the session's, for every row.
        response_format: As in ``CometSession.stream``, for every row that has none of its own. Where it is a type, a row whose
            answer is not of that type ends as ``error``, with an ``OutputError`` beside the completion.
        repair: How often a row may be asked again where its answer is not valid for that type: with the answer, and what is wrong
            with it. Each time costs an attempt.
        ledger: Where finished rows are written down, so that no worker pays one twice: a ``Ledger``, or its address (a file's name,
            or ``redis://host:6379/0``). A row that is finished there is not sent: its result has the answer that was written
            down, and ``from_ledger``. A result is handed over once it is written. Rows that another worker has are waited for.
            If a worker died, its rows under way are sent again, and ``progress.maybe_paid_twice`` counts them.
        shared_limits: What this batch shares with those of other processes and machines: ``SharedLimits``, or their address (a
            file's name, or ``redis://host:6379/0``). ``rpm``, ``tpm``, ``max_cost``, ``max_tokens_total`` and the limits of the
            server then count for all of them together; ``concurrency`` is each one's own.
        hedge: When to send a request a second time because it has brought no content: ``Hedge``, or its ``after`` (seconds, or a
            percentile such as ``"p95"``); None for never. A hedge counts for all limits and caps, waits until they have room, and
            is not sent while the server refuses requests. ``progress.hedged`` and ``progress.hedges_won`` tell how many there were.
        **defaults: Wire parameters for all rows; a row's own parameters replace them.
    Returns:
        The batch.
    Raises:
        ConfigurationError: An option cannot be used.
        InvalidRequestError: The defaults break the specification.
        UsageError: The session is closed.
    Cancellation:
        Nothing is awaited.
    """
    shared: dict[str, Any] = {**defaults}
    if not isinstance(session, CometSession):
        raise ConfigurationError(f"session must be a CometSession; got {kind(session)}")
    if session.closed:
        raise UsageError("this session is closed: make another CometSession")
    check_requests(requests)
    check_on_progress(on_progress)
    if not is_seconds(pace):
        raise ConfigurationError(f"pace must be a number of seconds, 0 or more; got {shown(pace)}")
    for name, value in (("ordered", ordered), ("split_think", split_think)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be True or False; got {shown(value)}")
    foreign = sorted(NOT_SENT & shared.keys())
    if foreign:
        raise ConfigurationError(f"{foreign[0]}: is neither a wire parameter nor an option of a batch")
    if max_tokens_total is not None and (
        not isinstance(max_tokens_total, int) or isinstance(max_tokens_total, bool) or max_tokens_total < 1
    ):
        raise ConfigurationError(
            f"max_tokens_total must be a whole number of 1 or more, or None; got {shown(max_tokens_total)}"
        )
    if max_cost is not None and not (is_seconds(max_cost) and max_cost > 0):
        raise ConfigurationError(f"max_cost must be a number above 0, or None (no limit); got {shown(max_cost)}")
    if not isinstance(repair, int) or isinstance(repair, bool) or repair < 0:
        raise ConfigurationError(f"repair must be a whole number of 0 or more; got {shown(repair)}")
    options: dict[str, Any] = {"pace": pace, "timeouts": timeouts, "retry": None, "split_think": split_think}
    if not isinstance(max_event_size, NotGiven):
        options["max_event_size"] = checked_event_size(max_event_size)
    # A bad default is reported once, now, and not by every row.
    asked: object = response_format
    problems: Sequence[str] = ()
    if response_format is not None:
        # Programs that want text do not wait for the import.
        with late_import:
            from cometstream.structured import read_response_format

        asked, output, problems = read_response_format(response_format)
        shared["response_format"] = asked if output is JSON_OUTPUT or output is None else output
    check_defaults({**shared, "response_format": asked}, validate=session.validate, stacklevel=2, problems=problems)
    session.clocks.with_(timeouts)
    policy = _RETRY if isinstance(retry, NotGiven) else RetryPolicy.of(retry, base=_RETRY)
    limits = partial(Limits, concurrency=concurrency, rpm=rpm, tpm=tpm, max_retry_after=policy.max_retry_after)
    limits(now=0.0)  # only when the loop runs is its clock known

    cost = Cost(price, session.prices)
    hedged = checked_hedge(hedge)
    job = checked_ledger(ledger)
    if job is not None:
        job.store()  # it says what is missing
    shared_with = checked_shared_limits(shared_limits)
    if shared_with is not None:
        shared_with.store()

    def make_rows() -> Rows:
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            raise UsageError("a batch runs in an event loop: use it within a coroutine") from None
        sharing = None if shared_with is None else Sharing(shared_with)
        models = None if sharing is None else sharing.models
        return Rows(
            session,
            requests,
            limits=limits(now=now, caps=_shared_caps(session), shared=models),
            retry=policy,
            patient=isinstance(retry, NotGiven),
            options=options,
            defaults=shared,
            ordered=ordered,
            max_tokens_total=max_tokens_total,
            cost=cost,
            max_cost=max_cost,
            repair=repair,
            on_progress=on_progress,
            ledger=job,
            sharing=sharing,
            hedge=hedged,
        )

    return FanOut(make_rows)


def _shared_caps(session: CometSession) -> Caps:
    """Return the caps that all batches of a session share in this event loop, whose clock they follow."""
    by_loop = _CAPS.setdefault(session, WeakKeyDictionary())
    return by_loop.setdefault(asyncio.get_running_loop(), Caps())
