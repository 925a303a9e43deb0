"""``python -m tests.acceptance.browsers``: browsers that leave at any moment, and browsers that come back for the rest."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import multiprocessing
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from support.browsing import Browser, serving_aiohttp, serving_asgi
from support.redis_server import redis_server

from benchmarks.limits import raise_open_files
from benchmarks.report import machine, versions
from cometstream import CometSession, SSEParser
from cometstream.answer.sse import Event
from cometstream.relay import RelayEnd, ResumableRelays, relay
from cometstream.relay.aiohttp import relay_response
from cometstream.relay.redis_store import RedisStore
from cometstream.relay.starlette import RelayResponse
from cometstream.testing import RecordedRequest, Reply, SimulatedServer
from tests.acceptance import RESULTS

# Seconds from a browser's leaving to the end of the request upstream.
_FREED = 0.1
_ADAPTERS = ("aiohttp.web", "FastAPI and uvicorn")
_STORES = ("in memory", "Redis")

# Browsers come within so many seconds for each hundred of them, and stay so long.
_COMING = 1.0
_STAY = (0.02, 2.0)
_PATIENCE = 300.0

_MODEL = "gpt-5.4"
_WORDS = [f"word {place} " for place in range(400)]
_PACKAGES = ("cometstream", "aiohttp", "uvicorn", "starlette", "redis")


def upstream(pipe: Connection) -> None:
    """The model: every other answer begins after a minute, the others drip. At the end it tells when each request was left."""
    raise_open_files()
    asyncio.run(_upstream(pipe))


async def _upstream(pipe: Connection) -> None:
    left: dict[int, float] = {}
    watching: set[asyncio.Task[None]] = set()

    async def watch(number: int, request: RecordedRequest) -> None:
        await request.disconnected.wait()
        left[number] = time.monotonic()

    def answer(request: RecordedRequest) -> Reply:
        number = int(request.json["messages"][-1]["content"])
        watching.add(asyncio.get_running_loop().create_task(watch(number, request)))
        if number % 2:
            return Reply.text("late").after(60.0)
        return Reply.text(*(piece for word in _WORDS for piece in (word, 0.1)))

    async with SimulatedServer() as server:
        server.always(answer)
        pipe.send((server.base_url, server.api_key))
        await _until_told(pipe)
        pipe.send((len(watching), left))
        for task in watching:
            task.cancel()


def relaying(pipe: Connection, adapter: str, base_url: str, api_key: str) -> None:
    """The web server. At the end it tells what ``on_end`` was given, and how many tasks are left."""
    raise_open_files()
    asyncio.run(_relaying(pipe, adapter, base_url, api_key))


async def _relaying(pipe: Connection, adapter: str, base_url: str, api_key: str) -> None:
    ends: dict[int, tuple[str | None, str]] = {}

    def ended(number: int, end: RelayEnd) -> None:
        ends[number] = (end.outcome, "unknown" if end.completion.usage is None else "reported")

    async with CometSession(api_key=api_key, base_url=base_url) as session:

        def stream(number: int) -> Any:
            return session.stream(model=_MODEL, messages=[{"role": "user", "content": str(number)}])

        async def by_aiohttp(request: web.Request) -> web.StreamResponse:
            number = int(request.query["number"])
            return await relay_response(request, stream(number), on_end=functools.partial(ended, number))

        async def by_fastapi(number: int) -> RelayResponse:
            return RelayResponse(stream(number), on_end=functools.partial(ended, number))

        if adapter == _ADAPTERS[0]:
            serving = serving_aiohttp(by_aiohttp)
        else:
            app = FastAPI()
            app.get("/chat")(by_fastapi)
            serving = serving_asgi(app, backlog=4096)
        async with serving as port:
            before = len(asyncio.all_tasks())
            pipe.send(port)
            await _until_told(pipe)
            pipe.send((ends, len(asyncio.all_tasks()) - before))


async def _until_told(pipe: Connection) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), told.set)
    await asyncio.wait_for(told.wait(), _PATIENCE)
    loop.remove_reader(pipe.fileno())


@dataclass
class Leaving:
    """What was seen of browsers that leave.

    Attributes:
        adapter: What the web server is.
        delays: Seconds from each leaving to the end of the request upstream.
        usages: What ``on_end`` was told of the usage, and how often.
        faults: What was wrong, in words, and how often.
    """

    adapter: str
    delays: list[float] = field(default_factory=list)
    usages: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def row(self) -> tuple[str, ...]:
        delays = sorted(self.delays)
        middle, late = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
        usages = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.usages.items()))
        return (self.adapter, *(f"{delay * 1000:.1f} ms" for delay in (middle, late, delays[-1])), usages)


def measure_leaving(adapter: str, browsers: int) -> Leaving:
    """Let the browsers of this process ask and leave; model and web server have a process each."""
    leaving = Leaving(adapter)
    context = multiprocessing.get_context("spawn")
    model, its = context.Pipe()
    process = context.Process(target=upstream, args=(its,), daemon=True)
    process.start()
    base_url, api_key = model.recv()
    server, servers = context.Pipe()
    process_2 = context.Process(target=relaying, args=(servers, adapter, base_url, api_key), daemon=True)
    process_2.start()
    try:
        left = asyncio.run(asyncio.wait_for(_leave(server.recv(), browsers), _PATIENCE))
        time.sleep(1.0)  # what comes later than this is a fault
        server.send("end")
        ends, tasks = server.recv()
        model.send("end")
        came, closed = model.recv()
    finally:
        for running in (process_2, process):
            running.kill()
            running.join(10)
    leaving.delays = [moment - left[number] for number, moment in closed.items()]
    leaving.usages.update(usage for _, usage in ends.values())
    faults = {
        "request upstream was left open": came - len(closed),
        "request upstream was closed too late": sum(delay > _FREED for delay in leaving.delays),
        "browser's end was not told": browsers - len(ends),
        "end was told as another outcome": sum(
            outcome != "cancelled" and outcome is not None for outcome, _ in ends.values()
        ),
        "task was left": tasks,
        "browser was never seen upstream": browsers - came if came < browsers * 0.9 else 0,
    }
    leaving.faults.update({wrong: count for wrong, count in faults.items() if count})
    return leaving


async def _leave(port: int, browsers: int) -> dict[int, float]:
    chance = Random(5)
    left: dict[int, float] = {}

    async def browse(number: int, comes: float, stays: float) -> None:
        await asyncio.sleep(comes)
        browser = await Browser.ask(port, f"/chat?number={number}")
        await asyncio.sleep(stays)
        left[number] = time.monotonic()
        browser.leave()

    coming = browsers / 100 * _COMING
    await asyncio.gather(*[browse(n, chance.uniform(0, coming), chance.uniform(*_STAY)) for n in range(browsers)])
    return left


async def measure_resuming(store: str, reconnects: int) -> tuple[int, int]:
    """Break connections at random and come back; return how often, and how many joined reads are not the whole answer."""
    chance, done, wrong = Random(7), 0, 0
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(SimulatedServer())
        server.always(Reply.text(*(piece for word in _WORDS[:60] for piece in (word, 0.005))))
        session = await stack.enter_async_context(CometSession(api_key=server.api_key, base_url=server.base_url))
        kept = None
        if store == _STORES[1]:
            kept = RedisStore(stack.enter_context(redis_server()))
        relays = await stack.enter_async_context(ResumableRelays(kept, protocol="raw"))
        while done < reconnects:
            key = f"answer {done}"
            stream = session.stream(model=_MODEL, messages=[{"role": "user", "content": key}])
            await relays.start(stream, key=key, owner="me")
            reads = await asyncio.gather(*[_come_back(relays, key, chance) for _ in range(20)])
            answer = await relays.resume(key, by="me")
            expected = b"".join([piece async for piece in relay(answer)])
            done += sum(count for _, count in reads)
            wrong += sum(read != expected for read, _ in reads) + (b"[DONE]" not in expected)
    return done, wrong


async def _come_back(relays: ResumableRelays, key: str, chance: Random) -> tuple[bytes, int]:
    """Read one answer over connections that break at any byte; return it, and how often one broke."""
    got, last, count = b"", None, 0
    while True:
        answer = await relays.resume(key, by="me", last_event_id=last)
        reading: AsyncIterator[bytes] = relay(answer)  # type: ignore[assignment]
        seen, breaks = b"", chance.randrange(6000)
        async for piece in reading:
            seen += piece
            if len(seen) > breaks:
                break
        else:
            return got + seen, count
        await reading.aclose()  # type: ignore[attr-defined]
        count += 1
        # A browser goes on behind the last whole event that it had.
        whole = seen[:breaks]
        whole = whole[: whole.rfind(b"\n\n") + 2] if b"\n\n" in whole else b""
        got += whole
        ids = [item.id for item in SSEParser().feed(whole) if isinstance(item, Event)]
        last = ids[-1] if ids else last


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.browsers", description=__doc__)
    parser.add_argument("--browsers", type=int, default=1000, help="how many leave (default 1,000)")
    parser.add_argument("--reconnects", type=int, default=1000, help="how many connections break (default 1,000)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where browsers.md is written")
    options = parser.parse_args()
    if options.browsers < 10 or options.reconnects < 1:
        parser.error("use --browsers of 10 or more, and --reconnects of 1 or more")
    raise_open_files()
    console = Console() if sys.stdout.isatty() else Console(width=140)
    table = Table(
        "web server",
        "half within",
        "99 % within",
        "all within",
        "usage",
        title="Browsers that leave",
        title_justify="left",
    )
    leaving = [measure_leaving(adapter, options.browsers) for adapter in _ADAPTERS]
    faults: Counter[str] = Counter()
    for one in leaving:
        table.add_row(*one.row())
        faults.update({f"{one.adapter}: a {wrong}": count for wrong, count in one.faults.items()})
    console.print(table)
    resumed: list[tuple[str, int, int]] = []
    for store in _STORES:
        if store == _STORES[1] and shutil.which("redis-server") is None:
            console.print("no redis-server is here: its store is not tried")
            continue
        done, wrong = asyncio.run(measure_resuming(store, options.reconnects))
        console.print(f"{done:,} reconnects, store {store}: {wrong} reads that are not the whole answer")
        resumed.append((store, done, wrong))
        if wrong:
            faults[f"{store}: a joined read is not the whole answer"] += wrong
    for fault, count in faults.items():
        console.print(f"{count:,} x {fault}", markup=False)
    write_markdown(leaving, resumed, faults, options.browsers, options.output / "browsers.md")
    return 1 if faults else 0


def write_markdown(
    leaving: list[Leaving], resumed: list[tuple[str, int, int]], faults: Counter[str], browsers: int, path: Path
) -> None:
    """Write the tables, with the machine they were measured on."""
    found = {name: version for name, version in versions().items() if name in _PACKAGES}
    about = [("machine", ""), ("---", "---"), *machine().items(), *found.items()]
    cells = [
        ("web server", "half within", "99 % within", "all within", "usage"),
        ("---",) * 5,
        *(one.row() for one in leaving),
    ]
    reads = [("store", "reconnects", "joined reads that are not the whole answer"), ("---",) * 3]
    reads += [(store, f"{done:,}", str(wrong)) for store, done, wrong in resumed]
    lines = [
        "# Browsers that leave and come back",
        "",
        f"`python -m tests.acceptance.browsers`: {browsers:,} browsers leave at random, half of them before the head came.",
        "Browsers, web server and model have a process each. Measured is the time from leaving to the end of the request upstream,",
        f"which may be {_FREED * 1000:.0f} ms.",
        "",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
        "Connections of resumable answers break at any byte, and go on behind the last whole event:",
        "",
        *(f"| {' | '.join(row)} |" for row in reads),
        "",
        *(f"{count:,} x {fault}" for fault, count in faults.items()),
        *([""] if faults else []),
        *(f"| {' | '.join(row)} |" for row in about),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
