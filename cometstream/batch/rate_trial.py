"""What was taken and refused at one rate, and what that says of the rate."""

from __future__ import annotations

from typing import Final

__all__ = ["RateTest"]

# A streak of this many times the requests between two refusals is no chance. The shortest and the longest streak.
_STREAK: Final = 6.0
_SHORTEST_STREAK: Final = 30
_LONGEST_STREAK: Final = 400
# If the first refusal came after this many times the requests between two refusals, chance does not explain it.
_CLEAN: Final = 3.0


class RateTest:
    """What was taken and refused at one rate."""

    __slots__ = ("clean", "refused", "taken")

    def __init__(self) -> None:
        self.taken = self.refused = self.clean = 0

    def count(self, *, taken: bool) -> None:
        """Count a request."""
        if taken:
            self.taken += 1
            self.clean += not self.refused
        else:
            self.refused += 1

    @property
    def accepted(self) -> float:
        """The share that was taken; 1 if nothing was sent."""
        return self.taken / (self.taken + self.refused) if self.taken or self.refused else 1.0

    @property
    def streak(self) -> int:
        """How many must be taken in a row afterwards, so that chance does not explain it."""
        if not self.refused:
            return _LONGEST_STREAK
        return min(max(round(_STREAK * (self.taken + self.refused) / self.refused), _SHORTEST_STREAK), _LONGEST_STREAK)

    @property
    def refused_share(self) -> float:
        """The share that was refused; 0 if nothing was sent."""
        return self.refused / max(self.taken + self.refused, 1)

    @property
    def passed(self) -> float | None:
        """The share that was taken from the first refusal on; None after fewer than two refusals."""
        after = self.taken - self.clean
        return after / (after + self.refused) if self.refused > 1 else None

    @property
    def began_clean(self) -> bool:
        """Whether so many were taken before the first refusal that chance does not explain it."""
        return self.refused <= 1 or self.clean * self.refused >= _CLEAN * (self.taken + self.refused)
