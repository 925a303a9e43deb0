"""What an attempt is, between the stream that needs one and the session that opens it; and what a stream tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from cometstream.errors import CometError
    from cometstream.views.chunks import CompletionUsage

__all__ = ["Attempt", "Connector", "Outcome", "StreamMetrics", "StreamResponse"]

Outcome = Literal["complete", "unterminated", "truncated", "error", "cancelled"]


class Attempt(NamedTuple):
    """One answered request.

    Attributes:
        response: The open answer, its status 2xx.
        request_id: The gateway's id of the request, from the headers.
        waited: Seconds from sending the request to its head.
    """

    response: aiohttp.ClientResponse
    request_id: str | None
    waited: float


class Connector(Protocol):
    """What opens the next attempt of one request.

    Attributes:
        made: Attempts made so far.
    """

    made: int

    async def __call__(self, failure: CometError | None, total_due: float) -> Attempt | None:
        """Open the next attempt; None where it was cancelled by `cancel`.

        Args:
            failure: What the last attempt died of; None for the first. It is raised again where there is no attempt left.
            total_due: When the clock `total` runs out, on the event loop's clock.
        """
        ...

    def cancel(self) -> None:
        """End the attempt that is being opened, and the wait for one."""
        ...


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
    """

    request_id: str | None
    attempts: int
    time_to_first_content: float | None
    duration: float
    chunks: int
    bytes: int
    usage: CompletionUsage | None

    def __init__(
        self,
        request_id: str | None,
        attempts: int,
        time_to_first_content: float | None,
        duration: float,
        chunks: int,
        bytes: int,  # noqa: A002 - the field's name
        usage: CompletionUsage | None,
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
        )
