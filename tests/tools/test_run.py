"""What a run promises: when calls start, what is told, and what the conversation has in the end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support import virtual_clock
from support.serving import serving
from support.tool_calls import ASK, ROLE, answer, call, finish, fragment, results, told, usage

from cometstream import CometSession, StreamServerError, StreamTruncatedError, UsageError
from cometstream.testing import DONE, Reply, SimulatedServer, chunk
from cometstream.tools import Tool, ToolCallError, ToolError, ToolRun, run_tools, workers

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ROME, OSLO = '{"city":"Rome"}', '{"city":"Oslo"}'
BYE = Reply.text("Bye.")


class Kitchen:
    """Tools that take their time, and what was done with them."""

    def __init__(self, takes: float = 1.0) -> None:
        self.takes = takes
        self.began: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []

    async def look_up(self, city: str) -> str:
        self.began.append(city)
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.cancelled.append(city)
            raise
        self.ended.append(city)
        return f"{city} is fine"

    def tool(self, **options: Any) -> Tool[..., Any]:
        return Tool("look_up", self.look_up, parameters=CITY, **options)


def play(*replies: Any, body: Callable[[CometSession, SimulatedServer], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test against scripted answers, on a clock that jumps."""

    async def main() -> Any:
        async with serving(*replies, retry=None) as (server, session):
            return await body(session, server)

    return virtual_clock.run(main())


def kinds(events: list[Any]) -> list[str]:
    return [event.type.partition(".")[2] if event.type.startswith("tool.") else event.type for event in events]


# -- when a call starts -------------------------------------------------------------------------------------------------------


def test_a_call_starts_when_the_next_begins_and_ends_while_the_answer_streams() -> None:
    kitchen = Kitchen(takes=0.3)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        order = []
        async with run_tools(session, **ASK, tools=[kitchen.tool()]) as run:
            async for event in run:
                if event.type == "tool.started":
                    assert event.early
                order.append(event.type)
        first = order.index("tool.result")
        assert "tool_calls.function.arguments.delta" in order[first:]
        assert results(run) == {"call_0": "Rome is fine", "call_1": "Oslo is fine"}
        assert run.outcome == "complete"

    play(
        answer(
            call(0, "look_up", ROME), fragment(1, '{"city":', name="look_up", id="call_1"), 1.0, fragment(1, '"Oslo"}')
        ),
        BYE,
        body=body,
    )


def test_a_round_takes_as_long_as_its_stream_or_its_tools_and_not_both() -> None:
    """Two tools of 0.3 s beside a stream that goes on for 0.5 s after the first call's arguments."""
    reply = Reply.sse(
        ROLE,
        call(0, "look_up", ROME),
        fragment(1, '{"city":', name="look_up", id="call_1"),
        0.15,
        fragment(1, '"Oslo"}'),
        finish(),
        0.35,
        usage(3),
        DONE,
    )

    async def body(session: CometSession, server: SimulatedServer) -> None:
        took = {}
        for eager in (True, False):
            began = asyncio.get_running_loop().time()
            async with run_tools(session, **ASK, tools=[Kitchen(takes=0.3).tool(eager=eager)]) as run:
                async for event in run:
                    if event.type == "round.finished":
                        took[eager] = asyncio.get_running_loop().time() - began
                        break
        assert took[True] <= 1.15 * max(0.5, 0.3)
        assert took[False] > 0.79

    play(reply, reply, body=body)


def test_a_tool_that_is_not_eager_waits_for_the_verified_end() -> None:
    kitchen = Kitchen(takes=0.0)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        async with run_tools(session, **ASK, tools=[kitchen.tool(eager=False)]) as run:
            async for event in run:
                if event.type == "chunk":
                    assert kitchen.began == [] or run.rounds
                if event.type == "tool.started":
                    assert not event.early
        assert kitchen.began == ["Rome", "Oslo"]

    play(answer(call(0, "look_up", ROME), call(1, "look_up", OSLO), 1.0), BYE, body=body)


@pytest.mark.parametrize("arguments", ["", "{}", "{", '{"city":7}', '{"city":"Rome"'])
def test_nothing_starts_early_on_arguments_that_do_not_satisfy_the_schema(arguments: str) -> None:
    kitchen = Kitchen()

    async def body(session: CometSession, server: SimulatedServer) -> None:
        events = await told(run_tools(session, **ASK, tools=[kitchen.tool()]))
        early = [event.call.index for event in events if event.type == "tool.started" and event.early]
        assert early == [1]

    play(answer(call(0, "look_up", arguments), call(1, "look_up", OSLO)), BYE, body=body)
    assert kitchen.began == ["Oslo"]


def test_an_empty_object_is_no_evidence_where_the_tool_takes_arguments() -> None:
    """Some routes write ``{}`` when a call begins, and the arguments behind it: ``delete_all({})`` must not run."""
    deleted = []
    schema = {"type": "object", "properties": {"only": {"type": "string"}}}
    delete_all = Tool("delete_all", lambda **only: deleted.append(only), parameters=schema)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        await told(run_tools(session, **ASK, tools=[delete_all]))

    play(
        answer(call(0, "delete_all", "{}"), call(1, "delete_all", '{"only":"b"}'), fragment(0, '{"only":"a"}')),
        BYE,
        body=body,
    )
    assert sorted(deleted, key=str) == [{"only": "a"}, {"only": "b"}]


def test_a_tool_without_arguments_starts_early_on_an_empty_object() -> None:
    rang = []
    ring = Tool("ring", lambda: rang.append(1))

    async def body(session: CometSession, server: SimulatedServer) -> None:
        events = await told(run_tools(session, **ASK, tools=[ring]))
        assert [event.early for event in events if event.type == "tool.started"] == [True, True]

    play(answer(call(0, "ring", "{}"), call(1, "ring", "")), BYE, body=body)
    assert rang == [1, 1]


# -- what is taken back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["length", "content_filter", "a_new_word"])
def test_what_was_started_is_cancelled_where_the_answer_proves_no_call_whole(reason: str) -> None:
    kitchen = Kitchen()

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        events = await told(run)
        assert kinds(events) == ["started", "cancelled", "round.finished"]
        assert events[1].reason == "incomplete"
        assert run.outcome == "withheld"
        assert "broke off" in results(run)["call_0"]
        assert [made["id"] for made in run.messages[1]["tool_calls"]] == ["call_0"]

    play(answer(call(0, "look_up", ROME), call(1, "look_up", OSLO), reason=reason), body=body)
    assert kitchen.cancelled == ["Rome"]
    assert kitchen.began == ["Rome"]


def test_a_withheld_answer_without_started_calls_keeps_its_text() -> None:
    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Kitchen().tool()])
        assert kinds(await told(run)) == ["round.finished"]
        assert run.outcome == "withheld"
        assert run.messages[1:] == [{"role": "assistant", "content": "I will", "refusal": None}]

    play(answer(chunk({"content": "I will"}), fragment(0, '{"ci', name="look_up"), reason="length"), body=body)


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (lambda reply: reply.cut(), StreamTruncatedError),
        (lambda reply: reply.then({"error": {"message": "overloaded", "code": 503}}), StreamServerError),
    ],
)
def test_an_answer_that_breaks_off_cancels_and_tells_before_it_raises(ending: Any, error: type[Exception]) -> None:
    kitchen = Kitchen()

    async def body(session: CometSession, server: SimulatedServer) -> None:
        events: list[str] = []

        async def read() -> None:
            async for event in run:
                events.append(event.type)  # noqa: PERF401 - what was told before the error counts

        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        async with run:
            with pytest.raises(error) as raised:
                await read()
            assert [kind for kind in events if kind.startswith("tool.")] == ["tool.started", "tool.cancelled"]
            assert raised.value.partial is not None  # type: ignore[attr-defined]
            with pytest.raises(StopAsyncIteration):
                await run.__anext__()
        assert run.outcome == "error"
        assert "broke off" in results(run)["call_0"]

    play(ending(Reply.sse(ROLE, call(0, "look_up", ROME), call(1, "look_up", OSLO))), body=body)
    assert kitchen.cancelled == ["Rome"]


def test_a_result_that_was_had_before_the_answer_broke_off_is_in_the_conversation() -> None:
    kitchen = Kitchen(takes=0.1)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        with pytest.raises(StreamTruncatedError):
            await told(run)
        assert results(run) == {"call_0": "Rome is fine"}
        assert run.messages[1]["tool_calls"][0]["function"]["arguments"] == ROME
        assert run.usage is None
        # The conversation can go on from there.
        again = run_tools(session, model="gpt-5.4", messages=run.messages, tools=[kitchen.tool()])
        await told(again)
        assert again.outcome == "complete"

    cut = Reply.sse(
        ROLE, call(0, "look_up", ROME), fragment(1, '{"ci', name="look_up", id="b"), 1.0, fragment(1, "t")
    ).cut()
    play(cut, BYE, body=body)
    assert kitchen.ended == ["Rome"]


def test_a_call_that_goes_on_after_it_seemed_whole_is_cancelled_and_never_run_again() -> None:
    kitchen = Kitchen()

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        events = await told(run)
        cancelled = [event for event in events if event.type == "tool.cancelled"]
        assert [(event.call.index, event.reason) for event in cancelled] == [(0, "changed")]
        assert "changed" in results(run)["call_0"]
        assert results(run)["call_1"] == "Oslo is fine"

    play(
        answer(call(0, "look_up", ROME), call(1, "look_up", OSLO), 0.1, fragment(0, ', "more"')),
        BYE,
        body=body,
    )
    assert (kitchen.began, kitchen.cancelled) == (["Rome", "Oslo"], ["Rome"])


@pytest.mark.parametrize("more", [" \n", ROME, '{"city": "Rome"}'])
def test_a_call_that_is_said_again_runs_once(more: str) -> None:
    kitchen = Kitchen(takes=0.3)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        await told(run)
        assert results(run) == {"call_0": "Rome is fine", "call_1": "Oslo is fine"}

    play(answer(call(0, "look_up", ROME), call(1, "look_up", OSLO), 0.1, fragment(0, more)), BYE, body=body)
    assert sorted(kitchen.began) == ["Oslo", "Rome"]


# -- how calls end ------------------------------------------------------------------------------------------------------------


def test_a_failed_call_tells_the_model_nothing_of_the_inside_and_keeps_its_siblings() -> None:
    kitchen = Kitchen(takes=0.2)

    async def broken(city: str) -> None:
        raise RuntimeError("password hunter2")

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool(), Tool("broken", broken, parameters=CITY)])
        events = await told(run)
        failed = next(event for event in events if event.type == "tool.failed")
        assert isinstance(failed.error, RuntimeError)
        assert not failed.correctable
        assert results(run) == {"call_0": '{"error":"the tool failed"}', "call_1": "Oslo is fine"}
        assert "hunter2" not in str(server.requests[1].json)
        assert run.outcome == "complete"

    play(answer(call(0, "broken", ROME), call(1, "look_up", OSLO)), BYE, body=body)


def raise_cancelled() -> None:
    raise asyncio.CancelledError


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def sleep_long() -> None:
    await asyncio.sleep(1000)


def give_an_object() -> object:
    return object()


def give_itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def tell() -> None:
    raise ToolError("there is no city of that name")


async def stop_iterating() -> None:
    raise StopAsyncIteration


class Odd(BaseException):
    pass


async def raise_odd() -> None:
    raise Odd


@pytest.mark.parametrize(
    ("function", "content"),
    [
        (raise_cancelled, "the tool failed"),
        (cancel_itself, "the tool failed"),
        (sleep_long, "the tool did not answer in time"),
        (give_an_object, "the tool failed"),
        (give_itself, "the tool failed"),
        (tell, "there is no city of that name"),
        (stop_iterating, "the tool failed"),
        (raise_odd, "the tool failed"),
        (lambda: "\ud800", None),
    ],
)
def test_whatever_a_tool_does_its_siblings_and_the_run_go_on(function: Any, content: str | None) -> None:
    kitchen = Kitchen(takes=0.2)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Tool("odd", function), kitchen.tool()], tool_timeout=5)
        events = await told(run)
        ended = next(
            event for event in events if event.type in ("tool.failed", "tool.result") and event.call.index == 0
        )
        if content is not None:
            assert ended.content == f'{{"error":"{content}"}}'
        assert results(run) == {"call_0": ended.content, "call_1": "Oslo is fine"}
        assert run.outcome == "complete"

    play(answer(call(0, "odd"), call(1, "look_up", OSLO)), BYE, body=body)


async def test_plain_functions_run_side_by_side_in_threads() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> str:
        both.wait()
        return threading.current_thread().name

    async with serving(answer(call(0, "meet"), call(1, "meet")), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("meet", meet)])
        await told(run)
    assert threading.current_thread().name not in results(run).values()
    assert run.outcome == "complete"


async def test_a_plain_function_is_left_to_its_thread_when_its_time_is_over() -> None:
    go_on = threading.Event()
    async with serving(answer(call(0, "wait")), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("wait", lambda: go_on.wait(20), timeout=0.01)])
        await told(run)
        assert results(run) == {"call_0": '{"error":"the tool did not answer in time"}'}
    go_on.set()


# -- what the model is told is wrong ------------------------------------------------------------------------------------------


def test_unknown_tools_and_invalid_arguments_go_back_to_the_model() -> None:
    kitchen = Kitchen(takes=0.0)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        events = await told(run)
        failed = [event for event in events if event.type == "tool.failed"]
        assert all(event.correctable for event in failed)
        contents = results(run)
        assert "there is no tool 'lookup'; the tools are: look_up" in contents["call_0"]
        assert "city: 7 is not of type 'string'" in contents["call_1"]
        assert "not a JSON object" in contents["call_2"]
        assert contents["call_3"] == "Rome is fine"
        assert run.outcome == "complete"

    play(
        answer(
            call(0, "lookup", ROME),
            call(1, "look_up", '{"city":7}'),
            call(2, "look_up", '{"city":'),
            call(3, "look_up", ROME),
        ),
        BYE,
        body=body,
    )
    assert kitchen.began == ["Rome"]


def test_a_model_that_does_not_learn_ends_the_run() -> None:
    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Kitchen().tool()], max_corrections=2)
        with pytest.raises(ToolCallError, match=r"3 rounds \(max_corrections is 2\).*no tool 'nothing'"):
            await told(run)
        assert len(server.requests) == 3
        assert [message["role"] for message in run.messages] == ["user", *["assistant", "tool"] * 3]

    play(*[answer(call(0, "nothing"))] * 3, body=body)


def test_calls_beyond_what_an_answer_may_have_are_not_run() -> None:
    rang: list[int] = []

    async def ring() -> None:
        rang.append(1)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Tool("ring", ring)])
        await told(run)
        assert len(results(run)) == 130
        assert "one call too many" in results(run)["call_129"]

    play(answer(*[call(place, "ring") for place in range(130)]), BYE, body=body)
    assert len(rang) == 128


# -- rounds and the conversation ----------------------------------------------------------------------------------------------


def test_the_conversation_has_all_rounds_in_the_order_of_the_calls() -> None:
    async def wait(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    schema = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Tool("wait", wait, parameters=schema)], temperature=0.5)
        await told(run)
        assert [message["role"] for message in run.messages] == ["user", "assistant", "tool", "tool", "assistant"]
        assert [message["content"] for message in run.messages[2:4]] == ["3", "1"]
        assert run.messages[:-1] == server.requests[1].json["messages"]
        assert server.requests[1].json["temperature"] == 0.5
        assert run.completion is not None
        assert run.completion.content == "Bye."
        assert run.rounds == 2

    play(answer(call(0, "wait", '{"seconds":3}'), call(1, "wait", '{"seconds":1}')), BYE, body=body)


def test_usage_and_cost_add_up_over_rounds() -> None:
    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[Tool("ring", lambda: None)])
        await told(run)
        assert run.usage is not None
        assert (run.usage.prompt_tokens, run.usage.total_tokens) == (8, 16)
        assert run.usage.prompt_tokens_details is not None
        assert run.usage.prompt_tokens_details.cached_tokens == 3
        assert run.cost == 0.75

    play(
        Reply.sse(
            ROLE, call(0, "ring"), finish(), usage(3, cost=0.25, prompt_tokens_details={"cached_tokens": 1}), DONE
        ),
        Reply.sse(
            chunk({"content": "x"}),
            finish("stop"),
            usage(5, cost=0.5, prompt_tokens_details={"cached_tokens": 2}),
            DONE,
        ),
        body=body,
    )


def test_the_last_round_that_is_allowed_runs_its_calls() -> None:
    kitchen = Kitchen(takes=0.0)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()], max_rounds=2)
        await told(run)
        assert run.outcome == "max_rounds"
        assert run.messages[-1]["role"] == "tool"

    play(answer(call(0, "look_up", ROME)), answer(call(0, "look_up", OSLO)), body=body)
    assert kitchen.ended == ["Rome", "Oslo"]


@pytest.mark.parametrize(
    ("choice", "later"),
    [
        ("required", None),
        ({"type": "function", "function": {"name": "ring"}}, None),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, None),
        ("auto", "auto"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},) * 2,
    ],
)
def test_a_forced_choice_holds_for_the_first_round_only(choice: Any, later: Any) -> None:
    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(
            session, **ASK, tools=[Tool("ring", lambda: None)], tool_choice=choice, parallel_tool_calls=False
        )
        await told(run)
        assert [request.json.get("tool_choice") for request in server.requests] == [choice, later]
        assert [request.json["parallel_tool_calls"] for request in server.requests] == [False, False]

    play(answer(call(0, "ring")), BYE, body=body)


def test_calls_that_share_an_id_or_have_none_get_results_of_their_own() -> None:
    kitchen = Kitchen(takes=0.0)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        await told(run)
        ids = [made["id"] for made in run.messages[1]["tool_calls"]]
        assert len(set(ids)) == 4
        assert all(ids)
        assert list(results(run)) == ids
        assert list(results(run).values()) == ["Rome is fine", "Oslo is fine", "Rome is fine", "Oslo is fine"]

    play(
        answer(
            call(0, "look_up", ROME, "same"),
            call(1, "look_up", OSLO, "same"),
            fragment(2, ROME, name="look_up", id=""),
            fragment(3, OSLO, name="look_up"),
        ),
        BYE,
        body=body,
    )


def test_a_custom_tool_gets_the_text() -> None:
    ran = []
    sql = Tool("sql", lambda text: ran.append(text) or "3 rows", custom={"type": "text"}, description="Run SQL.")
    made = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "select"}}
    more = {"index": 0, "custom": {"input": " 1"}}

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[sql])
        await told(run)
        assert ran == ["select 1"]
        assert results(run) == {"c": "3 rows"}
        assert run.messages[1]["tool_calls"] == [
            {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
        ]
        assert server.requests[0].json["tools"] == [
            {"type": "custom", "custom": {"name": "sql", "description": "Run SQL.", "format": {"type": "text"}}}
        ]

    play(answer(chunk({"tool_calls": [made]}), chunk({"tool_calls": [more]})), BYE, body=body)


# -- leaving ------------------------------------------------------------------------------------------------------------------


def test_leaving_the_block_cancels_what_runs_and_the_conversation_can_go_on() -> None:
    kitchen = Kitchen(takes=100)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        async with run_tools(session, **ASK, tools=[kitchen.tool(), Tool("ring", lambda: "rang", eager=False)]) as run:
            async for event in run:
                if event.type == "tool.started":
                    await asyncio.sleep(0.1)  # or it would not have begun
                    break
        assert run.outcome == "cancelled"
        assert "the user stopped" in results(run)["call_0"]
        assert len(asyncio.all_tasks()) <= 3  # the test's own, and the server's

    play(answer(call(0, "look_up", ROME), call(1, "ring")).stall(), body=body)
    assert kitchen.cancelled == ["Rome"]


def test_stopping_from_another_task_ends_the_readers_loop_quietly() -> None:
    kitchen = Kitchen(takes=100)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run = run_tools(session, **ASK, tools=[kitchen.tool()])
        async with run:
            asyncio.get_running_loop().call_later(1, lambda: stops.append(asyncio.ensure_future(run.aclose())))
            stops: list[Any] = []
            events = [event.type async for event in run]
            await stops[0]
        assert "round.finished" not in events
        assert run.outcome == "cancelled"
        assert list(results(run)) == ["call_0"]
        assert run.messages[-1]["role"] == "tool"

    play(answer(call(0, "look_up", ROME)), body=body)
    assert kitchen.cancelled == ["Rome"]


def test_cancelling_the_reader_cancels_the_tools() -> None:
    kitchen = Kitchen(takes=100)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        task = asyncio.ensure_future(told(run_tools(session, **ASK, tools=[kitchen.tool()])))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(answer(call(0, "look_up", ROME)), body=body)
    assert kitchen.cancelled == ["Rome"]


def test_a_scope_around_the_run_cancels_it_as_any_other_code() -> None:
    kitchen = Kitchen(takes=100)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        with anyio.move_on_after(1) as scope:
            await told(run_tools(session, **ASK, tools=[kitchen.tool()]))
        assert scope.cancelled_caught

    play(answer(call(0, "look_up", ROME)), body=body)
    assert kitchen.cancelled == ["Rome"]


async def test_a_tool_that_swallows_its_cancellation_does_not_hold_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PATIENCE", 0.05)
    enough, ended = [], asyncio.Event()

    async def stubborn() -> None:
        while not enough:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                await anyio.lowlevel.cancel_shielded_checkpoint()
        ended.set()

    async with serving(answer(call(0, "stubborn"))) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("stubborn", stubborn)])
        await run.__aenter__()
        while (await run.__anext__()).type != "tool.started":
            pass
        await asyncio.sleep(0.01)
        try:
            with pytest.warns(RuntimeWarning, match=r"1 tools go on, though they were cancelled"):
                await run.aclose()
            assert "may have been carried out" in results(run)["call_0"]
        finally:
            enough.append(1)
        await ended.wait()


def test_a_tool_may_run_tools_itself_and_sees_the_callers_context() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    async def body(session: CometSession, server: SimulatedServer) -> None:
        def whoami() -> str:
            time.sleep(0.05)  # as on a busy machine; the clock that jumps waits for it
            return user.get()

        async def research() -> str:
            inner = run_tools(session, **ASK, tools=[Tool("whoami", whoami)])
            await told(inner)
            return str(results(inner))

        user.set("Ann")
        run = run_tools(session, **ASK, tools=[Tool("research", research, eager=False)])
        await told(run)
        assert results(run) == {"call_0": "{'call_0': 'Ann'}"}

    play(answer(call(0, "research")), answer(call(0, "whoami")), BYE, BYE, body=body)


def test_an_error_in_the_block_is_raised_as_it_is() -> None:
    kitchen = Kitchen(takes=100)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        async def read() -> None:
            async with run_tools(session, **ASK, tools=[kitchen.tool()]) as run:
                async for event in run:
                    if event.type == "tool.started":
                        await asyncio.sleep(0.1)
                        raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await read()

    play(answer(call(0, "look_up", ROME)), body=body)
    assert kitchen.cancelled == ["Rome"]


def test_a_read_that_is_given_up_and_begun_again_loses_nothing() -> None:
    kitchen = Kitchen(takes=0.35)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        async with run_tools(session, **ASK, tools=[kitchen.tool()]) as run:
            kinds_told = []
            while True:
                try:
                    kinds_told.append((await asyncio.wait_for(run.__anext__(), 0.05)).type)
                except asyncio.TimeoutError:
                    continue
                except StopAsyncIteration:
                    break
        assert kinds_told.count("tool.result") == 2
        assert kinds_told.count("round.finished") == 2
        assert results(run) == {"call_0": "Rome is fine", "call_1": "Oslo is fine"}

    play(
        answer(call(0, "look_up", ROME), 0.2, call(1, "look_up", OSLO), 0.2, chunk({"content": ""})),
        Reply.text("a", 0.2, "b"),
        body=body,
    )
    assert sorted(kitchen.ended) == ["Oslo", "Rome"]


async def test_a_run_is_entered_once_and_read_by_one_task() -> None:
    async with serving(Reply.text("a").stall()) as (_, session):
        run = run_tools(session, **ASK, tools=[])
        with pytest.raises(UsageError, match="enter the run"):
            await run.__anext__()
        assert repr(run) == "<ToolRun new, 0 rounds>"
        async with run:
            with pytest.raises(UsageError, match="entered before"):
                await run.__aenter__()
            await run.__anext__()
            await run.__anext__()
            reading = asyncio.ensure_future(run.until_done())
            await asyncio.sleep(0)
            with pytest.raises(UsageError, match="another task"):
                await run.__anext__()
            with pytest.raises(UsageError, match="a round is under way"):
                run.state()
            await run.aclose()
            await reading
        assert run.messages == ASK["messages"]


def test_a_session_that_is_closed_ends_the_run() -> None:
    kitchen = Kitchen(takes=0.5)

    async def body(session: CometSession, server: SimulatedServer) -> None:
        run: ToolRun = run_tools(session, **ASK, tools=[kitchen.tool()])
        asyncio.get_running_loop().call_later(0.2, lambda: closes.append(asyncio.ensure_future(session.aclose())))
        closes: list[Any] = []
        with pytest.raises(UsageError, match="closed"):
            await told(run)
        assert results(run) == {"call_0": "Rome is fine"}

    play(answer(call(0, "look_up", ROME)), body=body)
