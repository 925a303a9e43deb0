"""Ask a person before a tool runs. The question may be answered days later, by another process; no call runs twice.

    python examples/approval.py "Pay Ann 20 euros"      # pauses, and keeps the run in approval.json
    python examples/approval.py --approve               # goes on with it; or --deny
    python examples/approval.py --demo                  # both, against the simulated server

Needs ``pip install 'cometstream[structured]'``.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from cometstream import CometSession, ToolRun, resume_tools, run_tools, tool
from cometstream.testing import SimulatedServer
from cometstream.tools import Denied, SqliteLedger


@tool(approve=True)
async def pay(to: str, euros: int) -> str:
    """Transfer money.

    Args:
        to: Who gets it.
        euros: How much.
    """
    return f"{euros} euros were paid to {to}"


async def ask(session: CometSession, request: str, store: Path) -> None:
    messages = [{"role": "user", "content": request}]
    async with run_tools(session, model="gpt-5.4", messages=messages, tools=[pay]) as run:
        await show(run)
    if run.outcome == "paused":
        for call in run.pending:
            print(f"may I call {call.name}({call.arguments})?")
        (store / "approval.json").write_text(run.state())  # a database would keep it; it is JSON


async def decide(session: CometSession, approved: bool, store: Path) -> None:
    state = (store / "approval.json").read_text()
    # The ledger is written before a call runs. Resume the same state as often as you like: no call runs twice.
    ledger = SqliteLedger(store / "approval.sqlite3")
    decision = True if approved else Denied("not this month")  # for all calls; {call.id: True, ...} tells them apart
    async with resume_tools(session, state, tools=[pay], decisions=decision, ledger=ledger) as run:
        await show(run)
    print(run.outcome)


async def show(run: ToolRun) -> None:
    async for event in run:
        if event.type == "content.delta":
            print(event.delta, end="", flush=True)
        elif event.type == "tool.result" or event.type == "tool.failed":
            print(f"[{event.call.name}: {event.content}]")
    print()


async def main() -> None:
    if "--demo" in sys.argv:
        with tempfile.TemporaryDirectory() as directory:
            for step in ("ask", "decide"):
                async with open_session() as session:
                    if step == "ask":
                        await ask(session, "Pay Ann 20 euros", Path(directory))
                    else:
                        await decide(session, True, Path(directory))
        return
    async with open_session() as session:
        if sys.argv[1:] in (["--approve"], ["--deny"]):
            await decide(session, sys.argv[1] == "--approve", Path())
        else:
            await ask(session, " ".join(sys.argv[1:]) or "Pay Ann 20 euros", Path())


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer() as server:
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


asyncio.run(main())
