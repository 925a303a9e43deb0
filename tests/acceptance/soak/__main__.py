"""``python -m tests.acceptance.soak [--minutes N] [--streams N]``: many streams with every fault; nothing may leak."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.limits import raise_open_files
from tests.acceptance import RESULTS
from tests.acceptance.soak.client import Client
from tests.acceptance.soak.kinds import Shape
from tests.acceptance.soak.verdict import Run, print_run, write_markdown

ROOT = Path(__file__).resolve().parents[3]

# Open files in addition to one for each stream: a closed connection and its successor overlap.
_SPARE = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long streams are opened (default 10)")
    parser.add_argument("--streams", type=int, default=10_000, help="streams open at a time (default 10,000)")
    parser.add_argument("--rate", type=float, help="tokens a second of one stream (default: 2,500 in all, 10 at most)")
    parser.add_argument("--output", type=Path, default=RESULTS / "soak.md", help="where the result is written")
    options = parser.parse_args()
    if options.minutes <= 0 or options.streams < 1 or (options.rate is not None and options.rate <= 0):
        parser.error("--minutes, --streams and --rate: use a number above 0")
    # Without a terminal rich would break every row of the tables at 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if not Path("/proc/self/fd").exists():
        console.print("the soak reads memory and sockets from /proc: run it on Linux")
        return 2
    files = raise_open_files()
    if files < options.streams + _SPARE:
        console.print(
            f"{options.streams:,} streams need {options.streams + _SPARE:,} open files, and the hard limit is {files:,}: "
            f"raise it (`ulimit -Hn`, as root, or LimitNOFILE= of the service), or use --streams {files - _SPARE}"
        )
        return 2
    shape = Shape.of(options.streams, options.rate)
    seconds = options.minutes * 60
    ramp = min(shape.seconds, seconds / 4)
    console.print(
        f"{options.streams:,} streams for {options.minutes:g} min, {shape.rate:g} tokens a second each; "
        f"a whole answer has {shape.tokens} tokens and takes {shape.seconds:.0f} s"
    )
    with soak_server(shape) as (origin, said):
        client = Client(origin, shape, options.streams)
        asyncio.run(watched(client, seconds, ramp, console))
    run = Run(client, said, options.streams, options.minutes, shape, ramp, seconds)
    print_run(console, run)
    console.print(f"written to {write_markdown(run, options.output)}")
    return 0 if all(bound.kept for bound in run.bounds) else 1


@contextlib.contextmanager
def soak_server(shape: Shape) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the server and give its origin; when the block ends, what it counted stands in the dict."""
    command = [sys.executable, "-m", "tests.acceptance.soak.server", str(shape.tokens), repr(shape.rate)]
    said: dict[str, Any] = {}
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = json.loads(server.stdout.readline())["port"]
            yield f"http://127.0.0.1:{port}/v1", said
        finally:
            last, _ = server.communicate(timeout=60)
    said.update(json.loads(last))


async def watched(client: Client, seconds: float, ramp: float, console: Console) -> None:
    """Run the client, with a bar on a terminal and a line every ten seconds elsewhere."""
    columns = (TextColumn("{task.description:<58}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=seconds)

        async def show() -> None:
            shown = 0
            while True:
                await asyncio.sleep(1)
                if not client.samples:
                    continue
                now = client.samples[-1]
                text = f"{now.open:,} open, {now.ended:,} ended, {now.resident / 2**20:.1f} MiB"
                progress.update(task, completed=min(now.at, seconds), description=text)
                if not console.is_terminal and int(now.at) // 10 > shown:
                    shown = int(now.at) // 10
                    console.print(f"{now.at:6.0f} s: {text}, {now.chunks:,} chunks, {now.lag * 1000:.0f} ms late")

        shower = asyncio.get_running_loop().create_task(show())
        try:
            await client.run(seconds, ramp)
        finally:
            shower.cancel()


if __name__ == "__main__":
    sys.exit(main())
