"""One request for a row: on its way, or one of the two of a hedge, and what both cost together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from cometstream.batch.ledger import Verdict
    from cometstream.batch.limits import Ticket
    from cometstream.batch.schedule import Row
    from cometstream.errors import CometError
    from cometstream.failed import FailedAttempt
    from cometstream.metrics import StreamMetrics
    from cometstream.stream import ChatStream

__all__ = ["Attempt"]


class Attempt:
    """One request for a row.

    Attributes:
        row: The row.
        ticket: What the limits know it by.
        stream: Its stream; None as long as there is none.
        sent: When it was sent; None before.
        task: What sends it and reads its answer.
        other: The other one of two requests that were sent for one answer; None if it is alone.
        is_hedge: It is the second one of the two.
        has_lost: The other one's answer is taken.
        rest: The time until which the server asked to be left alone.
    """

    __slots__ = ("has_lost", "is_hedge", "other", "rest", "row", "sent", "stream", "task", "ticket")

    def __init__(self, row: Row, ticket: Ticket, other: Attempt | None = None) -> None:
        self.row = row
        self.ticket = ticket
        self.stream: ChatStream | None = None
        self.sent: float | None = None
        self.task: asyncio.Task[CometError | Verdict | None]
        self.other = other
        self.is_hedge = other is not None
        self.has_lost = False
        self.rest = 0.0
        if other is not None:
            other.other = self

    def metrics(self, own: StreamMetrics | None) -> StreamMetrics | None:
        """Return the metrics of this request, with the attempts and failures of the other one, from when the first was sent.

        Args:
            own: Those of this request alone.
        """
        beside = None if self.other is None or self.other.stream is None else self.other.stream.metrics
        if own is None or beside is None:
            return own
        failures: tuple[FailedAttempt, ...]
        if self.is_hedge:
            failures = (*_went_on(beside), *_numbered(own.failures, beside.attempts))
        else:
            failures = (*_numbered(_went_on(beside), own.attempts), *own.failures)
        assert self.other is not None
        lead = self.sent - self.other.sent if self.is_hedge and self.sent and self.other.sent else 0.0
        return replace(
            own,
            attempts=own.attempts + beside.attempts,
            failures=failures,
            duration=own.duration + lead,
            time_to_first_byte=_later(own.time_to_first_byte, lead),
            time_to_first_content=_later(own.time_to_first_content, lead),
        )


def _went_on(metrics: StreamMetrics) -> tuple[FailedAttempt, ...]:
    """Return the failures of a request whose end was not that of its row, since the other one went on."""
    return tuple(
        replace(failed, followed_by="hedge") if failed.followed_by == "end" else failed for failed in metrics.failures
    )


def _numbered(failures: tuple[FailedAttempt, ...], before: int) -> tuple[FailedAttempt, ...]:
    """Return failures numbered as if there had been so many attempts before."""
    return tuple(replace(failed, number=before + failed.number) for failed in failures)


def _later(seconds: float | None, lead: float) -> float | None:
    return None if seconds is None else seconds + lead
