"""The charts of a batch's report: SVG that stretches with the page, labels of HTML, and each chart's figures as a table."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cometstream.cli.drawing import (
    markup,
    round_bounds,
    round_steps,
    round_ticks,
    round_times,
    shown_seconds,
    shown_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cometstream.batch import ConcurrencyChange
    from cometstream.cli.batch_figures import BatchFigures, Spread

__all__ = ["concurrency", "section", "spread", "table", "throughput"]

# The units of a drawing; the browser stretches them to the room there is.
_WIDTH: Final = 1000
_HEIGHT: Final = 300
_BARS: Final = 40
_X_TICKS: Final = 4
_Y_TICKS: Final = 5

_PERCENTILES: Final = (50, 95, 99)

# Characters of a cell of a table that stay on one line.
_SHORT: Final = 20

# Steps down that are marked in the chart, and changes that are listed.
_MARKED: Final = 9
_LISTED: Final = 100


def throughput(figures: BatchFigures) -> str:
    """Return the rows a second over the time."""
    pieces = figures.pieces()
    if not pieces:
        return section("Throughput", "<p>Nothing was measured.</p>")
    top = _top(max((one.done + one.failed) / length for _, length, one in pieces))
    end = max(figures.seconds, pieces[-1][0] + pieces[-1][1])
    drawn: list[str] = []
    for kind in ("done", "failed"):
        bars: list[str] = []
        for start, length, one in pieces:
            below = 0 if kind == "done" else one.done
            bars.append(
                _bar(start / end, length / end, below / length / top[-1], getattr(one, kind) / length / top[-1])
            )
        drawn.append(f'<path class="{kind}" d="{"".join(bars)}"/>')
    most = max(pieces, key=lambda piece: (piece[2].done + piece[2].failed) / piece[1])
    rate = (figures.done + figures.failed) / end
    said = (
        f"{_rate(rate)} rows a second on average; the most were {_rate((most[2].done + most[2].failed) / most[1])} a second, "
        f"after {shown_time(most[0])}."
    )
    rows = [
        (
            shown_time(start),
            *(_rate(count / length) for count in (one.done, one.failed, one.tokens)),
        )
        for start, length, one in pieces
    ]
    legend = [("done", "complete"), ("failed", "failed")]
    head = ("from", "complete rows/s", "failed rows/s", "output tokens/s")
    return _chart("Throughput", "rows a second", said, drawn, _along(end), _up(top, top[-1]), legend, table(head, rows))


def concurrency(figures: BatchFigures, processes: int) -> str:
    """Return the requests at a time over the time, and why they changed."""
    if not figures.timeline.bins:
        return section("Concurrency", "<p>Nothing was measured.</p>")
    end = figures.seconds or 1.0
    width = figures.timeline.width
    seen = [(number * width, one) for number, one in enumerate(figures.timeline.bins)]
    allowed = [(start, one.allowed) for start, one in seen if one.allowed is not None]
    changes = list(figures.changes)
    if figures.exact and changes:  # of the time before the oldest change that is kept there are the looks
        allowed = [point for point in allowed if point[0] < changes[0].time]
        allowed += [(max(change.time, 0.0), change.concurrency) for change in changes]
    running = [(start, one.running) for start, one in seen if one.running is not None]
    most = max([count for _, count in (*allowed, *running)], default=1)
    top = _top(most)
    drawn = [
        f'<path class="running" d="{_steps(running, end, top[-1])}V{_HEIGHT}H0Z"/>',
        f'<path class="allowed" d="{_steps(allowed, end, top[-1])}"/>',
    ]
    falls = _falls(changes)
    marks = [
        f'<span class="mark" style="left:{_percent(change.time / end)};bottom:{_percent(change.concurrency / top[-1])}">'
        f"{number}</span>"
        for number, (_, change) in enumerate(falls, 1)
    ]
    said = f"At most {most:,} requests at a time; at the end {allowed[-1][1] if allowed else 0:,} were allowed."
    if not figures.exact:
        said += f" The {processes} worker processes were looked at four times a second: what changed between two looks is unknown."
    listed = ""
    if falls:
        head = ("mark", "why it was lowered", "after", "requests at a time")
        rows = [
            (str(number), change.reason, shown_time(change.time), f"{before.concurrency:,} to {change.concurrency:,}")
            for number, (before, change) in enumerate(falls, 1)
        ]
        listed = table(head, rows)
    every = [(shown_time(change.time), f"{change.concurrency:,}", change.reason) for change in changes[-_LISTED:]]
    legend = [("allowed", "allowed at a time"), ("running", "under way")]
    details = table(("from", "at most, until the next", "why"), every)
    x, y = _along(end), _up(top, top[-1])
    return _chart("Concurrency", "requests", said, drawn, x, y, legend, details, marks=marks, below=listed)


def spread(title: str, of: Spread, said: str) -> str:
    """Return a histogram of times on a logarithmic scale, with percentiles."""
    if not of.count:
        return section(title, "<p>Nothing was measured.</p>")
    bars = of.bars(_BARS)
    low, high = round_bounds(bars[0][0], bars[-1][1])

    def x(seconds: float) -> float:
        return (math.log(seconds) - math.log(low)) / (math.log(high) - math.log(low))

    top = _top(max(count for _, _, count in bars))
    path = "".join(_bar(x(start), x(end) - x(start), 0, count / top[-1]) for start, end, count in bars)
    marks: list[str] = []
    lines: list[str] = []
    told = [(f"p{percent}", of.percentile(percent / 100) or 0.0) for percent in _PERCENTILES]
    for row, (name, seconds) in enumerate(told):
        at = min(max(x(max(seconds, low)), 0.0), 1.0)
        lines.append(f"M{at * _WIDTH:.1f} 0V{_HEIGHT}")
        side = "right" if at > 0.8 else "left"
        marks.append(
            f'<span class="percentile {side}" style="{side}:{_percent(1 - at if side == "right" else at)};top:{1.3 * row:.1f}em">'
            f"{name} {_time(seconds)}</span>"
        )
    drawn = [f'<path class="done" d="{path}"/>', f'<path class="line" d="{"".join(lines)}"/>']
    figures = ", ".join(f"{name} {_time(seconds)}" for name, seconds in told)
    said = f"{figures}; from {_time(of.shortest)} to {_time(of.longest)}. {said}"
    ticks = [(x(tick), shown_seconds(tick)) for tick in round_ticks(low, high, most=_X_TICKS)]
    rows = [(_time(start), _time(end), f"{count:,}") for start, end, count in bars if count]
    details = table(("from", "to", "rows"), rows)
    return _chart(title, "rows", said, drawn, ticks, _up(top, top[-1]), (), details, marks=marks)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, which scrolls by itself where the page is narrow."""
    names = "".join(f'<th scope="col">{markup(name)}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    told = markup(", ".join(head))
    return (
        f'<div class="scroll" role="group" tabindex="0" aria-label="table: {told}">'
        f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def section(title: str, body: str) -> str:
    """Return a part of the page, which a screen reader knows by its title."""
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>'


def _cell(text: str) -> str:
    kind = "long" if len(text) > _SHORT else "short"
    return f'<td class="{kind}"><bdi>{markup(text)}</bdi></td>'


def _chart(
    title: str,
    unit: str,
    said: str,
    drawn: Sequence[str],
    x: Sequence[tuple[float, str]],
    y: Sequence[tuple[float, str]],
    legend: Sequence[tuple[str, str]],
    details: str,
    *,
    marks: Sequence[str] = (),
    below: str = "",
) -> str:
    """Return a chart: what it says in words, the picture, and its figures."""
    grid = "".join(f"M0 {_HEIGHT * (1 - share):.1f}H{_WIDTH}" for share, _ in y)
    xs = "".join(f'<span style="left:{_percent(share)}">{text}</span>' for share, text in x)
    ys = "".join(f'<span style="bottom:{_percent(share)}">{text}</span>' for share, text in y)
    keys = "".join(f'<li><i class="{kind}"></i>{text}</li>' for kind, text in legend)
    body = (
        f"<p>{markup(said)}</p>"
        f'<div class="chart"><p class="unit" aria-hidden="true">{unit}</p><div class="plot">'
        f'<div class="ys" aria-hidden="true">{ys}</div>'
        f'<svg role="img" aria-label="{title}: {markup(said)}" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none">'
        f'<path class="grid" d="{grid}"/>{"".join(drawn)}</svg>'
        f'<div class="marks" aria-hidden="true">{"".join(marks)}</div><div class="xs" aria-hidden="true">{xs}</div></div></div>'
        + (f'<ul class="legend">{keys}</ul>' if keys else "")
        + below
        + f"<details><summary>{title} as a table</summary>{details}</details>"
    )
    return section(title, body)


def _falls(changes: Sequence[ConcurrencyChange]) -> list[tuple[ConcurrencyChange, ConcurrencyChange]]:
    """Return the deepest steps down, each with the change before, the oldest first."""
    falls = [pair for pair in pairwise(changes) if pair[1].concurrency < pair[0].concurrency]
    deepest = sorted(falls, key=lambda pair: pair[1].concurrency / pair[0].concurrency)[:_MARKED]
    return sorted(deepest, key=lambda pair: pair[1].time)


def _top(most: float) -> Sequence[float]:
    """Return the ticks of a scale from 0 to at least so much."""
    return round_steps(most or 1.0, most=_Y_TICKS)


def _up(ticks: Sequence[float], top: float) -> list[tuple[float, str]]:
    return [(tick / top, f"{tick:,.10g}") for tick in ticks]


def _along(end: float) -> list[tuple[float, str]]:
    return [(time / end, shown_time(time)) for time in round_times(end, most=_X_TICKS)]


def _bar(left: float, width: float, bottom: float, height: float) -> str:
    """Return a bar as a piece of a path; all are shares of the drawing."""
    if not height:
        return ""
    y = _HEIGHT * (1 - bottom - height)
    return f"M{left * _WIDTH:.1f} {y:.1f}h{width * _WIDTH:.1f}v{height * _HEIGHT:.1f}h{-width * _WIDTH:.1f}z"


def _steps(points: Sequence[tuple[float, int]], end: float, top: float) -> str:
    """Return a line that goes level from each point to the next one, and from the last one to the end."""
    path = [f"M0 {_HEIGHT}"] if not points else [f"M0 {_HEIGHT * (1 - points[0][1] / top):.1f}"]
    path += [f"H{min(start / end, 1) * _WIDTH:.1f}V{_HEIGHT * (1 - count / top):.1f}" for start, count in points]
    return "".join([*path, f"H{_WIDTH}"])


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.{0 if seconds >= 0.1 else 1}f} ms"
