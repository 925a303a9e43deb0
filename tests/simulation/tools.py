"""Runs with tools in the simulated network: which calls may run, and that none runs twice, whoever is killed when.

``python -m tests.simulation.tools SEED`` replays one run; ``--runs N`` runs N seeds from SEED on. A seed decides what the model
calls, how its answers are cut into fragments and packets, what the tools do, and when a process is killed, stopped or resumed.

The truth is read from the script of each answer and the bytes that had reached the process when a tool began:

- a call runs only where all its fragments were there, and the next call had begun or the choice had finished with a reason that
  lets calls run; a tool that is not eager only where the answer had ended well, too;
- a call runs at most once over all processes, unless ``RunAgain`` was decided for it;
- each result that was had is in the conversation of the process that had it, and each request's conversation is well formed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson

from cometstream import CometError, RetryPolicy, Timeouts
from cometstream.tools import (
    Answered,
    Denied,
    Invocation,
    LedgerEntry,
    RunAgain,
    Tool,
    ToolError,
    ToolRun,
    resume_tools,
    run_tools,
)
from cometstream.views.arguments import said_once

from .__main__ import main
from .checks import check_nothing_is_left
from .loop import SimulatedLoop
from .network import Attempt, Network
from .script import Frame, Script, Writer
from .truth import judge
from .world import Broken, Session, simulated

__all__ = ["ToolWorld", "run"]

_LETS_RUN: Final = ("tool_calls", "stop")
_NAMES: Final = (*("quick",) * 6, *("careful",) * 2, *("pay",) * 3, "asked", "nobody")
_TIMEOUTS: Final = Timeouts(connect=10, first_content=20, content_idle=20)


class Killed(Exception):
    """The process is killed: nothing of it does anything any more."""


@dataclass
class ToolScript(Script):
    """An answer, and what each of its frames says.

    Attributes:
        said: For each frame the pieces of calls in it, by their places.
        reasons: For each frame its finish reason.
    """

    said: list[dict[int, str]] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)

    def seen(self, received: int, ended: bool) -> int:
        """Return how many frames have been received whole; where the body has ended, the last need not have its blank line."""
        pairs = zip(self.starts, self.frames, strict=True)
        return sum(start + (frame.whole if ended else frame.least) <= received for start, frame in pairs)


class ToolNetwork(Network):
    """A server whose model calls tools."""

    def script(self, attempt: Attempt, params: dict[str, Any], rng: Random) -> Script:
        check_conversation(params["messages"])
        rounds = sum(message["role"] == "assistant" for message in params["messages"])
        return draw_answer(rng, repr(attempt), last=rounds > 2)


def draw_answer(rng: Random, name: str, *, last: bool) -> ToolScript:
    """Draw an answer with calls, or with text alone."""
    writer = Writer(rng, name, "\n", " ")
    said: dict[int, dict[int, str]] = {}
    reasons: dict[int, str] = {}
    writer.chunk(0, {"role": "assistant", "content": ""})
    for _ in range(rng.choice((0, 0, 1, 3))):
        writer.text(0)
    count = 0 if last and rng.random() < 0.8 else rng.choice((0, 1, 2, 2, 3, 3, 5, 7))
    for place, piece, begins in _fragments(rng, name, count):
        said[len(writer.frames)] = {place: piece}
        function = {"arguments": piece} if begins is None else {"name": begins, "arguments": piece}
        call: dict[str, Any] = {"index": place, "function": function}
        if begins is not None:
            call.update(id=f"{name}.{place}", type="function")
        writer.chunk(0, {"tool_calls": [call]}, content=True)
        if rng.random() < 0.1:
            writer.comment()
    if rng.random() < 0.06:
        writer.error()
    reason = rng.choice(("tool_calls",) * 14 + ("stop", "length", "content_filter", "new_word", None))
    if not count:
        reason = "stop"
    if reason is not None:
        reasons[len(writer.frames)] = reason
        writer.chunk(0, {}, reason)
        writer.frames[-1].finishes = (0,)
    if rng.random() < 0.04:
        writer.error()
    if rng.random() < 0.6:
        writer.usage()
    if rng.random() < 0.9:
        writer.data(b"[DONE]", stop="done")
    body = b"".join(frame.data for frame in writer.frames)
    if rng.random() < 0.12:
        body = body[: rng.randrange(len(body) + 1)]
    frames: list[Frame] = writer.frames
    end: Any = "reset" if rng.random() < 0.08 else "eof"
    script = ToolScript(frames, False, body, end)
    script.said = [said.get(index, {}) for index in range(len(frames))]
    script.reasons = [reasons.get(index) for index in range(len(frames))]
    return script


def _fragments(rng: Random, name: str, count: int) -> list[tuple[int, str, str | None]]:
    """Draw the fragments of all calls: one call after the other as a rule, sometimes in turns, sometimes said twice."""
    queues = []
    for place in range(count):
        tool = rng.choice(_NAMES)
        arguments: dict[str, Any] = {"k": f"{name}.{place}", "n": rng.randrange(10)}
        if rng.random() < 0.06:
            arguments["k"] = 7  # does not validate
        text = orjson.dumps(arguments).decode()
        kind = rng.random()
        if kind < 0.05:
            text = text[: rng.randrange(len(text))]
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.choice((0, 1, 3))))
        pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        if 0.05 < kind < 0.09:
            pieces.append(text)  # said again
        elif 0.09 < kind < 0.13:
            pieces.insert(0, "{}")
        queues.append([(place, piece, tool if first == 0 else None) for first, piece in enumerate(pieces)])
    if rng.random() < 0.85:
        return [fragment for queue in queues for fragment in queue]
    mixed = [queue[0] for queue in queues]
    rest = [queue[1:] for queue in queues if queue[1:]]
    while rest:
        queue = rng.choice(rest)
        mixed.append(queue.pop(0))
        rest = [left for left in rest if left]
    return mixed


# -- what the caller keeps ----------------------------------------------------------------------------------------------------


class Ledger:
    """Outlives every process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world

    async def start(self, execution_id: str, call: Mapping[str, Any], /) -> LedgerEntry | None:
        await asyncio.sleep(self._world.rng.choice((0, 0, 0.01)))
        self._process.check_alive()
        entries = self._world.ledger
        if execution_id in entries:
            return LedgerEntry(entries[execution_id])
        entries[execution_id] = None
        await asyncio.sleep(self._world.rng.choice((0, 0, 0.01)))
        return None

    async def finish(self, execution_id: str, content: str, /) -> None:
        await asyncio.sleep(self._world.rng.choice((0, 0, 0.01)))
        self._process.check_alive()
        assert self._world.ledger[execution_id] is None, f"{execution_id}: finished twice"
        self._world.ledger[execution_id] = content


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


async def carry_out(k: str, n: int = 0) -> str:
    """What every tool does: something that a seed decides."""
    process = PROCESS.get()
    process.check_alive()
    process.begins(k)
    rng = Random(f"{process.world.seed}/{k}")
    kind = rng.random()
    try:
        await asyncio.sleep(rng.choice((0, 0, 0.05, 0.5, 3)))
        if kind < 0.04:
            await asyncio.sleep(1000)
    except asyncio.CancelledError:
        if kind < 0.9:
            raise
        # A tool that does not let itself be stopped had its result all the same.
    process.check_alive()
    if 0.04 < kind < 0.1:
        raise ToolError("no")
    if 0.1 < kind < 0.14:
        raise asyncio.CancelledError
    content = f"{k} done"
    process.had[k] = content
    process.log("had", k)
    return content


async def decide(made: Invocation) -> bool | Denied | Answered:
    process = PROCESS.get()
    rng = Random(f"{process.world.seed}/decide/{made.execution_id[32:]}/{made.text}")
    await asyncio.sleep(rng.choice((0, 0.1)))
    return rng.choice((True, True, False, Denied("no"), Answered("cash")))


SCHEMA: Final = {
    "type": "object",
    "properties": {"k": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["k"],
    "additionalProperties": False,
}

TOOLS: Final = [
    Tool("quick", carry_out, parameters=SCHEMA),
    Tool("careful", carry_out, parameters=SCHEMA, eager=False),
    Tool("pay", carry_out, parameters=SCHEMA, approve=True),
    Tool("asked", carry_out, parameters=SCHEMA, approve=decide),
]


# -- processes ----------------------------------------------------------------------------------------------------------------


class Process:
    """One process: a session, a run, and who reads it."""

    def __init__(self, world: ToolWorld, number: int, state: str | None) -> None:
        self.world = world
        self.number = number
        self.dead = False
        self.left = False
        self.run_: ToolRun | None = None
        self.error: BaseException | None = None
        self.had: dict[str, str] = {}
        self.again: set[str] = set()
        self._state = state
        rng = world.rng
        self._breaks_off = rng.choice((1, 4, 9)) if rng.random() < 0.1 else 0
        self._patience = rng.choice((0.001, 0.05)) if rng.random() < 0.15 else 0.0
        self._slow = rng.choice((0.01, 1.0)) if rng.random() < 0.1 else 0.0
        self._session = Session(api_key="sk-simulated", base_url="https://simulated.test/v1", retry=RetryPolicy(1))

    def __repr__(self) -> str:
        return f"p{self.number}"

    def log(self, *what: object) -> None:
        self.world.log(self, *what)

    def check_alive(self) -> None:
        if self.dead:
            raise Killed

    def begins(self, key: str) -> None:
        """A tool begins: was the evidence there?"""
        world = self.world
        self.log("begins", key)
        world.begun.setdefault(key, []).append(self)
        attempt, _, place = key.rpartition(".")
        name, number = attempt.rsplit("/", 1)
        try:
            assert len(world.begun[key]) - len(world.run_again.get(key, ())) <= 1, f"{key} was run twice"
            world.check_evidence(world.network.attempts[name][int(number)], int(place), key)
        except AssertionError as problem:  # which would be the tool's own, and no more than that
            world.problems.append(problem)

    async def main(self) -> None:
        PROCESS.set(self)
        self.log("begin", "anew" if self._state is None else "from a state")
        try:
            run = self.run_ = self._made()
            async with run:
                await self._read(run)
        except (CometError, Killed) as error:
            self.error = error
        finally:
            self.log("end", self.run_, type(self.error).__name__)
            await self._session.aclose()

    def _made(self) -> ToolRun:
        world = self.world
        options: dict[str, Any] = {"tools": TOOLS, "tool_timeout": 50.0, "timeouts": _TIMEOUTS, "ledger": Ledger(self)}
        if self._state is None:
            messages = [{"role": "user", "content": world.name}]
            return run_tools(
                self._session,
                model="m",
                messages=messages,
                max_rounds=5,
                max_corrections=world.rng.choice((0, 3, 3, 3)),
                **options,
            )
        decisions = self._decisions(orjson.loads(self._state))
        return resume_tools(self._session, self._state, decisions=decisions, **options)

    def _decisions(self, state: dict[str, Any]) -> dict[str, Any]:
        rng, decisions = self.world.rng, {}
        for call in state["calls"]:
            if call["status"] != "pending" or rng.random() < 0.1:
                continue
            decision: Any = rng.choice((True, True, True, False, Answered("cash")))
            if call["unknown"] and decision is True:
                decision = RunAgain()
                key = orjson.loads(call["text"])["k"]
                # Each attempt may run once, in whichever process.
                self.world.run_again.setdefault(key, set()).add(call["attempt"])
            decisions[call["id"]] = decision
        return decisions

    async def _read(self, run: ToolRun) -> None:
        count = 0
        while True:
            read: Any = run.__anext__()
            if self._patience:
                read = asyncio.wait_for(read, self._patience)
            try:
                event = await read
            except StopAsyncIteration:
                return
            except CometError:
                raise  # some are timeouts, too
            except asyncio.TimeoutError:
                self._patience *= 2
                continue
            self.check_alive()
            if event.type.startswith(("tool.s", "tool.r", "tool.f", "tool.c", "round")):
                self.log(event.type, getattr(event, "call", None) and event.call.id)
            if event.type == "round.finished" and run.outcome in (None, "paused"):
                self.world.saved.append(run.state())
            count += 1
            if count == self._breaks_off:
                self.left = True
                return
            if self._slow:
                await asyncio.sleep(self._slow)

    def kill(self) -> None:
        """From now on the process does nothing: what it still has is taken down behind the scenes."""
        self.log("killed")
        self.dead = True

    def check(self) -> None:
        """The conversation has what was had, and can go on."""
        run = self.run_
        if run is None or self.dead:
            return
        told = {message["content"] for message in run.messages if message.get("role") == "tool"}
        for key, content in self.had.items():
            assert content in told, f"{self}: {key} had a result that is not in the conversation"
        if run.outcome != "paused":
            check_conversation(run.messages)
        assert run.outcome is not None, f"{self}: no outcome"
        if self.error is None and not self.left:
            assert run.outcome != "error", f"{self}: an error that was not raised"


def check_conversation(messages: list[dict[str, Any]]) -> None:
    """Each call has one result, in the order of the calls, right behind its answer."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert open_calls, f"a result without a call: {message}"
            assert message["tool_call_id"] == open_calls.pop(0), f"results out of order: {messages}"
        else:
            assert not open_calls, f"calls without a result: {open_calls}"
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
            assert len(set(open_calls)) == len(open_calls)
    assert not open_calls, f"calls without a result: {open_calls}"


class ToolWorld:
    """One seed: a run, its processes, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.name = "r"
        self.steps: list[tuple[Any, ...]] = []
        self.loop = SimulatedLoop()
        self.rng = Random(f"tools/{seed}")
        self.network = ToolNetwork(self.loop, str(seed), self.log, traced=False)
        self.ledger: dict[str, str | None] = {}
        self.begun: dict[str, list[Process]] = {}
        self.run_again: dict[str, set[int]] = {}
        self.saved: list[str] = []
        self.problems: list[AssertionError] = []
        self.processes: list[Process] = []
        self._tasks: dict[Process, asyncio.Task[None]] = {}
        self._acts: list[asyncio.Task[None]] = []

    def log(self, *what: object) -> None:
        self.steps.append((self.loop.time(), self.loop.turn, *what))

    def told(self) -> str:
        return "\n".join(
            f"{time - 1000:12.6f} {turn:5} " + " ".join(map(str, what)) for time, turn, *what in self.steps
        )

    def check_evidence(self, attempt: Attempt, place: int, key: str) -> None:
        """A call begins to run: hold it against the bytes that were there."""
        script, incoming = attempt.script, attempt.incoming
        assert isinstance(script, ToolScript)
        assert incoming is not None
        seen = script.seen(incoming.fed, incoming.end is not None or incoming.reset)
        said, reasons = script.said[:seen], [reason for reason in script.reasons[:seen] if reason is not None]
        pieces = [frame[place] for frame in said if place in frame]
        text = said_once(pieces)[0]
        assert orjson.loads(text)["k"] == key, f"{key}: {text!r} is not what was run"
        followed = any(place + 1 in frame for frame in said)
        assert followed or (reasons and reasons[-1] in _LETS_RUN), f"{key}: ran without evidence"
        frame = next(frame for frame in script.frames if frame.raw is not None and _begins(frame, place))
        assert frame.raw is not None
        name = frame.raw["choices"][0]["delta"]["tool_calls"][0]["function"]["name"]
        if name != "quick":
            end: Any = "eof" if incoming.end == "eof" else "reset" if incoming.reset else "clock"
            truth = judge(script, incoming.fed, end, 1)
            assert truth.outcome == "complete", f"{key}: {name} ran, and the answer is {truth.outcome}"
            assert reasons[-1] in _LETS_RUN, f"{key}: {name} ran after {reasons}"

    def run(self) -> None:
        loop = self.loop
        try:
            loop.run_until_complete(self._main())
            if self.problems:
                raise self.problems[0]
            check_nothing_is_left(loop, self.network, asyncio.all_tasks(loop), 0)
            for process in self.processes:
                process.check()
        finally:
            loop.close()

    async def _main(self) -> None:
        rng = self.rng
        state: str | None = None
        for generation in range(6):
            # Sometimes two processes go on from the same state at the same time.
            count = 2 if state is not None and rng.random() < 0.15 else 1
            fresh = [Process(self, len(self.processes) + index, state) for index in range(count)]
            self.processes += fresh
            tasks = [asyncio.create_task(process.main()) for process in fresh]
            self._tasks = dict(zip(fresh, tasks, strict=True))
            for _ in range(rng.choice((0, 0, 1, 1, 2))):
                self.loop.at_turn(self.loop.turn + int(2 ** (2 + rng.random() * 6)), lambda: self._act(rng))
            await asyncio.wait(tasks)
            for act in self._acts:
                await act
            self._acts.clear()
            for task in tasks:
                error = None if task.cancelled() else task.exception()
                if error is not None:
                    raise error
            if not self.saved:
                return
            state = self.saved[-1] if rng.random() < 0.85 else rng.choice(self.saved)
            parsed = orjson.loads(state)
            if parsed["outcome"] != "paused" and (parsed["outcome"] is not None or parsed["round"] >= 5):
                return
            if generation and rng.random() < 0.3:
                return

    def _act(self, rng: Random) -> None:
        alive = [process for process, task in self._tasks.items() if not task.done() and not process.dead]
        if not alive:
            return
        process = rng.choice(alive)
        act = rng.choice(("kill", "kill", "kill", "cancel", "aclose", "jump", "close session"))
        self.log(act, process)
        if act == "kill":
            process.kill()
            self._tasks[process].cancel()
        elif act == "cancel":
            process.left = True
            self._tasks[process].cancel()
        elif act == "jump":
            self.loop.jump(rng.choice((0.01, 1.0, 30.0)))
        elif act == "aclose" and process.run_ is not None:
            process.left = True
            self._acts.append(self.loop.create_task(process.run_.aclose()))


def _begins(frame: Frame, place: int) -> bool:
    assert frame.raw is not None
    calls = frame.raw["choices"][0]["delta"].get("tool_calls") if frame.raw["choices"] else None
    return bool(calls) and calls[0]["index"] == place and "name" in calls[0]["function"]


def run(seed: int) -> ToolWorld:
    """Run one seed.

    Raises:
        Broken: A promise was broken; the message names the seed.
    """
    world = ToolWorld(seed)
    state = random.getstate()
    random.seed(seed)
    try:
        with simulated(world.network):
            world.run()
    except Exception as error:
        world.log("broken", repr(error))
        raise Broken(world, error, "tests.simulation.tools") from error
    finally:
        random.setstate(state)
    return world


if __name__ == "__main__":
    sys.exit(main(run, "tests.simulation.tools"))
