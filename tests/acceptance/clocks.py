"""``python -m tests.acceptance.clocks``: how late each clock fires while other bytes go on coming."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.report import machine, versions
from cometstream import APITimeoutError, CometSession, Timeouts
from cometstream.testing import Reply, SimulatedServer, chunk
from tests.acceptance import RESULTS

# Seconds that a clock may be late on an idle machine, or early (a timer is rounded).
_LATE = 0.050
_EARLY = 0.002

_PING = b": PING\n\n"
_TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
_ROLE = chunk({"role": "assistant", "content": ""})
_CONTENT = chunk({"content": "a"})

_PACKAGES = ("cometstream", "aiohttp", "anyio")


@dataclass(frozen=True)
class Case:
    """One clock, and what the server does while it runs.

    Args:
        clock: The clock that must fire.
        behind: What the server does.
        reply: Its answer; None is a server that accepts connections and says nothing to a TLS handshake.
        pace: As in ``session.stream``.
        length: Seconds that the clock has.
    """

    clock: str
    behind: str
    reply: Reply | None
    pace: float = 0.0
    length: float = 0.25


_PINGS = Reply.sse().forever(0.02, _PING)
_IDLE = Reply.sse(_ROLE, _CONTENT).forever(0.02, _PING)
_FAST_PINGS = Reply.sse(_ROLE, _CONTENT).forever(0.001, _PING)
_TOKENS = Reply.sse(_ROLE).forever(0.02, _TOKEN)
_SLOW_HEADERS = Reply.raw(b"HTTP/1.1 200 OK\r\nx-slow: ").forever(0.02, b"a")

CASES = [
    Case("connect", "a TLS handshake that is never answered", None),
    Case("first_content", "no answer at all", Reply.text("a").after(60.0)),
    Case("first_content", "a header that comes byte by byte", _SLOW_HEADERS),
    Case("first_content", "silence after the headers", Reply.sse().stall()),
    Case("first_content", "keep-alives without end", _PINGS),
    Case("first_content", "keep-alives without end, pace=0.1", _PINGS, pace=0.1),
    Case("content_idle", "silence", Reply.sse(_ROLE, _CONTENT).stall()),
    Case("content_idle", "silence, pace=0.1", Reply.sse(_ROLE, _CONTENT).stall(), pace=0.1),
    Case("content_idle", "keep-alives without end", _IDLE),
    Case("content_idle", "a thousand keep-alives a second", _FAST_PINGS),
    Case("content_idle", "keep-alives without end, pace=0.1", _IDLE, pace=0.1),
    Case("total", "a header that comes byte by byte", _SLOW_HEADERS),
    Case("total", "keep-alives without end", _PINGS),
    Case("total", "tokens without end", _TOKENS),
    Case("total", "tokens without end, pace=0.1", _TOKENS, pace=0.1),
    Case("total", "tokens as fast as they can be read", Reply.sse(_ROLE).forever(_TOKEN * 20)),
]


@dataclass
class Result:
    """How late a clock was each time, in seconds, and what happened when it did not fire."""

    case: Case
    late: list[float] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not self.other and bool(self.late) and min(self.late) >= -_EARLY and max(self.late) <= _LATE

    def row(self) -> tuple[str, ...]:
        figures = (
            (f"{statistics.median(self.late) * 1000:.1f}", f"{max(self.late) * 1000:.1f}") if self.late else ("-", "-")
        )
        kept = "yes" if self.kept else "no" if not self.other else f"no: {self.other[0]}"
        return (self.case.clock, self.case.behind, *figures, kept)


async def measure(case: Case) -> float | str:
    """Return how late the clock of a case was, in seconds, or a text that says what happened instead."""
    if case.reply is None:
        listener = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            return await _measure(case, f"https://127.0.0.1:{port}/v1")
    async with SimulatedServer() as server:
        server.always(case.reply)
        return await _measure(case, server.base_url)


async def _measure(case: Case, base_url: str) -> float | str:
    loop = asyncio.get_running_loop()
    # If the clock does not fire, another clock ends the stream much later, and its name is shown.
    lengths = {"connect": 5.0, "first_content": 5.0, "content_idle": 5.0, "total": 10.0, case.clock: case.length}
    async with CometSession(
        api_key="sk-clocks", base_url=base_url, timeouts=Timeouts(**lengths), retry=None
    ) as session:
        began = loop.time()
        try:
            async with session.stream(
                model="gpt-5.4", messages=[{"role": "user", "content": "?"}], pace=case.pace
            ) as stream:
                async for piece in stream:
                    if case.clock == "content_idle" and piece.has_content():
                        began = loop.time()
        except APITimeoutError as error:
            fired = loop.time()
            return fired - began - case.length if error.clock == case.clock else f"{error.clock} fired"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "the answer ended"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.clocks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured (default 9)")
    parser.add_argument("--output", type=Path, default=RESULTS / "clocks.md", help="where the result is written")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: use 1 or more")
    console = Console() if sys.stdout.isatty() else Console(width=120)
    results = [Result(case) for case in CASES]
    asyncio.run(_measure(Case("total", "a warm-up", None), "http://127.0.0.1:9/v1"))
    for _ in track(range(options.rounds), "measuring", console=console):
        for result in results:
            found = asyncio.run(measure(result.case))
            if isinstance(found, str):
                result.other.append(found)
            else:
                result.late.append(found)
    head = ("clock", "behind", "median, ms late", "worst", f"within {_LATE * 1000:.0f} ms")
    table = Table(title=f"How late the clocks fire, of {options.rounds} rounds", title_justify="left")
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place < 2 else "right")
    for result in results:
        table.add_row(*result.row())
    console.print(table)
    console.print(f"written to {write_markdown(results, head, options.rounds, options.output)}")
    return 0 if all(result.kept for result in results) else 1


def write_markdown(results: list[Result], head: tuple[str, ...], rounds: int, path: Path) -> Path:
    """Write the table, with the machine it was measured on."""
    found = {name: version for name, version in versions().items() if name in _PACKAGES}
    rows = [head, ("---",) * len(head), *(result.row() for result in results)]
    about = [("machine", ""), ("---", "---"), *machine().items(), *found.items()]
    lines = [
        "# Clocks",
        "",
        f"`python -m tests.acceptance.clocks`: how late each clock fires, in {rounds} rounds. `connect`, `first_content` and",
        f"`total` are due {CASES[0].length:g} s after the stream was entered, `content_idle` {CASES[0].length:g} s after the",
        "last content was handed over.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"| {' | '.join(row)} |" for row in about),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
