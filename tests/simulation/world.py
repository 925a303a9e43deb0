"""One run: a session, its callers, what happens to them, and the promises at the end. A seed decides everything."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Protocol

import cometstream.session
from cometstream import CometSession, RetryPolicy

from .batch import Batch
from .checks import check_batch, check_call, check_nothing_is_left
from .client import Call
from .loop import SimulatedLoop
from .network import Network

__all__ = ["Broken", "Session", "Told", "World", "run", "simulated"]

_ENDPOINT = cometstream.session.Endpoint
_ACTS = ("cancel", "cancel", "aclose", "aclose", "aclose", "jump", "jump", "jump", "close session")


class Session(CometSession):
    """A session that keeps its callbacks in order: a set's order changes from process to process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.callbacks: dict[object, Callable[[], None]] = {}
        super().on_close(self._call_them)

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        key = object()
        self.callbacks[key] = callback

        def forget() -> None:
            self.callbacks.pop(key, None)

        return forget

    def _call_them(self) -> None:
        while self.callbacks:
            self.callbacks.pop(next(iter(self.callbacks)))()


class Told(Protocol):
    """A world that tells its steps."""

    seed: int

    def told(self) -> str:
        """Return every step, one on each line."""
        ...


class Broken(AssertionError):
    """A promise was broken; `world` has the steps."""

    def __init__(self, world: Told, error: Exception, program: str = "tests.simulation") -> None:
        seed = world.seed
        super().__init__(f"seed {seed}: {type(error).__name__}: {error}\nreplay it with: python -m {program} {seed}")
        self.world = world


class World:
    """One run.

    Attributes:
        seed: What decides it.
        steps: What happened, and when.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.steps: list[tuple[Any, ...]] = []
        self.loop = SimulatedLoop()
        self._rng = rng = Random(seed)
        self.network = Network(self.loop, str(seed), self.log, traced=rng.random() < 0.2)
        self.calls: list[Call] = []
        self.batches: list[Batch] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._acts: list[asyncio.Task[None]] = []

    def log(self, *what: object) -> None:
        """Note a step."""
        self.steps.append((self.loop.time(), self.loop.turn, *what))

    def told(self) -> str:
        """Return every step, one on each line."""
        return "\n".join(
            f"{time - 1000:12.6f} {turn:5} " + " ".join(map(str, what)) for time, turn, *what in self.steps
        )

    def run(self) -> None:
        """Let everything happen, and look at it.

        Raises:
            AssertionError: A promise was broken.
        """
        loop, rng = self.loop, self._rng
        session = self._session = Session(
            api_key="sk-simulated",
            base_url="https://simulated.test/v1",
            retry=RetryPolicy(budget=rng.choice((50, 2))),
        )
        kind = rng.random()
        for index in range(0 if kind < 0.2 else rng.choice((1, 1, 1, 2, 3, 7))):
            self.calls.append(Call(f"s{index}", rng, loop, self.network, session))
        if kind < 0.35:
            self.batches.append(Batch("b0", rng, self.network, session))
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            self._plan(rng)
        try:
            loop.run_until_complete(self._main())
            loop.run_until_complete(_some_turns())
            check_nothing_is_left(loop, self.network, asyncio.all_tasks(loop), self._left_behind)
            for call in self.calls:
                check_call(call, self.network)
            for batch in self.batches:
                check_batch(batch, self.network)
        finally:
            loop.close()

    async def _main(self) -> None:
        callers: list[Call | Batch] = [*self.calls, *self.batches]
        self._tasks = [asyncio.create_task(caller.run()) for caller in callers]
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError
        for act in self._acts:
            await act
        self._left_behind = len(self._session.callbacks)
        await self._session.aclose()

    def _plan(self, rng: Random) -> None:
        """Plan something that comes between any two turns of the loop, the early ones more often."""
        turn = int(2 ** (rng.random() * 8)) + rng.randrange(3)
        act = rng.choice(_ACTS)
        which = rng.randrange(len(self.calls) + len(self.batches))
        seconds = rng.choice((0.01, 1.0, 30.0))
        if act == "close session" and rng.random() < 0.5:
            act = "drain"
        self.loop.at_turn(turn, lambda: self._act(act, which, seconds))

    def _act(self, act: str, which: int, seconds: float) -> None:
        callers: list[Call | Batch] = [*self.calls, *self.batches]
        caller = callers[which]
        if not self._tasks or all(task.done() for task in self._tasks):
            return
        if act == "jump":
            self.log("jump", seconds)
            self.loop.jump(seconds)
        elif act == "close session":
            self.log(act)
            self.network.close()
            self._acts.append(self.loop.create_task(self._session.aclose()))
        elif self._tasks[which].done():
            return
        elif act == "cancel":
            self.log(act, caller)
            caller.left = True
            self._tasks[which].cancel()
        elif isinstance(caller, Batch):
            self.log(act, caller)
            if act == "drain":
                caller.drained = True
                caller.batch.drain()
            else:
                caller.left = True
                self._acts.append(self.loop.create_task(caller.batch.aclose()))
        elif caller.stream is not None:
            self.log("aclose", caller)
            caller.left = True
            self._acts.append(self.loop.create_task(caller.stream.aclose()))


async def _some_turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@contextmanager
def simulated(network: Network) -> Iterator[None]:
    """Give sessions the simulated endpoint."""
    setattr(cometstream.session, "Endpoint", network.endpoint)  # noqa: B010 - the checkers know it as a class
    try:
        yield
    finally:
        setattr(cometstream.session, "Endpoint", _ENDPOINT)  # noqa: B010 - as above


def run(seed: int) -> World:
    """Run one seed.

    Raises:
        Broken: A promise was broken; the message names the seed.
    """
    world = World(seed)
    # The waits between attempts are drawn from Python's own generator.
    state = random.getstate()
    random.seed(seed)
    try:
        with simulated(world.network):
            world.run()
    except Exception as error:
        world.log("broken", error)
        raise Broken(world, error) from error
    finally:
        random.setstate(state)
    return world
