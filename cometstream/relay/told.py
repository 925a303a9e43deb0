"""What a browser is told of an ending that is not complete, and what only the log says."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cometstream.errors import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CometError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    StreamServerError,
)

if TYPE_CHECKING:
    from typing import Any

__all__ = ["LOG", "SHUTDOWN", "STOPPED", "Told", "tell", "tell_crash"]

LOG: Final = logging.getLogger("cometstream.relay")

STOPPED: Final = "the answer was stopped"
SHUTDOWN: Final = "the server is restarting: ask again"

# The operator's to mend: a browser that is told 401 takes it for a log-out, and 403 or 404 for its own mistake.
_OF_THE_OPERATOR: Final = (AuthenticationError, PermissionDeniedError, NotFoundError)

# Statuses by which gateways say that somebody behind them did not answer in time.
_LATE: Final = frozenset({408, 504, 522, 524})


@dataclass(frozen=True)
class Told:
    """The public half of an ending.

    Attributes:
        status: The HTTP status, where one can still be chosen.
        message: One line for the user, without a word that is the operator's or the provider's.
        type: The kind of ending: an error's class name, ``"cancelled"`` or ``"shutdown"``.
        outcome: The stream's outcome; None where no answer began.
        reference: Finds the log's line about it; None where the log has none.
        retry_after: Seconds to wait before the next try; None where nobody asked for any.
    """

    status: int
    message: str
    type: str
    outcome: str | None
    reference: str | None = None
    retry_after: float | None = None

    @property
    def text(self) -> str:
        """The message with its reference."""
        return self.message if self.reference is None else f"{self.message} (reference {self.reference})"

    def body(self) -> dict[str, Any]:
        """Return it as the JSON object of an error."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "code": None if self.type in ("cancelled", "shutdown") else str(self.status),
                "outcome": self.outcome,
                "reference": self.reference,
            }
        }


def tell(error: CometError | None, outcome: str | None, *, ended_by: str | None = None) -> Told:
    """Return what a browser may know of an ending, and log the rest under its reference.

    Args:
        error: What the answer ended with; None where somebody ended it.
        outcome: The stream's.
        ended_by: SHUTDOWN, where the server ended it.
    """
    if error is None:
        if ended_by == SHUTDOWN:
            return Told(503, SHUTDOWN, "shutdown", outcome, retry_after=1.0)
        return Told(503, STOPPED, "cancelled", outcome)
    status, name = _status(error), type(error).__name__
    reference = secrets.token_hex(6)
    # Whose class tells a browser whose key or quota it was is told of as any other failure.
    public = "APIStatusError" if isinstance(error, _OF_THE_OPERATOR) else name
    LOG.log(
        logging.ERROR if status >= 500 else logging.WARNING,
        "relay %s: %s: %s (request id %s)",
        reference,
        name,
        error.message,
        error.request_id,
    )
    wait = error.retry_after if isinstance(error, APIStatusError) and status == 429 else None
    return Told(status, error.public_message, public, outcome, reference, wait)


def tell_crash(error: BaseException, outcome: str | None) -> Told:
    """Return what a browser may know of an error that is no ``CometError``, and log it."""
    reference = secrets.token_hex(6)
    LOG.error("relay %s: %s", reference, type(error).__name__, exc_info=error)
    return Told(500, CometError.public_message, "CometError", outcome, reference)


def _status(error: CometError) -> int:
    """Return the status that says whose fault it was, the browser's or not."""
    if isinstance(error, (InvalidRequestError, BadRequestError)):
        return 400
    if isinstance(error, RateLimitError):
        # A quota that is used up does not come back by waiting: it is the operator's to pay.
        return 429 if error.retryable else 502
    if isinstance(error, APITimeoutError):
        return 504
    if isinstance(error, (APIStatusError, StreamServerError)):
        if error.status in _LATE:
            return 504
        if error.status in (413, 422):
            return error.status
    return 502
