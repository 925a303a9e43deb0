"""Runs that pause, and go on in another process; and what the public calls refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.odd_values import each, only_ours
from support.serving import KEY, serving
from support.tool_calls import ASK, ROLE, answer, call, finish, results, told, usage

from cometstream import CometSession, ConfigurationError, InvalidRequestError, ToolStateError, UsageError
from cometstream.request.params import RunParams
from cometstream.testing import DONE, Reply
from cometstream.tools import (
    Answered,
    Denied,
    Invocation,
    LedgerEntry,
    RunAgain,
    Tool,
    ToolRun,
    resume_tools,
    run_tools,
)
from cometstream.tools.state import dump_state

SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
ANN, BOB = '{"to":"Ann"}', '{"to":"Bob"}'
BYE = Reply.text("Bye.")


class Memory:
    """A ledger that outlives a process in a test."""

    def __init__(self) -> None:
        self.entries: dict[str, str | None] = {}
        self.calls: list[Any] = []

    async def start(self, execution_id: str, call: Mapping[str, Any], /) -> LedgerEntry | None:
        self.calls.append(dict(call))
        if execution_id in self.entries:
            return LedgerEntry(self.entries[execution_id])
        self.entries[execution_id] = None
        return None

    async def finish(self, execution_id: str, content: str, /) -> None:
        self.entries[execution_id] = content


class Post:
    """A tool that must be approved, and what was sent with it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.pay = Tool("pay", self.send, parameters=SCHEMA, approve=True)
        self.look = Tool("look", lambda to: f"{to} is in", parameters=SCHEMA)
        self.tools = [self.pay, self.look]

    async def send(self, to: str) -> str:
        self.sent.append(to)
        return f"paid {to}"


async def pause(session: CometSession, post: Post, **options: Any) -> ToolRun:
    run = run_tools(session, **ASK, tools=post.tools, **options)
    await told(run)
    assert run.outcome == "paused"
    return run


async def test_a_run_pauses_for_a_decision_and_another_one_goes_on_from_its_state() -> None:
    post, ledger = Post(), Memory()
    first = Reply.sse(ROLE, call(0, "pay", ANN, "a"), call(1, "look", BOB, "b"), finish(), usage(3), DONE)
    async with serving(first, Reply.sse(ROLE, finish("stop"), usage(4), DONE)) as (server, session):
        run = run_tools(session, **ASK, tools=post.tools, temperature=0.25)
        events = await told(run)
        assert [event.type for event in events].count("tool.approval") == 1
        assert run.outcome == "paused"
        assert [made.id for made in run.pending] == ["a"]
        assert run.pending[0].arguments == {"to": "Ann"}
        assert results(run) == {"b": "Bob is in"}
        assert post.sent == []
        state = run.state()

        other = resume_tools(session, state, tools=post.tools, decisions={"a": True}, ledger=ledger)
        events = await told(other)
        assert [event.type for event in events][:2] == ["tool.started", "tool.result"]
        assert other.outcome == "complete"
        assert post.sent == ["Ann"]
        assert list(results(other).items()) == [("a", "paid Ann"), ("b", "Bob is in")]
        assert server.requests[1].json["messages"] == other.messages[:-1]
        assert server.requests[1].json["temperature"] == 0.25
        assert other.usage is not None
        assert other.usage.prompt_tokens == 7
        assert other.rounds == 2


@pytest.mark.parametrize(
    ("decision", "content"),
    [
        (False, '{"error":"the user did not allow this call"}'),
        (Denied("too much"), '{"error":"too much"}'),
        (Answered({"paid": 5}), '{"paid":5}'),
        (Answered("cash"), "cash"),
    ],
)
async def test_a_call_that_is_not_approved_is_not_run(decision: Any, content: str) -> None:
    post, ledger = Post(), Memory()
    async with serving(answer(call(0, "pay", ANN, "a")), BYE, BYE) as (_, session):
        state = (await pause(session, post)).state()
        run = resume_tools(session, state, tools=post.tools, decisions={"a": decision}, ledger=ledger)
        await told(run)
        assert results(run) == {"a": content}
        # What was decided once stays decided.
        again = resume_tools(session, state, tools=post.tools, decisions={"a": True}, ledger=ledger)
        await told(again)
        assert results(again) == {"a": content}
    assert post.sent == []


async def test_a_state_that_is_resumed_twice_runs_its_calls_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETSTREAM_LEDGER", str(tmp_path / "ledger"))
    post = Post()
    async with serving(answer(call(0, "pay", ANN, "a")), BYE, BYE) as (_, session):
        run = await pause(session, post)
        runs = [
            resume_tools(session, run.state(), tools=post.tools, decisions={run.pending[0].execution_id: True})
            for _ in range(2)
        ]
        await asyncio.gather(*map(told, runs))
    assert post.sent == ["Ann"]
    # The other one waits for the end of the first, or takes its result.
    assert "complete" in {made.outcome for made in runs} <= {"complete", "paused"}


async def test_a_call_whose_process_was_killed_runs_again_only_if_that_is_decided() -> None:
    post, ledger = Post(), Memory()
    async with serving(answer(call(0, "pay", ANN, "a")), BYE) as (_, session):
        run = await pause(session, post)
        state = run.state()
        ledger.entries[run.pending[0].execution_id] = None  # started, and then the process was killed
        other = resume_tools(session, state, tools=post.tools, decisions={"a": True}, ledger=ledger)
        events = await told(other)
        assert [event.type for event in events] == ["tool.started", "tool.approval", "round.finished"]
        assert other.outcome == "paused"
        assert [made.unknown for made in other.pending] == [True]
        assert post.sent == []

        unknown = other.state()
        with pytest.raises(ConfigurationError, match="started before, and its result is not known"):
            resume_tools(session, unknown, tools=post.tools, decisions={"a": True}, ledger=ledger)
        third = resume_tools(session, unknown, tools=post.tools, decisions={"a": RunAgain()}, ledger=ledger)
        await told(third)
        assert results(third) == {"a": "paid Ann"}
        assert post.sent == ["Ann"]
        assert sorted(ledger.entries.values(), key=str) == [None, "paid Ann"]

        # And that one runs once, too.
        fourth = resume_tools(session, unknown, tools=post.tools, decisions={"a": RunAgain()}, ledger=ledger)
        await told(fourth)
        assert post.sent == ["Ann"]


@pytest.mark.parametrize(("decision", "sent"), [(True, ["Ann", "Bob"]), (False, []), (Denied("no"), [])])
async def test_one_decision_may_be_for_all_calls(decision: Any, sent: list[str]) -> None:
    post = Post()
    async with serving(answer(call(0, "pay", ANN, "a"), call(1, "pay", BOB, "b")), BYE) as (_, session):
        state = (await pause(session, post)).state()
        await told(resume_tools(session, state, tools=post.tools, decisions=decision, ledger=Memory()))
    assert sorted(post.sent) == sent


async def test_calls_without_a_decision_stay_pending() -> None:
    post, ledger = Post(), Memory()
    async with serving(answer(call(0, "pay", ANN, "a"), call(1, "pay", BOB, "b")), BYE) as (_, session):
        state = (await pause(session, post)).state()
        run = resume_tools(session, state, tools=post.tools, decisions={"b": True}, ledger=ledger)
        await told(run)
        assert run.outcome == "paused"
        assert post.sent == ["Bob"]
        last = resume_tools(session, run.state(), tools=post.tools, decisions={"a": False}, ledger=ledger)
        await told(last)
        assert last.outcome == "complete"
        assert list(results(last)) == ["a", "b"]


async def test_a_tool_of_your_own_pauses_for_its_result() -> None:
    wire = {"type": "function", "function": {"name": "ask_user", "parameters": SCHEMA}}
    async with serving(answer(call(0, "ask_user", ANN, "a")), BYE) as (server, session):
        run = run_tools(session, **ASK, tools=[wire, {"type": "web_search"}])
        await told(run)
        assert [made.name for made in run.pending] == ["ask_user"]
        assert server.requests[0].json["tools"] == [wire, {"type": "web_search"}]
        with pytest.raises(ConfigurationError, match="yours to carry out"):
            resume_tools(session, run.state(), tools=[wire], decisions={"a": True})
        other = resume_tools(session, run.state(), tools=[wire], decisions={"a": Answered("yes")}, ledger=Memory())
        await told(other)
        assert results(other) == {"a": "yes"}


async def test_a_run_can_be_saved_after_each_round_and_goes_on_from_there() -> None:
    post, state = Post(), ""
    async with serving(answer(call(0, "look", ANN)), BYE, BYE) as (_, session):
        async with run_tools(session, **ASK, tools=post.tools) as run:
            async for event in run:
                if event.type == "round.finished":
                    state = run.state()
                    break
        other = resume_tools(session, state, tools=post.tools, ledger=Memory())
        await told(other)
        assert other.outcome == "complete"
        for decisions in ({"a": True}, True, 7):
            with pytest.raises(ConfigurationError, match="no call of this run waits for one"):
                resume_tools(session, state, tools=post.tools, decisions=decisions)  # type: ignore[arg-type]
        assert [message["role"] for message in other.messages] == ["user", "assistant", "tool", "assistant"]
        with pytest.raises(UsageError, match="has ended"):
            resume_tools(session, other.state(), tools=post.tools)
        with pytest.raises(UsageError, match="a round is under way"):
            run.state()


async def test_a_run_at_its_last_round_goes_on_where_more_are_allowed() -> None:
    post = Post()
    async with serving(answer(call(0, "look", ANN)), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=post.tools, max_rounds=1)
        await told(run)
        with pytest.raises(UsageError, match="give a larger max_rounds"):
            resume_tools(session, run.state(), tools=post.tools)
        other = resume_tools(session, run.state(), tools=post.tools, max_rounds=2, ledger=Memory())
        await told(other)
        assert other.outcome == "complete"


async def test_a_decision_in_place_is_asked_of_an_async_function() -> None:
    asked: list[Invocation] = []
    answers: list[Any] = [True, False, Denied("no"), Answered("cash"), "yes", RuntimeError("hidden")]

    async def decide(made: Invocation) -> Any:
        asked.append(made)
        decision = answers[made.index]
        if isinstance(decision, Exception):
            raise decision
        return decision

    post = Post()
    pay = Tool("pay", post.send, parameters=SCHEMA, approve=decide)
    async with serving(answer(*[call(place, "pay", ANN) for place in range(6)]), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[pay])
        events = await told(run)
    assert list(results(run).values()) == [
        "paid Ann",
        '{"error":"the user did not allow this call"}',
        '{"error":"no"}',
        "cash",
        '{"error":"the tool failed"}',
        '{"error":"the tool failed"}',
    ]
    assert [made.arguments for made in asked] == [{"to": "Ann"}] * 6
    failed = {event.call.index: event.error for event in events if event.type == "tool.failed"}
    assert "approve must return True" in str(failed[4])
    assert post.sent == ["Ann"]
    assert [event.call.index for event in events if event.type == "tool.started"] == [0]


async def test_a_call_has_not_started_while_its_decision_is_awaited() -> None:
    asked, decided = asyncio.Event(), asyncio.Event()

    async def decide(made: Invocation) -> bool:
        asked.set()
        await decided.wait()
        return True

    post = Post()
    pay = Tool("pay", post.send, parameters=SCHEMA, approve=decide)
    async with serving(answer(call(0, "pay", ANN)), BYE) as (_, session):
        seen: dict[str, int] = {}

        async def read() -> None:
            async with run_tools(session, **ASK, tools=[pay]) as run:
                async for event in run:
                    seen.setdefault(event.type, len(seen))

        reading = asyncio.create_task(read())
        await asked.wait()
        await asyncio.sleep(0.02)
        assert "tool.started" not in seen
        decided.set()
        await reading
    assert seen["tool.started"] < seen["tool.result"]


async def test_each_call_is_written_down_before_it_runs_and_its_result_after() -> None:
    ledger, seen = Memory(), []

    async def look() -> str:
        seen.append(dict(ledger.entries))
        return "x"

    async with serving(answer(call(0, "look", "{}", "a")), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=[Tool("look", look)], ledger=ledger)
        await told(run)
    ((execution_id, content),) = ledger.entries.items()
    assert seen == [{execution_id: None}]
    assert content == "x"
    assert ledger.calls == [{"id": "a", "name": "look", "arguments": "{}"}]


@pytest.mark.parametrize("step", ["start", "finish"])
async def test_without_its_ledger_a_run_ends(step: str) -> None:
    post, ledger = Post(), Memory()

    async def refuse(*_: Any) -> Any:
        raise OSError("the disk is full")

    setattr(ledger, step, refuse)
    async with serving(answer(call(0, "look", ANN, "a"))) as (_, session):
        run = run_tools(session, **ASK, tools=post.tools, ledger=ledger)
        with pytest.raises(OSError, match="the disk is full"):
            await told(run)
    assert run.outcome == "error"
    # Nothing ran without being written down; what ran is in the conversation.
    assert results(run) == {
        "a": "Ann is in" if step == "finish" else '{"error":"the call was not carried out: the run ended before"}'
    }


# -- states that cannot be used -----------------------------------------------------------------------------------------------


@pytest.fixture
async def state() -> str:
    async with serving(answer(call(0, "pay", ANN, "a"))) as (_, session):
        return (await pause(session, Post())).state()


def resume(state: Any, **options: Any) -> ToolRun:
    session = CometSession(api_key=KEY)
    return resume_tools(session, state, **{"tools": Post().tools, "decisions": {"a": True}, **options})


def forged(state: str, **change: Any) -> str:
    plain = {name: value for name, value in orjson.loads(state).items() if name not in ("digest", "version")}
    return dump_state({**plain, **change}, None)


def test_a_database_may_write_a_state_anew(state: str) -> None:
    parsed = orjson.loads(state)
    for form in (
        state,
        state.encode(),
        parsed,
        dict(reversed(parsed.items())),
        orjson.dumps(parsed, option=orjson.OPT_INDENT_2),
    ):
        assert repr(resume(form)) == "<ToolRun new, 1 rounds>"


def test_a_number_may_lose_its_point(state: str) -> None:
    with_cost = forged(state, cost=2.0, usage={"cost": 2.0, "prompt_tokens": 1})
    assert '"cost":2.0' in with_cost
    assert resume(with_cost.replace('"cost":2.0', '"cost":2')).cost == 2


def test_a_state_that_was_changed_is_refused(state: str) -> None:
    with pytest.raises(ToolStateError, match="was changed"):
        resume(state.replace("Ann", "Eve"))
    for name in orjson.loads(state):
        changed = orjson.loads(state)
        changed[name] = "x"
        with pytest.raises(ToolStateError):
            resume(changed)
        del changed[name]
        with pytest.raises(ToolStateError):
            resume(changed)
    with pytest.raises(ToolStateError, match="was changed"):
        resume({**orjson.loads(state), "more": 1})


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_a_state_of_another_version_is_refused(state: str, version: Any) -> None:
    with pytest.raises(ToolStateError, match="this library reads version 1"):
        resume({**orjson.loads(state), "version": version})


@pytest.mark.parametrize("odd", ["", "{", "null", "[]", b"\xff", None, 7, {}, []])
def test_what_is_no_state_is_refused(odd: Any) -> None:
    with pytest.raises(ToolStateError):
        resume(odd)


@pytest.mark.parametrize(
    "change",
    [
        {"message": None},
        {"message": {"role": "assistant"}},
        {"message": {"role": "user", "content": "x", "tool_calls": [{"id": "a"}]}},
        {"message": {"role": "assistant", "tool_calls": [{}]}},
        {"message": {"role": "assistant", "tool_calls": [None]}},
        {"message": {"role": "assistant", "tool_calls": [{"id": "b"}]}},
        {"calls": []},
        {"calls": [7]},
        {"round": "1"},
        {"messages": {}},
    ],
)
def test_a_state_that_was_written_by_hand_is_refused(state: str, change: dict[str, Any]) -> None:
    """Its digest may be right: without a secret anybody can make one."""
    with pytest.raises(ToolStateError, match=r"pass what run\.state\(\) gave"):
        resume(forged(state, **change))


@pytest.mark.parametrize("change", [{"status": "running"}, {"content": "x"}, {"index": 1}, {"name": 7}])
def test_a_call_that_was_written_by_hand_is_refused(state: str, change: dict[str, Any]) -> None:
    with pytest.raises(ToolStateError, match=r"pass what run\.state\(\) gave"):
        resume(forged(state, calls=[{**orjson.loads(state)["calls"][0], **change}]))


@pytest.mark.parametrize("name", ["self", "model", "messages", "tools", "timeouts", "retry", "headers"])
def test_a_state_has_no_parameters_that_are_the_runs_own(state: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: cannot be used"):
        resume(forged(state, params={name: 1}))


def test_a_paused_answer_that_cannot_be_sent_is_refused_before_its_calls_run(state: str) -> None:
    answer = orjson.loads(state)["message"]
    with pytest.raises(InvalidRequestError, match="content: is 5"):
        resume(forged(state, message={**answer, "content": 5}))


async def test_a_run_that_asks_for_a_type_can_pause() -> None:
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    receipt = pydantic.create_model("Receipt", total=(int, ...))
    post = Post()
    async with serving(answer(call(0, "pay", ANN, "a")), Reply.text('{"total":7}')) as (server, session):
        run = run_tools(session, **ASK, tools=post.tools, response_format=receipt)
        await told(run)
        resumed = resume_tools(session, run.state(), tools=post.tools, decisions=True, ledger=Memory())
        await told(resumed)
        asked = [request.json["response_format"] for request in server.requests]
    assert resumed.outcome == "complete"
    assert asked[0]["type"] == "json_schema"
    assert asked[0] == asked[1]


async def test_a_secret_makes_a_state_that_nobody_else_can_write() -> None:
    async with serving(answer(call(0, "pay", ANN, "a"))) as (_, session):
        signed = (await pause(session, Post(), secret="s")).state()
    assert resume(signed, secret=b"s").pending
    for secret in (None, "t"):
        with pytest.raises(ToolStateError, match="its secret is another"):
            resume(signed, secret=secret)
    with pytest.raises(ConfigurationError, match="secret must be"):
        resume(signed, secret="")


def test_decisions_that_cannot_be_used_are_refused(state: str) -> None:
    for decisions, problem in (
        ({"b": True}, "no pending call is named 'b'; pending are: a"),
        ({"a": "yes"}, "must be True, False, Denied"),
        ([True], "decisions must map"),
        ({"a": RunAgain()}, "was not started before; decide True"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            resume(state, decisions=decisions)
    with pytest.raises(ConfigurationError, match="'pay' is missing"):
        resume(state, tools=[])


async def test_arguments_that_no_longer_match_the_tool_are_not_run(state: str) -> None:
    post = Post()
    changed = Tool("pay", post.send, parameters={**SCHEMA, "required": ["to", "amount"]}, approve=True)
    async with serving(BYE) as (_, session):
        run = resume_tools(session, state, tools=[changed], decisions={"a": True}, ledger=Memory())
        await told(run)
    assert "'amount' is a required property" in results(run)["a"]
    assert post.sent == []


# -- what the calls refuse ----------------------------------------------------------------------------------------------------

RUN = (
    "session",
    "tools",
    "max_rounds",
    "max_corrections",
    "tool_timeout",
    "ledger",
    "secret",
    "pace",
    "headers",
    "retry",
    "timeouts",
)


def test_a_run_takes_or_refuses_each_odd_value() -> None:
    session = CometSession(api_key=KEY)
    for options in each(*RUN, "model", "messages", "n", "extra_body", "stream", *RunParams.__annotations__):
        given: dict[str, Any] = {"session": session, **ASK, "tools": [], **options}
        with only_ours():
            run_tools(given.pop("session"), **given)


def test_resuming_takes_or_refuses_each_odd_value(state: str) -> None:
    session, tools = CometSession(api_key=KEY), Post().tools
    for options in each(*(name for name in RUN if name != "max_corrections"), "state", "decisions"):
        given: dict[str, Any] = {"session": session, "state": state, "tools": tools, "ledger": "x", **options}
        with only_ours():
            resume_tools(given.pop("session"), given.pop("state"), **given)


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"tools": [Tool("f", print), Tool("f", print)]}, ConfigurationError, "two are named 'f'"),
        ({"tools": [7]}, ConfigurationError, r"tools\[0\] must be a Tool"),
        ({"tools": "f"}, ConfigurationError, "tools must be a list"),
        ({"tools": [{"function": {}}]}, InvalidRequestError, r"tools\[0\]\.type: is null"),
        ({"tools": [{"type": "function", "function": None}]}, InvalidRequestError, r"tools\[0\]\.function: is null"),
        ({"tools": [{"type": "function", "function": {}}]}, ConfigurationError, "None cannot be a tool's name"),
        ({"max_rounds": 0}, ConfigurationError, "max_rounds must be a whole number of 1 or more"),
        ({"max_corrections": -1}, ConfigurationError, "max_corrections must be"),
        ({"tool_timeout": 0}, ConfigurationError, "tool_timeout must be seconds"),
        ({"n": 2}, ConfigurationError, "n must be 1"),
        ({"functions": []}, ConfigurationError, "functions: cannot be used"),
        ({"on_incomplete": "return"}, ConfigurationError, "on_incomplete: cannot be used"),
        ({"temprature": 1}, InvalidRequestError, "did you mean 'temperature'"),
        ({"ledger": dict}, ConfigurationError, "ledger must be"),
        ({"session": None}, ConfigurationError, "session must be"),
        ({"messages": []}, InvalidRequestError, "at least one message"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_sent(
    options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    given: dict[str, Any] = {"session": CometSession(api_key=KEY), **ASK, "tools": [], **options}
    with pytest.raises(error, match=problem):
        run_tools(given.pop("session"), **given)


async def test_functions_models_and_custom_dicts_are_taken_as_tools() -> None:
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

    class Booking(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        """A booking."""

        city: str

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    custom = {"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}
    async with serving(answer(call(0, "add", '{"a":1,"b":2}'), call(1, "Booking", '{"city":"Rome"}'))) as (
        server,
        session,
    ):
        run = run_tools(session, **ASK, tools=[add, Booking, custom])
        await told(run)
        assert run.outcome == "paused"
        assert results(run) == {"call_0": "3"}
        assert [made.name for made in run.pending] == ["Booking"]
        sent = server.requests[0].json["tools"]
        assert sent[1]["function"]["description"] == "A booking."
        assert sent[2] == custom
