"""One limit as the server's headers tell it. It is updated between headers, and tested if it allows nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cometstream.batch.buckets import TICK

if TYPE_CHECKING:
    from cometstream.batch.ratelimit_headers import Allowance

__all__ = ["AnnouncedLimit"]

# A reset that is further away belongs to a limit of hours or a day. Its header may tell only when it is full again (as Groq's for
# requests), so one request a minute asks whether there is room already.
_LONGEST: Final = 60.0
_SHORTEST: Final = 0.001

# After this many seconds without a request, one is sent although the headers do not allow it. If this many such requests are taken
# in a row, the headers are wrong. A refusal proves them right: the next test waits two minutes, then four, ...
_PATIENCE: Final = 2.0
_PROOF: Final = 12
_TRUSTED: Final = 120.0


class AnnouncedLimit:
    """What is left by the newest header, less what was started since.

    Amounts are running totals of the model: requests, or estimated tokens. Headers may be wrong: a gateway may pass on those of one
    of its many keys. So they are tested, first by one request that they do not allow, then by twice as many each time.

    Attributes:
        refuted: The headers are wrong: requests that they do not allow were taken.
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
        """Read a header that answers the request at the running total `total`; a header of an older request changes nothing."""
        if total >= self._at:
            self._at = total
            limit, self._left, reset = allowance
            self._reset_at = now + min(reset, _LONGEST)
            if reset > _LONGEST:
                limit = None if self._left >= 1 else 1.0
            elif limit is not None and self._left < limit:
                # A bucket tells when it will be full: scale that up to the time that the whole bucket takes.
                reset *= limit / (limit - self._left)
            self._limit = limit
            self._period = min(max(reset, _SHORTEST), _LONGEST)

    def wait(self, amount: float, total: float, now: float) -> float:
        """Return the seconds until `amount` more may be started on top of `total`; 0.0 for now."""
        if now >= self._reset_at - TICK:
            if self._limit is None or self._at < 0:
                return 0.0
            # It is full again, as long as no header says otherwise.
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
