"""Runs of tools, approvals and batches: which span is whose child, and what each says of its end."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from support import virtual_clock
from support.serving import KEY, serving
from support.telemetry import Recorded, id_of, parent_of
from support.tool_calls import ASK, answer, call

from cometstream import CometError, CometSession, ToolError, fan_out, resume_tools, run_tools
from cometstream.testing import Reply, chunk
from cometstream.tools import Answered, Denied, Invocation, Tool, ToolRun

BYE = Reply.text("Bye.")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def of(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


async def look_up(city: str) -> str:
    """Look a city up."""
    if city == "Atlantis":
        raise ToolError("there is none")
    if city == "Nowhere":
        raise KeyError(city)
    if city == "Slow":
        await asyncio.sleep(1000)
    return f"{city} is fine"


def tool(function: Any = look_up, **options: Any) -> Tool[..., Any]:
    return Tool("look_up", function, description="Look a city up.", parameters=CITY, **options)


def asked(city: str) -> Reply:
    return answer(call(0, "look_up", f'{{"city":"{city}"}}'))


def run(*replies: Reply, body: Any) -> Recorded:
    async def main() -> Recorded:
        recorded = Recorded()
        async with serving(*replies, retry=None) as (_, session):
            recorded.instrument(session)
            await body(session, recorded)
        assert recorded.open == 0
        return recorded

    return virtual_clock.run(main())


def ran(*replies: Reply, tools: list[Any] | None = None, **options: Any) -> Recorded:
    async def body(session: CometSession, _: Recorded) -> None:
        try:
            async with run_tools(session, **ASK, tools=tools or [tool()], **options) as made:
                await made.until_done()
        except CometError:
            pass

    return run(*replies, body=body)


def test_the_calls_and_the_tools_of_a_run_are_children_of_its_span() -> None:
    recorded = ran(answer(call(0, "look_up", '{"city":"Rome"}'), call(1, "look_up", '{"city":"Oslo"}')), BYE)
    agent = recorded.one("invoke_agent")
    chats, tools = recorded.named("chat gpt-5.4"), recorded.named("execute_tool look_up")
    assert (len(chats), len(tools), len(recorded.spans)) == (2, 2, 5)
    assert {parent_of(span) for span in (*chats, *tools)} == {id_of(agent)}
    assert {span.kind for span in (agent, *tools)} == {SpanKind.INTERNAL}
    assert {key: value for key, value in of(agent).items() if key != "cometstream.run.id"} == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "cometapi",
        "gen_ai.request.model": "gpt-5.4",
        "cometstream.run.resumed": False,
        "cometstream.run.rounds": 2,
        "cometstream.outcome": "complete",
    }
    assert {of(span)["gen_ai.tool.call.id"] for span in tools} == {"call_0", "call_1"}
    about = of(tools[0])
    del about["gen_ai.tool.call.id"], about["cometstream.tool.early"]
    assert about == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Look a city up.",
        "cometstream.outcome": "complete",
    }


def test_a_run_is_a_child_of_the_span_that_is_current_where_it_is_entered() -> None:
    async def body(session: CometSession, recorded: Recorded) -> None:
        with recorded.tracers.get_tracer("app").start_as_current_span("handler"):
            async with run_tools(session, **ASK, tools=[tool()]) as made:
                await made.until_done()
                assert trace.get_current_span().name == "handler"  # type: ignore[attr-defined] # the SDK's have one

    recorded = run(asked("Rome"), BYE, body=body)
    assert parent_of(recorded.one("invoke_agent")) == id_of(recorded.one("handler"))


@pytest.mark.parametrize("threaded", [False, True])
def test_what_a_tool_does_is_below_its_span(threaded: bool) -> None:
    recorded_by: list[Recorded] = []

    def work(city: str) -> str:
        with recorded_by[0].tracers.get_tracer("app").start_as_current_span("database"):
            return city

    async def work_async(city: str) -> str:
        return work(city)

    async def body(session: CometSession, recorded: Recorded) -> None:
        recorded_by.append(recorded)
        async with run_tools(session, **ASK, tools=[tool(work if threaded else work_async)]) as made:
            await made.until_done()

    recorded = run(asked("Rome"), BYE, body=body)
    assert parent_of(recorded.one("database")) == id_of(recorded.one("execute_tool look_up"))


@pytest.mark.parametrize(
    ("city", "outcome", "error"),
    [("Atlantis", "error", "ToolError"), ("Nowhere", "error", "KeyError"), ("Slow", "error", "ToolTimeoutError")],
)
def test_a_tool_that_fails_says_of_what(city: str, outcome: str, error: str) -> None:
    span = ran(asked(city), BYE, tool_timeout=5.0).one("execute_tool look_up")
    assert (of(span)["cometstream.outcome"], of(span)["error.type"]) == (outcome, error)
    assert span.status.status_code is StatusCode.ERROR
    assert city not in span.to_json()


def test_a_call_that_is_not_run_is_refused() -> None:
    recorded = ran(answer(call(0, "made up by the model")), answer(call(0, "look_up", "{}")), BYE, max_corrections=5)
    unknown, unfit = recorded.one("execute_tool"), recorded.one("execute_tool look_up")
    assert of(unknown)["gen_ai.tool.name"] == "made up by the model"
    assert {of(span)["cometstream.outcome"] for span in (unknown, unfit)} == {"refused"}
    assert "gen_ai.execute_tool.duration" not in recorded.metrics


def test_arguments_and_results_are_told_only_where_content_is(monkeypatch: pytest.MonkeyPatch) -> None:
    span = ran(asked("Rome"), BYE).one("execute_tool look_up")
    assert "Rome" not in span.to_json()
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    about = of(ran(asked(f"Rome {KEY}"), BYE).one("execute_tool look_up"))
    assert about["gen_ai.tool.call.arguments"].startswith('{"city":"Rome ')
    assert about["gen_ai.tool.call.result"].endswith(" is fine")
    assert KEY not in repr(about)


def test_leaving_a_run_ends_its_spans() -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        async with run_tools(session, **ASK, tools=[tool()]) as made:
            async for event in made:
                if event.type == "round.finished" or event.type == "tool.started":
                    await asyncio.sleep(0.01)
                    break

    recorded = run(asked("Slow"), body=body)
    assert of(recorded.one("execute_tool look_up"))["cometstream.outcome"] == "cancelled"
    assert of(recorded.one("invoke_agent"))["cometstream.outcome"] == "cancelled"
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}


def test_a_run_that_fails_says_of_what() -> None:
    recorded = ran(Reply.sse(chunk({"content": "Hi"})).cut())
    agent = recorded.one("invoke_agent")
    assert (of(agent)["cometstream.outcome"], of(agent)["error.type"]) == ("error", "StreamTruncatedError")
    assert agent.status.status_code is StatusCode.ERROR


def test_a_run_that_is_never_entered_has_no_span() -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        run_tools(session, **ASK, tools=[tool()])

    assert not run(body=body).spans


# -- approvals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "told", "outcome"),
    [
        (True, "approved", "complete"),
        (False, "denied", "denied"),
        (Denied("no"), "denied", "denied"),
        (Answered("42"), "answered", "complete"),
        (5, "error", "error"),
    ],
)
def test_an_approval_is_a_span_below_its_call(decision: Any, told: str, outcome: str) -> None:
    async def approve(_: Invocation) -> Any:
        await asyncio.sleep(3)
        return decision

    recorded = ran(asked("Rome"), BYE, tools=[tool(approve=approve)])
    approval, executed = recorded.one("approval look_up"), recorded.one("execute_tool look_up")
    assert parent_of(approval) == id_of(executed)
    assert of(approval)["cometstream.outcome"] == told
    assert of(executed)["cometstream.outcome"] == outcome
    failed = StatusCode.ERROR if told == "error" else StatusCode.UNSET
    assert {approval.status.status_code, executed.status.status_code} == {failed}


def test_an_approval_that_is_left_waiting_is_cancelled() -> None:
    async def approve(_: Invocation) -> bool:
        await asyncio.sleep(1000)
        return True

    async def body(session: CometSession, _: Recorded) -> None:
        with anyio.move_on_after(1):
            async with run_tools(session, **ASK, tools=[tool(approve=approve)]) as made:
                async for _event in made:
                    pass

    recorded = run(asked("Rome"), body=body)
    assert of(recorded.one("approval look_up"))["cometstream.outcome"] == "cancelled"


@pytest.mark.parametrize(("decision", "told"), [(True, "approved"), (False, "denied")])
def test_a_run_that_pauses_and_goes_on_elsewhere_is_two_spans_of_one_id(
    decision: bool, told: str, tmp_path: Any
) -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        async with run_tools(session, **ASK, tools=[tool(approve=True)]) as first:
            await first.until_done()
        assert first.outcome == "paused"
        state = first.state()
        second: ToolRun = resume_tools(
            session, state, tools=[tool(approve=True)], decisions=decision, ledger=tmp_path / "ledger"
        )
        async with second:
            await second.until_done()

    recorded = run(asked("Rome"), BYE, body=body)
    paused, resumed = recorded.named("invoke_agent")
    assert of(paused)["cometstream.run.id"] == of(resumed)["cometstream.run.id"]
    assert (of(paused)["cometstream.outcome"], of(resumed)["cometstream.outcome"]) == ("paused", "complete")
    assert (of(paused)["cometstream.run.resumed"], of(resumed)["cometstream.run.resumed"]) == (False, True)
    waiting, decided = recorded.named("approval look_up")
    assert (of(waiting)["cometstream.outcome"], of(decided)["cometstream.outcome"]) == ("pending", told)
    assert parent_of(waiting) == id_of(paused)
    assert parent_of(decided) == id_of(recorded.one("execute_tool look_up"))


# -- batches ------------------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_batch_are_children_of_its_span_and_parents_of_their_calls() -> None:
    async def body(session: CometSession, recorded: Recorded) -> None:
        rows = [{**ASK, "custom_id": f"row {number}"} for number in range(3)]
        with recorded.tracers.get_tracer("app").start_as_current_span("handler"):
            async with fan_out(session, rows, concurrency=1, pace=0.0) as batch:
                assert [result.outcome async for result in batch] == ["complete"] * 3

    recorded = run(BYE, Reply.error(503), BYE, BYE, body=body)
    batch, rows = recorded.one("fan_out"), recorded.named("fan_out row")
    assert parent_of(batch) == id_of(recorded.one("handler"))
    assert {parent_of(row) for row in rows} == {id_of(batch)}
    assert of(batch) == {"cometstream.outcome": "complete", "cometstream.batch.done": 3, "cometstream.batch.failed": 0}
    by_index = {of(row)["cometstream.row.index"]: row for row in rows}
    assert of(by_index[1]) == {
        "gen_ai.request.model": "gpt-5.4",
        "cometstream.row.index": 1,
        "cometstream.row.custom_id": "row 1",
        "cometstream.attempts": 2,
        "cometstream.outcome": "complete",
    }
    chats = recorded.named("chat gpt-5.4")
    calls = [[chat for chat in chats if parent_of(chat) == id_of(by_index[index])] for index in range(3)]
    assert [len(made) for made in calls] == [1, 2, 1]
    assert [of(span)["cometstream.outcome"] for span in calls[1]] == ["error", "complete"]


def test_a_row_that_fails_or_cannot_be_sent_has_its_span_too() -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        async with fan_out(session, [{**ASK, "temprature": 1}, ASK], concurrency=1, pace=0.0) as batch:
            assert [result.outcome async for result in batch] == ["error", "error"]

    recorded = run(Reply.error(400, "no"), body=body)
    unsent, refused = recorded.named("fan_out row")
    assert [of(span)["error.type"] for span in (unsent, refused)] == ["InvalidRequestError", "BadRequestError"]
    assert [of(span)["cometstream.attempts"] for span in (unsent, refused)] == [0, 1]
    assert {parent_of(unsent), parent_of(refused)} == {id_of(recorded.one("fan_out"))}


@pytest.mark.parametrize("waits", [False, True])
def test_leaving_a_batch_ends_its_spans(waits: bool) -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        async with fan_out(session, [ASK] * 2, concurrency=2, pace=0.0):
            await asyncio.sleep(0.05)

    slow = Reply.error(503, retry_after=500) if waits else Reply.sse(chunk({"content": "Hi"})).stall()
    recorded = run(slow, slow, body=body)
    assert of(recorded.one("fan_out"))["cometstream.outcome"] == "cancelled"
    assert [of(row)["cometstream.outcome"] for row in recorded.named("fan_out row")] == ["cancelled"] * 2


def test_a_batch_that_its_own_iterator_breaks_says_so() -> None:
    def rows() -> Any:
        yield ASK
        raise ValueError("no more")

    async def body(session: CometSession, _: Recorded) -> None:
        async with fan_out(session, rows(), concurrency=1, pace=0.0) as batch:
            with pytest.raises(ValueError, match="no more"):
                async for _result in batch:
                    pass

    batch = run(BYE, body=body).one("fan_out")
    assert (of(batch)["cometstream.outcome"], of(batch)["error.type"]) == ("error", "ValueError")


def test_suppressed_instrumentation_makes_no_spans_of_steps() -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        token = contexts.attach(contexts.set_value("suppress_instrumentation", True))
        async with run_tools(session, **ASK, tools=[tool()]) as made:
            await made.until_done()
        async with fan_out(session, [ASK], pace=0.0) as batch:
            assert [result.outcome async for result in batch] == ["complete"]
        contexts.detach(token)

    assert not run(asked("Rome"), BYE, BYE, body=body).spans


def test_a_coroutine_that_is_dropped_inside_a_step_detaches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def body(session: CometSession, _: Recorded) -> None:
        step = session.step("batch").begins()

        async def work() -> None:
            with step.within():
                await asyncio.sleep(0)

        coroutine = work()
        await asyncio.create_task(_first_step(coroutine))
        coroutine.close()
        step.ends("cancelled")

    run(body=body)
    assert not caplog.records


async def _first_step(coroutine: Any) -> None:
    coroutine.send(None)
