"""What the caller of a batch does: run it, break off, take its time."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from cometstream import Hedge, UsageError, fan_out

from .client import draw_timeouts

if TYPE_CHECKING:
    from cometstream import BatchResult, CometSession, FanOut

    from .network import Network

__all__ = ["Batch"]


class Batch:
    """One ``fan_out`` and who reads it.

    Attributes:
        name: The beginning of its rows' names.
        rows: How many there are.
        results: What was told.
        left: It was ended before its time.
        hedged: Requests that are late are sent a second time.
        ended: The reader came to the end.
        failure: What was raised in place of a result.
    """

    def __init__(self, name: str, rng: Random, network: Network, session: CometSession) -> None:
        self.name = name
        self.rows = rng.choice((1, 2, 4, 7, 10))
        self.results: list[BatchResult] = []
        self.left = False
        self.ended = False
        self.drained = False
        self.failure: Exception | None = None
        self.ordered = rng.random() < 0.3
        self._breaks_off = rng.randrange(self.rows) + 1 if rng.random() < 0.1 else 0
        self._slow = 1.0 if rng.random() < 0.1 else 0.0
        self._network = network
        options: dict[str, Any] = {
            "concurrency": rng.choice(("auto", 1, 2, 5)),
            "ordered": self.ordered,
            "timeouts": draw_timeouts(rng),
            "pace": rng.choice((0.0, 0.5)),
        }
        self.retries: int | None = rng.choice((None, 0, 1, 3))
        if self.retries is not None:
            options["retry"] = self.retries
        if rng.random() < 0.1:
            options["rpm"] = 60
        requests: Any = [
            {"model": "m", "messages": [{"role": "user", "content": f"{name}r{index}"}]} for index in range(self.rows)
        ]
        if rng.random() < 0.3:
            requests = arriving(requests, rng.choice((0.0, 0.4)))
        self.hedged = rng.random() < 0.4
        if self.hedged:
            options["hedge"] = Hedge(rng.choice((0.05, 0.5, 2.0, 10.0)), share=rng.choice((1.0, 0.4)))
        self.batch: FanOut = fan_out(session, requests, **options)

    def __repr__(self) -> str:
        return self.name

    async def run(self) -> None:
        """Run the batch and take its results."""
        self._network.log("begin", self, self.rows)
        try:
            async with self.batch as batch:
                async for result in batch:
                    self._network.log("result", self, result.index, result.outcome, result.attempts)
                    self.results.append(result)
                    if len(self.results) == self._breaks_off:
                        self.left = True
                        return
                    if self._slow:
                        await asyncio.sleep(self._slow)
                self.ended = True
        except UsageError as error:
            self.failure = error
        finally:
            self._network.log("end of", self, len(self.results))


async def arriving(requests: list[Any], delay: float) -> Any:
    """Yield the requests one after another."""
    for request in requests:
        await asyncio.sleep(delay)
        yield request
