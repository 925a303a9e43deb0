"""Whether refusals come by chance or from a limit: a running test against the share that chance refuses."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["RefusalWatch"]

# What is assumed at first: one refusal in nine requests.
_PRIOR_REFUSED: Final = 1.0
_PRIOR_TAKEN: Final = 8.0
# The lowest share that is assumed: a server that never refused may still refuse one request by chance.
_LOWEST: Final = 0.05
_HIGHEST: Final = 0.9
# Requests that the share is averaged over.
_MEMORY: Final = 1000.0
# A limit must be e^9 times as likely as chance. Chance alone looks like that once in about 8,000 requests.
_SURE: Final = 9.0


class RefusalWatch:
    """Counts what was taken and what was refused, in the order in which it was sent.

    A gateway with many channels refuses a few requests at random, whatever the rate. A limit refuses most requests once it is
    reached. The sum grows with each refusal and falls with each request that was taken, so only close refusals make it large.

    Attributes:
        streak: How many were taken since the last refusal.
        absorbed: Refusals that chance explained. The caller sets it to 0 when it has acted on them.

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
        """The share of requests that chance is assumed to refuse."""
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
        """Leave the latest refusals out of the share, since a limit explains them."""
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
