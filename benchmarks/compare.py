"""``python -m benchmarks.compare OTHER [SCENARIO ...]``: is this checkout of cometstream cheaper or dearer than another one?

Both packages are measured by the scenarios and the clients of this checkout, each twice in a round and in turn, so that neither
gains by its place in the order. The ratio is computed within each round; the median of the rounds is what counts. Where the machine
does other work, use more rounds, and look at the ratio of the least values too: other work only adds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import children
from benchmarks.report import UNITS, three_digits
from benchmarks.scenarios import Measurement, Scenario, scenarios

# Measured unless other scenarios are named: what most users' time goes to, and nothing that takes minutes.
_DEFAULT = ("drip", "drip-plain", "burst", "burst-plain", "short", "open5000", "long", "tools", "import")

# Times that the requests are sent in scenarios that would be over in a fifth of a second, too short to tell some percent apart.
_LONGER = {"burst": 8, "burst-plain": 8, "burst-uvloop": 8, "short": 5, "short-tls": 5, "tools": 5}

# A terminal-less log would break every row at 80 columns.
_WIDTH = 120

_VARIANTS = ("text()", "pace=0.1", "pace=0.5")

_WHERE = "import cometstream, json; print(json.dumps(cometstream.__file__))"


def main() -> int:
    known = {scenario.name for scenario in scenarios(small=False)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument(
        "scenario", nargs="*", help=f"some of {', '.join(sorted(known))}; {', '.join(_DEFAULT)} by default"
    )
    parser.add_argument("--this", type=Path, default=children.ROOT, help="a checkout to measure in place of this one")
    parser.add_argument("--rounds", type=int, default=5, help="how often both are measured twice (default 5)")
    parser.add_argument(
        "--all-lines", action="store_true", help="measure text() and pace too, not only the typed chunks"
    )
    parser.add_argument("--small", action="store_true", help="run everything once, small, and only check the counts")
    options = parser.parse_intermixed_args()  # scenarios may also follow an option
    names = options.scenario or _DEFAULT
    if unknown := set(names) - known:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if options.rounds < 1:
        parser.error("--rounds: use 1 or more")
    for checkout in (options.other, options.this):
        if not (checkout / "cometstream" / "__init__.py").exists():
            parser.error(f"{checkout} has no cometstream/__init__.py: name the folder of a checkout")
    chosen = [scenario for scenario in scenarios(small=options.small) if scenario.name in names]
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        certificate = children.Certificate.make(Path(folder))
        try:
            this = stage(Path(folder, "this"), options.this.resolve(), certificate)
            other = stage(Path(folder, "other"), options.other.resolve(), certificate)
            compare(
                console, chosen, certificate, this, other, 1 if options.small else options.rounds, options.all_lines
            )
        except children.ChildFailed as error:
            console.print(f"[red]failed[/red] {error}", highlight=False)
            return 1
    return 0


def stage(folder: Path, checkout: Path, certificate: children.Certificate) -> Path:
    """Return a folder to run a client in: the benchmarks of this checkout beside the package of the one given.

    Python looks into the current folder first, so that neither an installed package nor PYTHONPATH decides.

    Raises:
        ChildFailed: The package would be imported from elsewhere.
    """
    folder.mkdir()
    (folder / "benchmarks").symlink_to(children.ROOT / "benchmarks")
    (folder / "cometstream").symlink_to(checkout / "cometstream")
    where = children.run([sys.executable, "-c", _WHERE], children.environment(certificate), folder=folder)
    if Path(where).resolve() != checkout / "cometstream" / "__init__.py":
        raise children.ChildFailed(f"cometstream was imported from {where}, not from {checkout}")
    return folder


def lines_of(scenario: Scenario, all_lines: bool) -> list[Measurement]:
    """Return the lines that measure the package, long enough; without `all_lines`, none that is a variant of the first."""
    return [
        replace(line, job=line.job and replace(line.job, requests=line.job.requests * _LONGER.get(scenario.name, 1)))
        for line in scenario.lines
        if "cometstream" in line.label and (all_lines or not line.label.endswith(_VARIANTS))
    ]


def compare(
    console: Console,
    chosen: list[Scenario],
    certificate: children.Certificate,
    this: Path,
    other: Path,
    rounds: int,
    all_lines: bool,
) -> None:
    """Measure both packages, and print a row for each line as soon as its rounds are over."""
    table = Table(title=f"This checkout and the other, medians of {rounds} rounds", title_justify="left")
    for column in ("scenario", "line", "unit"):
        table.add_column(column)
    for column in ("other", "this", "this / other", "range", "least / least"):
        table.add_column(column, justify="right")
    for scenario in chosen:
        for line in lines_of(scenario, all_lines):
            runs: dict[Path, list[float]] = {this: [], other: []}
            for number in range(rounds):
                first, second = (this, other) if number % 2 else (other, this)
                for folder in (first, second, second, first):
                    runs[folder].append(children.measure(scenario, line, certificate, folder))
            ratios = [sum(runs[this][at : at + 2]) / sum(runs[other][at : at + 2]) for at in range(0, 2 * rounds, 2)]
            ratio = f"{statistics.median(ratios):.3f}"
            console.print(f"{scenario.name}: {line.label}: {ratio}", highlight=False)
            table.add_row(
                scenario.name,
                line.label,
                UNITS[scenario.unit],
                three_digits(statistics.median(runs[other])),
                three_digits(statistics.median(runs[this])),
                ratio,
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{min(runs[this]) / min(runs[other]):.3f}",
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
