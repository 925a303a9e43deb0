"""One round: an answer, its calls, and what has become of them. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from cometstream.errors import ProtocolError
from cometstream.tools.execution import error_content
from cometstream.views.completion import ChatCompletionMessage, ToolCall

if TYPE_CHECKING:
    import anyio

    from cometstream.tools.definition import Tool
    from cometstream.tools.invocation import Decision, Invocation
    from cometstream.views.completion import ChatCompletion

__all__ = [
    "CANCELLED",
    "CHANGED",
    "INCOMPLETE",
    "MOST_CALLS",
    "NOT_RUN",
    "CallState",
    "Round",
    "arguments_of",
    "execution_id",
    "same_call",
]

MOST_CALLS: Final = 128
"""Calls of one answer that are run; OpenAI takes no more tools than that."""

INCOMPLETE: Final = error_content(
    "cancelled: the answer that made this call broke off. The call may have been carried out in part or in whole."
)
CHANGED: Final = error_content(
    "cancelled: this call was changed after it had been started. It may have been carried out in part, with other arguments."
)
CANCELLED: Final = error_content("cancelled: the user stopped it. It may have been carried out in part or in whole.")
NOT_RUN: Final = error_content("the call was not carried out: the run ended before")


@dataclass(eq=False)
class CallState:
    """One call of a round.

    Attributes:
        invocation: The call.
        tool: What it is to run; None where there is no such tool.
        bound: What the tool's function is called with.
        scope: Cancels it while it runs.
        status: ``"running"``; ``"pending"``: it waits for a decision; ``"settled"``: the model can be told its content;
            ``"cancelled"``: its content is told, and nobody knows what it did.
        content: What the model is told; None before.
        early: It was started while the answer streamed.
        attempt: How often it may have been started, this time included.
        decision: What the caller decided.
        taken_back: Why it was cancelled.
        refusal: What the model is told where its arguments do not match the tool as it is now, after a pause.
    """

    invocation: Invocation
    tool: Tool[..., Any] | None = None
    bound: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    scope: anyio.CancelScope | None = None
    status: Literal["running", "pending", "settled", "cancelled"] = "running"
    content: str | None = None
    early: bool = False
    attempt: int = 1
    decision: Decision | None = None
    taken_back: Literal["incomplete", "changed"] | None = None
    refusal: str | None = None

    def settle(self, content: str) -> None:
        """The model can be told."""
        self.status, self.content = "settled", content

    def rename(self, id_: str) -> None:
        """Take the id that the whole answer has for it."""
        self.invocation = replace(self.invocation, id=id_)

    @property
    def told(self) -> str:
        """What the model is told where nothing more is to come."""
        if self.content is not None:
            return self.content
        return CANCELLED if self.status == "running" else NOT_RUN

    def cancel(self, why: Literal["incomplete", "changed"]) -> None:
        """Have it cancelled, if it runs; what has a result keeps it."""
        if self.status == "running" and self.taken_back is None and self.scope is not None:
            self.taken_back = why
            self.scope.cancel()


@dataclass(eq=False)
class Round:
    """One answer and its calls.

    Attributes:
        number: From 1.
        calls: What is known of each call, by its place in the answer.
        message: The assistant's message, once the answer is verified and its calls may run.
        problem: Why a call could not be run, where the model can mend that; None where all could.
    """

    number: int
    calls: dict[int, CallState] = field(default_factory=dict)
    message: dict[str, Any] | None = None
    problem: str | None = None

    def in_order(self) -> Iterator[CallState]:
        """Yield the calls in the order of the answer."""
        for place in sorted(self.calls):
            yield self.calls[place]

    def of_status(self, status: str) -> list[CallState]:
        """Return the calls that have a status."""
        return [call for call in self.in_order() if call.status == status]

    def verify(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Take and return the message of a whole answer; calls that share an id get ids of their own, as each needs a result."""
        self.message = _told_apart(sent)
        return self.message

    def messages(self, completion: ChatCompletion | None, *, left: bool) -> list[dict[str, Any]]:
        """Return what the conversation has of this round: the answer, and each result that was had.

        Args:
            completion: The answer as far as it came.
            left: Nothing more is run: calls without a result are answered with that, so that the conversation can go on.
        """
        message = self.message
        told = [call for call in self.in_order() if left or call.content is not None]
        if message is None:
            message = self._as_far_as_it_ran(completion, told)
            if message is None:
                return []
        named = {place: call["id"] for place, call in enumerate(message.get("tool_calls", ()))}
        if self.message is None:
            named = {call.invocation.index: named[place] for place, call in enumerate(told)}
        return [
            message,
            *(
                {
                    "role": "tool",
                    "tool_call_id": named[call.invocation.index],
                    "content": call.told,
                }
                for call in told
            ),
        ]

    def _as_far_as_it_ran(self, completion: ChatCompletion | None, told: list[CallState]) -> dict[str, Any] | None:
        """Return the message of an answer that broke off, with those calls alone that were started, as they were started."""
        message = None if completion is None else completion.message
        if message is None or not told:
            return None
        sent = message.tool_calls or []
        calls = []
        for call in told:
            made = call.invocation
            raw = sent[made.index].raw if made.index < len(sent) else {"id": made.id}
            if call.tool is not None and call.tool.custom:
                calls.append({**raw, "type": "custom", "custom": {"name": made.name, "input": made.text}})
            else:
                calls.append({**raw, "function": {"name": made.name, "arguments": made.text}})
        return _told_apart(ChatCompletionMessage({**message.raw, "tool_calls": calls}, True).to_dict())


def _told_apart(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose calls have an id each; one that came before is lengthened by its place."""
    given = message.get("tool_calls", ())
    taken, seen = {call["id"] for call in given}, set()
    calls = []
    for place, call in enumerate(given):
        name = call["id"]
        if name in seen:
            while name in taken:
                name = f"{name}_{place}"
            taken.add(name)
            call = {**call, "id": name}
        seen.add(name)
        calls.append(call)
    return {**message, "tool_calls": calls} if calls else message


def arguments_of(call: ToolCall) -> tuple[str, str, dict[str, Any]]:
    """Return a call's name, its text, and its arguments where they are a JSON object."""
    custom = call.custom
    if custom is not None:
        return custom.name, custom.input, {}
    try:
        arguments = call.parse()
    except ProtocolError:
        arguments = {}
    return call.function.name, call.function.arguments, arguments


def same_call(made: Invocation, call: ToolCall) -> bool:
    """Whether a call still says what was started."""
    custom = call.custom
    if custom is not None:
        return (custom.name, custom.input) == (made.name, made.text)
    try:
        return (call.function.name, call.parse()) == (made.name, made.arguments)
    except ProtocolError:
        return False
    except RecursionError:  # objects that are nested too deep to be compared
        return (call.function.name, call.function.arguments) == (made.name, made.text)


def execution_id(
    run: str, number: int, place: int, name: str, arguments: dict[str, Any], text: str, attempt: int
) -> str:
    """Return the name of one execution: the same in every process that goes on with a run, and for the same call only."""
    said = text.encode("utf-8", "replace")
    if arguments:
        try:
            said = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # nested deeper than it writes
            pass
    digest = hashlib.sha256(name.encode("utf-8", "replace") + b"\0" + said).hexdigest()[:12]
    again = f"~{attempt}" if attempt > 1 else ""
    return f"{run}.{number}.{place}.{digest}{again}"
