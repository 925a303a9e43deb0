"""Why one attempt of a call failed, and what followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FailedAttempt", "Followed"]

Followed = Literal["retry", "fallback", "without_stream_options", "hedge", "end"]


@dataclass(frozen=True)
class FailedAttempt:
    """One attempt that failed. It holds no message: that of an error may quote the prompt.

    Attributes:
        client_request_id: The id that all attempts of the call share.
        number: Which attempt it was; the first is 1.
        model: The model that it asked.
        error: The class of its error.
        status: The HTTP status, or the one in an error frame; None if it has none.
        code: The server's code for the error; None if it has none.
        clock: The clock that ran out; None if none did.
        request_id: The gateway's id of the attempt; None if it sent none.
        seconds: From sending the attempt to its failure.
        followed_by: ``"retry"``, ``"fallback"`` to the next model, ``"without_stream_options"`` (those that the library had added),
            ``"hedge"`` (the other one of two requests for a row of a batch went on), or ``"end"``: the call ended with it.
        wait: Seconds of waiting before the next attempt.
        next_model: The model that the next attempt asks; None where the call ended.
    """

    client_request_id: str
    number: int
    model: str | None
    error: str
    status: int | None
    code: str | None
    clock: str | None
    request_id: str | None
    seconds: float
    followed_by: Followed
    wait: float = 0.0
    next_model: str | None = None

    @property
    def reason(self) -> str:
        """The error's class, status, code and clock in one line: ``"RateLimitError 429 rate_limit_exceeded"``."""
        clock = None if self.clock is None else f"(timeouts.{self.clock})"
        return " ".join(str(part) for part in (self.error, self.status, self.code, clock) if part is not None)
