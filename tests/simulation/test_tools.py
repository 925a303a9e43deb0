from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cometstream.steps import Step
from cometstream.tools import round as round_module
from cometstream.tools.calls import Calls
from cometstream.tools.carrying_out import CarryingOut
from cometstream.tools.round import CallState
from cometstream.views.completion import ToolCall

from .tools import run
from .world import Broken

ROOT = Path(__file__).resolve().parents[2]


def run_all(seeds: range) -> None:
    broken = []
    for seed in seeds:
        try:
            run(seed)
        except Broken as error:
            broken.append(str(error))
    assert not broken, "\n".join(broken)


def test_some_runs_with_tools_break_no_promise() -> None:
    run_all(range(200))


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@pytest.mark.parametrize("shard", range(4))
def test_many_runs_with_tools_break_no_promise(shard: int) -> None:
    run_all(range(shard * 500, (shard + 1) * 500))


def test_a_seed_replays_to_the_letter_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.simulation.tools", "6"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # The name of a run is drawn anew each time; nothing else is.
    assert output == run(6).told() + "\n"


# -- what could be wrong in the library, and what a run then says ---------------------------------------------------------

Patch = pytest.MonkeyPatch


def believes_every_finish(patch: Patch) -> None:
    def start_all(self: Any, event: Any, completion: Any) -> None:
        for place, call in enumerate(completion().tool_calls):
            self._start_early(place, ToolCall(call.raw))

    patch.setattr(Calls, "_done", start_all)


def forgets_the_ledger(patch: Patch) -> None:
    whole = CarryingOut._may_run

    async def always(self: CarryingOut, call: CallState, step: Step) -> bool:
        await whole(self, call, step)
        call.status = "running"
        return True

    patch.setattr(CarryingOut, "_may_run", always)


def loses_a_result(patch: Patch) -> None:
    whole = round_module.Round.messages

    def losing(self: round_module.Round, *args: Any, **options: Any) -> list[dict[str, Any]]:
        messages = whole(self, *args, **options)
        return [] if self.message is None else messages

    patch.setattr(round_module.Round, "messages", losing)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (believes_every_finish, "ran without evidence"),
        (forgets_the_ledger, "was run twice"),
        (loses_a_result, "had a result that is not in the conversation"),
    ],
)
def test_a_fault_is_found(fault: Callable[[Patch], None], told: str, monkeypatch: Patch) -> None:
    fault(monkeypatch)
    found = []
    for seed in range(400):
        try:
            run(seed)
        except Broken as broken:
            found.append(str(broken))
            if told in found[-1]:
                return
    raise AssertionError(f"none of these tells {told!r}: {found}")
