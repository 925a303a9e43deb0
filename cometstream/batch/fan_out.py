"""``fan_out``: many requests through one session, each answer streamed, read whole, and retried whole where it broke off."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from cometstream.batch.limits import Limits
from cometstream.batch.price import Cost
from cometstream.batch.rows import NOT_SENT, Rows
from cometstream.batch.source import check_requests
from cometstream.config import checked_event_size
from cometstream.errors import ConfigurationError, UsageError
from cometstream.policy import NOT_GIVEN, NotGiven, RetryPolicy, Timeouts, is_seconds
from cometstream.request.chat import check_defaults
from cometstream.request.describe import kind, shown
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from cometstream.batch.limits import ConcurrencyChange
    from cometstream.batch.price import Price
    from cometstream.batch.result import BatchProgress, BatchResult

__all__ = ["FanOut", "fan_out"]

# Nobody watches the tokens of a batch: waking twice a second for each stream costs a quarter of waking for each token.
_PACE: Final = 0.5

# A batch runs for hours and may lose nothing: it waits longer than one who watches would, and for whatever the server asks.
_RETRY: Final = RetryPolicy(max_retries=5, initial_delay=1.0, max_delay=60.0, max_retry_after=3600.0)


class FanOut:
    """A batch that runs: iterate it for one ``BatchResult`` a row; made by ``fan_out``.

    Leaving its ``async with`` block ends every request that is on its way. Without such a block the first read starts it,
    and dropping it before its end warns.
    """

    def __init__(self, make_rows: Callable[[], Rows]) -> None:
        self._make_rows = make_rows
        self._rows: Rows | None = None  # the tasks know of it, and not of this object: dropping this one is noticed

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

    async def __anext__(self) -> BatchResult:
        """Return the next row's result.

        Raises:
            UsageError: The session was closed, or another task is reading.
            Exception: What the iterator of the requests raised, after the rows that it gave.
        Cancellation:
            Safe; no result is lost, and the rows go on.
        """
        return await self._made().result()

    def drain(self) -> None:
        """Start nothing more: requests on their way go on to their end, rows that wait come back as ``cancelled``."""
        self._made().drain()

    async def aclose(self) -> None:
        """End the batch, also from another task: every request is ended, a reader's loop ends quietly.

        Cancellation:
            The requests are ended all the same.
        """
        await self._made().aclose()

    @property
    def progress(self) -> BatchProgress:
        """How far the batch has come."""
        return self._made().progress

    @property
    def history(self) -> Sequence[ConcurrencyChange]:
        """How many requests might run at a time, since when, and why; the newest last."""
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
    on_progress: Callable[[BatchProgress], object] | None = None,
    split_think: bool = False,
    max_event_size: int | NotGiven = NOT_GIVEN,
    **defaults: Any,
) -> FanOut:
    """Return a batch to enter with ``async with`` and to iterate for one ``BatchResult`` a row; nothing is sent before.

    Every answer is streamed, so that no proxy cuts it for being silent and a stall shows early. Since nobody has seen its
    content, a row whose answer was cut, stalled or malformed is sent again whole; one that ended without a finish_reason once.

    Args:
        session: The session whose pool and key are used.
        requests: A list, an iterator or an async iterator, also an endless one, of dicts of wire parameters, each optionally with
            a ``custom_id`` (a text) and ``extra_body``. They are pulled one by one as they can be started (where there are several
            models, up to 256 more are looked at for one that need not wait); an iterator that is not async is read in the
            event loop's thread. What was pulled must not be changed until its row is told of.
        concurrency: Requests at a time; ``"auto"`` grows while answers come well, up to 1,000, and backs off by refusals, errors
            and slow answers.
        rpm: Requests a minute that each model gets at the most; None for no cap. Limits that the server tells of, or refuses
            by, are obeyed in any case.
        tpm: Tokens a minute, likewise: estimated before, corrected by the reported usage.
        pace: Seconds that arrivals of a stream may gather between two reads; a row's end may be late by as much.
        retry: A ``RetryPolicy``, a number of retries, or None (no retries). By default five, waiting up to a minute each, and as
            long as the server asks for up to an hour; attempts that find nobody there do not count for ten minutes since the last
            answer, or one where there was none yet.
        timeouts: Clocks as those of a stream, for each attempt; those not given are the session's.
        ordered: Yield results in the order of the requests instead of that of their ends; rows that are done before their turn
            are kept, up to 256 and four for each place.
        max_tokens_total: Start no row once this many tokens were used, or are expected of what is on its way; None for no end.
        price: What a million input and a million output tokens cost, or a mapping from models to such pairs, for
            ``progress.cost`` where the server reports none.
        on_progress: Called with the ``BatchProgress`` after each row.
        split_think: As in ``CometSession.stream``, for every row.
        max_event_size: As the session's, for every row.
        **defaults: Wire parameters for every row that does not have them itself.
    Returns:
        The batch.
    Raises:
        ConfigurationError: An option cannot be used.
        InvalidRequestError: The defaults break the specification.
        UsageError: The session is closed.
    Cancellation:
        Nothing is awaited.
    """
    if not isinstance(session, CometSession):
        raise ConfigurationError(f"session must be a CometSession; got {kind(session)}")
    if session.closed:
        raise UsageError("this session is closed: make another CometSession")
    check_requests(requests)
    if on_progress is not None and not _takes_one(on_progress):
        raise ConfigurationError(
            f"on_progress must be a function of one argument that is not async; got {shown(on_progress)}"
        )
    if not is_seconds(pace):
        raise ConfigurationError(f"pace must be a number of seconds, 0 or more; got {shown(pace)}")
    for name, value in (("ordered", ordered), ("split_think", split_think)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be True or False; got {shown(value)}")
    foreign = sorted(NOT_SENT & defaults.keys())
    if foreign:
        raise ConfigurationError(f"{foreign[0]}: is neither a wire parameter nor an option of a batch")
    if max_tokens_total is not None and (
        not isinstance(max_tokens_total, int) or isinstance(max_tokens_total, bool) or max_tokens_total < 1
    ):
        raise ConfigurationError(
            f"max_tokens_total must be a whole number of 1 or more, or None; got {shown(max_tokens_total)}"
        )
    options: dict[str, Any] = {"pace": pace, "timeouts": timeouts, "retry": None, "split_think": split_think}
    if not isinstance(max_event_size, NotGiven):
        options["max_event_size"] = checked_event_size(max_event_size)
    # A bad default is reported once, now, and not by every row.
    check_defaults(defaults, validate=session.validate, stacklevel=2)
    session.clocks.with_(timeouts)
    policy = _RETRY if isinstance(retry, NotGiven) else RetryPolicy.of(retry, base=_RETRY)
    limits = partial(Limits, concurrency=concurrency, rpm=rpm, tpm=tpm, max_retry_after=policy.max_retry_after)
    limits(now=0.0)  # only when the loop runs is its clock known

    cost = Cost(price)

    def make_rows() -> Rows:
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            raise UsageError("a batch runs in an event loop: use it within a coroutine") from None
        return Rows(
            session,
            requests,
            limits=limits(now=now),
            retry=policy,
            patient=isinstance(retry, NotGiven),
            options=options,
            defaults=defaults,
            ordered=ordered,
            max_tokens_total=max_tokens_total,
            cost=cost,
            on_progress=on_progress,
        )

    return FanOut(make_rows)


def _takes_one(function: Any) -> bool:
    """Whether a function that is not async can be called with one argument, as far as that can be told."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        return False
    try:
        signature = inspect.signature(function)
    except Exception:  # some functions that are written in C have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
