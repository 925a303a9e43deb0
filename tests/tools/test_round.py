"""The calls of one answer: each with an id of its own, whatever the server sent."""

from __future__ import annotations

import pytest
from support.serving import serving
from support.tool_calls import ASK, ROLE, answer, call, fragment, results, told

from cometstream import StreamTruncatedError
from cometstream.testing import Reply
from cometstream.tools import Tool, run_tools

BYE = Reply.text("Bye.")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
ROME, OSLO, BERN = '{"city":"Rome"}', '{"city":"Oslo"}', '{"city":"Bern"}'


def look_up(city: str) -> str:
    return f"{city} is fine"


TOOL = Tool("look_up", look_up, parameters=CITY)


@pytest.mark.parametrize("ids", [("x", "x", "x"), ("x_2", "x", "x"), ("x", "x", "x_1"), ("x_1", "x", "x_1")])
async def test_no_two_calls_get_the_same_id(ids: tuple[str, ...]) -> None:
    calls = [call(place, "look_up", city, id=ids[place]) for place, city in enumerate((ROME, OSLO, BERN))]
    async with serving(answer(*calls), BYE) as (server, session):
        run = run_tools(session, **ASK, tools=[TOOL])
        await told(run)
        sent = server.requests[1].json["messages"]
    asked = [made["id"] for made in sent[1]["tool_calls"]]
    assert len(set(asked)) == 3
    assert [message["tool_call_id"] for message in sent[2:]] == asked
    assert list(results(run).values()) == ["Rome is fine", "Oslo is fine", "Bern is fine"]


async def test_calls_of_an_answer_that_broke_off_do_not_share_an_id_either() -> None:
    cut = Reply.sse(
        ROLE,
        call(0, "look_up", ROME, id="x"),
        call(1, "look_up", OSLO, id="x"),
        fragment(2, "{", name="look_up", id="x"),
        0.2,
    )
    async with serving(cut, retry=None) as (_, session):
        run = run_tools(session, **ASK, tools=[TOOL])
        with pytest.raises(StreamTruncatedError):
            await told(run)
    asked = [made["id"] for made in run.messages[1]["tool_calls"]]
    assert asked == ["x", "x_1"]
    assert results(run) == {"x": "Rome is fine", "x_1": "Oslo is fine"}


@pytest.mark.parametrize("levels", [300, 1000])
async def test_arguments_nested_deeper_than_json_is_written_are_read_and_refused(levels: int) -> None:
    deep = '{"city":' + "[" * levels + "]" * levels + "}"
    anything = Tool("anything", lambda **_: "ran", parameters={"type": "object"})
    async with serving(answer(call(0, "look_up", deep), call(1, "anything", deep)), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[TOOL, anything])
        await told(run)
    assert "the call was not carried out" in results(run)["call_0"]
    assert run.outcome == "complete"
