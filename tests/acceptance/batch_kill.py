"""``python -m tests.acceptance.batch_kill``: kill a batch again and again; each row must be written once and whole."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.table import Table

from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

ROOT = Path(__file__).resolve().parents[2]

# Seconds after which a program that hangs counts as failed.
_PATIENCE = 300.0

# The share of kills that are timed from the run's first request; the others are timed from its start.
_WHILE_ROWS_RUN = 0.75

# Sizes of answers: most are short; some are so long that a kill may meet the middle of writing their line.
_SIZES = (20, 20, 200, 2_000, 20_000, 100_000)


@dataclass
class Seen:
    """What was seen of the lives and of the file between them.

    Attributes:
        kills: Processes that were killed.
        before_a_row: Those that had written nothing by then.
        torn: Files that ended in half a line after a kill.
        requests: Requests that the server answered or began to.
        faults: What was wrong, in words, and how often.
    """

    kills: int = 0
    before_a_row: int = 0
    torn: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)


def content(row: int) -> str:
    """Return the text that answers this row and no other row."""
    return f"answer to row {row}: ".ljust(_SIZES[row % len(_SIZES)], "x")


def write_rows(path: Path, rows: int) -> None:
    lines = ({"custom_id": f"row-{row}", "prompt": f"row {row}"} for row in range(rows))
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def reply(request: RecordedRequest) -> Reply:
    row = int(request.json["messages"][-1]["content"].split()[1])
    text = content(row)
    half = len(text) // 2
    return Reply.text(text[:half], 0.02, text[half:])


def check_line(line: bytes, rows: int, faults: Counter[str]) -> str | None:
    """Return the custom_id of a line that is its row's whole answer; otherwise count the fault and return None."""
    try:
        value: Any = orjson.loads(line)
        row = int(value["custom_id"].removeprefix("row-"))
        choice = value["response"]["body"]["choices"][0]
        finish_reason, answer = choice["finish_reason"], choice["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        faults[f"a line is not a line of an output: {error}"] += 1
        return None
    if not 0 <= row < rows or value["error"] is not None or finish_reason != "stop" or answer != content(row):
        faults["a line is not its row's whole answer"] += 1
        return None
    return str(value["custom_id"])


def check_file(path: Path, rows: int, faults: Counter[str]) -> tuple[int, bool]:
    """Return how many whole lines a file has, and whether it ends in half a line; what is wrong is added to `faults`."""
    text = path.read_bytes() if path.exists() else b""
    *lines, rest = text.split(b"\n")
    names = Counter(filter(None, (check_line(line, rows, faults) for line in lines)))
    faults["a row has two lines"] += sum(count - 1 for count in names.values())
    return len(lines), bool(rest)


async def live(command: list[str], env: dict[str, str], stderr: BinaryIO) -> int:
    """Run the batch to its end and return its exit code; if this task is cancelled, kill it."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=env, stderr=stderr)
    try:
        return await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def live_for(seconds: float, life: Coroutine[Any, Any, int], begun: asyncio.Event | None) -> int | None:
    """Let a run live for some seconds after its start, or after `begun`; return the exit code if it ended before that."""
    run = asyncio.create_task(life)
    if begun is not None:
        began = asyncio.create_task(begun.wait())
        await asyncio.wait([run, began], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        began.cancel()
    done, _ = await asyncio.wait([run], timeout=seconds)
    if done:
        return run.result()
    run.cancel()
    await asyncio.wait([run])
    return None


def last_line(path: Path) -> str:
    return (path.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


async def kill_and_resume(rows: int, kills: int, longest: float, chance: random.Random) -> Seen:
    """Run a batch to its end, and kill it `kills` times on the way."""
    seen = Seen()
    with TemporaryDirectory() as folder:
        source, output, said = (Path(folder, name) for name in ("in.jsonl", "out.jsonl", "stderr"))
        write_rows(source, rows)
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(SimulatedServer())
            stderr = stack.enter_context(said.open("ab"))
            begun = asyncio.Event()

            def count(request: RecordedRequest) -> Reply:
                seen.requests += 1
                begun.set()
                return reply(request)

            server.always(count)
            env = {**os.environ, "COMETAPI_BASE_URL": server.base_url, "COMETAPI_KEY": server.api_key}
            command = [sys.executable, "-m", "cometstream.cli", "batch", str(source), "-o", str(output)]
            command += ["--resume", "--quiet", "--model", "gpt-5.4", "--concurrency", "16"]
            written = 0
            for _ in range(kills):
                begun.clear()
                seconds = chance.uniform(0, longest)
                # Most kills come while rows run, some while the program starts, reads its input and repairs the output.
                life = live(command, env, stderr)
                code = await live_for(seconds, life, begun if chance.random() < _WHILE_ROWS_RUN else None)
                if code is not None:
                    cause = "use more --rows or a shorter --longest" if code == 0 else last_line(said)
                    seen.faults[f"a run ended with {code} before it was killed: {cause}"] += 1
                    break
                seen.kills += 1
                before = written
                written, torn = check_file(output, rows, seen.faults)
                seen.torn += torn
                seen.before_a_row += written == before
            code = await live_for(_PATIENCE, live(command, env, stderr), None)
            if code != 0:
                seen.faults[f"the last run ended with {code}: {last_line(said)}"] += 1
            written, torn = check_file(output, rows, seen.faults)
            seen.faults["the last line is torn"] += torn
            seen.faults["a row has no line"] += max(0, rows - written)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.batch_kill", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="rows of the batch (default 2,000)")
    parser.add_argument("--kills", type=int, default=50, help="how often the batch is killed (default 50)")
    parser.add_argument("--longest", type=float, default=2.0, help="seconds before a kill, at most (default 2)")
    parser.add_argument("--seed", type=int, help="repeats the moments of a run (default: new moments)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(f"{options.rows:,} rows, {options.kills} kills at moments of seed {seed}")
    began = time.perf_counter()
    seen = asyncio.run(kill_and_resume(options.rows, options.kills, options.longest, random.Random(seed)))
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in (
        ("kills", seen.kills),
        ("of these before the run wrote a row", seen.before_a_row),
        ("files that ended in half a line after a kill", seen.torn),
        ("requests", seen.requests),
        ("of these for rows that ran again", seen.requests - options.rows),
        ("seconds", round(time.perf_counter() - began)),
    ):
        table.add_row(name, f"{value:,}")
    console.print(table)
    faults = +seen.faults
    for fault, count in faults.items():
        console.print(f"{count:,} x {fault}", markup=False)
    console.print("broken" if faults else "every row has exactly one line, each is whole, none is torn")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
