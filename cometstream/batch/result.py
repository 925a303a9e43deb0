"""What a batch reports: one result for each row, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cometstream.views.cost import output_tokens
from cometstream.views.output import Parsed, ParsedT_co

if TYPE_CHECKING:
    from cometstream.answer.states import Outcome
    from cometstream.batch.price import Cost
    from cometstream.errors import CometError
    from cometstream.metrics import StreamMetrics
    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.completion import ChatCompletion

__all__ = ["BatchProgress", "BatchResult", "Tally", "total_tokens"]

# More than any context holds. A larger number is nonsense, and would stop a batch for days: it is ignored.
_MOST_TOKENS: Final = 20_000_000


@dataclass(frozen=True)
class BatchResult(Parsed[ParsedT_co]):
    """How one row of a batch ended.

    Attributes:
        index: The row's place among the requests, from 0.
        custom_id: The request's ``custom_id``; None if it has none.
        request: The request as the caller gave it.
        completion: The answer. If it broke off, what came in the last attempt; None if nothing came.
        error: The error of the last attempt, or the reason why there was no attempt; None if the answer is whole. An
            ``OutputError`` where the answer is whole, but not a value of the type that ``response_format`` is.
        outcome: As a stream's: ``complete``, ``unterminated``, ``truncated`` or ``error``. ``cancelled`` if the batch ended before
            the row did: run such a row again.
        attempts: Requests sent, hedges included.
        metrics: The metrics of the last attempt, with ``attempts`` and ``failures`` of all; None if there was no attempt. If it was
            hedged, its times are counted from the first of both requests; what the other one cost is unknown, and not in it.
        from_ledger: The answer was in the ``ledger`` already, so nothing was sent.
    """

    index: int
    custom_id: str | None
    request: Any
    completion: ChatCompletion[ParsedT_co] | None
    error: CometError | None
    outcome: Outcome
    attempts: int
    metrics: StreamMetrics | None
    from_ledger: bool = False


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch has come. The numbers count rows, unless the text says otherwise.

    Attributes:
        done: Rows that ended with outcome ``complete``.
        failed: Rows that ended otherwise, without the cancelled ones.
        running: Requests under way, hedges included.
        waiting: Rows that were pulled and wait: for other requests to end, for a rate limit, or for their next attempt.
        retries: Attempts beyond the first of each row, without hedges.
        prompt_tokens: Input tokens that the server reported.
        completion_tokens: Output tokens that the server reported, reasoning included.
        cost: Money spent, from the reported ``usage.cost``, the caller's ``price`` or the catalogue; None if none is known.
        concurrency: Requests that may run at a time now.
        concurrency_reason: Why the concurrency has this value.
        elapsed: Seconds since the batch was started.
        total: How many rows there are; None if the requests have no length.
        trouble: The error of the last attempt, with the address, if that reached no server; None if it reached one.
        from_ledger: Rows of ``done`` whose answers were in the ``ledger`` already.
        maybe_paid_twice: Rows that this batch sent although a worker that is gone had begun with them: it may have sent them, too.
        hedged: Requests that were sent a second time because their content was late. One of the two was paid in vain, perhaps.
        hedges_won: Those of them whose answer is the row's.
    """

    done: int
    failed: int
    running: int
    waiting: int
    retries: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    concurrency: int
    concurrency_reason: str
    elapsed: float
    total: int | None
    trouble: str | None = None
    from_ledger: int = 0
    maybe_paid_twice: int = 0
    hedged: int = 0
    hedges_won: int = 0


def total_tokens(usage: CompletionUsage | None) -> int | None:
    """Return the tokens of an answer, input and output together; None if the server reports nothing, or nonsense."""
    if usage is None:
        return None
    return _sane(usage.total_tokens) or _sane(usage.prompt_tokens) + _sane(usage.completion_tokens) or None


def _sane(tokens: int) -> int:
    return tokens if 0 <= tokens <= _MOST_TOKENS else 0


class Tally:
    """Counts what a batch did so far.

    Args:
        cost: Tells what an answer cost.

    Attributes:
        done: Rows that ended with outcome ``complete``.
        failed: Rows that ended otherwise, without the cancelled ones.
        retries: Attempts beyond the first of each row.
        prompt_tokens: Input tokens that the server reported.
        completion_tokens: Output tokens that the server reported.
        tokens: Tokens of all attempts: as reported, or as expected if the server reported nothing.
        cost: Money spent; None if it is not known.
        from_ledger: Rows of ``done`` that a ledger had answers of.
        unpriced: A model that answered and whose cost is not known; None if there is no such model.
    """

    __slots__ = (
        "_cost_of",
        "_unreported",
        "completion_tokens",
        "cost",
        "done",
        "failed",
        "from_ledger",
        "prompt_tokens",
        "retries",
        "tokens",
        "unpriced",
    )

    def __init__(self, cost: Cost) -> None:
        self._cost_of = cost.of
        self.done = self.failed = self.retries = self.from_ledger = 0
        self.prompt_tokens = self.completion_tokens = self.tokens = 0
        self._unreported = 0  # of `tokens`, those that were only expected
        self.cost: float | None = None
        self.unpriced: str | None = None

    @property
    def spent(self) -> float:
        """Money spent: what is known, and for answers without a report as much a token as the others cost."""
        return self.cost_of(self.tokens) or 0.0

    def cost_of(self, tokens: int) -> float | None:
        """Return what so many tokens cost if each costs as much as those that were reported; None if no cost is known."""
        reported = self.tokens - self._unreported
        return None if self.cost is None else self.cost * tokens / max(reported, 1)

    def attempt(self, model: str, usage: CompletionUsage | None, expected: int, *, complete: bool) -> None:
        """Count an attempt.

        Args:
            model: Whose price applies.
            usage: What the server reported.
            expected: Tokens to count where it reported nothing.
            complete: Whether the answer is whole.
        """
        total = total_tokens(usage)
        self.tokens += expected if total is None else total
        if total is None:
            self._unreported += expected
            if complete and self.cost is None:
                self.unpriced = model
        if usage is None:
            return
        self.prompt_tokens += _sane(usage.prompt_tokens)
        self.completion_tokens += _sane(output_tokens(usage))
        cost = self._cost_of(model, usage)
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost
        else:
            self.unpriced = model

    def row(self, outcome: Outcome, *, from_ledger: bool = False) -> None:
        """Count a row that has ended."""
        if outcome == "complete":
            self.done += 1
            self.from_ledger += from_ledger
        elif outcome != "cancelled":
            self.failed += 1
