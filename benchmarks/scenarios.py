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
        unit: What is counted: ``"token"`` and ``"request"`` divide the CPU by them, ``"stream"`` is memory, ``"import"`` is CPU.
        yardstick: The label of the line to which the others are compared.
        lines: What is measured, in the order of the first round.
    """

    name: str
    title: str
    unit: Literal["token", "request", "stream", "import"]
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
    # What OpenAI and CometAPI send: no two chunks are the same around their text.
    drip_padded, burst_padded = replace(drip, padded=True), replace(burst, padded=True)
    streams = 10 if small else 100
    short = Answer(chunks=3)
    # Slow enough that a client reads one token at a time from thousands of streams.
    held = Answer(chunks=20, gap_ms=20 if small else 1000, held=True)
    finishing = replace(held, chunks=6)
    long, brief, single = (Answer(chunks=chunks) for chunks in ((1000 if small else 20_000), 200, 1))
    text = Answer("text", chunks=1000 if small else 20_000, size=50)
    return [
        Scenario(
            "drip",
            f"{streams} streams, each of {drip.chunks} tokens written one at a time every {drip.gap_ms} ms",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET, *_OPENAI, "litellm"), drip, streams),
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
            "drip-padded",
            "the tokens of drip, and random letters in every chunk's obfuscation field",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET, *_OPENAI, "litellm"), drip_padded, streams),
        ),
        Scenario(
            "burst",
            f"{streams} streams, the {burst.chunks} tokens of each in one write",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET[:2], *_OPENAI, "litellm"), burst, streams),
        ),
        Scenario(
            "burst-uvloop",
            "the same on uvloop",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET[:2], "openai create"), burst, streams, loop="uvloop"),
        ),
        Scenario(
            "burst-padded",
            "the tokens of burst, and random letters in every chunk's obfuscation field",
            "token",
            "hand-written",
            _peers(("byte counter", "hand-written", *_COMET[:2], *_OPENAI, "litellm"), burst_padded, streams),
        ),
        Scenario(
            "batch",
            f"a batch of {streams} rows at a time, each of {drip.chunks} tokens, one every {drip.gap_ms} ms",
            "token",
            "hand-written",
            _peers(_BATCH, drip, streams),
        ),
        Scenario(
            "batch1000",
            f"the same with {10 * streams} rows at a time",
            "token",
            "hand-written",
            _peers(_BATCH, drip, 10 * streams),
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
        Scenario(
            "short",
            "answers of 3 tokens, 20 at a time on connections that are kept",
            "request",
            "post + read",
            _peers(
                ("post + read", "hand-written", "cometstream", "openai create", "openai aiohttp"),
                short,
                20,
                2 if small else 50,
            ),
        ),
        Scenario(
            "open5000",
            f"{100 if small else 5000} streams open at once, idle after 10 of 20 tokens; then all of them finish",
            "stream",
            "hand-written",
            _peers(("hand-written", "cometstream"), held, 100 if small else 5000),
        ),
        Scenario(
            "finish10000",
            f"{200 if small else 10_000} streams open at once that all finish, 6 tokens each",
            "request",
            "hand-written",
            _peers(("hand-written", "cometstream"), finishing, 200 if small else 10_000),
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
                for line in _peers(("hand-written", "cometstream"), answer, 1, in_turn)
            ),
        ),
        Scenario(
            "tools",
            f"tool arguments of {text.chunks * text.size:,} characters in {text.chunks:,} fragments, and content of the same shape",
            "token",
            "hand-written",
            (
                *_peers(("hand-written", "cometstream"), text, 1, 1 if small else 3),
                *_peers(("hand-written tools", "cometstream tools"), replace(text, kind="tools"), 1, 1 if small else 3),
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
