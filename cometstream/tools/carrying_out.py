"""Carries out the calls of a run: ask who must be asked, write it down, run it, tell of its end."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from cometstream.errors import ConfigurationError, ToolError
from cometstream.policy import NotGiven
from cometstream.request.describe import shown
from cometstream.steps import Step  # when the feature is imported: its first use may have no file
from cometstream.tools.events import (
    ToolApprovalEvent,
    ToolCancelledEvent,
    ToolFailedEvent,
    ToolResultEvent,
    ToolStartedEvent,
)
from cometstream.tools.execution import as_content, error_content, run_tool, told_of
from cometstream.tools.invocation import Answered, Denied, Invocation
from cometstream.tools.ledger import LedgerEntry
from cometstream.tools.round import CANCELLED, CHANGED, INCOMPLETE, MOST_CALLS, NOT_RUN
from cometstream.tools.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.tools.arguments import ArgumentsError
    from cometstream.tools.events import RunEvent
    from cometstream.tools.ledger import Ledger
    from cometstream.tools.round import CallState

__all__ = ["CarryingOut"]


class CarryingOut:
    """What runs, and what is told of it.

    Args:
        ledger: Where executions are written down; None for nowhere.
        timeout: Seconds for each call whose tool does not say; None for no limit.
        step: The run, as listeners hear of it.

    Attributes:
        step: As given.
        told: Events that the caller has not read yet: a few for each call.
        workers: The tasks.
        failure: What the ledger raised: no call may be run without it.
    """

    def __init__(self, ledger: Ledger | None, timeout: float | None, step: Step) -> None:
        self.step = step
        self._ledger = ledger
        self._timeout = timeout
        self._threads: anyio.CapacityLimiter | None = None
        self.told: deque[RunEvent] = deque()
        self.workers = Workers()
        self.failure: BaseException | None = None

    def start(self, call: CallState) -> None:
        """Have a call carried out."""
        call.scope = anyio.CancelScope()
        if not _is_asked_of(call):
            self.told.append(ToolStartedEvent(call.invocation, call.early))
        self.workers.spawn(self._carry_out, call)

    def refuse(self, call: CallState, error: ArgumentsError) -> None:
        """Tell the model what is wrong with a call; nothing is run."""
        content = error_content(f"the call was not carried out: {error}")
        call.settle(content)
        self._step(call).begins().ends("refused", error, result=content)
        self.tell(ToolFailedEvent(call.invocation, error, content, correctable=True, duration=0.0))

    def hold(self, call: CallState) -> None:
        """Tell the caller that a call waits for a decision."""
        call.status = "pending"
        self._approval(self.step, call).begins().ends("pending")
        self.tell(ToolApprovalEvent(call.invocation))

    def _step(self, call: CallState) -> Step:
        made, tool = call.invocation, call.tool
        return self.step.child(
            "tool",
            None if tool is None else tool.name,
            id=made.id,
            called=made.name,
            arguments=made.text,
            description=None if tool is None else tool.description,
            early=call.early,
        )

    def _approval(self, parent: Step, call: CallState) -> Step:
        return parent.child("approval", None if call.tool is None else call.tool.name, id=call.invocation.id)

    async def _carry_out(self, call: CallState) -> None:
        scope = call.scope
        assert scope is not None  # made when it was started
        began = asyncio.get_running_loop().time()
        step = self._step(call).begins()
        try:
            with scope, step.within():
                await self._run(call, began, step)
        finally:
            if call.status == "running":
                self._cancelled(call)
            step.ends("cancelled")

    def _cancelled(self, call: CallState) -> None:
        call.status = "cancelled"
        if call.taken_back is None:
            call.content = CANCELLED
            return
        call.content = CHANGED if call.taken_back == "changed" else INCOMPLETE
        self.tell(ToolCancelledEvent(call.invocation, call.taken_back, call.content))

    async def _run(self, call: CallState, began: float, step: Step) -> None:
        made, tool = call.invocation, call.tool
        assert tool is not None  # a call without a tool is not started
        now = asyncio.get_running_loop().time
        try:
            decision: Any = call.decision
            if decision is not None:
                self._approval(step, call).begins().ends(_name_of(decision))
            elif callable(tool.approve):
                decision = await self._ask(tool.approve, call, step)
        except BaseException as error:
            self._raise_if_over(call, error)
            self._failed(call, error, now() - began, step)
            return
        if not await self._may_run(call, step):
            return
        # An async function would begin all the same, up to where it first waits.
        await anyio.lowlevel.checkpoint_if_cancelled()
        try:
            if decision is False or isinstance(decision, Denied):
                step.ends("denied")
                raise ToolError((Denied() if decision is False else decision).message)
            if isinstance(decision, Answered):
                value = decision.value
            else:
                assert tool.function is not None  # its calls wait for an answer otherwise
                if _is_asked_of(call):
                    self.tell(ToolStartedEvent(made, call.early))
                value = await run_tool(
                    tool.function,
                    *call.bound,
                    timeout=self._timeout if isinstance(tool.timeout, NotGiven) else tool.timeout,
                    threads=self._limiter(),
                    is_cancelled=lambda: self._is_cancelled(call),
                )
            content = as_content(value)
        except BaseException as error:
            self._raise_if_over(call, error)
            self._failed(call, error, now() - began, step)
        else:
            call.settle(content)
            step.ends("complete", result=content)
            self.tell(ToolResultEvent(made, value, content, now() - began))
        await self._write_down(call)

    async def _ask(self, approve: Callable[[Invocation], Any], call: CallState, step: Step) -> Any:
        """Return what the caller's own function decides."""
        approval = self._approval(step, call).begins()
        try:
            with approval.within():
                asked: Any = approve(call.invocation)
                decision = await asked if inspect.isawaitable(asked) else asked
            if not isinstance(decision, (bool, Denied, Answered)):
                raise TypeError(f"approve must return True, False, Denied or Answered; it returned {shown(decision)}")
            approval.ends(_name_of(decision))
            return decision
        except BaseException as error:
            approval.ends("cancelled" if self._is_cancelled(call) else "error", error)
            raise

    def _limiter(self) -> anyio.CapacityLimiter:
        # One of our own: in the one that all share a call could wait for other calls until its time is over.
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(MOST_CALLS)
        return self._threads

    def tell(self, event: RunEvent) -> None:
        """Have the caller read an event."""
        self.told.append(event)
        self.workers.wake()

    def _is_cancelled(self, call: CallState) -> bool:
        return self.workers.stopping or call.taken_back is not None

    def _raise_if_over(self, call: CallState, error: BaseException) -> None:
        """Raise what ends the program or this call; every other error of the caller's own code ends the call alone."""
        over = isinstance(error, asyncio.CancelledError) and self._is_cancelled(call)
        if over or isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error

    def _failed(self, call: CallState, error: BaseException, duration: float, step: Step) -> None:
        content = told_of(error)
        call.settle(content)
        step.ends("error", error, result=content)
        self.tell(ToolFailedEvent(call.invocation, error, content, correctable=False, duration=duration))

    async def _may_run(self, call: CallState, step: Step) -> bool:
        """Write down that a call is about to run; return False where the ledger knows it already."""
        if self._ledger is None:
            return True
        made = call.invocation
        try:
            known = await self._ledger.start(
                made.execution_id, {"id": made.id, "name": made.name, "arguments": made.text}
            )
            if known is not None and not (
                isinstance(known, LedgerEntry) and isinstance(known.content, (str, type(None)))
            ):
                raise ConfigurationError(
                    f"the ledger's start() must return None, or a LedgerEntry of a text or None; it returned {shown(known)}"
                )
        except BaseException as error:
            self._raise_if_over(call, error)
            self._fail_by_ledger(error)
            call.settle(NOT_RUN)
            step.ends("error", error)
            return False
        if known is None:
            return True
        if known.content is None:
            call.invocation = replace(made, unknown=True)
            call.decision = None
            step.ends("unknown")
            self.hold(call)
        else:
            call.settle(known.content)
            step.ends("known", result=known.content)
            self.tell(ToolResultEvent(made, known.content, known.content, 0.0))
        return False

    async def _write_down(self, call: CallState) -> None:
        """Write the result down: it was had, whatever is cancelled now."""
        if self._ledger is None or call.content is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._ledger.finish(call.invocation.execution_id, call.content)
        except BaseException as error:
            self._raise_if_over(call, error)
            self._fail_by_ledger(error)

    def _fail_by_ledger(self, error: BaseException) -> None:
        if not isinstance(error, Exception):  # it would end the caller's task, or its generator
            self.failure = ConfigurationError(f"the ledger raised {type(error).__name__}")
            self.failure.__cause__ = error
            return
        self.failure = error


def _is_asked_of(call: CallState) -> bool:
    """Whether a function of the caller's decides about a call: it has not begun before that allows it."""
    return call.decision is None and call.tool is not None and callable(call.tool.approve)


def _name_of(decision: object) -> str:
    if isinstance(decision, Answered):
        return "answered"
    return "approved" if decision is True else "denied"
