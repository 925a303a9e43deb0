"""What a stream tells of itself: the head of its answer, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.cost import CostSource

__all__ = ["StreamMetrics", "StreamResponse"]


class StreamResponse(NamedTuple):
    """The head of the answer."""

    status: int
    headers: Mapping[str, str]
    request_id: str | None


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
    ) -> None:
        # What the decorator would write sets each field by a call of its own: half as much again.
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
        )
