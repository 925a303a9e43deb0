"""``python -m benchmarks.compare OTHER [SCENARIO ...]``: is this checkout of cometstream cheaper or dearer than another one?

Both packages are measured by the scenarios and the clients of this checkout, one after the other in each round, and the round after
begins with the other package. The ratio is computed within each round; the median of the rounds is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import children
from benchmarks.report import UNITS, three_digits
from benchmarks.scenarios import Measurement, Scenario, scenarios

# Measured unless other scenarios are named: what most users' time goes to, and nothing that takes minutes.
_DEFAULT = ("drip", "drip-padded", "burst", "burst-padded", "short", "open5000", "long", "tools", "import")

# A terminal-less log would break every row at 80 columns.
_WIDTH = 120

_WHERE = "import cometstream, json; print(json.dumps(cometstream.__file__))"


def main() -> int:
    known = {scenario.name for scenario in scenarios(small=False)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument(
        "scenario", nargs="*", help=f"some of {', '.join(sorted(known))}; {', '.join(_DEFAULT)} by default"
    )
    parser.add_argument("--this", type=Path, default=children.ROOT, help="a checkout to measure in place of this one")
    parser.add_argument("--rounds", type=int, default=7, help="how often both are measured (default 7)")
    parser.add_argument(
        "--all-lines", action="store_true", help="measure text() and pace too, not only the typed chunks"
    )
    parser.add_argument("--small", action="store_true", help="run everything once, small, and only check the counts")
    options = parser.parse_args()
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
    """Return the lines that measure the package; without `all_lines`, none that is a variant of the first."""
    lines = [line for line in scenario.lines if "cometstream" in line.label]
    return [line for line in lines if all_lines or not line.label.endswith(("text()", "pace=0.1", "pace=0.5"))]


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
    for column in ("other", "this", "this / other", "range"):
        table.add_column(column, justify="right")
    for scenario in chosen:
        for line in lines_of(scenario, all_lines):
            values: dict[Path, list[float]] = {this: [], other: []}
            for number in range(rounds):
                for folder in (this, other) if number % 2 else (other, this):
                    values[folder].append(children.measure(scenario, line, certificate, folder))
            ratios = [mine / theirs for mine, theirs in zip(values[this], values[other], strict=True)]
            ratio = f"{statistics.median(ratios):.3f}"
            console.print(f"{scenario.name}: {line.label}: {ratio}", highlight=False)
            table.add_row(
                scenario.name,
                line.label,
                UNITS[scenario.unit],
                three_digits(statistics.median(values[other])),
                three_digits(statistics.median(values[this])),
                ratio,
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
