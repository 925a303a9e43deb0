"""``python -m tests.acceptance.hidden_limit``: how much of a limit a batch uses when the server does not tell it."""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.table import Table
from support import virtual_clock

from benchmarks.report import machine, versions
from cometstream import CometSession, fan_out
from cometstream.testing import RecordedRequest, Reply, SimulatedServer
from tests.acceptance import RESULTS

# After the first minute: the share of the limit that must be used, and the share of requests that may be refused.
_USED = 0.95
_REFUSED = 0.01

# Where refusals do not depend on the rate: the share that must be used of what the best semaphore reaches, and how many run.
_OF_BEST = 0.8
_AT_A_TIME = 100
_SLOTS = 50
# Seconds that an answer takes on average, and a refusal.
_ANSWER_TAKES = 4.5
_REFUSAL_TAKES = 0.05

# Real seconds before the clock jumps. Hours of this clock pass here; with the tests' own value they would take minutes more.
_SETTLE = 0.0005

_PACKAGES = ("cometstream", "aiohttp", "anyio")
_USAGE = {"prompt_tokens": 12, "completion_tokens": 40, "total_tokens": 52}
_HEAD = ("server", "refusals say", "requests a minute", "of the limit", "refused", "refused in the first minute", "met")


class Limit(Protocol):
    """Takes a request and returns 0, or returns the seconds until there is room."""

    def room_in(self, now: float) -> float: ...


@dataclass
class FixedWindow:
    """`rpm` requests in each minute of the server's clock."""

    rpm: float
    _window: int = -1
    _taken: int = 0

    def room_in(self, now: float) -> float:
        window = int(now // 60)
        if window != self._window:
            self._window, self._taken = window, 0
        if self._taken >= self.rpm:
            return (window + 1) * 60 - now
        self._taken += 1
        return 0.0


@dataclass
class SlidingWindow:
    """`rpm` requests in any 60 seconds."""

    rpm: float
    _taken: deque[float] = field(default_factory=deque)

    def room_in(self, now: float) -> float:
        while self._taken and self._taken[0] <= now - 60:
            self._taken.popleft()
        if len(self._taken) >= self.rpm:
            return self._taken[0] + 60 - now
        self._taken.append(now)
        return 0.0


@dataclass
class Bucket:
    """`rpm` requests a minute at an even rate, and up to `burst` at once."""

    rpm: float
    burst: float
    _level: float = math.inf
    _seen: float = 0.0

    def room_in(self, now: float) -> float:
        self._level = min(self.burst, self._level + (now - self._seen) * self.rpm / 60)
        self._seen = now
        if self._level < 1:
            return (1 - self._level) * 60 / self.rpm
        self._level -= 1
        return 0.0


@dataclass
class Chance:
    """No limit, but a share of the requests is refused at random."""

    share: float
    _random: Random = field(default_factory=lambda: Random(2))

    def room_in(self, now: float) -> float:
        return 12.0 if self._random.random() < self.share else 0.0


@dataclass
class Channels:
    """No limit, but so many channels take turns, and one of them is full."""

    count: int
    _turn: int = 0

    def room_in(self, now: float) -> float:
        self._turn += 1
        return 12.0 if self._turn % self.count == 0 else 0.0


@dataclass
class Parallel:
    """So many requests at a time."""

    slots: int
    _ends: list[float] = field(default_factory=list)

    def room_in(self, now: float) -> float:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return 12.0 if len(self._ends) >= self.slots else 0.0

    def ends_at(self, time: float) -> None:
        heapq.heappush(self._ends, time)


@dataclass
class Unlimited:
    """No limit."""

    def room_in(self, now: float) -> float:
        return 0.0


@dataclass
class Case:
    """One server, and what it saw.

    Args:
        title: The kind of its limit.
        limit: The limit, which it does not tell.
        tells: Whether its refusals have a Retry-After.
        rpm: The limit, or what the best semaphore reaches.
        by_rate: Whether refusals depend on the rate, so that there may be few.
        at_a_time: Requests that the batch may have under way; ``"auto"`` as a rule.
        headers: What every answer tells.
    """

    title: str
    limit: Limit
    tells: bool
    rpm: float
    by_rate: bool = True
    at_a_time: int | Literal["auto"] = "auto"
    headers: dict[str, str] = field(default_factory=dict)
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    concurrency: list[tuple[float, int]] = field(default_factory=list)

    def reply(self, now: float, random: Random) -> Reply:
        """Return the answer to a request that comes at `now`: one of 1 to 15 s (most take 3), or a refusal."""
        room = self.limit.room_in(now)
        if room > 0.0:
            self.refused.append(now)
            return Reply.error(429, "slow down", retry_after=math.ceil(room) if self.tells else None).after(0.05)
        self.taken.append(now)
        first, rest = min(random.lognormvariate(-0.5, 0.5), 5.0), min(max(random.lognormvariate(1.2, 0.5), 1.0), 15.0)
        if isinstance(self.limit, Parallel):
            self.limit.ends_at(now + first + rest)
        return Reply.text("A", rest, " comet.", usage=_USAGE).after(first).with_headers(self.headers)

    def figures(self, minutes: int) -> tuple[float, float]:
        """Return the requests taken a minute, and the share that was refused, after the first minute."""
        taken = _between(self.taken, 60, (minutes + 1) * 60)
        refused = _between(self.refused, 60, (minutes + 1) * 60)
        return taken / minutes, refused / max(taken + refused, 1)

    def is_met(self, minutes: int) -> bool:
        rate, refused = self.figures(minutes)
        if not self.by_rate:
            return rate >= _OF_BEST * self.rpm
        return rate >= _USED * self.rpm and refused <= _REFUSED

    def row(self, minutes: int) -> tuple[str, ...]:
        rate, refused = self.figures(minutes)
        first = _between(self.refused, 0, 60) / max(_between(self.taken, 0, 60) + _between(self.refused, 0, 60), 1)
        says = "Retry-After" if self.tells else "nothing"
        met = "yes" if self.is_met(minutes) else "no"
        return (self.title, says, f"{rate:.0f}", f"{rate / self.rpm:.3f}", f"{refused:.2%}", f"{first:.1%}", met)


def cases(rpm: int) -> list[Case]:
    """Return the servers, each with the same limit."""
    kinds: list[tuple[str, Callable[..., Limit], tuple[float, ...]]] = [
        ("a fixed window a minute", FixedWindow, ()),
        ("a sliding window", SlidingWindow, ()),
        ("a bucket, 10 at once", Bucket, (10,)),
        ("a bucket, a minute's worth at once", Bucket, (rpm,)),
    ]
    limited = [Case(title, kind(rpm, *more), tells, rpm) for title, kind, more in kinds for tells in (True, False)]
    by_chance = [
        *((f"{share:.0%} refused at random", Chance(share), share) for share in (0.01, 0.05, 0.2)),
        *((f"one of {count} channels is full", Channels(count), 1 / count) for count in (4, 10)),
    ]
    others = [
        Case(title, limit, True, _best(_AT_A_TIME, share), by_rate=False, at_a_time=_AT_A_TIME)
        for title, limit, share in by_chance
    ]
    others += [
        Case(f"{_SLOTS} at a time", Parallel(_SLOTS), tells, _best(_SLOTS, 0.0), by_rate=False)
        for tells in (True, False)
    ]
    wrong = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
    }
    best = _best(_AT_A_TIME, 0.0)
    others.append(
        Case("headers say wrongly: 0 left", Unlimited(), True, best, by_rate=False, at_a_time=_AT_A_TIME, headers=wrong)
    )
    return limited + others


def _best(at_a_time: int, refused: float) -> float:
    """Return the requests a minute that so many at a time reach."""
    return at_a_time * 60 / (_ANSWER_TAKES + _REFUSAL_TAKES * refused / (1 - refused))


async def measure(case: Case, minutes: int) -> None:
    """Run an endless batch against a case's server for `minutes` + 1 minutes of the loop's own clock."""
    loop, random = asyncio.get_running_loop(), Random(1)
    async with SimulatedServer() as server:
        began = loop.time()

        def reply(_: RecordedRequest) -> Reply:
            return case.reply(loop.time() - began, random)

        server.always(reply)
        async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
            async with fan_out(session, _requests(), concurrency=case.at_a_time) as batch:
                async for _ in batch:
                    if loop.time() - began > (minutes + 1) * 60:
                        break
                case.concurrency = [(change.time - began, change.concurrency) for change in batch.history]
                case.concurrency.append((loop.time() - began, batch.progress.concurrency))


def _requests() -> Iterator[dict[str, Any]]:
    for number in itertools.count():
        yield {"model": "gpt-5.4", "messages": [{"role": "user", "content": f"Name comet {number}."}]}


def _between(times: Sequence[float], since: float, until: float) -> int:
    return sum(since <= moment < until for moment in times)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.hidden_limit", description=__doc__)
    parser.add_argument("--rpm", type=int, default=600, help="the limit (default 600)")
    parser.add_argument("--minutes", type=int, default=10, help="simulated minutes after the first (default 10)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where hidden_limit.md and .svg are written")
    options = parser.parse_args()
    if options.rpm < 1 or options.minutes < 1:
        parser.error("--rpm, --minutes: use 1 or more")
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(title=f"A hidden limit of {options.rpm} requests a minute", title_justify="left")
    for place, name in enumerate(_HEAD):
        table.add_column(name, justify="left" if place < 2 else "right")
    measured = cases(options.rpm)
    for case in measured:
        took = time.monotonic()
        virtual_clock.run(measure(case, options.minutes), settle=_SETTLE)
        console.print(f"{case.title}: {options.minutes + 1} minutes in {time.monotonic() - took:.0f} s")
        table.add_row(*case.row(options.minutes))
    console.print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    write_plot(measured, options.output / "hidden_limit.svg")
    write_markdown(measured, options.rpm, options.minutes, options.output / "hidden_limit.md")
    return 0 if all(case.is_met(options.minutes) for case in measured) else 1


def write_plot(measured: list[Case], path: Path) -> None:
    """Draw the rate that was taken and the concurrency over time, and mark the refusals."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cometstream", "font.size": 8})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(measured) // 2, 2, figsize=(10, 2 * len(measured) // 2 + 1), sharex=True)
    handles, labels = [], []
    for case, axis in zip(measured, axes.flat, strict=True):
        end = case.concurrency[-1][0]
        marks = [10.0 * step for step in range(int(end // 10))]
        rate = [_between(case.taken, since, since + 10) * 6 for since in marks]
        axis.step([since / 60 for since in marks], rate, where="post", color="#d1602a", label="taken, a minute")
        axis.axhline(case.rpm, color="#8a94a3", linewidth=0.8, linestyle="--", label="the limit")
        axis.plot(
            [moment / 60 for moment in case.refused],
            [0.0] * len(case.refused),
            "|",
            color="#b3202a",
            label="a refusal",
        )
        axis.set_ylim(-0.08 * case.rpm, 2.6 * case.rpm)
        axis.set_title(f"{case.title}, {'Retry-After' if case.tells else 'no Retry-After'}", loc="left", fontsize=8)
        places = axis.twinx()
        places.step(
            [moment / 60 for moment, _ in case.concurrency],
            [count for _, count in case.concurrency],
            where="post",
            color="#3c6fb0",
            linewidth=0.8,
            label="concurrency",
        )
        places.set_ylim(0, None)
        for side in (axis, places):
            side.spines["top"].set_visible(False)
        # The last of all: they have the same ones.
        handles, labels = (
            first + second
            for first, second in zip(axis.get_legend_handles_labels(), places.get_legend_handles_labels(), strict=True)
        )
    for axis in axes[-1]:
        axis.set_xlabel("simulated minutes")
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def write_markdown(measured: list[Case], rpm: int, minutes: int, path: Path) -> None:
    """Write the table, with the machine it was measured on."""
    found = {name: version for name, version in versions().items() if name in _PACKAGES}
    rows = [_HEAD, ("---",) * len(_HEAD), *(case.row(minutes) for case in measured)]
    about = [("machine", ""), ("---", "---"), *machine().items(), *found.items()]
    lines = [
        "# A hidden limit",
        "",
        f"`python -m tests.acceptance.hidden_limit`: `fan_out` against a server that takes {rpm} requests a minute and refuses the",
        f"others, in minutes 2 to {minutes + 1} of a clock that jumps, over real sockets. Answers take 1 to 20 s, refusals 50 ms.",
        f"The bar: {_USED:.0%} of the limit used, {_REFUSED:.0%} of the requests refused. Where refusals do not depend on the",
        f"rate, the bar is {_OF_BEST:.0%} of what the best semaphore reaches, which then stands in the place of the limit.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "![rate and concurrency over time](hidden_limit.svg)",
        "",
        *(f"| {' | '.join(row)} |" for row in about),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
