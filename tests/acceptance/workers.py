"""``python -m tests.acceptance.workers``: processes that share a limit, and a job whose workers are killed again and again."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import random
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from support.limited_servers import FixedWindow, LeakyBucket, Server, SlidingWindow

from cometstream import CometSession, Ledger, SharedLimits, fan_out
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

if TYPE_CHECKING:
    from tests.acceptance.ray_team import RayTeam

ROOT = Path(__file__).resolve().parents[2]

# The bars: the share of the limit that is used after the first minute, and of the requests that are refused.
_USED, _REFUSED = 0.95, 0.01
# The share of rows that the server refuses for good.
_BAD = 0.05
_KINDS: dict[str, Any] = {
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
    "bucket": lambda rpm: LeakyBucket(rpm, 10),
}


def _row(number: int) -> dict[str, Any]:
    return {"custom_id": f"row-{number}", "messages": [{"role": "user", "content": f"row {number}"}]}


def _number(request: RecordedRequest) -> int:
    return int(request.json["messages"][-1]["content"].split()[1])


async def work(options: argparse.Namespace) -> None:
    """Be one worker: send the rows of one part, and write a line for each result."""
    rows: Iterator[int] = (
        itertools.count() if options.rows is None else iter(range(options.part, options.rows, options.workers))
    )
    ledger = None if options.ledger is None else Ledger(options.ledger, lease=3.0)
    shared = None if options.limits is None else SharedLimits(options.limits)
    with open(options.lines, "wb", buffering=0) as lines:  # noqa: ASYNC230 - a line is written in microseconds
        async with CometSession() as session:
            async with fan_out(
                session,
                map(_row, rows),
                model="m",
                ledger=ledger,
                shared_limits=shared,
                concurrency=options.concurrency or "auto",
            ) as batch:
                async for result in batch:
                    content = result.completion.content if result.completion is not None else None
                    lines.write(orjson.dumps([result.custom_id, result.outcome, content, result.from_ledger]) + b"\n")
            lines.write(orjson.dumps(["end", batch.progress.maybe_paid_twice]) + b"\n")


@dataclass
class Team:
    """The processes of the workers.

    Attributes:
        lines: What each part's workers wrote, the newest last.
        kills: How many were killed.
    """

    server: SimulatedServer
    folder: Path
    arguments: list[str]
    lines: dict[int, list[Path]] = field(default_factory=lambda: defaultdict(list))
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    kills: int = 0

    async def start(self, workers: int) -> None:
        for part in range(workers):
            await self.start_part(part)

    async def start_part(self, part: int) -> None:
        path = self.folder / f"{part}-{len(self.lines[part])}.jsonl"
        self.lines[part].append(path)
        keys = {"COMETAPI_BASE_URL": self.server.base_url, "COMETAPI_KEY": self.server.api_key}
        command = ["-m", "tests.acceptance.workers", "--part", str(part), "--lines", str(path), *self.arguments]
        self.processes[part] = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env={**os.environ, **keys}
        )

    async def kill(self, part: int) -> None:
        process = self.processes[part]
        if process.returncode is None:
            process.kill()
            self.kills += 1
        await process.wait()

    async def replace(self, part: int | None = None) -> None:
        """Kill the worker of a part, or of the next one in turn, and start another."""
        part = self.kills % len(self.processes) if part is None else part
        await self.kill(part)
        await self.start_part(part)

    async def end(self) -> None:
        for part in list(self.processes):
            await self.kill(part)


async def share_a_limit(
    console: Console, kind: str, workers: int, rpm: int, minutes: float, every: float, *, ray: bool
) -> bool:
    """Let workers send without end to a server that hides a limit; every so many seconds, one is killed and replaced."""
    limit: Server = _KINDS[kind](rpm)
    taken: list[float] = []
    refused: list[float] = []

    opened = time.monotonic()

    def reply(_: RecordedRequest) -> Reply:
        now = time.monotonic() - opened
        room = limit.takes(now)
        if room > 0:
            refused.append(now)
            return Reply.error(429, retry_after=math.ceil(room))
        taken.append(now)
        return Reply.text("an ", random.uniform(0.2, 1.0), "answer")

    with TemporaryDirectory() as folder:
        async with SimulatedServer() as server:
            server.always(reply)
            team = _ray_team if ray else _team
            sharing = team(server, Path(folder), workers, round(rpm * (minutes + 3) * 1.5))
            try:
                await sharing.start(workers)
                # Whole minutes of the server's, from the first that begins a minute after all had started.
                first = 60 * math.ceil((time.monotonic() - opened) / 60 + 1)
                end = first + 60 * minutes
                while (left := opened + end - time.monotonic()) > 0:
                    await asyncio.sleep(min(every or 1.0, left))
                    server.requests.clear()
                    if every and left > every:
                        await sharing.replace()
                kills = sharing.kills
            finally:
                await sharing.end()
    used = sum(first <= moment < end for moment in taken) / (rpm * minutes)
    share = sum(first <= moment < end for moment in refused) / max(sum(first <= m < end for m in taken + refused), 1)
    met = used >= _USED and share <= _REFUSED
    console.print(
        f"{kind}, {workers} {'actors of Ray' if ray else 'workers'}, {kills} killed on the way: {used:.1%} of {rpm} a minute used, "
        f"{share:.2%} refused after the first minute: {'met' if met else 'missed'}"
    )
    return met


def _team(server: SimulatedServer, folder: Path, workers: int, _: int) -> Team:
    return Team(server, folder, ["--limits", str(folder / "limits.db"), "--workers", str(workers)])


def _ray_team(server: SimulatedServer, folder: Path, _: int, rows: int) -> RayTeam:
    from tests.acceptance.ray_team import RayTeam

    return RayTeam(server, folder, {"shared_limits": str(folder / "limits.db")}, rows)


async def kill_workers(console: Console, rows: int, workers: int, every: float) -> bool:
    """Run a job over workers of which one is killed every so many seconds."""
    asked: dict[int, list[float]] = defaultdict(list)

    def reply(request: RecordedRequest) -> Reply:
        number = _number(request)
        asked[number].append(time.time())
        if number % round(1 / _BAD) == 0:
            return Reply.error(400)
        return Reply.text("answer ", random.uniform(0.02, 0.2), str(number))

    began, faults = time.monotonic(), Counter[str]()
    with TemporaryDirectory() as folder:
        path = Path(folder, "rows.db")
        async with SimulatedServer() as server:
            server.always(reply)
            arguments = ["--ledger", str(path), "--rows", str(rows), "--workers", str(workers), "--concurrency", "8"]
            team = Team(server, Path(folder), arguments)
            try:
                await team.start(workers)
                while any(process.returncode is None for process in team.processes.values()):
                    left = [part for part, process in team.processes.items() if process.returncode is None]
                    waits = [asyncio.ensure_future(team.processes[part].wait()) for part in left]
                    await asyncio.wait(waits, timeout=every)
                    for waiting in waits:
                        waiting.cancel()
                    server.requests.clear()
                    running = [part for part, process in team.processes.items() if process.returncode is None]
                    if len(running) == len(left):
                        await team.replace(random.choice(running))
            finally:
                await team.end()
        names: Counter[str] = Counter()
        maybe = 0
        for paths in team.lines.values():
            *lines, last = map(orjson.loads, paths[-1].read_bytes().splitlines())
            maybe += last[1]
            for name, outcome, content, _ in lines:
                names[name] += 1
                number = int(name.removeprefix("row-"))
                bad = number % round(1 / _BAD) == 0
                right = (outcome, content) == (("error", None) if bad else ("complete", f"answer {number}"))
                faults["a row with a wrong result"] += not right
        faults["a row that is not once in the output"] += sum(names[f"row-{number}"] != 1 for number in range(rows))
        connection = sqlite3.connect(path)
        finished = dict(connection.execute("SELECT name, finished FROM rows WHERE answer IS NOT NULL").fetchall())
        connection.close()
        for name, moment in finished.items():
            faults["a row that was paid again after it was finished"] += sum(
                at > moment for at in asked[int(name.removeprefix("row-"))]
            )
    again = sum(len(times) - 1 for number, times in asked.items() if number % round(1 / _BAD))
    broken = +faults
    console.print(
        f"{rows:,} rows, {workers} workers, {team.kills} killed in {time.monotonic() - began:.0f} s: {again:,} rows that were "
        f"under way were sent again; the last workers told of {maybe:,}"
    )
    for fault, count in broken.items():
        console.print(f"{count:,} x {fault}", markup=False)
    console.print(
        "broken" if broken else "every row is once in the output, and none was paid again after it was finished"
    )
    return not broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.workers", description=__doc__)
    parser.add_argument("--only", choices=["limit", "kills"], help="one of the two (default: both)")
    parser.add_argument("--workers", type=int, default=8, help="processes (default 8)")
    parser.add_argument("--rpm", type=int, default=600, help="the hidden limit (default 600)")
    parser.add_argument(
        "--kinds", nargs="+", choices=_KINDS, default=["fixed"], help="kinds of limits (default: fixed)"
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="minutes after the first (default 3)")
    parser.add_argument(
        "--replace", type=float, default=0.0, help="kill a worker every so many seconds (default: none)"
    )
    parser.add_argument("--ray", action="store_true", help="share the limit among actors of Ray Data (extra ray)")
    parser.add_argument("--total", type=int, default=20_000, help="rows of the job (default 20,000)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills in the job (default 5)")
    for name, kind in (("part", int), ("rows", int), ("lines", str), ("ledger", str), ("limits", str)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lines is not None:
        asyncio.run(work(options))
        return 0
    console = Console() if sys.stdout.isatty() else Console(width=120)
    met = []
    if options.only != "kills":
        for kind in options.kinds:
            sharing = share_a_limit(
                console, kind, options.workers, options.rpm, options.minutes, options.replace, ray=options.ray
            )
            met.append(asyncio.run(sharing))
    if options.only != "limit":
        met.append(asyncio.run(kill_workers(console, options.total, options.workers, options.every)))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
