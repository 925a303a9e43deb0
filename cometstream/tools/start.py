"""The public calls: start a run, or go on with one that was paused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError, ToolStateError, UsageError
from cometstream.policy import NOT_GIVEN, NotGiven
from cometstream.request.describe import kind, shown
from cometstream.request.encode import is_json_list
from cometstream.session import CometSession
from cometstream.tools.arguments import ArgumentsError
from cometstream.tools.carrying_out import CarryingOut
from cometstream.tools.definition import checked_timeout
from cometstream.tools.invocation import Answered, Denied, Invocation, RunAgain
from cometstream.tools.ledger import SqliteLedger, checked_ledger
from cometstream.tools.requests import RoundRequests
from cometstream.tools.round import CallState, Round, arguments_of, execution_id
from cometstream.tools.run import ToolRun
from cometstream.tools.state import Progress, checked_secret, load_state
from cometstream.tools.toolbox import as_tools
from cometstream.views.completion import ToolCall
from cometstream.views.view import View

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

    from cometstream.policy import RetryPolicy, Timeouts
    from cometstream.request.params import Message, RunParams
    from cometstream.tools.definition import Tool
    from cometstream.tools.invocation import Decision
    from cometstream.tools.ledger import Ledger

    GivenTool = Tool[..., Any] | Callable[..., Any] | Mapping[str, Any] | type

__all__ = ["resume_tools", "run_tools"]

_ROUNDS: Final = 10
_CORRECTIONS: Final = 3
_TIMEOUT: Final = 60.0


def run_tools(
    session: CometSession,
    *,
    model: str,
    messages: Sequence[Message],
    tools: Sequence[GivenTool],
    max_rounds: int = _ROUNDS,
    max_corrections: int = _CORRECTIONS,
    tool_timeout: float | None = _TIMEOUT,
    ledger: Ledger | str | os.PathLike[str] | None = None,
    secret: str | bytes | None = None,
    timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
    retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
    headers: Mapping[str, str] | None = None,
    pace: float = 0.0,
    fallback_models: Sequence[str] = (),
    split_think: bool = False,
    max_event_size: int | NotGiven = NOT_GIVEN,
    **params: Unpack[RunParams],
) -> ToolRun:
    """Return a conversation with tools. Enter it with ``async with``, then iterate its events. Nothing is sent before.

    Every answer is streamed. A call is started while its answer still streams, as soon as its arguments are whole: because the next
    call began, or because the choice finished with a reason that lets calls run. Where the answer then ends in any other way, what
    was started is cancelled and told so. Tools with ``eager=False``, and those that need approval, wait for the verified end.

    Args:
        session: The session whose pool and key are used.
        model: The model's id.
        messages: The conversation, oldest first.
        tools: ``@tool`` functions, ``Tool`` objects, plain functions, and dicts as a request has them. Calls of dicts and of
            pydantic models pause the run, and you bring the result.
        max_rounds: The most answers to ask for, 1 or more. The calls of the last one are run, and the run ends as ``max_rounds``.
        max_corrections: In how many rounds the model may call tools that do not exist, or with arguments that do not validate. It
            is told what is wrong each time; after one more the run raises ``ToolCallError``.
        tool_timeout: Seconds that a call may take, where its tool does not say otherwise; None for no limit.
        ledger: Where each call is written down before it runs: a ``Ledger``, or a file's name for SQLite; None for nowhere.
        secret: Signs what ``state()`` gives; without one its digest tells of accidents, not of an attacker.
        timeouts: As for `CometSession.stream`, for each round; so are the other options.
        retry: As for `CometSession.stream`.
        headers: As for `CometSession.stream`.
        pace: As for `CometSession.stream`.
        fallback_models: As for `CometSession.stream`.
        split_think: As for `CometSession.stream`.
        max_event_size: As for `CometSession.stream`.
        **params: The wire's parameters by their names. A ``tool_choice`` that forces a call holds for the first round only.
    Returns:
        The run.
    Raises:
        ConfigurationError: A tool or an option cannot be used.
        InvalidRequestError: The request or a schema does not match the specification; every problem is listed.
        UsageError: The session is closed.
    Cancellation:
        Nothing is awaited.
    """
    _check_session(session)
    max_rounds, max_corrections = _checked_counts(max_rounds, max_corrections)
    by_name, wire = as_tools(tools)
    requests = RoundRequests(
        session,
        model,
        wire,
        params,
        {
            "timeouts": timeouts,
            "retry": retry,
            "headers": headers,
            "pace": pace,
            "fallback_models": fallback_models,
            "split_think": split_think,
            "max_event_size": max_event_size,
        },
    )
    run = uuid.uuid4().hex
    step = session.step("run", id=run, model=model, resumed=False)
    carrying_out = CarryingOut(checked_ledger(ledger), _checked_limit(tool_timeout), step)
    key = checked_secret(secret)
    given = _listed(messages)
    first = requests.open(given, 1)
    return ToolRun(
        requests,
        by_name,
        Progress(run, given),
        carrying_out,
        max_rounds=max_rounds,
        max_corrections=max_corrections,
        secret=key,
        first=first,
    )


def resume_tools(
    session: CometSession,
    state: str | bytes | Mapping[str, Any],
    *,
    tools: Sequence[GivenTool],
    decisions: Mapping[str, Decision] | bool | Denied | None = None,
    ledger: Ledger | str | os.PathLike[str] | None = None,
    max_rounds: int | None = None,
    tool_timeout: float | None = _TIMEOUT,
    secret: str | bytes | None = None,
    timeouts: Timeouts | NotGiven | None = NOT_GIVEN,
    retry: RetryPolicy | int | NotGiven | None = NOT_GIVEN,
    headers: Mapping[str, str] | None = None,
    pace: float = 0.0,
    fallback_models: Sequence[str] = (),
    split_think: bool = False,
    max_event_size: int | NotGiven = NOT_GIVEN,
) -> ToolRun:
    """Return a run that goes on from its state, in this process or another. Enter and iterate it as the first.

    A call that was executed or decided once is never executed again, however often and from wherever the state is resumed: each is
    written down in the ledger before it runs. One that was started by a process which was killed comes back as pending, with
    ``unknown`` set, and runs again only if you decide ``RunAgain()``.

    Args:
        session: The session whose pool and key are used.
        state: What ``run.state()`` gave: the text, or what was parsed of it.
        tools: The tools, as for `run_tools`; each that a pending call names must be there.
        decisions: By the call's ``id`` or ``execution_id``: True, False, ``Denied(...)``, ``Answered(...)`` or ``RunAgain()``.
            Calls without one stay pending, and the run pauses again. True, False or ``Denied(...)`` alone is for all of them.
        ledger: As for `run_tools`; None takes `SqliteLedger`'s own file. All processes that may resume a state must share it.
        max_rounds: The most answers, those before the pause included; None leaves it as it was.
        tool_timeout: As for `run_tools`.
        secret: As it was for `run_tools`.
        timeouts: As for `CometSession.stream`, for each round; so are the other options.
        retry: As for `CometSession.stream`.
        headers: As for `CometSession.stream`.
        pace: As for `CometSession.stream`.
        fallback_models: As for `CometSession.stream`.
        split_think: As for `CometSession.stream`.
        max_event_size: As for `CometSession.stream`.
    Returns:
        The run.
    Raises:
        ToolStateError: The state was changed, is of another version, or is none.
        ConfigurationError: A decision, a tool or an option cannot be used.
        UsageError: The run had ended: there is nothing to go on with. Or the session is closed.
    Cancellation:
        Nothing is awaited.
    """
    _check_session(session)
    key = checked_secret(secret)
    saved = load_state(_parsed(state), key)
    by_name, wire = as_tools(tools)
    options = {
        "timeouts": timeouts,
        "retry": retry,
        "headers": headers,
        "pace": pace,
        "fallback_models": fallback_models,
        "split_think": split_think,
        "max_event_size": max_event_size,
    }
    requests = RoundRequests(session, saved["model"], wire, saved["params"], options)
    limit = saved["max_rounds"] if max_rounds is None else max_rounds
    limit, corrections = _checked_counts(limit, saved["max_corrections"])
    progress = Progress(
        saved["run"], saved["messages"], saved["round"], saved["corrections"], saved["usage"], saved["cost"]
    )
    paused = None
    if saved["outcome"] == "paused":
        paused = _restored(saved, by_name, _checked_decisions(decisions, saved["calls"]))
    elif decisions is not None and not (isinstance(decisions, Mapping) and len(decisions) == 0):
        raise ConfigurationError("decisions: no call of this run waits for one")
    elif saved["outcome"] in ("complete", "withheld") or progress.rounds >= limit:
        raise UsageError(
            f"this run has ended ({saved['outcome']}): start another with its messages"
            + ("" if saved["outcome"] != "max_rounds" else ", or give a larger max_rounds")
        )
    # What the session refuses, it refuses before anything is run.
    requests.open(saved["messages"] + ([] if paused is None else paused.messages(None, left=True)), progress.rounds + 1)
    carrying_out = CarryingOut(
        SqliteLedger() if ledger is None else checked_ledger(ledger),
        _checked_limit(tool_timeout),
        session.step("run", id=progress.run, model=requests.model, resumed=True),
    )
    return ToolRun(
        requests,
        by_name,
        progress,
        carrying_out,
        max_rounds=limit,
        max_corrections=corrections,
        secret=key,
        paused=paused,
    )


def _restored(saved: dict[str, Any], tools: dict[str, Tool[..., Any]], decisions: dict[str, Any]) -> Round:
    """Return the round that a state was paused in, with what was decided about its calls."""
    round_ = Round(saved["round"], message=saved["message"])
    message = saved["message"] or {}
    sent = message.get("tool_calls")
    calls = [(call["index"], call["id"]) for call in saved["calls"]]
    if (
        message.get("role") != "assistant"
        or not isinstance(sent, list)
        or calls != [(place, call.get("id") if isinstance(call, dict) else None) for place, call in enumerate(sent)]
    ):
        raise ToolStateError("the state's calls are not those of its message: pass what run.state() gave")
    for raw in saved["calls"]:
        call = _restored_call(raw, saved, tools)
        round_.calls[raw["index"]] = call
        if call.status != "pending":
            continue
        for name in (call.invocation.execution_id, call.invocation.id):
            if name in decisions:
                _decide(call, decisions.pop(name), saved["run"])
                break
    if decisions:
        ids = ", ".join(call.invocation.id for call in round_.of_status("pending"))
        raise ConfigurationError(
            f"decisions: no pending call is named {shown(next(iter(decisions)))}; pending are: {ids}"
        )
    return round_


def _restored_call(raw: dict[str, Any], saved: dict[str, Any], tools: dict[str, Tool[..., Any]]) -> CallState:
    tool = tools.get(raw["name"])
    name, text, place, attempt = raw["name"], raw["text"], raw["index"], raw["attempt"]
    as_call = ToolCall({"id": raw["id"], "function": {"name": name, "arguments": text}})
    arguments = {} if tool is not None and tool.custom else arguments_of(as_call)[2]
    execution = execution_id(saved["run"], saved["round"], place, name, arguments, text, attempt)
    invocation = Invocation(raw["id"], name, arguments, text, place, saved["round"], execution, raw["unknown"])
    call = CallState(invocation, tool, status=raw["status"], content=raw["content"], attempt=attempt)
    if call.status == "pending":
        if tool is None:
            raise ConfigurationError(f"tools: {name!r} is missing, a pending call of the state is for it")
        try:
            call.bound = tool.read(as_call)
        except ArgumentsError as error:
            call.refusal = str(error)
    return call


def _decide(call: CallState, decision: Any, run: str) -> None:
    made, tool = call.invocation, call.tool
    runs = decision is True or isinstance(decision, RunAgain)
    if runs and tool is not None and tool.function is None:
        raise ConfigurationError(f"decisions: call {made.id} is yours to carry out; bring Answered(...) or Denied(...)")
    if made.unknown and decision is True:
        raise ConfigurationError(
            f"decisions: call {made.id} was started before, and its result is not known; "
            "decide RunAgain(), Answered(...) or Denied(...)"
        )
    if isinstance(decision, RunAgain):
        if not made.unknown:
            raise ConfigurationError(f"decisions: call {made.id} was not started before; decide True")
        decision = True
    if made.unknown:
        call.attempt += 1
        name = execution_id(run, made.round, made.index, made.name, made.arguments, made.text, call.attempt)
        call.invocation = Invocation(made.id, made.name, made.arguments, made.text, made.index, made.round, name)
    call.decision = decision


def _checked_decisions(decisions: object, calls: list[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(decisions, (bool, Denied)):
        return {call["id"]: decisions for call in calls if call["status"] == "pending"}
    try:
        made = {} if decisions is None else dict(decisions) if isinstance(decisions, Mapping) else None
    except Exception:  # of a mapping of the caller's own
        made = None
    if made is None:
        raise ConfigurationError(f"decisions must map the ids of calls to decisions; got {shown(decisions)}")
    for name, decision in made.items():
        if not isinstance(decision, (bool, Denied, Answered, RunAgain)):
            raise ConfigurationError(
                f"decisions[{shown(name)}] must be True, False, Denied(...), Answered(...) or RunAgain(); got {shown(decision)}"
            )
    return made


def _parsed(state: object) -> object:
    try:
        return dict(state) if isinstance(state, Mapping) and not isinstance(state, dict) else state
    except Exception:  # of a mapping of the caller's own
        return None


def _check_session(session: object) -> None:
    if not isinstance(session, CometSession):
        raise ConfigurationError(f"session must be a CometSession; got {kind(session)}")


def _checked_counts(max_rounds: Any, max_corrections: Any) -> tuple[int, int]:
    for name, value, least in (("max_rounds", max_rounds, 1), ("max_corrections", max_corrections, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise ConfigurationError(f"{name} must be a whole number of {least} or more; got {shown(value)}")
    return max_rounds, max_corrections


def _checked_limit(tool_timeout: Any) -> float | None:
    if isinstance(tool_timeout, NotGiven):
        return _TIMEOUT
    made = checked_timeout(tool_timeout, "tool_timeout")
    return None if isinstance(made, NotGiven) else made


def _listed(messages: Any) -> list[Any]:
    """Return the conversation as a list of the run's own; the request's checks say what is wrong with it."""
    try:
        given = list(messages) if is_json_list(messages) else messages
        return (
            [item.to_dict() if isinstance(item, View) else item for item in given] if given is not messages else given
        )
    except Exception:  # of a sequence of the caller's own
        return messages  # type: ignore[no-any-return] # to be refused
