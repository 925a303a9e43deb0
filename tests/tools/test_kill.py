"""A process that is killed at any moment of a run with approval: no call runs twice without the ledger saying so."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.serving import serving
from support.tool_calls import ASK, answer, call, told

from cometstream.tools import Tool, run_tools

ROOT = Path(__file__).resolve().parents[2]

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}

PROGRAM = """
import asyncio, os, sys
from pathlib import Path

from cometstream import CometSession, resume_tools, tool
from cometstream.testing import Reply, SimulatedServer
from cometstream.tools import SqliteLedger

place = Path(sys.argv[1])

def note(word):
    with (place / "notes").open("a") as notes:
        notes.write(word + "\\n")
        notes.flush()
        os.fsync(notes.fileno())

@tool(approve=True, parameters={"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]})
async def pay(to):
    note("began " + to)
    await asyncio.sleep(0.02)
    note("ended " + to)
    return "paid " + to

async def main():
    async with SimulatedServer() as server:
        server.always(Reply.text("Bye."))
        async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
            state = (place / "state").read_text()
            ledger = SqliteLedger(place / "ledger")
            async with resume_tools(session, state, tools=[pay], decisions=True, ledger=ledger) as run:
                note("ready")
                await run.until_done()
            print(run.outcome, sorted(call.unknown for call in run.pending))

asyncio.run(main())
"""


def start(place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def make_state(place: Path) -> None:
    async def never(to: str) -> None:
        raise AssertionError

    pay = Tool("pay", never, parameters=SCHEMA, approve=True)
    calls = [call(index, "pay", f'{{"to":"{name}"}}') for index, name in enumerate(("Ann", "Bob", "Cem"))]
    async with serving(answer(*calls)) as (_, session):
        run = run_tools(session, **ASK, tools=[pay])
        await told(run)
        (place / "state").write_text(run.state())


def notes(place: Path) -> list[str]:
    path = place / "notes"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    "wait",
    [0.0, *(pytest.param(wait, marks=pytest.mark.slow) for wait in (0.004, 0.008, 0.012, 0.016, 0.025, 0.04, 0.06))],
)
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_no_call_runs_twice_whenever_the_process_is_killed(wait: float, tmp_path: Path) -> None:
    asyncio.run(make_state(tmp_path))
    process = start(tmp_path)
    try:
        while "ready" not in notes(tmp_path):
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(wait)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    ended = start(tmp_path)
    out, _ = ended.communicate(timeout=60)
    assert ended.returncode == 0
    for name in ("Ann", "Bob", "Cem"):
        began = notes(tmp_path).count(f"began {name}")
        assert began <= 1, f"{name} was paid {began} times"
    unknown = out.count("True")
    done = {line for line in notes(tmp_path) if line.startswith("ended")}
    # What is not told as unknown has its result: from this process, or from the ledger.
    assert out.startswith("paused" if unknown else "complete")
    assert len(done) >= 3 - unknown
    assert "False" not in out
