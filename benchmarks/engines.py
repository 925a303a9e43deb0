"""``python -m benchmarks.engines``: rows a second of a batch, in one process, beside the engines' own ways, and in two processes.

The server thinks for 200 ms before each answer, as a fast model does, or not at all. A rate is that of the rows' time by the clock,
from the first row to the last; imports and the start of an engine's workers are not in it. CPU is that of the whole tree of the
client's processes. Every row must come back once and whole, and the server must have been asked once for each. CPU is read from
``/proc``, so it runs on Linux only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.answers import Answer
from benchmarks.children import ROOT, ChildFailed, own_environment
from benchmarks.engine_programs import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = report.RESULTS / "engines.md"

# Rows a second of ours beside theirs, where the server thinks; of two processes beside one.
MOST, TWO = 10.0, 1.6

_DELAY_MS = 200
_TIMEOUT = 300.0
# Seconds between two looks at the CPU of the processes.
_LOOK = 0.05
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Args:
        label: Its name.
        program: One of ``engine_programs.PROGRAMS``.
        task: What it does.
        needs: The packages that must be there.
        extra: What installs them.
    """

    label: str
    program: str
    task: Task
    needs: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Measured:
    """What one run of a line gave.

    Args:
        rows: How many.
        wall: Seconds from the first row to the last.
        client: Seconds of CPU of all processes of the client meanwhile.
        busiest: Those of the process that used most.
        server: Those of the server.
    """

    rows: int
    wall: float
    client: float
    busiest: float
    server: float

    @property
    def rate(self) -> float:
        return self.rows / self.wall

    @property
    def cpu_us(self) -> float:
        return self.client / self.rows * 1e6

    @property
    def ceiling(self) -> float:
        """Rows a second where each process has a core of its own."""
        return self.rows / self.busiest


def scenarios(*, small: bool) -> list[Scenario]:
    """Return all of them; `small` ones check that all rows come back, and measure nothing of worth."""
    short = Answer(chunks=3)
    thought = replace(short, delay_ms=20 if small else _DELAY_MS)
    # What a client must parse, and a server need not make: padded tokens in one write.
    long = Answer(chunks=20 if small else 1_000)
    # Engines that are slow get fewer rows. A batch finds out in its first seconds how many it may send at a time; it has a minute.
    many, fewer, few = (200, 200, 20) if small else (200_000, 10_000, 50)

    def lines(answer: Answer, few: int, some: int) -> tuple[Line, ...]:
        def line(label: str, program: str, rows: int, extra: str = "", *needs: str) -> Line:
            return Line(label, program, Task(answer.name, rows), needs, extra)

        return (
            line("fan_out", "fan_out", many),
            line("cometstream batch", "batch", many),
            line("Ray Data with Completions", "ray_ours", fewer, "ray", "ray", "pandas"),
            line("Ray Data LLM's HTTP processor", "ray_theirs", few, "ray", "ray", "pandas"),
            line("Daft with completions", "daft_ours", fewer, "daft", "daft"),
            line("Daft's prompt", "daft_theirs", some, "daft,bench", "daft", "openai"),
        )

    return [
        Scenario(
            "thought",
            f"answers of 3 tokens, {thought.delay_ms} ms after the request; one process",
            lines(thought, few, 50 * few),
        ),
        # The programs are the same: a small run need not start the engines again.
        *(() if small else (Scenario("at-once", "the same answers at once; one process", lines(short, 2_000, 2_500)),)),
        Scenario(
            "processes",
            f"cometstream batch with answers of {long.chunks} padded tokens, each in one write",
            tuple(
                Line(f"--processes {count}", "batch", Task(long.name, 200 if small else 8_000, processes=count))
                for count in (1, 2)
            ),
        ),
    ]


def main() -> int:
    names = [scenario.name for scenario in scenarios(small=False)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"some of {', '.join(names)}; all by default")
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is measured (default 1)")
    parser.add_argument("--small", action="store_true", help="run everything once, small, and only check the rows")
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/results/{RESULTS.name}")
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(names):
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.rounds < 1:
        parser.error("--rounds: use 1 or more")
    if options.write and (options.scenario or options.small):
        parser.error("--write: only a whole run is written")
    if not Path("/proc/self/stat").exists():
        print("left out: the CPU of other processes is read from /proc, which is not here")
        return 0
    chosen = [one for one in scenarios(small=options.small) if not options.scenario or one.name in options.scenario]
    console = Console() if sys.stdout.isatty() else Console(width=120)
    chosen = with_what_is_there(console, chosen)
    measured: dict[tuple[str, str], list[Measured]] = {}
    failed = False
    for number in range(1 if options.small else options.rounds):
        for scenario in chosen:
            first = number % len(scenario.lines)
            for line in scenario.lines[first:] + scenario.lines[:first]:
                try:
                    value = measure(line)
                except ChildFailed as error:
                    failed = True
                    console.print(f"[red]failed[/red] {scenario.name}: {line.label}: {error}", highlight=False)
                    continue
                measured.setdefault((scenario.name, line.label), []).append(value)
                if not options.small:
                    console.print(f"{scenario.name}: {line.label}: {value.rate:,.0f} rows a second", highlight=False)
    if options.small:
        console.print(f"all rows of {len(measured)} lines came back whole")
        return 1 if failed else 0
    for scenario in chosen:
        console.print(table(scenario, measured))
    told = list(bars(measured))
    for text in told:
        console.print(text, highlight=False)
    if options.write:
        RESULTS.write_text(page(chosen, measured, told, options.rounds), encoding="utf-8")
        console.print(RESULTS)
    return 1 if failed else 0


def with_what_is_there(console: Console, chosen: list[Scenario]) -> list[Scenario]:
    """Leave out what is not installed, and say so."""
    missing = {
        line.label: line
        for scenario in chosen
        for line in scenario.lines
        if any(importlib.util.find_spec(package) is None for package in line.needs)
    }
    for line in missing.values():
        console.print(f"{line.label} is left out; it needs pip install -e '.[{line.extra}]'", markup=False)
    return [
        replace(scenario, lines=tuple(line for line in scenario.lines if line.label not in missing))
        for scenario in chosen
    ]


def measure(line: Line) -> Measured:
    """Run a program against a load server of its own.

    Raises:
        ChildFailed: It failed, or what it read was not what the server sent.
    """
    env = {**own_environment(), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"}
    with _Server(env) as server:
        task = replace(line.task, origin=server.origin)
        command = [sys.executable, "-m", "benchmarks.engine_programs", line.program]
        with subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            with _Watch({"client": program.pid, "server": server.pid}) as watch:
                said = _said(program, task.to_json(), watch)
        last = server.end()
    if "done" not in said or last["answers"] != task.rows:
        raise ChildFailed(f"the server was asked for {last['answers']} answers, not {task.rows}")
    # Ray's actors begin when they have imported what they need: then comes the first request.
    began = said.get("begun", last["first"])
    clients, servers = (watch.used(name, began, said["done"]) for name in ("client", "server"))
    return Measured(task.rows, said["done"] - began, clients[0], clients[1], servers[0])


def _said(program: subprocess.Popen[str], task: str, watch: _Watch) -> dict[str, float]:
    """Give a program its task, and return when it said what."""
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    errors: list[str] = []
    # Ray says much, and would wait for someone to read it.
    reader = threading.Thread(target=lambda: errors.extend(program.stderr or ()))
    late = threading.Timer(_TIMEOUT, program.kill)
    reader.start()
    late.start()
    said: dict[str, float] = {}
    try:
        program.stdin.write(task)
        program.stdin.close()
        for text in program.stdout:
            word = text.strip().strip('"')
            if word in ("begun", "done"):
                said[word] = time.time()
                watch.look()
        code = program.wait()
    finally:
        late.cancel()
        reader.join()
    if code != 0:
        raise ChildFailed("".join(errors[-3:]).strip() or f"exit code {code}")
    return said


class _Server:
    """A load server that ends with its standard input."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def __enter__(self) -> _Server:
        command = [sys.executable, "-m", "benchmarks.server"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.origin = f"http://127.0.0.1:{json.loads(self._process.stdout.readline())['port']}"
        return self

    def end(self) -> dict[str, float]:
        """End it, and return what it counted."""
        last: dict[str, float] = json.loads(self._process.communicate()[0])
        return last

    def __exit__(self, *exc: object) -> None:
        if self._process.returncode is None:
            self._process.communicate()


class _Watch:
    """Looks at the CPU of trees of processes, again and again; each tree is named, and given by its root."""

    def __init__(self, roots: dict[str, int]) -> None:
        self._roots = roots
        self._looks: list[tuple[float, dict[str, tuple[float, dict[int, float]]]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK):
            self.look()

    def look(self) -> None:
        children: dict[int, list[int]] = {}
        own: dict[int, float] = {}
        reaped: dict[int, float] = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has ended
                pid = int(path.name)
                children.setdefault(int(fields[1]), []).append(pid)
                user, system, user_of_children, system_of_children = (int(field) / _TICKS for field in fields[11:15])
                own[pid], reaped[pid] = user + system, user_of_children + system_of_children
        trees = {}
        for name, root in self._roots.items():
            tree = [pid for pid in _descendants(root, children) if pid in own]
            trees[name] = (sum(own[pid] + reaped[pid] for pid in tree), {pid: own[pid] for pid in tree})
        self._looks.append((time.time(), trees))

    def used(self, name: str, began: float, ended: float) -> tuple[float, float]:
        """Return the CPU that a tree used in a time, and that of its process that used most."""
        before = [trees[name] for moment, trees in self._looks if moment <= began] or [(0.0, {})]
        within = [trees[name] for moment, trees in self._looks if began <= moment <= ended + _LOOK]
        total, processes = before[-1]
        most = {pid: used - processes.get(pid, 0.0) for _, seen in within for pid, used in seen.items()}
        return max(found for found, _ in within) - total, max(most.values())


def _descendants(root: int, children: dict[int, list[int]]) -> Iterator[int]:
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(children.get(pid, ()))


_COLUMNS = ("rows a second", "client CPU a row, µs", "server CPU a row, µs", "a core for each process, rows a second")


def _medians(runs: list[Measured]) -> tuple[str, ...]:
    values = (
        statistics.median(run.rate for run in runs),
        statistics.median(run.cpu_us for run in runs),
        statistics.median(run.server / run.rows * 1e6 for run in runs),
        statistics.median(run.ceiling for run in runs),
    )
    return tuple(report.three_digits(value) for value in values)


def table(scenario: Scenario, measured: dict[tuple[str, str], list[Measured]]) -> Table:
    """Return the medians of a scenario."""
    shown = Table(title=f"{scenario.name}: {scenario.title}", title_justify="left")
    for column in ("", "rows"):
        shown.add_column(column)
    for column in _COLUMNS:
        shown.add_column(column, justify="right")
    for line in scenario.lines:
        if runs := measured.get((scenario.name, line.label)):
            shown.add_row(line.label, f"{line.task.rows:,}", *_medians(runs))
    return shown


def bars(measured: dict[tuple[str, str], list[Measured]]) -> Iterator[str]:
    """Yield the ratios, each the median of the rounds' own."""
    for scenario in ("thought", "at-once"):
        for theirs, face in (
            ("Ray Data LLM's HTTP processor", "Ray Data with Completions"),
            ("Daft's prompt", "Daft with completions"),
        ):
            for ours in ("fan_out", "cometstream batch", face):
                yield from _bar(measured, (scenario, ours), (scenario, theirs), MOST if scenario == "thought" else None)
    yield from _bar(measured, ("processes", "--processes 2"), ("processes", "--processes 1"), TWO)


def _bar(
    measured: dict[tuple[str, str], list[Measured]], more: tuple[str, str], less: tuple[str, str], bar: float | None
) -> Iterator[str]:
    pairs = list(zip(measured.get(more, ()), measured.get(less, ()), strict=False))
    if pairs:
        rate = statistics.median(one.rate / other.rate for one, other in pairs)
        cpu = statistics.median(other.cpu_us / one.cpu_us for one, other in pairs)
        ceiling = statistics.median(one.ceiling / other.ceiling for one, other in pairs)
        must = "" if bar is None else f" (bar {bar:g}: {'met' if rate >= bar else 'missed'})"
        yield (
            f"{more[0]}: {more[1]} over {less[1]}: rows a second {rate:.2f}{must}, less CPU a row {cpu:.2f}, "
            f"with a core for each process {ceiling:.2f}"
        )


def page(chosen: list[Scenario], measured: dict[tuple[str, str], list[Measured]], told: list[str], rounds: int) -> str:
    """Return the results as Markdown."""
    machine = report.machine()
    found = report.versions(("ray", "daft", "openai", "aiohttp"))
    lines = [
        "# Rows a second, beside Ray Data's and Daft's own ways",
        "",
        f"`python -m benchmarks.engines`, medians of {rounds} rounds, {machine['date']}, {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['python']}, {', '.join(f'{name} {version}' for name, version in found.items())}. "
        "The server has a process of its own on the same cores.",
    ]
    for scenario in chosen:
        lines += [
            "",
            f"{scenario.name}: {scenario.title}.",
            "",
            f"| | rows | {' | '.join(_COLUMNS)} |",
            "|---" * 6 + "|",
        ]
        for line in scenario.lines:
            if runs := measured.get((scenario.name, line.label)):
                lines.append(f"| {line.label} | {line.task.rows:,} | {' | '.join(_medians(runs))} |")
    return "\n".join([*lines, "", *(f"- {text}" for text in told), ""])


if __name__ == "__main__":
    sys.exit(main())
