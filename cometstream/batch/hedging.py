"""Hedging: which requests of a batch are sent a second time because their content is late, and when. No I/O; the time is passed in.

A request is late if it has brought no content within a delay. Then an equal one is sent, and the first that brings content is read.
Each row brings a share of a token, and a hedge takes a whole one: if everything is late, only that share of the load is added.

Source:
    Dean and Barroso, The Tail at Scale (2013), "hedged requests"; gRFC A6, for tokens, and no hedges while a server refuses.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import APIStatusError, ConfigurationError
from cometstream.policy import is_seconds
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.batch.attempt import Attempt
    from cometstream.batch.schedule import Row
    from cometstream.errors import CometError

__all__ = ["Hedge", "Hedging", "checked_hedge"]

# The most tokens that are kept, so that many good rows do not pay for doubling the load when the server gets slow: ten, as in gRFC
# A6, or what twice as many rows bring as run at a time.
_TOKENS: Final = 10.0
_ROUNDS: Final = 2.0
# Adding up shares must not miss a whole token by a rounding.
_ROUNDING: Final = 1e-9
_WHOLE: Final = 1.0 - _ROUNDING
# Seconds without hedges after the server refused a request or said that it has too much to do; longer if it asks for that, or if no
# request that was sent since then was answered.
_CALM: Final = 5.0
_REFUSALS: Final = frozenset({429, 503, 529})
# Times of a model that are kept, those that a percentile needs at least, and how many of them must be above it.
_TIMES: Final = 1000
_FEWEST: Final = 20
_ABOVE: Final = 2
# A percentile is computed again after so many new times.
_STALE: Final = 16
# Models whose times are kept. A batch has a few, but its rows may name any number.
_MODELS: Final = 64


@dataclass(frozen=True)
class Hedge:
    """When to send a request of a batch a second time: ``fan_out(session, rows, hedge=Hedge(after=2.0))``.

    If a request has brought no content after this time, an equal one is sent, once. The first of the two that brings content is
    read to its end; the connection of the other one is closed at once. What that one cost is not known, so it counts as expected.

    Args:
        after: Seconds; or a percentile from ``"p50"`` to ``"p99"`` of the times to the first content that the batch has seen of the
            model. Nothing is hedged before enough was seen: 40 answers for ``"p95"``, 200 for ``"p99"``.
        share: The most hedges, as a share of the rows: above 0, and 1.0 at most. Rows bring it as they are sent: with 0.05, the
            first hedge needs 20 rows. With a percentile, choose more than lies above it (0.1 for ``"p95"``), or those that are
            hardly late use it up.
        max_cost: No more hedges once they may have cost so much, in the currency of the batch's ``price``, and none as long as no
            cost is known. A hedge counts as much as it is expected to cost: one of the two requests is paid in vain.

    Raises:
        ConfigurationError: One of these cannot be used.
    """

    after: float | str = "p95"
    share: float = 0.05
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if not (is_seconds(self.after) and self.after > 0) and self.percentile is None:
            raise ConfigurationError(
                "hedge: after must be a number of seconds above 0, or a percentile from 'p50' to 'p99'; "
                f"got {shown(self.after)}"
            )
        if not (is_seconds(self.share) and 0 < self.share <= 1):
            raise ConfigurationError(
                f"hedge: share must be a share of the rows, above 0 and at most 1.0; got {shown(self.share)}"
            )
        if self.max_cost is not None and not (is_seconds(self.max_cost) and self.max_cost > 0):
            raise ConfigurationError(
                f"hedge: max_cost must be a number above 0, or None (no limit); got {shown(self.max_cost)}"
            )

    @property
    def percentile(self) -> float | None:
        """The share of answers that begin sooner than a hedge is sent; None if `after` is seconds."""
        after = self.after
        if not isinstance(after, str) or not after.startswith("p") or not after[1:].isascii() or len(after) > 8:
            return None
        try:
            share = float(after[1:]) / 100
        except ValueError:
            return None
        return share if 0.5 <= share <= 0.99 else None


def checked_hedge(hedge: Any) -> Hedge | None:
    """Return when a caller wants hedges; seconds or a percentile stand for a ``Hedge`` with them.

    Raises:
        ConfigurationError: It is nothing of these.
    """
    if hedge is None or isinstance(hedge, Hedge):
        return hedge
    if isinstance(hedge, (int, float, str)) and not isinstance(hedge, bool):
        return Hedge(after=hedge)
    raise ConfigurationError(
        f"hedge must be Hedge(...), a number of seconds, a percentile such as 'p95', or None (no hedges); got {shown(hedge)}"
    )


class Hedging:
    """The hedges of one batch.

    Args:
        hedge: What the caller wants; None for no hedges.
        room: Returns the seconds until the limits have room for another request for a row; infinity if other rows wait for it.
        cost_of: Returns what so many tokens cost, as far as the batch knows; None if it does not.

    Attributes:
        is_on: Whether there are hedges at all.
        hedged: Hedges that were sent.
        won: Hedges whose answer is the row's.
    """

    def __init__(
        self, hedge: Hedge | None, room: Callable[[Row, float], float], cost_of: Callable[[int], float | None]
    ) -> None:
        self.is_on = hedge is not None
        self.hedged = self.won = 0
        hedge = Hedge() if hedge is None else hedge
        self._after = math.inf if isinstance(hedge.after, str) else hedge.after
        self._percentile = hedge.percentile
        self._share = hedge.share
        self._max_cost = hedge.max_cost
        self._doubled = 0  # tokens of the requests that were sent twice, as expected
        self._room = room
        self._cost_of = cost_of
        self._tokens = 0.0
        self._waiting: dict[str, dict[Attempt, float]] = {}  # model by model, in the order in which they were sent
        self._refusals: dict[str, _Refusal] = {}  # the last one of each model
        self._times: dict[str, _Times] = {}

    def sends(self, attempt: Attempt, now: float, *, concurrency: int) -> None:
        """A request is sent.

        Args:
            attempt: The request.
            now: Seconds on the caller's clock.
            concurrency: How many may run at a time.
        """
        attempt.sent = now
        row = attempt.row
        if not self.is_on:
            return
        if attempt.is_hedge:
            row.hedges += 1
            self.hedged += 1
            return
        if row.attempts == 1:
            most = max(_TOKENS, _ROUNDS * self._share * concurrency)
            self._tokens = min(self._tokens + self._share, most)
        self._waiting.setdefault(row.model, {})[attempt] = now

    def content(self, attempt: Attempt, now: float) -> None:
        """The content of a request begins, or that of its hedge: in that case it would have taken longer."""
        first = attempt.other if attempt.is_hedge else attempt
        if first is not None and first.sent is not None and self._percentile is not None:
            self._times_of(first.row.model).add(now - first.sent)
        refusal = self._refusals.get(attempt.row.model)
        if refusal is not None and attempt.sent is not None and attempt.sent > refusal.time:
            refusal.is_over = True
        self.ended(attempt)

    def ended(self, attempt: Attempt) -> None:
        """A request need not be hedged any more."""
        model = attempt.row.model
        waiting = self._waiting.get(model)
        if waiting is not None and waiting.pop(attempt, None) is not None and not waiting:
            del self._waiting[model]

    def failed(self, attempt: Attempt, error: CometError, now: float) -> None:
        """A request has failed: a server that has too much to do gets no hedges for a while."""
        if not self.is_on or getattr(error, "status", None) not in _REFUSALS:
            return
        wish = error.retry_after if isinstance(error, APIStatusError) else None
        model = attempt.row.model
        before = self._refusals.pop(model, None)
        if len(self._refusals) >= _MODELS:
            del self._refusals[next(iter(self._refusals))]
        until = now + max(wish or 0.0, _CALM)
        self._refusals[model] = _Refusal(now, until if before is None else max(until, before.until))

    def next(self, now: float) -> Attempt | None:
        """Return a request that is to be sent a second time now, and take the token for it; None if there is no such request."""
        if self._tokens < _WHOLE:
            return None
        for waiting in self._waiting.values():
            attempt = next(iter(waiting))
            if self._wait(attempt, now) <= 0.0:
                self._tokens -= 1.0
                self._doubled += attempt.row.tokens
                self.ended(attempt)
                return attempt
        return None

    def due(self, now: float) -> float:
        """Return the earliest time at which a request may be hedged; infinity if only another event can bring it about."""
        return now + min((self._wait(next(iter(waiting)), now) for waiting in self._waiting.values()), default=math.inf)

    def _wait(self, attempt: Attempt, now: float) -> float:
        if self._tokens < _WHOLE:
            return math.inf
        model = attempt.row.model
        wait = self._waiting[model][attempt] + self._delay(model) - now
        refusal = self._refusals.get(model)
        if refusal is not None:
            wait = max(wait, refusal.until - now) if refusal.is_over else math.inf
        if wait > 0.0:
            return wait
        # The limits are asked last: workers that share them would ask the others for a grant.
        return self._room(attempt.row, now) if self._is_affordable(attempt.row) else math.inf

    def _is_affordable(self, row: Row) -> bool:
        if self._max_cost is None:
            return True
        cost = self._cost_of(self._doubled + row.tokens)
        return cost is not None and cost <= self._max_cost

    def _delay(self, model: str) -> float:
        if self._percentile is None:
            return self._after
        times = self._times.get(model)
        return math.inf if times is None else times.percentile(self._percentile)

    def _times_of(self, model: str) -> _Times:
        times = self._times.get(model)
        if times is None:
            if len(self._times) >= _MODELS:
                del self._times[next(iter(self._times))]
            times = self._times[model] = _Times()
        return times


@dataclass
class _Refusal:
    """A server has refused a request at a time, and gets no hedges until another; at all if it has not answered since."""

    time: float
    until: float
    is_over: bool = False


class _Times:
    """The latest times to the first content of one model."""

    __slots__ = ("_percentile", "_times", "_unread")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_TIMES)
        self._unread = 0
        self._percentile: float | None = None

    def add(self, seconds: float) -> None:
        self._times.append(seconds)
        self._unread += 1

    def percentile(self, share: float) -> float:
        """Return the time that a share of all does not exceed; infinity as long as there are too few."""
        count = len(self._times)
        if count < _FEWEST or count * (1.0 - share) < _ABOVE - _ROUNDING:
            return math.inf
        if self._percentile is None or self._unread >= _STALE:
            self._percentile = sorted(self._times)[math.ceil(share * count - _ROUNDING) - 1]
            self._unread = 0
        return self._percentile
