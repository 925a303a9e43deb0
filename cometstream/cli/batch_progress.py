"""Shows the progress of a batch on stderr: live on a terminal, otherwise a line every 30 s; at the end a table."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cometstream.cli.printers import Stderr
from cometstream.cli.process import one_line, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console, RenderableType
    from typing_extensions import Self

    from cometstream.batch.result import BatchProgress

__all__ = ["BatchView", "Ending"]

# Seconds between two lines if stderr is not a terminal.
_LINE_EVERY: Final = 30.0

# Rates are taken over this many seconds: long enough to be steady, short enough to show a change.
_WINDOW: Final = 30.0

# Kinds of failure that the table names.
_CODES: Final = 5


@dataclass
class Ending:
    """What the table shows besides the progress.

    Attributes:
        output: Where the lines are.
        earlier: Rows that had a line before.
        bad: Rows that were not sent because their lines are bad.
        left: Rows that have no line; None if their number is not known.
        failures: How many rows failed with each code.
    """

    output: str
    earlier: int
    bad: int
    left: int | None
    failures: Counter[str]


class BatchView:
    """Shows a batch, for ``with``.

    Args:
        rows: How many rows are to run; None if that is not known.
        quiet: Show nothing.
        clock: Seconds, on a clock that only goes forward.
        console: Where to show it; None for stderr.
    """

    def __init__(
        self,
        *,
        rows: int | None,
        quiet: bool,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._rows = rows
        self._quiet = quiet
        self._clock = clock
        self._console = Stderr() if console is None else console
        self._live: Live | None = None
        self._samples: deque[tuple[float, int, int]] = deque()  # time, rows, tokens
        self._told = clock()
        self._in_trouble = False
        if not quiet and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._try(self._live.start)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._try(self._live.stop)

    def show(self, progress: BatchProgress) -> None:
        """Show the progress. To be called again and again."""
        if self._quiet:
            return
        now = self._clock()
        if progress.trouble is not None and not self._in_trouble and self._live is None:
            self._told = now - _LINE_EVERY  # at once
        self._in_trouble = progress.trouble is not None
        rates = self._rates(progress, now)
        if self._live is not None:
            self._live.update(self._picture(progress, rates))
            self._try(self._live.refresh)
        elif now - self._told >= _LINE_EVERY:
            self._told = now
            parts = [self._count(progress), *_parts(progress, rates), *self._time_left(progress, rates)]
            say(", ".join(parts) + ("" if progress.trouble is None else f"; {_trouble(progress.trouble)}"))

    def table(self, progress: BatchProgress, ending: Ending) -> None:
        """Show how the rows ended."""
        if self._quiet:
            return
        table = Table(show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for name, value in _figures(progress, ending):
            table.add_row(name, value)
        title = Text(one_line(ending.output))
        self._try(lambda: self._console.print(title, table, sep="\n", soft_wrap=True))

    def _try(self, show: Callable[[], object]) -> None:
        """Show something. If stderr cannot be written, show nothing from then on: the batch does not need it."""
        try:
            show()
        except OSError:
            self._quiet = True

    def _rates(self, progress: BatchProgress, now: float) -> tuple[float, float] | None:
        """Return the latest rows and output tokens a second; None as long as there is nothing to tell."""
        samples = self._samples
        samples.append((now, progress.done + progress.failed, progress.completion_tokens))
        while len(samples) > 2 and now - samples[1][0] >= _WINDOW:
            samples.popleft()
        then, rows, tokens = samples[0]
        if now <= then:
            return None
        return (samples[-1][1] - rows) / (now - then), (samples[-1][2] - tokens) / (now - then)

    def _count(self, progress: BatchProgress) -> str:
        ended = progress.done + progress.failed
        return f"{ended:,} rows" if self._rows is None else f"{ended:,} of {self._rows:,} rows"

    def _time_left(self, progress: BatchProgress, rates: tuple[float, float] | None) -> list[str]:
        if self._rows is None or rates is None or rates[0] <= 0:
            return []
        left = max(0, self._rows - progress.done - progress.failed)
        return [f"{_duration(left / rates[0])} left"]

    def _picture(self, progress: BatchProgress, rates: tuple[float, float] | None) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(self._rows or 1, (progress.done + progress.failed) if self._rows else 0, width=30)
        head.add_row(Text(self._count(progress)), bar, Text(" ".join(self._time_left(progress, rates))))
        *parts, concurrency = _parts(progress, rates)
        trouble = [] if progress.trouble is None else [Text(_trouble(progress.trouble), style="yellow")]
        return Group(head, Text(", ".join(parts)), Text(concurrency, style="dim"), *trouble)


def _parts(progress: BatchProgress, rates: tuple[float, float] | None) -> list[str]:
    """Return the parts of the progress line, the concurrency last."""
    parts = [f"{progress.done:,} done", f"{progress.failed:,} failed", f"{progress.running:,} running"]
    if rates is not None:
        parts.append(f"{rates[0]:,.1f} rows/s")
        parts.append(f"{rates[1]:,.0f} output tokens/s")
    if progress.cost is not None:
        parts.append(f"cost {progress.cost:,.4f}")
    if progress.hedged:
        parts.append(f"{progress.hedged:,} hedged")
    reason = one_line(progress.concurrency_reason)
    parts.append(f"concurrency {progress.concurrency:,}" + (f" ({reason})" if reason else ""))
    return parts


def _trouble(error: str) -> str:
    return f"no server is reached, trying again: {one_line(error)}"


def _figures(progress: BatchProgress, ending: Ending) -> list[tuple[str, str]]:
    elapsed = progress.elapsed
    rows = progress.done + progress.failed
    figures = [("done", f"{progress.done:,}"), ("failed", f"{progress.failed:,}")]
    figures += [(f"  {one_line(code)}", f"{count:,}") for code, count in ending.failures.most_common(_CODES)]
    if ending.bad:
        figures.append(("not sent, bad lines", f"{ending.bad:,}"))
    if ending.earlier:
        figures.append(("had a line before", f"{ending.earlier:,}"))
    if ending.left is None or ending.left:
        figures.append(("left for --resume", "unknown" if ending.left is None else f"{ending.left:,}"))
    if progress.from_ledger:
        figures.append(("of done, from the ledger", f"{progress.from_ledger:,}"))
    if progress.maybe_paid_twice:
        figures.append(("maybe paid twice", f"{progress.maybe_paid_twice:,}"))
    figures.append(("requests sent again", f"{progress.retries:,}"))
    if progress.hedged:
        figures.append(("hedged, as they were late", f"{progress.hedged:,}"))
        figures.append(("  the second one answered", f"{progress.hedges_won:,}"))
    figures.append(("prompt tokens", f"{progress.prompt_tokens:,}"))
    figures.append(("completion tokens", f"{progress.completion_tokens:,}"))
    if progress.cost is not None:
        figures.append(("cost", f"{progress.cost:,.4f}"))
    figures.append(("time", _duration(elapsed)))
    if elapsed > 0:
        figures.append(("rows/s", f"{rows / elapsed:,.1f}"))
        figures.append(("output tokens/s", f"{progress.completion_tokens / elapsed:,.0f}"))
    return figures


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
