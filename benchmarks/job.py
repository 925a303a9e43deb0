"""What one child process is told to measure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

# Short answers that a client reads before it is measured, so that Python has specialised its code.
WARM_UPS = 5


@dataclass(frozen=True)
class Job:
    """One measurement.

    Args:
        peer: A name of ``peers.PEERS``.
        answer: The name of an ``Answer``.
        streams: Answers that are read at the same time.
        requests: Answers that each of them reads, one after another.
        loop: ``"asyncio"`` or ``"uvloop"``.
        warm: The heap is that of a process which has run for a while.
        origin: Where the load server is, ``http://127.0.0.1:PORT``.
    """

    peer: str
    answer: str
    streams: int
    requests: int = 1
    loop: str = "asyncio"
    warm: bool = True
    origin: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        return cls(**json.loads(text))
