"""What is measured: the scenarios, the peers in each, and the sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.answers import Answer
from benchmarks.job import Job

# The two imports that are compared; what a hand-written loop imports is the yardstick.
IMPORTS = {"import cometstream": "import cometstream", "import aiohttp, orjson, anyio": "import aiohttp, orjson, anyio"}

_COMET = ("cometstream", "cometstream text()", "cometstream pace=0.1", "cometstream pace=0.5")
_OPENAI = ("openai create", "openai stream", "openai aiohttp")
_RELAYS = ("byte pump", "relay raw", "relay ui", "relay raw, FastAPI", "openai re-encoded, FastAPI")
_BATCH = ("hand-written", "cometstream fan_out", "openai semaphore")


@dataclass(frozen=True)
class Measurement:
    """One line of a scenario's table.

    Args:
        label: The line's name; the peer, and what else sets it apart.
        job: What its process does; None measures the import that ``IMPORTS`` names by the label.
        tls: Whether the server speaks TLS.
    """

    label: str
    job: Job | None
    tls: bool = False


@dataclass(frozen=True)
class Scenario:
    """One table.

    Args:
        name: Its name on the command line.
        title: What happens in it.
        unit: What is counted: ``"token"`` and ``"request"`` divide the CPU by them, ``"opening"`` the CPU until all are open by the
            streams; ``"stream"`` is memory, ``"import"`` is CPU.
        yardstick: The label of the line to which the others are compared.
        lines: What is measured, in the order of the first round.
    """

    name: str
    title: str
    unit: Literal["token", "request", "opening", "stream", "import"]
    yardstick: str
    lines: tuple[Measurement, ...]

    def without(self, peers: set[str]) -> Scenario:
        """Return the scenario without the lines of some peers."""
        return replace(self, lines=tuple(line for line in self.lines if line.job is None or line.job.peer not in peers))


def _peers(
    peers: tuple[str, ...], answer: Answer, streams: int, requests: int = 1, *, loop: str = "asyncio", tls: bool = False
) -> tuple[Measurement, ...]:
    return tuple(Measurement(peer, Job(peer, answer.name, streams, requests, loop), tls) for peer in peers)


def scenarios(*, small: bool) -> list[Scenario]:
    """Return all scenarios; `small` ones check that all counts are right and measure nothing of worth."""
    drip = Answer(chunks=20, gap_ms=5) if small else Answer(chunks=200, gap_ms=20)
    burst = Answer(chunks=20 if small else 200)
    # Chunks that repeat one another to the byte around their text, as many other servers send them.
    drip_plain, burst_plain = replace(drip, padded=False), replace(burst, padded=False)
    streams = 10 if small else 100
    short = Answer(chunks=3)
    # Slow enough that a client reads one token at a time from thousands of streams.
    held = Answer(chunks=20, gap_ms=20 if small else 1000, held=True)
    opening, finishing = replace(held, chunks=2), replace(held, chunks=6)
    many, most = (100, 200) if small else (5000, 19_000)
    long, brief, single = (Answer(chunks=chunks) for chunks in ((1000 if small else 20_000), 200, 1))
    # 257 KiB, as long a document as people ask for; the same in pieces that a client which parses it anew for each can bear.
    partial = Answer("json", chunks=1_000 if small else 65_792, size=4)
    brief_partial = replace(partial, chunks=1_000)
    coarse = replace(partial, chunks=60 if small else 4_112, size=64)
    text = Answer("text", chunks=1000 if small else 20_000, size=50)
    everyone = ("byte counter", "hand-written", *_COMET, *_OPENAI, "litellm")
    in_one_read = ("byte counter", "hand-written", *_COMET[:2], *_OPENAI, "litellm")
    ours = ("hand-written", "cometstream")
    plain_and_tls = (("", False), ("-tls", True))
    both_loops = (("", "asyncio"), ("-uvloop", "uvloop"))
    return [
        Scenario(
            "drip",
            f"{streams} streams, each of {drip.chunks} tokens written one at a time every {drip.gap_ms} ms",
            "token",
            "hand-written",
            _peers(everyone, drip, streams),
        ),
        Scenario(
            "drip-uvloop",
            "the same on uvloop",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET, "openai create"), drip, streams, loop="uvloop"),
        ),
        Scenario(
            "drip-tls",
            "the same over TLS",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET, "openai create"), drip, streams, tls=True),
        ),
        Scenario(
            "drip-tls-uvloop",
            "the same over TLS on uvloop",
            "token",
            "hand-written",
            _peers(("hand-written", *_COMET), drip, streams, loop="uvloop", tls=True),
        ),
        Scenario(
            "drip-plain",
            "the tokens of drip in chunks without padding, which repeat one another",
            "token",
            "hand-written",
            _peers(everyone, drip_plain, streams),
        ),
        Scenario(
            "drip-young",
            "the same in a process whose heap is young: memory for each read comes from the kernel and goes back",
            "token",
            "hand-written",
            tuple(
                replace(line, job=line.job and replace(line.job, warm=False))
                for line in _peers(ours, drip_plain, streams)
            ),
        ),
        Scenario(
            "burst",
            f"{streams} streams, the {burst.chunks} tokens of each in one write",
            "token",
            "hand-written",
            _peers(in_one_read, burst, streams),
        ),
        Scenario(
            "burst-uvloop",
            "the same on uvloop",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET[:2], "openai create"), burst, streams, loop="uvloop"),
        ),
        Scenario(
            "burst-plain",
            "the tokens of burst in chunks without padding",
            "token",
            "hand-written",
            _peers(in_one_read, burst_plain, streams),
        ),
        *(
            Scenario(
                f"batch{name}{protocol}",
                f"a batch of {rows} rows at a time, each of {drip.chunks} tokens, one every {drip.gap_ms} ms"
                + (", over TLS" if tls else ""),
                "token",
                "hand-written",
                _peers(_BATCH[:2] if tls else _BATCH, drip, rows, tls=tls),
            )
            for protocol, tls in plain_and_tls
            for name, rows in (("", streams), ("1000", 10 * streams))
        ),
        *(
            Scenario(
                f"rows{name}",
                f"a batch of answers of 3 tokens, {rows} at a time on connections that are kept",
                "request",
                "post + read",
                _peers(("post + read", "cometstream fan_out"), short, rows, 2 if small else 10_000 // rows),
            )
            for name, rows in (("", streams), ("1000", 10 * streams))
        ),
        Scenario(
            "transport",
            f"openai's client over its own transport and over ours: {streams // 4} streams as in drip",
            "token",
            "openai create",
            _peers(("openai create", "openai transport"), drip, streams // 4),
        ),
        Scenario(
            "transport-burst",
            f"the same with the {burst.chunks} tokens of each stream in one write",
            "token",
            "openai create",
            _peers(("openai create", "openai transport"), burst, streams),
        ),
        Scenario(
            "watched",
            "the tokens of drip, three answers one after another, with somebody who hears of each call",
            "token",
            "cometstream",
            _peers(("cometstream", "cometstream with hooks", "cometstream with OpenTelemetry"), drip, streams, 3),
        ),
        Scenario(
            "relay",
            f"{streams} browsers at one web server, each of which is relayed {drip.chunks} tokens, one every {drip.gap_ms} ms",
            "token",
            "byte pump",
            _peers(_RELAYS, drip, streams),
        ),
        Scenario(
            "relay1000",
            f"the same with {10 * streams} browsers",
            "token",
            "byte pump",
            _peers(_RELAYS, drip, 10 * streams),
        ),
        *(
            Scenario(
                f"short{protocol}",
                "answers of 3 tokens, 20 at a time on connections that are kept" + (", over TLS" if tls else ""),
                "request",
                "post + read",
                _peers(
                    (
                        "post + read",
                        "hand-written",
                        "cometstream",
                        "openai create",
                        *(() if tls else ("openai aiohttp",)),
                    ),
                    short,
                    20,
                    2 if small else 50,
                    tls=tls,
                ),
            )
            for protocol, tls in plain_and_tls
        ),
        *(
            Scenario(
                f"open5000{protocol}{on}",
                f"{many} streams open at once, idle after 10 of 20 tokens; then all of them finish"
                + (", over TLS" if tls else "")
                + (" on uvloop" if on else ""),
                "stream",
                "hand-written",
                _peers(ours, held, many, loop=loop, tls=tls),
            )
            for protocol, tls in plain_and_tls
            for on, loop in both_loops
        ),
        *(
            Scenario(
                f"opening{protocol}{on}",
                f"{2 * many} streams are opened and bring their first token"
                + (", over TLS" if tls else "")
                + (" on uvloop" if on else ""),
                "opening",
                "hand-written",
                _peers(ours, opening, 2 * many, loop=loop, tls=tls),
            )
            for protocol, tls in plain_and_tls
            for on, loop in both_loops
        ),
        *(
            Scenario(
                f"finish19000{protocol}{on}",
                f"{most} streams open at once that all finish, 6 tokens each"
                + (", over TLS" if tls else "")
                + (" on uvloop" if on else ""),
                "request",
                "hand-written",
                _peers(ours, finishing, most, loop=loop, tls=tls),
            )
            for protocol, tls in plain_and_tls
            for on, loop in both_loops
        ),
        Scenario(
            "long",
            f"the same number of chunks in answers of {long.chunks}, of {brief.chunks} and of 1",
            "token",
            "hand-written 200",
            tuple(
                replace(line, label=f"{line.label} {answer.chunks}")
                for answer, in_turn in (
                    (long, 1 if small else 12),
                    (brief, 5 if small else 1_000),
                    (single, 5 if small else 3_000),
                )
                for line in _peers(ours, answer, 1, in_turn)
            ),
        ),
        Scenario(
            "tools",
            f"tool arguments of {text.chunks * text.size:,} characters in {text.chunks:,} fragments, and content of the same shape",
            "token",
            "hand-written",
            (
                *_peers(ours, text, 1, 1 if small else 3),
                *_peers(("hand-written tools", "cometstream tools"), replace(text, kind="tools"), 1, 1 if small else 3),
            ),
        ),
        Scenario(
            "partials",
            f"a value of a type as it grows, {partial.chunks * partial.size:,} characters in pieces of {partial.size}; "
            f"openai's in pieces of {coarse.size}, where a minute becomes seconds",
            "token",
            "cometstream",
            (
                *_peers(("cometstream", "cometstream partials()"), partial, 1),
                *(
                    replace(line, label=f"{line.label}, {brief_partial.chunks} pieces")
                    for line in _peers(("cometstream partials()",), brief_partial, 1, 5 if small else 60)
                ),
                *_peers(("openai stream of a type",), coarse, 1),
            ),
        ),
        Scenario(
            "import",
            "CPU of the import statement in a fresh interpreter",
            "import",
            "import aiohttp, orjson, anyio",
            tuple(Measurement(label, None) for label in IMPORTS),
        ),
    ]
