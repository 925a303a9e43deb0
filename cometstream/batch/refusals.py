"""Whether refusals come by chance or from a limit: a running test against the share that is refused anyway."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["RefusalWatch"]

# What is assumed before anything was counted: one refusal among so many requests.
_PRIOR_REFUSED: Final = 1.0
_PRIOR_TAKEN: Final = 8.0
# A share below this is not believed: a server that never refused may still refuse one by chance.
_LOWEST: Final = 0.05
_HIGHEST: Final = 0.9
# Requests that the share is averaged over.
_MEMORY: Final = 1000.0
# The log of how much likelier a limit must be than chance. Chance alone gets there once in e^9, about 8,000 requests.
_SURE: Final = 9.0


class RefusalWatch:
    """Counts what was taken and what was refused, in the order in which it was sent.

    A gateway with many channels refuses a few requests at random, whatever the rate. A limit refuses most of what comes once it is
    met. The sum below grows with every refusal and falls with every request that was taken; only close refusals make it large.

    Attributes:
        streak: How many were taken since the last refusal.
        absorbed: Refusals that chance explained; whoever acts on them sets it to 0.

    Source:
        Page, "Continuous Inspection Schemes" (1954): the cumulative sum test.
    """

    __slots__ = ("_learned", "_new_refused", "_new_taken", "_refused", "_sum", "_taken", "absorbed", "streak")

    def __init__(self) -> None:
        self._refused = _PRIOR_REFUSED
        self._taken = _PRIOR_TAKEN
        self._new_refused = self._new_taken = 0  # since the sum was last zero: chance or limit, not yet known
        self._sum = 0.0
        self._learned = False
        self.streak = 0
        self.absorbed = 0

    @property
    def counted_share(self) -> float:
        """The share of requests that was refused by chance so far."""
        return self._refused / (self._refused + self._taken)

    @property
    def share(self) -> float:
        """The share of requests that is taken to be refused by chance."""
        return min(max(self.counted_share, _LOWEST), _HIGHEST)

    def taken(self) -> None:
        """The next request was taken."""
        self.streak += 1
        self._new_taken += 1
        # A limit is assumed to refuse half of what chance would take.
        self._sum -= math.log(2.0)
        if self._sum <= 0.0:
            self._keep()

    def refused(self) -> bool:
        """Count the next request, which was refused; return whether only a limit explains the latest refusals."""
        self.streak = 0
        self._new_refused += 1
        share = self.share
        self._sum += math.log((1.0 + share) / 2.0 / share)
        if self._sum < _SURE:
            return False
        self.forget_latest()
        return True

    def forget_latest(self) -> None:
        """Leave the latest refusals out of the share: a limit explains them."""
        self._sum = 0.0
        self._new_refused = self._new_taken = 0

    def learn(self, refused: int, taken: int) -> None:
        """Take a share that was measured while the rate was lowered on purpose."""
        self.forget_latest()
        if not self._learned:
            self._learned = True
            self._refused = self._taken = 0.5
        self._refused += refused
        self._taken += taken

    def _keep(self) -> None:
        self._refused += self._new_refused
        self._taken += self._new_taken
        self.absorbed += self._new_refused
        self.forget_latest()
        counted = self._refused + self._taken
        if counted > _MEMORY:
            self._refused *= _MEMORY / counted
            self._taken *= _MEMORY / counted
