"""What type checkers know of a decorated function: pyright reads this file with all others, mypy in the test below."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from typing_extensions import assert_type

    from cometstream import CometSession, Tool, ToolRun, run_tools, tool
    from cometstream.tools import RunEvent

    @tool
    def add(a: int, b: int = 2) -> int:
        return a + b

    @tool(approve=True, timeout=5)
    async def pay(to: str, *, euros: int) -> str:
        return to

    assert_type(add(1), int)
    add("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    by_hand: Tool[..., Any] = Tool("add", add, parameters={"type": "object"})

    async def read(session: CometSession) -> None:
        assert_type(await pay("Ann", euros=3), str)
        await pay("Ann")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        run = run_tools(
            session, model="m", messages=[{"role": "user", "content": "hi"}], tools=[add, pay, len, by_hand]
        )
        assert_type(run, ToolRun)
        async for event in run:
            assert_type(event, RunEvent)
            if event.type == "tool.failed":
                assert_type(event.error, BaseException)
            elif event.type == "content.delta":
                assert_type(event.delta, str)
        run_tools(session, model="m", messages=[], tools=[], temprature=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@pytest.mark.slow
def test_mypy_knows_the_signature_of_a_tool() -> None:
    here = Path(__file__)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--warn-unused-ignores", str(here)]
    ended = subprocess.run(command, cwd=here.parents[2], capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
