"""What a tool loop tells, shown by the protocols of UIs: started, done, failed, waiting for the user."""

from __future__ import annotations

from typing import Any

import pytest
from support.browsing import data_of
from support.relaying import FakeSource, event
from support.serving import CHAT, serving

from cometstream.relay import RelayEnd, relay
from cometstream.testing import Reply
from cometstream.testing.replies import DONE, chunk


def call(index: int = 0, name: str = "look", id_: str = "c0", **arguments: Any) -> Any:
    return event("", id=id_, index=index, name=name, arguments=arguments, execution_id=f"x-{id_}")


def asked(index: int, id_: str, text: str) -> Any:
    named = {"index": index, "id": id_, "name": "look", "choice_index": 0}
    return event("tool_calls.function.arguments.delta", arguments_delta=text, **named)


ROUNDS = (
    event("content.delta", delta="I look.", choice_index=0),
    asked(0, "c0", '{"at":1}'),
    event("tool.started", call=call(at=1), early=True),
    asked(1, "c1", "{}"),
    asked(2, "c2", "{}"),
    event("tool.result", call=call(at=1), value={"stars": 3}, content='{"stars":3}', duration=0.1),
    event("tool.failed", call=call(1, id_="c1"), error=KeyError("secret"), content="it is dark", correctable=False),
    event("tool.cancelled", call=call(2, id_="c2"), reason="incomplete", content="not run"),
    event("round.finished", round=1, completion=None),
    event("content.delta", delta="Three.", choice_index=0),
)


async def shown(source: FakeSource, protocol: Any) -> list[Any]:
    body = b"".join(
        [piece async for piece in relay(source, protocol=protocol, message_id="m", thread_id="t", run_id="r")]
    )
    assert b"secret" not in body
    return data_of(body)


async def test_ui_shows_two_rounds_as_two_steps() -> None:
    assert (await shown(FakeSource(*ROUNDS), "ui"))[2:-3] == [
        {"type": "text-start", "id": "m-1"},
        {"type": "text-delta", "id": "m-1", "delta": "I look."},
        {"type": "tool-input-start", "toolCallId": "c0", "toolName": "look"},
        {"type": "tool-input-delta", "toolCallId": "c0", "inputTextDelta": '{"at":1}'},
        {"type": "tool-input-available", "toolCallId": "c0", "toolName": "look", "input": {"at": 1}},
        {"type": "tool-input-start", "toolCallId": "c1", "toolName": "look"},
        {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": "{}"},
        {"type": "tool-input-start", "toolCallId": "c2", "toolName": "look"},
        {"type": "tool-input-delta", "toolCallId": "c2", "inputTextDelta": "{}"},
        {"type": "tool-output-available", "toolCallId": "c0", "output": {"stars": 3}},
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "look", "input": {}},
        {"type": "tool-output-error", "toolCallId": "c1", "errorText": "it is dark"},
        {"type": "tool-input-available", "toolCallId": "c2", "toolName": "look", "input": {}},
        {"type": "tool-output-error", "toolCallId": "c2", "errorText": "not run"},
        {"type": "text-end", "id": "m-1"},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-start", "id": "m-2"},
        {"type": "text-delta", "id": "m-2", "delta": "Three."},
        {"type": "text-end", "id": "m-2"},
    ]


@pytest.mark.parametrize("protocol", ["ui", "ag-ui"])
async def test_a_run_that_waits_for_the_user_asks_him(protocol: str) -> None:
    source = FakeSource(asked(0, "c0", "{}"), event("tool.approval", call=call()), event("round.finished"))
    events = await shown(source, protocol)
    if protocol == "ui":
        asking = {"type": "tool-approval-request", "approvalId": "x-c0", "toolCallId": "c0"}
        assert asking in events
        assert events[events.index(asking) - 1]["type"] == "tool-input-available"
    else:
        (waits,) = events[-1]["outcome"]["interrupts"]
        assert (waits["id"], waits["toolCallId"]) == ("x-c0", "c0")


async def test_a_result_of_a_call_of_an_earlier_request_is_told_alone() -> None:
    source = FakeSource(event("tool.result", call=call(), value=object(), content="done", duration=0.0))
    parts = [part for part in await shown(source, "ui") if part != "[DONE]" and "toolCallId" in part]
    assert parts == [{"type": "tool-output-available", "toolCallId": "c0", "output": "done"}]


@pytest.mark.parametrize("events", [ROUNDS, ROUNDS[:2], (event("tool.approval", call=call()),)])
async def test_every_event_of_ag_ui_is_one_to_its_own_models(events: Any) -> None:
    core = pytest.importorskip("ag_ui.core", reason="needs ag-ui-protocol")
    pydantic = pytest.importorskip("pydantic")
    for one in await shown(FakeSource(*events), "ag-ui"):
        read = pydantic.TypeAdapter(core.Event).validate_python(one)
        assert not read.model_extra, one


async def test_a_real_tool_loop_is_relayed_and_pauses_for_the_user() -> None:
    pytest.importorskip("pydantic", reason="needs the extra structured")
    from cometstream.tools import run_tools, tool

    @tool
    def look(at: int) -> dict[str, int]:
        """Look up."""
        return {"stars": at}

    @tool(approve=True)
    def burn(at: int) -> str:
        """Burn it down."""
        return "never"

    def asks(name: str) -> Reply:
        named = {"index": 0, "id": "c0", "type": "function", "function": {"name": name, "arguments": '{"at":3}'}}
        return Reply.sse(chunk({"tool_calls": [named]}), chunk(finish_reason="tool_calls"), DONE)

    ends: list[RelayEnd] = []
    body = b""
    async with serving(asks("look"), Reply.text("Three."), asks("burn")) as (_, session):
        for _ in range(2):
            run = run_tools(session, **CHAT, tools=[look, burn])
            body = b"".join([piece async for piece in relay(run, protocol="ui", on_end=ends.append)])
    assert [end.outcome for end in ends] == ["complete", "paused"]
    assert [part if part == "[DONE]" else part["type"] for part in data_of(body)] == [
        "start",
        "start-step",
        "tool-input-start",
        "tool-input-delta",
        "tool-input-available",
        "tool-approval-request",
        "finish-step",
        "finish",
        "[DONE]",
    ]
