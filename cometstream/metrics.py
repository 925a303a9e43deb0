"""What a stream tells of itself: the head of its answer, what it cost, and how fast it was."""

from __future__ import annotations

from array import array
from bisect import bisect
from math import exp
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cometstream.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.answer.states import Outcome
    from cometstream.failed import FailedAttempt
    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.cost import CostSource

__all__ = ["Gaps", "StreamMetrics", "StreamResponse", "UsageSource"]

UsageSource = Literal["reported", "unknown"]

# The 64 counters of a sketch: each is for gaps about 1.27 times as long as the one before, from 0.1 ms up to 300 s and more.
_FINEST: Final = 1e-4
_BY_E: Final = 4.2
_BOUNDS: Final = [_FINEST * (exp(counter / _BY_E) - 1.0) for counter in range(1, 64)]

# Reads whose gaps are counted together: code that a process comes back to seldom has left the processor's caches.
_AT_ONCE: Final = 8


class StreamResponse(NamedTuple):
    """The head of the answer."""

    status: int
    headers: Mapping[str, str]
    request_id: str | None


class Gaps:
    """The gaps between the reads of one answer, as a sketch of fixed size: a histogram of 64 counters on a logarithmic scale.

    A percentile is right to 13 % of the gap and 0.1 ms, the longest gap is exact. Reads are counted and not chunks: that costs
    nothing where many chunks come at a time, and chunks of one read have no gap between them.

    Args:
        now: When the bytes of the first content were read.
    """

    __slots__ = ("_counted", "_counters", "_longest", "_reads")

    def __init__(self, now: float) -> None:
        self._counters = array("I", bytes(4 * (len(_BOUNDS) + 1)))
        self._counted = now  # the last read whose gap was counted
        self._longest = 0.0
        self._reads: list[float] = []  # those after it

    def add(self, now: float) -> None:
        """Bytes were read."""
        reads = self._reads
        reads.append(now)
        if len(reads) == _AT_ONCE:
            self._count()

    def _count(self) -> None:
        last = self._counted
        for now in self._reads:
            gap = now - last
            last = now
            if gap > self._longest:
                self._longest = gap
            self._counters[bisect(_BOUNDS, gap)] += 1
        self._counted = last
        self._reads.clear()

    @property
    def last(self) -> float:
        """When the last bytes were read."""
        return self._reads[-1] if self._reads else self._counted

    @property
    def longest(self) -> float:
        """The longest gap in seconds; 0.0 where there was none."""
        self._count()
        return self._longest

    def percentile(self, share: float) -> float | None:
        """Return the gap that a share of all gaps does not exceed; None where there was no gap."""
        self._count()
        left = share * sum(self._counters)
        if not left:
            return None
        for counter, count in enumerate(self._counters[:-1]):
            left -= count
            if left <= 0.0:
                return min(_FINEST * (exp((counter + 0.5) / _BY_E) - 1.0), self._longest)
        return self._longest


@dataclass(frozen=True, init=False)
class StreamMetrics:
    """What a stream cost and how fast it was; times in seconds on the event loop's clock, None where it has not come.

    Attributes:
        request_id: The gateway's id of the last attempt.
        attempts: Requests sent, retries and fallbacks included.
        time_to_first_content: From entering the stream to its first content.
        duration: From entering the stream to its end, or to now while it runs.
        chunks: Chunks handed to the caller.
        bytes: Bytes of body received in the last attempt.
        usage: Token counts as reported; None where the server reported none.
        cost: What the answer cost in US dollars; None where nobody says.
        cost_source: Who says so, as in ``completion.cost_source``.
        outcome: How the answer ended, as ``stream.outcome``.
        client_request_id: The id that all attempts shared.
        model: The model that was asked first.
        model_answered: The model that the answer names.
        failures: Each attempt that failed and why, as ``FailedAttempt``; where the call failed the last one is what ended it.
        fallbacks: The models of ``fallback_models`` that were turned to, in their order.
        finish_reasons: Those of the choices that have one, in the order of the choices.
        usage_source: ``"reported"`` by the server, or ``"unknown"``. Tokens are never guessed.
        time_to_first_byte: From entering the stream to the head of the last answer.
        gap_p50: Half of the gaps between two reads, from the first content on, are not longer. With ``gap_p95`` it comes from a
            histogram of 64 counters and is right to 13 %. A gap includes what you did between two reads.
        gap_p95: 95 % of the gaps are not longer.
        gap_max: The longest gap.
        tokens_per_second: Reported output tokens over the time from the first content to the last bytes; None where all came at
            once.
    """

    request_id: str | None
    attempts: int
    time_to_first_content: float | None
    duration: float
    chunks: int
    bytes: int
    usage: CompletionUsage | None
    cost: float | None
    cost_source: CostSource
    outcome: Outcome | None
    client_request_id: str | None
    model: str | None
    model_answered: str | None
    failures: tuple[FailedAttempt, ...]
    fallbacks: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    usage_source: UsageSource
    time_to_first_byte: float | None
    gap_p50: float | None
    gap_p95: float | None
    gap_max: float | None
    tokens_per_second: float | None

    def __init__(
        self,
        request_id: str | None,
        attempts: int,
        time_to_first_content: float | None,
        duration: float,
        chunks: int,
        bytes: int,  # noqa: A002 - the field's name
        usage: CompletionUsage | None,
        cost: float | None = None,
        cost_source: CostSource = "unknown",
        *,
        outcome: Outcome | None = None,
        client_request_id: str | None = None,
        model: str | None = None,
        model_answered: str | None = None,
        failures: tuple[FailedAttempt, ...] = (),
        fallbacks: tuple[str, ...] = (),
        finish_reasons: tuple[str, ...] = (),
        usage_source: UsageSource = "unknown",
        time_to_first_byte: float | None = None,
        gap_p50: float | None = None,
        gap_p95: float | None = None,
        gap_max: float | None = None,
        tokens_per_second: float | None = None,
    ) -> None:
        # What `dataclasses` would write sets each field by a call of its own: half as much again.
        self.__dict__.update(
            request_id=request_id,
            attempts=attempts,
            time_to_first_content=time_to_first_content,
            duration=duration,
            chunks=chunks,
            bytes=bytes,
            usage=usage,
            cost=cost,
            cost_source=cost_source,
            outcome=outcome,
            client_request_id=client_request_id,
            model=model,
            model_answered=model_answered,
            failures=failures,
            fallbacks=fallbacks,
            finish_reasons=finish_reasons,
            usage_source=usage_source,
            time_to_first_byte=time_to_first_byte,
            gap_p50=gap_p50,
            gap_p95=gap_p95,
            gap_max=gap_max,
            tokens_per_second=tokens_per_second,
        )

    @property
    def error(self) -> FailedAttempt | None:
        """What ended a call that failed; None while it runs, where it is complete, and where you left."""
        last = self.failures[-1] if self.failures else None
        return last if last is not None and last.followed_by == "end" else None
