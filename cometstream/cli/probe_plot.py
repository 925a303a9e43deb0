"""What a probe has measured, as a picture: for each model a curve of percentiles, on a logarithmic scale of time. SVG by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from cometstream.cli.probe_figures import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cometstream.cli.probe_figures import Probed

__all__ = ["as_svg"]

# Okabe and Ito's colours, which people who see colours differently can tell apart.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_WIDTH: Final = 420  # of a panel, in pixels
_HEIGHT: Final = 260
_LEFT: Final = 70
_GAP: Final = 100
_LINE: Final = 20
_MOST_TICKS: Final = 9

# From a microsecond to a day.
_ROUND: Final = [float(f"{digit}e{power}") for power in range(-6, 5) for digit in (1, 2, 5)]

_PERCENTILES: Final = {0: "min", 25: "p25", 50: "p50", 75: "p75", 95: "p95", 100: "max"}


def as_svg(probed: Probed) -> str:
    """Return the picture: times to the first content on the left, gaps on the right."""
    top = 30 + _LINE * len(probed.models) + 30
    parts: list[str] = []
    for number, model in enumerate(probed.models):
        y = 30 + _LINE * number
        parts.append(f'<rect x="{_LEFT}" y="{y - 9}" width="18" height="4" fill="{_colour(number)}"/>')
        parts.append(_text(_LEFT + 26, y, f"{model}: {len(probed.of(model))} streams, {probed.concurrency} at a time"))
    firsts = [
        [time for sample in probed.of(model) if (time := sample.metrics.time_to_first_content)]
        for model in probed.models
    ]
    gaps = [[gap for sample in probed.of(model) for gap in sample.gaps] for model in probed.models]
    parts += _panel("time to the first content", firsts, _LEFT, top)
    parts += _panel("gap between two arrivals of content", gaps, _LEFT + _WIDTH + _GAP, top)
    width, height = _LEFT + 2 * _WIDTH + _GAP + 30, top + _HEIGHT + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(title: str, curves: Sequence[Sequence[float]], left: float, top: float) -> list[str]:
    """Return one diagram: percentiles from left to right, time from below to above."""
    parts = [_text(left, top - 12, title, weight="bold")]
    known = [value for curve in curves for value in curve if value > 0]
    if not known:
        return [*parts, _text(left, top + 20, "nothing was measured")]
    low, high = _bounds(min(known), max(known))

    def y(seconds: float) -> float:
        share = (math.log10(max(seconds, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return top + _HEIGHT * (1 - share)

    for tick in _ticks(low, high):
        parts.append(f'<path d="M{left} {y(tick):.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(_text(left - 8, y(tick) + 4, _shown(tick), anchor="end"))
    for at, name in _PERCENTILES.items():
        x = left + _WIDTH * at / 100
        parts.append(f'<path d="M{x:.1f} {top}v{_HEIGHT}" stroke="#ddd"/>')
        # The last one stands to the right of its line, where it does not run into the one before.
        parts.append(_text(x, top + _HEIGHT + 18, name, anchor="middle" if at < 100 else "start"))
    for number, curve in enumerate(curves):
        points = [
            (left + _WIDTH * at / 100, y(value))
            for at in range(101)
            if (value := percentile(curve, at / 100)) is not None
        ]
        if points:
            line = " ".join(f"{x:.1f},{height:.1f}" for x, height in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
    return parts


def _bounds(low: float, high: float) -> tuple[float, float]:
    """Return round times below and above those of the curves."""
    below = max((time for time in _ROUND if time <= low), default=low)
    return below, min((time for time in _ROUND if time >= high and time > below), default=2 * high)


def _ticks(low: float, high: float) -> list[float]:
    ticks = [time for time in _ROUND if low <= time <= high]
    return ticks if len(ticks) <= _MOST_TICKS else ticks[-1 :: -(len(ticks) // _MOST_TICKS + 1)]


def _shown(seconds: float) -> str:
    if seconds >= 0.9999:
        return f"{seconds:g} s"
    return f"{1000 * seconds:g} ms" if seconds >= 0.000_999_9 else f"{1e6 * seconds:g} µs"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    shown = escape("".join(char if char.isprintable() else " " for char in text))
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{shown}</text>'
