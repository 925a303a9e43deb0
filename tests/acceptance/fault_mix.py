"""``python -m tests.acceptance.fault_mix``: a batch against a server that fails six requests of twenty, each in another way."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.limits import raise_open_files
from benchmarks.report import machine, versions
from cometstream import CometSession, RetryPolicy, Timeouts, fan_out
from cometstream.testing import RecordedRequest, Reply, SimulatedServer
from tests.acceptance import RESULTS

# What the server does instead of answering, each with this share of the requests.
_FAULTS = ("reset", "429", "500", "stall", "cut", "garbage")
_SHARE = 0.05

# With 429s, a run may take so many times what it takes without; its second half may have so much of the first half's memory.
_TIME = 1.5
_MEMORY = 1.05

# 30 % of the attempts fail. With the batch's default of 5 retries 0.3 ** 6 of the rows would fail for good: 15 of 20,000. With 12
# retries it is one row in six million.
_RETRY = RetryPolicy(max_retries=12, initial_delay=0.2, max_delay=2.0)

# A stall lasts until this clock ends it. Answers begin after 0.6 s at most, so that no other attempt is ended by it.
_TIMEOUTS = Timeouts(first_content=2.0, content_idle=2.0)
_ANSWER_TAKES = (0.2, 0.6)

# Seconds after which a run that hangs is ended, and requests of each row after which its server ends itself.
_PATIENCE = 900.0
_MOST = 4

_PACKAGES = ("cometstream", "aiohttp", "anyio")
_HEAD = ("run", "seconds", "rows a second", "attempts", "memory, halves", *_FAULTS)


def content(row: int) -> str:
    """Return the text that answers this row and no other row."""
    return f"answer to row {row}: " + "x" * (row % 500)


def fault(row: int, attempt: int, *, with_429: bool) -> str | None:
    """Return what the server does to an attempt of a row: the same in every run, but for the 429s."""
    place = int(Random(f"{row} {attempt}").random() / _SHARE)
    kind = _FAULTS[place] if place < len(_FAULTS) else None
    return None if kind == "429" and not with_429 else kind


def reply(row: int, attempt: int, kind: str | None) -> Reply:
    """Return the reply for an attempt: its row's answer, or a fault."""
    text = content(row)
    half = len(text) // 2
    whole = Reply.text(text[:half], text[half:]).after(Random(f"{attempt} {row}").uniform(*_ANSWER_TAKES))
    if kind is None:
        return whole
    if kind in ("429", "500"):
        return Reply.error(int(kind))
    if kind == "stall":
        return whole.after(asyncio.Event())
    if kind == "reset":
        # Some before the head, some in the middle of the answer.
        return whole.reset(at=half) if attempt % 2 else Reply.raw().reset()
    begun = Reply.text(text[:half], finish_reason=None, done=False).after(_ANSWER_TAKES[0])
    return begun.cut() if kind == "cut" else begun.then(b'data: {"choices":[{"in\n\n')


def serve(pipe: Connection, rows: int, with_429: bool) -> None:
    """Serve until the other end of the pipe closes; first send the URL through it, and the counts of the faults at the end."""
    raise_open_files()
    asyncio.run(_serve(pipe, rows, with_429))


async def _serve(pipe: Connection, rows: int, with_429: bool) -> None:
    attempts: Counter[int] = Counter()
    given: Counter[str] = Counter()
    done = asyncio.Event()

    def answer(request: RecordedRequest) -> Reply:
        row = int(request.json["messages"][-1]["content"])
        attempts[row] += 1
        kind = fault(row, attempts[row], with_429=with_429)
        given[kind or "answer"] += 1
        if sum(given.values()) > rows * _MOST:
            done.set()
        return reply(row, attempts[row], kind)

    async with SimulatedServer() as server:
        server.always(answer)
        pipe.send((server.base_url, server.api_key))
        asyncio.get_running_loop().add_reader(pipe.fileno(), done.set)
        await asyncio.wait_for(done.wait(), _PATIENCE)
        pipe.send(given)


@dataclass
class Run:
    """One run of the batch, and what was seen of it.

    Attributes:
        title: What tells it from the others.
        seconds: How long it took.
        attempts: Attempts, as the results tell them.
        resident: Bytes of memory after every hundredth row.
        given: What the server did, and how often.
        faults: What was wrong, in words, and how often.
    """

    title: str
    seconds: float = 0.0
    attempts: int = 0
    resident: list[int] = field(default_factory=list)
    given: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def memory(self) -> float:
        """The second half's median of resident memory, in terms of the first half's; the first tenth is left out."""
        samples = self.resident[len(self.resident) // 10 :]
        half = len(samples) // 2
        return statistics.median(samples[half:]) / statistics.median(samples[:half])

    def row(self, rows: int) -> tuple[str, ...]:
        middle = len(self.resident) // 2
        memory = " to ".join(f"{max(part) / 2**20:.1f}" for part in (self.resident[:middle], self.resident[middle:]))
        figures = (f"{self.seconds:.1f}", f"{rows / self.seconds:.0f}", f"{self.attempts:,}", f"{memory} MiB")
        return (self.title, *figures, *(f"{self.given[kind]:,}" for kind in _FAULTS))


def measure(rows: int, at_a_time: int, *, with_429: bool) -> Run:
    """Run the batch against a server in a process of its own."""
    run = Run("all six faults" if with_429 else "without 429")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, rows, with_429), daemon=True)
    server.start()
    theirs.close()
    try:
        base_url, api_key = ours.recv()
        asyncio.run(asyncio.wait_for(run_batch(run, base_url, api_key, rows, at_a_time), _PATIENCE))
        ours.send("end")
        run.given = ours.recv()
    finally:
        ours.close()
        server.join(10)
        server.kill()
    for kind in _FAULTS:
        wanted = sum(run.given.values()) * _SHARE if with_429 or kind != "429" else 0
        if abs(run.given[kind] - wanted) > max(wanted / 4, 20):
            run.faults[f"the server gave {run.given[kind]:,} of {kind} where {wanted:,.0f} were due"] += 1
    if run.memory > _MEMORY:
        run.faults[f"memory grew to {run.memory:.3f} times"] += 1
    return run


async def run_batch(run: Run, base_url: str, api_key: str, rows: int, at_a_time: int) -> None:
    seen = bytearray(rows)
    began = time.monotonic()
    async with CometSession(api_key=api_key, base_url=base_url, timeouts=_TIMEOUTS) as session:
        batch = fan_out(session, _requests(rows), concurrency=at_a_time, retry=_RETRY, model="gpt-5.4")
        async with batch:
            async for result in batch:
                run.attempts += result.attempts
                if result.completion is None or result.outcome != "complete":
                    run.faults[f"a row ended as {result.outcome}: {result.error!r}"] += 1
                elif result.completion.content != content(result.index):
                    run.faults["a row has another text than its own"] += 1
                if seen[result.index]:
                    run.faults["a row came twice"] += 1
                seen[result.index] = 1
                if batch.progress.done % 100 == 0:
                    run.resident.append(_resident())
    run.seconds = time.monotonic() - began
    run.faults["a row never came"] += seen.count(0)


def _requests(rows: int) -> Iterator[dict[str, Any]]:
    for row in range(rows):
        yield {"messages": [{"role": "user", "content": str(row)}]}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.fault_mix", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the batch (default 20,000)")
    parser.add_argument("--at-a-time", type=int, default=200, help="requests at a time (default 200)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where fault_mix.md is written")
    options = parser.parse_args()
    if options.rows < 1000 or not 1 <= options.at_a_time <= options.rows:
        parser.error("use --rows of 1,000 or more, and --at-a-time from 1 to as many")
    console = Console() if sys.stdout.isatty() else Console(width=140)
    if not Path("/proc/self/statm").exists():
        console.print("memory is read from /proc: run this on Linux")
        return 2
    raise_open_files()
    console.print(
        f"{options.rows:,} rows, {options.at_a_time} at a time, {_SHARE:.0%} of each fault, {_RETRY.max_retries} retries"
    )
    table = Table()
    for place, name in enumerate(_HEAD):
        table.add_column(name, justify="right" if place else "left")
    runs = [measure(options.rows, options.at_a_time, with_429=with_429) for with_429 in (False, True)]
    for run in runs:
        table.add_row(*run.row(options.rows))
    console.print(table)
    faults = sum((run.faults for run in runs), Counter[str]())
    times = runs[1].seconds / runs[0].seconds
    if times > _TIME:
        faults[f"the 429s made it {times:.2f} times as long"] += 1
    for wrong, count in faults.items():
        console.print(f"{count:,} x {wrong}", markup=False)
    console.print(f"with 429s {times:.2f} times as long as without; memory {runs[1].memory:.3f} times the first half's")
    write_markdown(runs, options.rows, options.at_a_time, times, options.output / "fault_mix.md")
    return 1 if faults else 0


def write_markdown(runs: list[Run], rows: int, at_a_time: int, times: float, path: Path) -> None:
    """Write the table, with the machine it was measured on."""
    found = {name: version for name, version in versions().items() if name in _PACKAGES}
    cells = [_HEAD, ("---",) * len(_HEAD), *(run.row(rows) for run in runs)]
    about = [("machine", ""), ("---", "---"), *machine().items(), *found.items()]
    lines = [
        "# A mix of faults",
        "",
        f"`python -m tests.acceptance.fault_mix`: `fan_out` with {rows:,} rows, {at_a_time} at a time, against a server in its own",
        f"process that gives {_SHARE:.0%} of the requests each of six faults. Up to {_RETRY.max_retries} retries a row.",
        "",
        f"| what | must | measured |\n| --- | --- | --- |\n| time, with 429s / without | ≤ {_TIME} | {times:.2f} |",
        *(f"| memory, second half / first half, {run.title} | ≤ {_MEMORY} | {run.memory:.3f} |" for run in runs),
        f"| rows that are missing, wrong, or came twice | 0 | {sum(_wrong_rows(run) for run in runs)} |",
        "",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
        *(f"| {' | '.join(row)} |" for row in about),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _wrong_rows(run: Run) -> int:
    return sum(count for wrong, count in run.faults.items() if wrong.startswith("a row "))


if __name__ == "__main__":
    sys.exit(main())
