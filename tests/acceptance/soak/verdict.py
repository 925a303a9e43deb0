"""The bounds of a soak, whether they were kept, and how that is shown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from benchmarks.report import machine, versions
from tests.acceptance.soak.kinds import KINDS, Shape

if TYPE_CHECKING:
    from rich.console import Console

    from tests.acceptance.soak.client import Client

__all__ = ["Bound", "Run", "print_run", "write_markdown"]

# Memory in the last third of the steady time, divided by that in the middle third.
_GROWTH = 1.05

_PACKAGES = ("cometstream", "aiohttp", "orjson", "anyio")


class Bound(NamedTuple):
    """One thing that must hold."""

    what: str
    must: str
    measured: str
    kept: bool


@dataclass(frozen=True)
class Run:
    """One soak that is over.

    Args:
        client: What the client saw.
        server: What the server counted.
        streams: Streams open at a time.
        minutes: How long streams were opened.
        shape: What the answers were.
        ramp: Seconds within which the first streams were opened.
        seconds: The minutes in seconds.
    """

    client: Client
    server: dict[str, Any]
    streams: int
    minutes: float
    shape: Shape
    ramp: float
    seconds: float

    @property
    def bounds(self) -> list[Bound]:
        client, server = self.client, self.server["kinds"]
        tallies = client.tallies
        middle, last = self.thirds()
        wrong = sum(tally.wrong for tally in tallies.values())
        apart = [
            name
            for name, tally in tallies.items()
            if tally.streams != server[name]["streams"] or tally.attempts != server[name]["requests"]
        ]
        left = [
            name
            for name, kind in KINDS.items()
            if server[name]["left" if kind.leaves else "ended"] != tallies[name].streams
            or server[name]["ended" if kind.leaves else "left"]
        ]
        growth = last / middle if middle else float("inf")
        return [
            Bound(
                "memory, last third / middle third",
                f"≤ {_GROWTH:g}",
                f"{growth:.3f}" if middle else "too few samples",
                middle > 0 and growth <= _GROWTH,
            ),
            Bound("sockets still open", "0", str(client.sockets_left), client.sockets_left == 0),
            Bound("tasks still running", "0", str(client.tasks_left), client.tasks_left == 0),
            Bound("connections open at the server", "0", str(self.server["open"]), self.server["open"] == 0),
            Bound("streams that never ended", "0", str(client.unended), client.unended == 0),
            Bound("streams with a wrong end, text or number of requests", "0", f"{wrong:,}", wrong == 0),
            Bound(
                "kinds of which client and server count different streams or requests",
                "0",
                ", ".join(apart) or "0",
                not apart,
            ),
            Bound(
                "kinds in which it was not the right side that ended the answers", "0", ", ".join(left) or "0", not left
            ),
        ]

    def thirds(self) -> tuple[float, float]:
        """Return the median of resident memory in the middle and in the last third of the steady time.

        It begins a whole answer after all streams are open, which takes a busy machine longer than the ramp.
        """
        samples = self.client.samples
        full = next((sample.at for sample in samples if sample.open >= self.streams), self.ramp)
        begin = max(full, self.ramp) + min(self.shape.seconds, self.seconds / 4)
        steady = [sample.resident for sample in samples if begin < sample.at <= self.seconds]
        third = len(steady) // 3
        if not third:
            return 0.0, 0.0
        return statistics.median(steady[third : 2 * third]), statistics.median(steady[2 * third :])

    def kinds(self) -> list[tuple[str, ...]]:
        """Return the rows of the table of kinds."""
        rows = []
        for name, kind in KINDS.items():
            tally, server = self.client.tallies[name], self.server["kinds"][name]
            counts = (server["streams"], tally.streams, tally.seen[kind.seen], server["requests"], tally.attempts)
            rows.append((name, kind.seen.removesuffix(" -"), *(f"{count:,}" for count in counts)))
        return rows

    def figures(self) -> list[tuple[str, str]]:
        """Return what was measured without a bound."""
        samples = self.client.samples
        middle, last = self.thirds()
        if not samples:
            return [("time", "too short for one sample")]
        most = max(sample.open for sample in samples)
        peak = max(sample.resident for sample in samples)
        late = max(samples, key=lambda sample: sample.lag)
        chunks = samples[-1].chunks / samples[-1].at
        return [
            ("streams open at a time", f"{most:,} of {self.streams:,}"),
            ("time", f"{self.minutes:g} min, and until the last stream ended"),
            ("tokens a second of one stream", f"{self.shape.rate:g}; {self.shape.tokens} in a whole answer"),
            ("streams ended", f"{self.client.ended:,}"),
            ("chunks read", f"{self.client.chunks:,}, {chunks:,.0f} a second"),
            (
                "resident memory",
                f"{middle / 2**20:.1f} MiB in the middle third, {last / 2**20:.1f} in the last, {peak / 2**20:.1f} at most",
            ),
            ("CPU of the client", f"{self.client.cpu * 100:.0f} % of a core"),
            (
                "the event loop's worst delay",
                f"{late.lag * 1000:.0f} ms, of which the process ran {late.cpu * 1000:.0f}",
            ),
        ]

    def wrong(self) -> list[str]:
        """Return the first streams of each kind that were not as they must be."""
        return [f"{name}: {wrong}" for name, tally in self.client.tallies.items() for wrong in tally.examples]


_KIND_COLUMNS = ("kind", "must end as", "server's streams", "client's", "ended so", "server's requests", "client's")
_BOUND_COLUMNS = ("bound", "must", "measured", "kept")


def print_run(console: Console, run: Run) -> None:
    """Print the tables."""
    table = Table(title="How the streams ended", title_justify="left")
    for place, name in enumerate(_KIND_COLUMNS):
        table.add_column(name, justify="left" if place < 2 else "right")
    for row in run.kinds():
        table.add_row(*row)
    console.print(table)
    for what, value in run.figures():
        console.print(f"{what}: {value}", highlight=False)
    for wrong in run.wrong():
        console.print(f"[red]wrong[/red] {wrong}", highlight=False)
    bounds = Table(title="The bounds", title_justify="left")
    for place, name in enumerate(_BOUND_COLUMNS):
        bounds.add_column(name, justify="left" if place == 0 else "right")
    for bound in run.bounds:
        bounds.add_row(bound.what, bound.must, bound.measured, "yes" if bound.kept else "[red]no[/red]")
    console.print(bounds)


def write_markdown(run: Run, path: Path) -> Path:
    """Write the tables, with the machine they were measured on."""
    found = {name: version for name, version in versions().items() if name in _PACKAGES}
    lines = [
        "# Soak",
        "",
        "`python -m tests.acceptance.soak`: streams in one session against a server in its own process, over loopback, with every",
        "fault mixed in. Each stream that ends is replaced by the next; a tally of both sides is compared at the end.",
        "",
        *_rows(("what", "value"), run.figures()),
        "",
        *_rows(_BOUND_COLUMNS, [(*bound[:3], "yes" if bound.kept else "**no**") for bound in run.bounds]),
        "",
        *_rows(_KIND_COLUMNS, run.kinds()),
        "",
        *(f"- {wrong}" for wrong in run.wrong()),
        *_rows(("machine", ""), [*machine().items(), *found.items()]),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _rows(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    """Return a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
