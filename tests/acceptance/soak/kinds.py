"""The kinds of streams in the mix: what the server does in each, and what a client must make of it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.answers import Answer

__all__ = ["HEADER", "KINDS", "PING", "Kind", "Shape", "kind_of", "tokens_sent"]

# The request's header that tells the server which stream this is, and of which kind.
HEADER: Final = "x-soak-stream"

PING: Final = b"8\r\n: PING\n\n\r\n"

End = Literal["whole", "fin", "rst", "error_frame", "done_only", "pings", "never", "refuse_429", "refuse_503"]


@dataclass(frozen=True)
class Kind:
    """One kind of stream.

    Args:
        name: What it is called in the tables.
        share: How many of twenty streams are of this kind.
        end: What the server does.
        seen: What the client must come to: the outcome, and the error's class or ``-``.
        attempts: Requests that it takes.
        slow: How many times longer the gap between two tokens is.
        leaves: The client leaves first, and the server must see the connection close.
    """

    name: str
    share: int
    end: End
    seen: str
    attempts: int = 1
    slow: int = 1
    leaves: bool = False


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("whole", 6, "whole", "complete -"),
        Kind("slow", 2, "whole", "complete -", slow=4),
        Kind("429, then whole", 1, "refuse_429", "complete -", attempts=2),
        Kind("503, then whole", 1, "refuse_503", "complete -", attempts=2),
        Kind("cut", 2, "fin", "truncated StreamTruncatedError"),
        Kind("reset", 2, "rst", "truncated StreamTruncatedError"),
        Kind("error frame", 1, "error_frame", "error StreamServerError"),
        Kind("no finish_reason", 1, "done_only", "unterminated StreamUnterminatedError"),
        Kind("stall behind pings", 1, "pings", "error APITimeoutError", leaves=True),
        Kind("client leaves", 2, "never", "cancelled -", leaves=True),
        Kind("task cancelled", 1, "never", "cancelled CancelledError", leaves=True),
    )
}


def kind_of(number: int) -> Kind:
    """Return the kind of a stream by its number: mixed, and the same mix in every run."""
    kinds = list(KINDS.values())
    return random.Random(number).choices(kinds, [kind.share for kind in kinds])[0]


@dataclass(frozen=True)
class Shape:
    """How long the answers are and how fast they come.

    Args:
        tokens: Tokens of a whole answer.
        rate: Tokens a second of one stream.
    """

    tokens: int
    rate: float

    @classmethod
    def of(cls, streams: int, rate: float | None) -> Shape:
        """Choose for a number of streams: 2,500 tokens and 150 requests a second in all take about half a core."""
        if rate is None:
            rate = min(10.0, 2500 / streams)
        return cls(max(4, round(rate * max(5.0, streams / 150))), rate)

    @property
    def seconds(self) -> float:
        """What a whole answer takes."""
        return self.tokens / self.rate

    def answer(self, kind: Kind) -> Answer:
        """Return the answer that a kind is a part of; a slow one takes as long, and has fewer tokens."""
        return Answer(chunks=max(2, self.tokens // kind.slow))


def tokens_sent(kind: Kind, answer: Answer) -> int | None:
    """Return how many of the answer's tokens come before the end; None for as many as the client waits for."""
    if kind.end == "never":
        return None
    return answer.chunks if kind.end in ("whole", "refuse_429", "refuse_503") else answer.chunks // 2
