"""What a run says at its end: tables, one JSON file, one plot."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.bars import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from benchmarks.bars import Round
    from benchmarks.scenarios import Scenario

RESULTS = Path(__file__).resolve().parent / "results"

UNITS = {
    "token": "µs CPU a token",
    "request": "µs CPU a request",
    "opening": "µs CPU a stream",
    "stream": "KiB a stream",
    "import": "ms CPU",
}

_PACKAGES = ("cometstream", "aiohttp", "orjson", "anyio", "openai", "httpx", "httpx2", "uvloop")


def machine() -> dict[str, str]:
    """Return what the figures were taken on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": platform.platform(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Return the versions of what was measured, where it is installed."""
    found = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def summarize(scenario: Scenario, rounds: list[Round]) -> list[dict[str, Any]]:
    """Return each line of a scenario: its median, its range, and the median of its ratios to the yardstick, round by round."""
    lines = []
    for line in scenario.lines:
        values = [values[scenario.name][line.label] for values in rounds if line.label in values.get(scenario.name, {})]
        if not values:
            continue
        ratios = [
            values[scenario.name][line.label] / values[scenario.name][scenario.yardstick]
            for values in rounds
            if {line.label, scenario.yardstick} <= values.get(scenario.name, {}).keys()
            and values[scenario.name][scenario.yardstick]
        ]
        lines.append(
            {
                "label": line.label,
                "median": statistics.median(values),
                "least": min(values),
                "most": max(values),
                "ratio": statistics.median(ratios) if ratios else None,
            }
        )
    return lines


def three_digits(value: float) -> str:
    """Return a value with three digits, or without a fraction from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_tables(console: Console, scenarios: list[Scenario], rounds: list[Round]) -> None:
    """Print one table for each scenario."""
    for scenario in scenarios:
        table = Table(title=f"{scenario.name}: {scenario.title}", title_justify="left")
        table.add_column("client")
        for column in (UNITS[scenario.unit], "range", f"x {scenario.yardstick}"):
            table.add_column(column, justify="right")
        for line in summarize(scenario, rounds):
            ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
            span = f"{three_digits(line['least'])} to {three_digits(line['most'])}"
            table.add_row(line["label"], three_digits(line["median"]), span, ratio)
        console.print(table)


def print_bars(console: Console, rounds: list[Round]) -> None:
    """Print every bar that was measured."""
    table = Table(title="The bars", title_justify="left")
    table.add_column("what")
    for column in ("must", "aim", "measured", "met"):
        table.add_column(column, justify="right")
    for bar in BARS:
        value = bar.measured(rounds)
        if value is not None:
            sign = "≥" if bar.at_least else "≤"
            met = "aim" if bar.is_met(value, bar.aim) else "must" if bar.is_met(value, bar.must) else "no"
            table.add_row(bar.title, f"{sign} {bar.must:g}", f"{bar.aim:g}", f"{value:.2f}", met)
    if table.row_count:
        console.print(table)


def write_json(scenarios: list[Scenario], rounds: list[Round], found: dict[str, str]) -> Path:
    """Write everything that was measured."""
    bars = [
        {
            "what": bar.title,
            "must": bar.must,
            "aim": bar.aim,
            "at_least": bar.at_least,
            "measured": bar.measured(rounds),
        }
        for bar in BARS
    ]
    document = {
        "machine": machine(),
        "versions": found,
        "bars": bars,
        "scenarios": {
            scenario.name: {
                "title": scenario.title,
                "unit": UNITS[scenario.unit],
                "yardstick": scenario.yardstick,
                "lines": summarize(scenario, rounds),
            }
            for scenario in scenarios
        },
        "rounds": rounds,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "results.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_plot(scenarios: list[Scenario], rounds: list[Round], found: dict[str, str]) -> Path:
    """Draw the CPU of one token in the scenarios that are about tokens as they come."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text as text: smaller, searchable, and the same file for the same figures.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cometstream", "font.size": 9})
    from matplotlib import pyplot as plt

    shown = [
        scenario
        for scenario in scenarios
        if scenario.name in ("drip", "burst", "drip-uvloop", "drip-tls", "drip-plain")
    ]
    heights = [len(scenario.lines) for scenario in shown]
    figure, axes = plt.subplots(
        len(shown), 1, figsize=(8, 0.27 * sum(heights) + 0.8 * len(shown)), height_ratios=heights, squeeze=False
    )
    for scenario, axis in zip(shown, axes[:, 0], strict=True):
        lines = summarize(scenario, rounds)[::-1]
        colours = ["#d1602a" if line["label"].startswith("cometstream") else "#8a94a3" for line in lines]
        bars = axis.barh([line["label"] for line in lines], [line["median"] for line in lines], color=colours)
        labels = [
            three_digits(line["median"]) + ("" if line["ratio"] is None else f"  ({line['ratio']:.2f} x)")
            for line in lines
        ]
        axis.bar_label(bars, labels, padding=3)
        axis.margins(x=0.2)
        axis.set_title(f"{scenario.name}: {scenario.title}", loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(
        "µs of client CPU a token (and as a multiple of the hand-written loop); less is better\n"
        + ", ".join(f"{package} {version}" for package, version in found.items())
        + "\n"
        + ", ".join(f"{value} cores" if key == "cores" else value for key, value in machine().items()),
        fontsize=7,
    )
    figure.tight_layout()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "results.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
