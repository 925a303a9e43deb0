"""One limit as the server's headers tell it, followed between the headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cometstream.batch.buckets import TICK

if TYPE_CHECKING:
    from cometstream.batch.ratelimit_headers import Allowance

__all__ = ["AnnouncedLimit"]

# A reset further away than this belongs to a limit of hours or a day, of which the header may tell only when it is full again
# (Groq's requests): one request a minute asks whether there is more already.
_LONGEST: Final = 60.0
_SHORTEST: Final = 0.001


class AnnouncedLimit:
    """What is left by the newest header, less what was started since.

    Amounts are running totals of the model: requests, or estimated tokens.
    """

    __slots__ = ("_at", "_left", "_limit", "_period", "_reset_at")

    def __init__(self) -> None:
        self._at = -1.0  # the running total up to and with the request that the header answers
        self._limit: float | None = None
        self._left = 0.0
        self._reset_at = float("-inf")
        self._period = 0.0

    def told(self, allowance: Allowance, total: float, now: float) -> None:
        """Take a header of the request up to which `total` were started; one of an older request changes nothing."""
        if total >= self._at:
            self._at = total
            limit, self._left, reset = allowance
            self._reset_at = now + min(reset, _LONGEST)
            if reset > _LONGEST:
                limit = None if self._left >= 1 else 1.0
            elif limit is not None and self._left < limit:
                # A bucket tells when it will be full, so that a nearly full one tells a moment: what the whole of it takes.
                reset *= limit / (limit - self._left)
            self._limit = limit
            self._period = min(max(reset, _SHORTEST), _LONGEST)

    def wait(self, amount: float, total: float, now: float) -> float:
        """Return the seconds until `amount` more may be started on top of `total`; 0.0 for now."""
        if now >= self._reset_at - TICK:
            if self._limit is None or self._at < 0:
                return 0.0
            # Full again, until a header says otherwise.
            self._at = total
            self._left = self._limit
            self._reset_at = now + self._period
        left = self._left - (total - self._at)
        if amount <= left or (self._limit is not None and total <= self._at and self._left >= self._limit):
            return 0.0
        return max(self._reset_at - now, 0.0)
