"""When the next request of a batch may start: rates and pauses of each model, and how many may be on their way.

No I/O and no clock: the time is passed in, as seconds of one clock that never goes back. The parts stand beside this: `buckets`
(the caller's caps), `model_limits` (what one model's server tells, and what its refusals teach), `latency` and `concurrency` (how
many at a time), `tokens` (the estimate).
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from cometstream.batch.buckets import Caps
from cometstream.batch.concurrency import AdaptiveConcurrency, ConcurrencyChange
from cometstream.batch.model_limits import ModelLimits, Ticket
from cometstream.batch.tokens import estimate_input, estimate_output
from cometstream.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    EmptyStreamError,
    StreamServerError,
    StreamTruncatedError,
)
from cometstream.policy import is_seconds
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cometstream.batch.shared_models import SharedModel, SharedModels
    from cometstream.errors import CometError

__all__ = ["MAX_CONCURRENCY", "ConcurrencyChange", "Limits", "Ticket"]

# The most that "auto" reaches: a thousand sockets are near the usual limit of open files (1,024), and no known key allows more.
MAX_CONCURRENCY: Final = 1000

# Models that are remembered. A batch has a few, but its rows may name any number.
_MODELS: Final = 4096
# The lowest cap a minute: one in 16 hours. The waits of much lower ones are beyond what floating point holds.
_SLOWEST: Final = 0.001
# How far an average moves towards each new value.
_WEIGHT: Final = 1 / 16


class Limits:
    """What a batch may send, and when.

    Call ``wait`` before each request. Call ``start`` when the wait is 0.0 and fewer than ``concurrency`` requests run. Then report
    how the request went on. Each answer may change the waits, so ask again after an answer and after each wait.

    Args:
        concurrency: Requests that may run at a time, all models together. ``"auto"`` starts at 16, doubles until the first sign of
            congestion, and then adapts.
        rpm: The most requests a minute for each model; None for no cap. They are spaced evenly, with at most 0.05 seconds' worth at
            once: a larger burst would exceed the server's own window.
        tpm: The most tokens a minute for each model; None for no cap. At most one second's worth may start at once.
        now: Seconds on the caller's clock.
        max_retry_after: The longest ``Retry-After`` in seconds that is obeyed. If the server asks for more, one request tries again
            after this time.
        caps: Where the caps are kept that several batches share; None for caps of its own.
        shared: The models that several workers share; None for models of its own.

    Raises:
        ConfigurationError: One of these options cannot be used.
    """

    def __init__(
        self,
        *,
        concurrency: int | Literal["auto"] = "auto",
        rpm: float | None = None,
        tpm: float | None = None,
        now: float,
        max_retry_after: float = 3600.0,
        caps: Caps | None = None,
        shared: SharedModels | None = None,
    ) -> None:
        if not _is_count(concurrency) and not (isinstance(concurrency, str) and concurrency == "auto"):
            raise ConfigurationError(
                f"concurrency must be a whole number of 1 or more, or 'auto'; got {shown(concurrency)}"
            )
        for name, value in (("rpm", rpm), ("tpm", tpm)):
            if value is not None and not _is_rate(value):
                raise ConfigurationError(
                    f"{name} must be a number of {_SLOWEST} or more, or None (no cap); got {shown(value)}"
                )
        self._rpm = rpm
        self._tpm = tpm
        self._concurrency = AdaptiveConcurrency(
            fixed=concurrency if isinstance(concurrency, int) else None, ceiling=MAX_CONCURRENCY, now=now
        )
        self._longest = max_retry_after
        self._caps = Caps() if caps is None else caps
        self._shared = shared
        self._models: dict[str, ModelLimits | SharedModel] = {}

    @property
    def concurrency(self) -> int:
        """Requests that may run at a time, all models together."""
        return self._concurrency.limit

    @property
    def reason(self) -> str:
        """The reason for this number, as one short phrase."""
        return self._concurrency.reason

    @property
    def history(self) -> Sequence[ConcurrencyChange]:
        """The latest 1,000 changes of the concurrency, the oldest first."""
        return self._concurrency.history

    def estimate(self, model: str, body: Mapping[str, Any]) -> int:
        """Return about how many tokens a request takes, from its size and what the model's answers took so far; at least 1."""
        size = estimate_input(body)
        known = self._models.get(model)
        if known is None:
            return size + estimate_output(body, None)
        known.input = size if known.input is None else known.input + (size - known.input) * _WEIGHT
        typical = None if known.total is None else max(known.total - known.input, 1.0)
        return size + estimate_output(body, typical)

    def wait(self, model: str, tokens: int, now: float) -> float:
        """Return the seconds until a request of this model and size may start; 0.0 for now. Concurrency is not in it.

        A request of more tokens than a cap ever allows at once starts when the bucket is full.
        """
        known = self._model(model, now)
        return 0.0 if known.free else known.wait(tokens, now)

    def start(self, model: str, tokens: int, now: float) -> Ticket:
        """Count what a request needs, even if it is more than there is, and return the request's ticket."""
        self._concurrency.started(now)
        return self._model(model, now).start(tokens, now)

    def answered(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """A 2xx head has come.

        Args:
            ticket: The request's.
            headers: The answer's, case-insensitive; ``x-ratelimit-*`` are read.
            now: Seconds on the caller's clock.
        """
        ticket.model.taken(ticket, now)
        ticket.model.read(ticket, headers, now)

    def completed(self, ticket: Ticket, now: float, *, tokens: int | None, time_to_first_content: float | None) -> None:
        """A whole answer has come.

        Args:
            ticket: The request's.
            now: Seconds on the caller's clock.
            tokens: Input and output that the server reported; None leaves the estimate.
            time_to_first_content: Seconds; None leaves it out of the latency.
        """
        model, concurrency = ticket.model, self._concurrency
        model.taken(ticket, now)
        model.answered(now)
        model.over(ticket)
        if tokens is not None:
            model.total = tokens if model.total is None else model.total + (tokens - model.total) * _WEIGHT
            model.give_back(ticket.tokens - tokens, now)
        concurrency.succeeded(ticket.time, now)
        if (
            time_to_first_content is not None
            and concurrency.is_newer(ticket.time)
            and model.latency.add(time_to_first_content)
        ):
            concurrency.slower(now)

    def failed(self, ticket: Ticket, error: CometError, now: float) -> None:
        """A request has failed: refused, cut, timed out, or at fault itself.

        Args:
            ticket: The request's.
            error: What it died of; its kind decides what is learned.
            now: Seconds on the caller's clock.
        """
        model, concurrency = ticket.model, self._concurrency
        model.over(ticket)
        status = getattr(error, "status", None)
        wish = None
        if isinstance(error, APIStatusError):
            wish = None if error.retry_after is None else min(error.retry_after, self._longest)
            model.read(ticket, error.headers, now)
            model.give_back(ticket.tokens, now)
        if status == 429 and not _is_quota(error):
            if model.refused(ticket, wish, now):
                concurrency.erred(ticket.time, now, f"429 from {model.name}")
            else:
                concurrency.ended()
            return
        if status is not None and status < 500:
            model.taken(ticket, now)
        if status == 503 and wish is not None:
            model.busy(wish, now)
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            concurrency.out_of_files(now)
        else:
            reason = _congestion(error, status)
            if reason is None:
                concurrency.ended()
            else:
                concurrency.erred(ticket.time, now, reason)

    def cancelled(self, ticket: Ticket, now: float) -> None:
        """A request was given up; what it took stays taken, since the server may have begun."""
        ticket.model.over(ticket)
        self._concurrency.ended()

    def _model(self, name: str, now: float) -> ModelLimits | SharedModel:
        known = self._models.get(name)
        if known is None:
            if len(self._models) >= _MODELS:
                self._forget_one()
            if self._shared is not None:
                known = self._shared.model(name, self._rpm, self._tpm, now)
            else:
                known = ModelLimits(name, self._rpm, self._tpm, now, self._caps)
            self._models[name] = known
        return known

    def _forget_one(self) -> None:
        """Forget the oldest model without requests under way, preferably one that has had no refusals."""
        idle = [name for name, model in self._models.items() if not model.in_flight]
        unrefused = [name for name in idle if not self._models[name].was_refused]
        for name in (unrefused or idle)[:1]:
            del self._models[name]


def _congestion(error: CometError, status: int | None) -> str | None:
    """Return the reason to show if too much load may explain a failure; None if load does not explain it."""
    if isinstance(error, APITimeoutError):
        return None if error.clock == "total" else "timeouts"
    if isinstance(error, APIConnectionError):
        return "connection errors"
    if isinstance(error, (StreamTruncatedError, EmptyStreamError)):
        return "answers were cut"
    if isinstance(error, StreamServerError) and status is None:
        return "errors inside answers"
    if status is not None and (status >= 500 or status in (408, 409)) and not _is_quota(error):
        return f"status {status}"
    return None


def _is_quota(error: CometError) -> bool:
    # Waiting does not help against some codes ("insufficient_quota"); they make the error not retryable.
    return error.code is not None and not error.retryable


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= sys.maxsize


def _is_rate(value: Any) -> bool:
    return is_seconds(value) and value >= _SLOWEST
