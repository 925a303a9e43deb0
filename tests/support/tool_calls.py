"""Answers with tool calls, written chunk by chunk, and what a test reads of a run."""

from __future__ import annotations

from typing import Any

from cometstream.testing import DONE, Reply, chunk
from cometstream.testing.replies import Piece
from cometstream.tools import ToolRun

ASK: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}

ROLE = chunk({"role": "assistant", "content": None})


def fragment(
    index: int,
    arguments: str = "",
    *,
    name: str | None = None,
    id: str | None = None,  # noqa: A002 - the wire's own name
) -> dict[str, Any]:
    """One fragment of a call; the first has its name."""
    function: dict[str, Any] = {"arguments": arguments}
    call: dict[str, Any] = {"index": index, "function": function}
    if name is not None:
        function["name"] = name
        call["type"] = "function"
    if id is not None:
        call["id"] = id
    return chunk({"tool_calls": [call]})


def call(index: int, name: str, arguments: str = "{}", id: str | None = None) -> dict[str, Any]:  # noqa: A002
    """A whole call in one fragment."""
    return fragment(index, arguments, name=name, id=id or f"call_{index}")


def finish(reason: str = "tool_calls") -> dict[str, Any]:
    return chunk(finish_reason=reason)


def usage(tokens: int, **more: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens, **more}
    return {**chunk(), "choices": [], "usage": counts}


def answer(*pieces: Piece | dict[str, Any], reason: str = "tool_calls") -> Reply:
    """A whole answer: these pieces, the finish and [DONE]."""
    return Reply.sse(ROLE, *pieces, finish(reason), DONE)


async def told(run: ToolRun) -> list[Any]:
    """Read a run to its end and return the events that are the run's own."""
    async with run:
        return [event async for event in run if event.type.startswith(("tool.", "round."))]


def results(run: ToolRun) -> dict[str, str]:
    """The results in a conversation, by the ids of their calls."""
    return {message["tool_call_id"]: message["content"] for message in run.messages if message.get("role") == "tool"}
