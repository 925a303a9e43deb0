"""What type checkers refuse in a call, and what they let pass; see ``tests/test_typed.py``. Nothing here runs.

Both checkers must find an error where a comment ignores one: mypy's ``--strict`` and the next line make the others errors.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream import fan_out

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionToolParam

    from cometstream import CometSession
    from cometstream.openai import AsyncOpenAI
    from cometstream.types import ReasoningEffort, ToolParam

MESSAGES = [{"role": "user", "content": "Hello"}]


def names(session: CometSession) -> None:
    session.stream(model="m", messages=MESSAGES, temprature=1)  # type: ignore[call-arg]
    fan_out(session, [], conc=3)  # type: ignore[call-arg]
    fan_out(session, [], model="m", messages=MESSAGES, temperature=0.5, extra_body={"top_k": 1})


def values(session: CometSession, effort: ReasoningEffort) -> None:
    session.stream(model="m", messages=MESSAGES, reasoning_effort="hgh")  # type: ignore[arg-type]
    session.stream(model="m", messages=MESSAGES, tool_choice="atuo")  # type: ignore[arg-type]
    session.stream(model="m", messages=MESSAGES, verbosity="lwo")  # type: ignore[arg-type]
    session.stream(
        model="m",
        messages=MESSAGES,
        stream_options={"include_usag": True},  # type: ignore[dict-item]
    )
    fan_out(session, [], reasoning_effort="hgh")  # type: ignore[arg-type]
    session.stream(model="m", messages=MESSAGES, reasoning_effort=effort, tool_choice="auto", verbosity=None)
    session.stream(model="m", messages=MESSAGES, extra_body={"reasoning_effort": "hgh"})


def tools(session: CometSession) -> None:
    session.stream(model="m", messages=MESSAGES, tools=[{"typ": 1}])  # type: ignore[dict-item]
    session.stream(model="m", messages=MESSAGES, tools=[{"type": "function"}])  # type: ignore[dict-item]
    session.stream(
        model="m",
        messages=MESSAGES,
        tools=[{"type": "function", "function": {"nam": "look"}}],  # type: ignore[dict-item]
    )
    session.stream(
        model="m",
        messages=MESSAGES,
        tools=[
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}},
            {"type": "custom", "custom": {"name": "write"}},
        ],
    )


def variables_of_tools(
    session: CometSession,
    dicts: list[dict[str, Any]],
    annotated: list[ToolParam],
    openais: list[ChatCompletionToolParam],
) -> None:
    session.stream(model="m", messages=MESSAGES, tools=dicts)
    session.stream(model="m", messages=MESSAGES, tools=annotated)
    session.stream(model="m", messages=MESSAGES, tools=openais)
    session.stream(model="m", messages=MESSAGES, tools=[*dicts, {"type": "function", "function": {"name": "look"}}])


def formats(session: CometSession, written: dict[str, Any]) -> None:
    session.stream(model="m", messages=MESSAGES, response_format={"type": "json_objct"})  # type: ignore[dict-item]
    session.stream(model="m", messages=MESSAGES, response_format={"type": "json_object"})
    session.stream(model="m", messages=MESSAGES, response_format=written)


async def openais_names(client: AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="m",
        messages=MESSAGES,
        tools=[{"typ": 1}],  # type: ignore[dict-item]
    )
    await client.chat.completions.create(model="m", messages=MESSAGES, reasoning_effort="high")
