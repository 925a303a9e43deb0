"""A limit of how many requests of one model run at a time, as a server's refusals show it."""

from __future__ import annotations

from typing import Final

__all__ = ["ParallelLimit"]

# Such a limit refuses only while about as many run as ever, and after the first refusal there are never more. It is believed after
# this many such refusals in a row, this many seconds apart.
_NEARLY: Final = 0.95
_MORE: Final = 1.03
_HITS: Final = 4
_APART: Final = 0.5
# The most that ran at a time is remembered for this many seconds, at most for twice as many.
_MEMORY: Final = 30.0
# Refusals below the cap that prove it wrong. It is not believed again for this many seconds, doubled each time.
_STRIKES: Final = 3
_HOLD: Final = 60.0
# This many answers in a row clear the strikes, and allow one request more as a test: 1 % are refused.
_CLEAN: Final = 100


class ParallelLimit:
    """The belief that a server runs so many requests at a time; it is dropped when requests below it are refused.

    Attributes:
        cap: Requests that may be under way; None if no limit is believed.
    """

    __slots__ = (
        "_before",
        "_changed",
        "_clean",
        "_hit_at",
        "_hit_most",
        "_hits",
        "_hold",
        "_hold_until",
        "_most",
        "_searching",
        "_since",
        "_strikes",
        "_was",
        "cap",
    )

    def __init__(self) -> None:
        self.cap: int | None = None
        self._most = self._was = 0
        self._since = float("-inf")
        self._hits = self._hit_most = 0
        self._hit_at = float("-inf")
        self._before = 0  # the cap before it grew
        self._changed = float("-inf")
        self._clean = 0
        self._searching = True
        self._strikes = 0
        self._hold = _HOLD
        self._hold_until = float("-inf")

    def runs(self, running: int, now: float) -> None:
        """So many run now, as far as that is known."""
        if now - self._since > _MEMORY:
            self._was = self._most if now - self._since <= 2 * _MEMORY else 0
            self._most, self._since = 0, now
        self._most = max(self._most, running)

    def recount(self, running: int) -> None:
        """A request that counted as running was refused after all: so many run, and perhaps there were never more."""
        self._most, self._was = running, 0

    def explains(self, running: int, now: float) -> bool:
        """Count a refusal that came while so many ran. Return whether the latest refusals look like such a limit."""
        most = max(self._most, self._was, 1)
        if running < most * _NEARLY:
            self._hits = 0
        elif now - self._hit_at >= _APART:
            self._hit_at = now
            if not self._hits or most > self._hit_most * _MORE + 1:
                self._hits, self._hit_most = 0, most
            self._hits += 1
        return self._hits >= _HITS and now >= self._hold_until

    def is_suspected(self, now: float) -> bool:
        """Whether the latest refusal looked like such a limit."""
        return self._hits > 0 and now >= self._hold_until

    def believe(self, now: float) -> None:
        """Allow as many as ran at a time at most."""
        self.cap = self._before = max(self._most, self._was, 1)
        self._changed = now
        self._clean = self._strikes = self._hits = 0
        self._searching = True

    def refused(self, sent: float, in_flight: int, now: float) -> bool:
        """A request was refused; return whether that proves the belief wrong.

        Args:
            sent: When it was sent.
            in_flight: How many were under way then, itself included.
            now: Seconds on the caller's clock.
        """
        assert self.cap is not None
        if sent <= self._changed:
            return False
        self._changed, self._clean = now, 0
        if in_flight > self._before:
            self.cap = self._before
            self._searching = False
            return False
        self._strikes += 1
        if self._strikes < _STRIKES:
            return False
        self.cap = None
        self._hold_until = now + self._hold
        self._hold *= 2.0
        return True

    def answered(self, in_flight: int, now: float) -> None:
        """A request was answered whole; so many were under way, itself included."""
        if self.cap is None:
            return
        self._clean += 1
        if self._clean >= (self.cap if self._searching else max(_CLEAN, self.cap)):
            self._strikes = 0
            if in_flight >= self.cap:
                self._clean = 0
                self._before = self.cap
                self.cap += max(1, self.cap // 4) if self._searching else 1
                self._changed = now
