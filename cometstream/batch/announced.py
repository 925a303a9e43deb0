"""One limit as the server's headers tell it, followed between the headers, and tested where they let nothing through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cometstream.batch.buckets import TICK

if TYPE_CHECKING:
    from cometstream.batch.ratelimit_headers import Allowance

__all__ = ["AnnouncedLimit"]

# A reset further away than this belongs to a limit of hours or a day: the header may tell only when it is full again
# (Groq's requests): one request a minute asks whether there is more already.
_LONGEST: Final = 60.0
_SHORTEST: Final = 0.001

# Seconds without a request after which one goes against the headers, and how many such requests must be taken in a row until
# the headers are proved wrong. A refusal proves them right: the next test waits for two blocks of a minute, then four, ...
_PATIENCE: Final = 2.0
_PROOF: Final = 12
_TRUSTED: Final = 120.0


class AnnouncedLimit:
    """What is left by the newest header, less what was started since.

    Amounts are running totals of the model: requests, or estimated tokens. Headers may be wrong (a gateway passes on those of one
    of its many keys), so that they are tested: first by one request that they do not allow, then by twice as many each time.

    Attributes:
        refuted: What the headers do not allow was taken: they are wrong.
    """

    __slots__ = (
        "_allowed",
        "_at",
        "_doubted_at",
        "_left",
        "_limit",
        "_out",
        "_period",
        "_proved",
        "_reset_at",
        "_round",
        "_trust",
        "refuted",
    )

    def __init__(self) -> None:
        self._at = -1.0  # the running total up to and with the request that the header answers
        self._limit: float | None = None
        self._left = 0.0
        self._reset_at = float("-inf")
        self._period = 0.0
        self._allowed = 0  # requests that may still go against the headers
        self._round = 1
        self._out = 0  # so many of them have no answer yet
        self._proved = 0
        self._doubted_at: float | None = None  # when the next test begins
        self._trust = 0.0  # seconds until the next test may begin
        self.refuted = False

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
        if self._has(amount, total):
            return 0.0
        return max(self._reset_at - now, 0.0)

    def wait_or_test(self, amount: float, total: float, now: float) -> float:
        """Return the seconds until `amount` more may be started, as allowed or as a test; 0.0 for now."""
        wait = self.wait(amount, total, now)
        if wait <= 0.0:
            return 0.0
        if self._allowed > 0:
            return 0.0
        if self._out:
            return wait
        if self._doubted_at is None:
            self._doubted_at = now + max(_PATIENCE, self._trust)
        if now < self._doubted_at - TICK:
            return min(wait, self._doubted_at - now)
        self._allowed = self._round
        return 0.0

    def started(self, amount: float, total: float, now: float) -> bool:
        """Count a request that starts on top of `total`; return whether it is one that the headers do not allow."""
        if self._allowed <= 0 or self.wait(amount, total, now) <= 0.0:
            return False
        self._allowed -= 1
        self._out += 1
        return True

    def tested(self, *, taken: bool, now: float) -> None:
        """A request that the headers did not allow was taken or refused."""
        self._out -= 1
        if not taken:
            self._allowed, self._round, self._proved = 0, 1, 0
            self._trust = max(2 * self._trust, _TRUSTED)
            self._doubted_at = now + self._trust
            return
        self._proved += 1
        self.refuted = self._proved >= _PROOF
        if not self._out and not self._allowed:
            self._round *= 2
            self._allowed = self._round

    def _has(self, amount: float, total: float) -> bool:
        left = self._left - (total - self._at)
        return amount <= left or (self._limit is not None and total <= self._at and self._left >= self._limit)
