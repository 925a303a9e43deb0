"""What an approver, a ledger or a tool of the caller's raises or returns harms its own call, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from support.serving import serving
from support.tool_calls import ASK, answer, call, results, told

from cometstream import ConfigurationError
from cometstream.testing import Reply
from cometstream.tools import Answered, Denied, Invocation, LedgerEntry, Tool, ToolError, run_tools

BYE = Reply.text("Bye.")


def raising(error: BaseException) -> Callable[..., Awaitable[Any]]:
    async def raises(*_: Any) -> Any:
        raise error

    return raises


@pytest.mark.parametrize(
    "error",
    [
        ValueError("inside"),
        asyncio.CancelledError(),
        GeneratorExit(),
        BaseException("inside"),
        ToolError(5),  # type: ignore[arg-type] # what it must not be given
    ],
)
@pytest.mark.parametrize("who", ["tool", "approver"])
async def test_whatever_is_raised_the_siblings_and_later_rounds_run(error: BaseException, who: str) -> None:
    raises = raising(error)
    odd = Tool("odd", raises if who == "tool" else lambda: "ran", approve=raises if who == "approver" else False)
    sound = Tool("sound", lambda: "heard")
    async with serving(answer(call(0, "odd"), call(1, "sound")), answer(call(0, "sound")), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[odd, sound])
        events = await told(run)
    assert results(run) == {"call_0": "heard", "call_1": "heard"}
    assert [event.content for event in events if event.type == "tool.failed"] == ['{"error":"the tool failed"}']
    assert run.outcome == "complete"


class OddLedger:
    def __init__(self, found: Any = None, at: str = "start") -> None:
        self._found = found
        self._at = at

    async def start(self, execution_id: str, call: Mapping[str, Any], /) -> LedgerEntry | None:
        return await self._give("start")

    async def finish(self, execution_id: str, content: str, /) -> None:
        await self._give("finish")

    async def _give(self, step: str) -> Any:
        if step != self._at:
            return None
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


@pytest.mark.parametrize(
    ("ledger", "problem"),
    [
        (OddLedger(True), r"start\(\) must return None, or a LedgerEntry .*; it returned True"),
        (OddLedger({}), "it returned {}"),
        (OddLedger(LedgerEntry(5)), "LedgerEntry"),  # type: ignore[arg-type]
        (OddLedger(asyncio.CancelledError()), "the ledger raised CancelledError"),
        (OddLedger(GeneratorExit(), "finish"), "the ledger raised GeneratorExit"),
    ],
)
async def test_a_ledger_that_is_wrong_ends_the_run_with_one_clear_error(ledger: OddLedger, problem: str) -> None:
    async with serving(answer(call(0, "sound")), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("sound", lambda: "heard")], ledger=ledger)
        with pytest.raises(ConfigurationError, match=problem):
            await told(run)
    assert run.outcome == "error"
    assert set(results(run)) == {"call_0"}


async def test_a_call_that_is_cancelled_before_it_began_does_nothing() -> None:
    began: list[str] = []
    reached = asyncio.Event()

    async def approve(call: Invocation) -> bool:
        reached.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass  # as code does that must not be disturbed
        return True

    async def pay() -> None:
        began.append("pay")

    async with serving(answer(call(0, "pay"))) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("pay", pay, approve=approve)])
        reading = asyncio.create_task(told(run))
        await reached.wait()
        await run.aclose()
        await reading
    assert began == []


@pytest.mark.parametrize("message", [None, 5, b"no"])
def test_what_a_denial_says_is_a_text(message: Any) -> None:
    with pytest.raises(ConfigurationError, match="Denied takes a text"):
        Denied(message)


@pytest.mark.parametrize("value", [object(), {1, object()}, b"x"])
def test_what_answers_a_call_can_be_told(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="Answered takes a text, or what JSON can hold"):
        Answered(value)
