"""``python -m benchmarks.rows [--rows N]``: the memory and the rows a second of a long batch of short answers.

``fan_out`` reads all rows once; openai's client behind a semaphore, which takes several times as long for each, reads a
twentieth of them before and another after, so that a machine which slows down slows both. The bars: at the end the process holds
at most 1.1 times the memory that it held after a tenth of the rows, and at least four times as many rows a second went through.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import children, report
from benchmarks.answers import Answer
from benchmarks.job import Job

AT_A_TIME = 100
MOST_MEMORY = 1.1
LEAST_SPEED = 4.0

RESULTS = Path(__file__).resolve().parent / "results" / "rows.md"


def measure(peer: str, rows: int, certificate: children.Certificate) -> dict[str, float]:
    """Read so many short answers as one batch; every text and usage is checked.

    Raises:
        ChildFailed: The client failed, or what it read was not what the server sent.
    """
    job = Job(peer, Answer(chunks=3).name, AT_A_TIME, rows // AT_A_TIME)
    result = children.run_job(job, certificate, timeout=1800.0)
    return {**result, "rows_a_second": result["answers"] / result["wall"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the batch, a multiple of 2,000")
    rows = parser.parse_args().rows
    if rows < 1 or rows % (20 * AT_A_TIME):
        parser.error("--rows: use a multiple of 2,000")
    try:
        with tempfile.TemporaryDirectory() as folder:
            certificate = children.Certificate.make(Path(folder))
            before = measure("openai semaphore", rows // 20, certificate)
            ours = measure("cometstream fan_out", rows, certificate)
            after = measure("openai semaphore", rows // 20, certificate)
    except children.ChildFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    memory = ours["late_bytes"] / ours["early_bytes"]
    theirs = (before["rows_a_second"] + after["rows_a_second"]) / 2
    speed = ours["rows_a_second"] / theirs
    machine = report.machine()
    text = "\n".join(
        [
            "# A long batch of short answers",
            "",
            f"{rows:,} rows of 3 tokens, {AT_A_TIME} at a time, over loopback; `python -m benchmarks.rows`, {machine['date']}, "
            f"{machine['cores']} cores of {machine['cpu']}, {machine['python']}.",
            "",
            "| | measured | bar |",
            "|---|---|---|",
            f"| memory after {rows // 10:,} rows | {ours['early_bytes'] / 2**20:.1f} MiB | |",
            f"| memory at the end | {ours['late_bytes'] / 2**20:.1f} MiB | |",
            f"| one over the other | {memory:.3f} | at most {MOST_MEMORY} |",
            f"| `fan_out`, rows a second | {ours['rows_a_second']:,.0f} | |",
            f"| openai behind a semaphore, rows a second | {theirs:,.0f} | |",
            f"| one over the other | {speed:.2f} | at least {LEAST_SPEED:g} |",
            "",
        ]
    )
    print(text)
    if rows == 100_000:
        RESULTS.write_text(text)
    return 0 if memory <= MOST_MEMORY and speed >= LEAST_SPEED else 1


if __name__ == "__main__":
    sys.exit(main())
