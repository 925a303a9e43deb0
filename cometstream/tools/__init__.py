"""Tools: functions that a model may call, and the loop that runs them as the tokens arrive.

::

    @tool
    async def get_weather(city: str) -> str: ...

    async with run_tools(session, model="gpt-5.4", messages=messages, tools=[get_weather]) as run:
        async for event in run:
            ...
    run.messages  # the whole conversation, ready for the next turn

start.py         run_tools, resume_tools
definition.py    ``Tool`` and ``@tool``; toolbox.py takes a caller's tools, signature.py reads functions, schema.py checks JSON
                 Schemas, arguments.py holds arguments against them
run.py           the way through the rounds; requests.py makes their requests, round.py keeps an answer and its calls, calls.py
                 decides what becomes of them
carrying_out.py  one call: asked for, written down, run; execution.py runs it, workers.py holds the tasks
events.py        what a run tells; invocation.py what a call is, and what may be decided about it
state.py         a run as JSON; ledger.py what was executed, over processes
mcp.py           the tools of an MCP server
"""

from __future__ import annotations

from cometstream.errors import ToolCallError, ToolError, ToolStateError
from cometstream.tools.definition import Tool, tool
from cometstream.tools.events import (
    RoundFinishedEvent,
    RunEvent,
    ToolApprovalEvent,
    ToolCancelledEvent,
    ToolFailedEvent,
    ToolResultEvent,
    ToolStartedEvent,
)
from cometstream.tools.invocation import Answered, Approver, Decision, Denied, Invocation, RunAgain
from cometstream.tools.ledger import Ledger, LedgerEntry, SqliteLedger
from cometstream.tools.mcp import mcp_tools
from cometstream.tools.run import RunOutcome, ToolRun
from cometstream.tools.start import resume_tools, run_tools

__all__ = [
    "Answered",
    "Approver",
    "Decision",
    "Denied",
    "Invocation",
    "Ledger",
    "LedgerEntry",
    "RoundFinishedEvent",
    "RunAgain",
    "RunEvent",
    "RunOutcome",
    "SqliteLedger",
    "Tool",
    "ToolApprovalEvent",
    "ToolCallError",
    "ToolCancelledEvent",
    "ToolError",
    "ToolFailedEvent",
    "ToolResultEvent",
    "ToolRun",
    "ToolStartedEvent",
    "ToolStateError",
    "mcp_tools",
    "resume_tools",
    "run_tools",
    "tool",
]
