from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cometstream.answer.machine import Answer
from cometstream.answer.states import TABLE
from cometstream.batch.rows import Rows
from cometstream.stream import ChatStream
from cometstream.transport.timer import ReadTimer
from cometstream.views.chunks import ChatCompletionChunk

from .world import Broken, run

ROOT = Path(__file__).resolve().parents[2]

# Four shards are 20,000 runs.
SHARD = 5_000


def run_all(seeds: range) -> None:
    """Run them all, and tell of every broken one."""
    broken = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as error:
            broken.append(str(error))
    assert not broken, "\n".join(broken)


def test_some_runs_break_no_promise() -> None:
    run_all(range(300))


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@pytest.mark.parametrize("shard", range(4))
def test_twenty_thousand_runs_break_no_promise(shard: int) -> None:
    run_all(range(shard * SHARD, (shard + 1) * SHARD))


def test_a_seed_replays_to_the_letter() -> None:
    for seed in range(30):
        assert run(seed).told() == run(seed).told()


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    """The order of sets is another one in each."""
    outputs = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "13"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] == run(13).told() + "\n"


# -- what could be wrong in the library, and what a run then says ---------------------------------------------------------

Patch = pytest.MonkeyPatch


def believes_a_cut(patch: Patch) -> None:
    flowing: Any = TABLE["flowing"]
    patch.setitem(flowing, "cut", "complete")


def invents_a_finish(patch: Patch) -> None:
    flowing: Any = TABLE["flowing"]
    patch.setitem(flowing, "done", "complete")


def loses_a_chunk(patch: Patch) -> None:
    whole = Answer.next

    def losing(self: Answer, comments: bool = True) -> Any:
        item = whole(self, comments)
        return whole(self, comments) if isinstance(item, ChatCompletionChunk) and self.chunks == 3 else item

    patch.setattr(Answer, "next", losing)


def is_late(patch: Patch) -> None:
    whole = ReadTimer.wait_begins
    patch.setattr(ReadTimer, "wait_begins", lambda self, now, due, gather: whole(self, now, due + 0.1, gather=gather))


def leaves_a_timer(patch: Patch) -> None:
    patch.setattr(ReadTimer, "stop", lambda self: None)


def leaves_a_connection(patch: Patch) -> None:
    async def leave(self: ChatStream, *_: object) -> None:
        pass

    patch.setattr(ChatStream, "__aexit__", leave)


def forgets_a_row(patch: Patch) -> None:
    whole = Rows.result

    async def forgetting(self: Rows) -> Any:
        result = await whole(self)
        return await whole(self) if result.index == 1 else result

    patch.setattr(Rows, "result", forgetting)


def tells_a_row_twice(patch: Patch) -> None:
    whole = Rows.result
    last: list[Any] = []

    async def repeating(self: Rows) -> Any:
        if last and last[0].index == 1:
            return last.pop()
        last[:] = [await whole(self)]
        return last[0]

    patch.setattr(Rows, "result", repeating)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (believes_a_cut, "outcome complete; the server's bytes say truncated"),
        (invents_a_finish, "outcome complete; the server's bytes say unterminated"),
        (loses_a_chunk, "other chunks than were sent"),
        (is_late, "s late"),
        (leaves_a_timer, "timers are left"),
        (leaves_a_connection, "connections are left"),
        (forgets_a_row, "were told of"),
        (tells_a_row_twice, "rows told of twice"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_fault_is_found(fault: Callable[[Patch], None], told: str, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    found = []
    for seed in range(400):
        try:
            run(seed)
        except Broken as broken:
            found.append(str(broken))
            if told in found[-1]:
                break
    else:
        raise AssertionError(f"none of these tells {told!r}: {found}")
    gc.collect()  # what the fault has left is dropped here
