"""What the pictures of the command line share: round scales, and how times and texts are written beside them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from cometstream.cli.process import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["markup", "round_bounds", "round_steps", "round_ticks", "round_times", "shown_seconds", "shown_time"]

# From a microsecond to some days.
_ROUND: Final = [float(f"{digit}e{power}") for power in range(-6, 6) for digit in (1, 2, 5)]

_MINUTE: Final = 60
# Steps of a scale that people read as a clock.
_STEPS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200),
)


def round_bounds(low: float, high: float) -> tuple[float, float]:
    """Return round times at or below `low` and at or above `high`, for a logarithmic scale."""
    below = max((time for time in _ROUND if time <= low), default=low)
    return below, min((time for time in _ROUND if time >= high and time > below), default=2 * high)


def round_ticks(low: float, high: float, *, most: int) -> Sequence[float]:
    """Return about so many round times of a logarithmic scale, at most."""
    ticks = [time for time in _ROUND if low <= time <= high]
    return ticks if len(ticks) <= most else ticks[-1 :: -(len(ticks) // most + 1)]


def round_steps(high: float, *, most: int) -> Sequence[float]:
    """Return at most so many round values from 0 on, evenly apart, the last one at or above `high`."""
    step = next((step for step in _ROUND if step * (most - 1) >= high), high)
    steps = [0.0]
    while steps[-1] < high:
        steps.append(len(steps) * step)
    return steps


def round_times(end: float, *, most: int) -> Sequence[float]:
    """Return at most so many times from 0 on, evenly apart, none behind `end`."""
    step = next((step for step in _STEPS if step * most > end), 2 * end / most)
    return [number * step for number in range(most) if number * step <= end]


def shown_time(seconds: float) -> str:
    """Return a time since a beginning, as people read a clock."""
    if seconds < _MINUTE:
        return f"{round(seconds, 1):g} s"
    minutes, seconds = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min" + (f" {seconds} s" if seconds else "")
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")


def shown_seconds(seconds: float) -> str:
    """Return a time with its unit."""
    if seconds >= 0.9999:
        return f"{seconds:g} s"
    return f"{1000 * seconds:g} ms" if seconds >= 0.000_999_9 else f"{1e6 * seconds:g} µs"


def markup(text: str) -> str:
    """Return a text on one line for HTML or SVG, where it is no markup; control characters become spaces."""
    return escape(one_line(text))
