"""``python -m benchmarks [SCENARIO ...] [--rounds N] [--small]``: measure, and show what was measured."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import children, report
from benchmarks.bars import Round
from benchmarks.scenarios import Scenario, scenarios


def main() -> int:
    known = {scenario.name for scenario in scenarios(small=False)}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"one or more of {', '.join(sorted(known))}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (default 5)")
    parser.add_argument("--small", action="store_true", help="run everything once, small, and only check the counts")
    options = parser.parse_args()
    unknown = set(options.scenario) - known
    if unknown:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if options.rounds < 1:
        parser.error("--rounds: use 1 or more")
    chosen = [scenario for scenario in scenarios(small=options.small) if scenario.name in (options.scenario or known)]
    console = Console()
    chosen = with_what_is_there(console, chosen, small=options.small)
    rounds, failures = run(console, chosen, 1 if options.small else options.rounds)
    for failure in failures:
        console.print(f"[red]failed[/red] {failure}", highlight=False)
    if options.small:
        console.print(f"{sum(len(scenario.lines) for scenario in chosen) - len(failures)} counts were right")
        return 1 if failures else 0
    report.print_tables(console, chosen, rounds)
    report.print_bars(console, rounds)
    if options.scenario or failures:
        console.print("Only a whole run without failures is written to benchmarks/results/.")
    else:
        found = {**report.versions(), **children.litellm_versions()}
        console.print(report.write_json(chosen, rounds, found))
        console.print(report.write_plot(chosen, rounds, found))
    return 1 if failures else 0


def with_what_is_there(console: Console, chosen: list[Scenario], *, small: bool) -> list[Scenario]:
    """Leave out what cannot run here, and say so; a small run installs nothing."""
    missing = set()
    if any(line.job and line.job.peer == "litellm" for scenario in chosen for line in scenario.lines):
        try:
            if not small:
                console.print("litellm is installed into .venv-bench-litellm, unless it is there ...")
                children.make_litellm_env()
        except children.ChildFailed as error:
            console.print(f"[yellow]{error}[/yellow]", highlight=False)
        if not children.LITELLM_PYTHON.exists():
            console.print("litellm is left out: .venv-bench-litellm is missing")
            missing.add("litellm")
    return [scenario.without(missing) for scenario in chosen]


def run(console: Console, chosen: list[Scenario], rounds: int) -> tuple[list[Round], list[str]]:
    """Measure all lines of all scenarios once in each round; the next round begins with the next line."""
    measured: list[Round] = []
    failures: list[str] = []
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress,
    ):
        certificate = children.Certificate.make(Path(folder))
        task = progress.add_task("", total=rounds * sum(len(scenario.lines) for scenario in chosen))
        for number in range(rounds):
            values: Round = {}
            if not console.is_terminal:
                console.print(f"round {number + 1} of {rounds} ...")
            for scenario in chosen:
                first = number % len(scenario.lines)
                for line in scenario.lines[first:] + scenario.lines[:first]:
                    progress.update(task, description=f"{scenario.name}: {line.label}")
                    try:
                        value = children.measure(scenario, line, certificate)
                        values.setdefault(scenario.name, {})[line.label] = value
                    except children.ChildFailed as error:
                        failures.append(f"{scenario.name}: {line.label}: {error}")
                    progress.advance(task)
            measured.append(values)
        progress.update(task, description="done")
    return measured, failures


if __name__ == "__main__":
    sys.exit(main())
