"""The names and attributes of spans of steps: a run of tools is an agent, a call of a tool an execution of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cometstream.steps import Step

__all__ = ["RAN", "beginning", "ending"]

RAN: Final = ("complete", "error", "cancelled")
"""Outcomes of a tool's call in which its function ran."""


def beginning(step: Step) -> tuple[str, dict[str, object]]:
    """Return the name of a step's span, and what is known as it begins."""
    return _BEGINNINGS[step.kind](step)


def ending(step: Step) -> dict[str, object]:
    """Return what is known of a step at its end."""
    return {
        "cometstream.outcome": step.outcome,
        "cometstream.attempts": step.about.get("attempts"),
        "cometstream.run.rounds": step.about.get("rounds"),
        "cometstream.batch.done": step.about.get("done"),
        "cometstream.batch.failed": step.about.get("failed"),
    }


def _run(step: Step) -> tuple[str, dict[str, object]]:
    return "invoke_agent", {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.request.model": step.about.get("model"),
        "cometstream.run.id": step.about.get("id"),
        "cometstream.run.resumed": step.about.get("resumed"),
    }


def _tool(step: Step) -> tuple[str, dict[str, object]]:
    # A name that the model made up is an attribute: a span's name is one of few.
    return f"execute_tool {step.name or ''}".rstrip(), {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": step.name or step.about.get("called"),
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": step.about.get("id"),
        "gen_ai.tool.description": step.about.get("description"),
        "cometstream.tool.early": step.about.get("early"),
    }


def _approval(step: Step) -> tuple[str, dict[str, object]]:
    return f"approval {step.name or ''}".rstrip(), {
        "gen_ai.tool.name": step.name,
        "gen_ai.tool.call.id": step.about.get("id"),
    }


def _batch(step: Step) -> tuple[str, dict[str, object]]:
    return "fan_out", {}


def _row(step: Step) -> tuple[str, dict[str, object]]:
    return "fan_out row", {
        "gen_ai.request.model": step.about.get("model") or None,
        "cometstream.row.index": step.about.get("index"),
        "cometstream.row.custom_id": step.name,
    }


_BEGINNINGS: Final[Mapping[str, Callable[[Step], tuple[str, dict[str, object]]]]] = {
    "run": _run,
    "tool": _tool,
    "approval": _approval,
    "batch": _batch,
    "row": _row,
}
