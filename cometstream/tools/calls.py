"""Decides what becomes of each call of an answer: started early, at its verified end, refused, held for a decision, or taken back.

A call is whole when the next one began, or when the choice finished with a reason that lets calls run; of the latter the core is
the judge, by ``ToolCall.executable``. Where more comes for a call that was started, it is cancelled unless it still says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.tools.arguments import ArgumentsError
from cometstream.tools.invocation import Invocation
from cometstream.tools.round import MOST_CALLS, CallState, Round, arguments_of, execution_id, same_call
from cometstream.views.completion import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.answer.events import (
        FunctionToolCallArgumentsDeltaEvent,
        FunctionToolCallArgumentsDoneEvent,
        StreamEvent,
    )
    from cometstream.tools.carrying_out import CarryingOut
    from cometstream.tools.definition import Tool
    from cometstream.views.chunks import ChatCompletionChunk
    from cometstream.views.completion import ChatCompletion

__all__ = ["Calls"]


class Calls:
    """The calls of one round.

    Args:
        run: The run's name.
        round_: Where they are kept.
        tools: The tools by their names.
        carrying_out: What runs them, and tells of it.
    """

    def __init__(self, run: str, round_: Round, tools: dict[str, Tool[..., Any]], carrying_out: CarryingOut) -> None:
        self._run = run
        self._round = round_
        self._tools = tools
        self._carrying_out = carrying_out
        self._chunk: ChatCompletionChunk | None = None  # the one that the events are about
        self._finishes: bool | None = None  # whether its choice finishes with it; None where nobody has looked

    def look(self, event: StreamEvent, completion: Callable[[], ChatCompletion]) -> None:
        """Start what an event shows to be whole, and take back what it shows not to have been.

        Args:
            event: What was told last.
            completion: Gives the answer as far as it came.
        """
        if event.type == "chunk":
            self._chunk, self._finishes = event.chunk, None
        elif event.type == "tool_calls.function.arguments.delta":
            if event.choice_index == 0:
                self._grew(event)
        elif event.type == "tool_calls.function.arguments.done" and event.choice_index == 0:
            self._done(event, completion)

    def _grew(self, event: FunctionToolCallArgumentsDeltaEvent) -> None:
        known = self._round.calls.get(event.index)
        if known is None or known.tool is None or not (event.arguments_delta.strip() or known.tool.custom):
            return
        if not same_call(known.invocation, _as_call(known.tool, event)):
            known.cancel("changed")

    def _done(self, event: FunctionToolCallArgumentsDoneEvent, completion: Callable[[], ChatCompletion]) -> None:
        chunk = self._chunk
        assert chunk is not None  # it comes before the events that are about it
        if self._finishes is None:
            self._finishes = any(choice.index == 0 and choice.finish_reason for choice in chunk.choices)
            if self._finishes:
                for place, call in enumerate(completion().tool_calls):
                    if call.executable:
                        self._start_early(place, call)
        if not self._finishes:
            tool = self._tools.get(event.name)
            # A custom tool's text does not show whether it is whole.
            if tool is not None and not tool.custom and _has_arguments(event.arguments, tool):
                self._start_early(event.index, _as_call(tool, event))

    def _start_early(self, place: int, call: ToolCall) -> None:
        name, text, arguments = arguments_of(call)
        tool = self._tools.get(name)
        if place in self._round.calls or place >= MOST_CALLS:
            return
        if tool is None or not tool.eager or not tool.validates or _waits(tool):
            return
        try:
            bound = tool.read(call)
        except ArgumentsError:
            return  # the verified end will tell
        self._start(CallState(self._invocation(place, call.id, name, text, arguments), tool, bound, early=True))

    def _start(self, call: CallState) -> None:
        self._round.calls[call.invocation.index] = call
        self._carrying_out.start(call)

    def _invocation(self, place: int, id_: str, name: str, text: str, arguments: dict[str, Any]) -> Invocation:
        number = self._round.number
        execution = execution_id(self._run, number, place, name, arguments, text, 1)
        return Invocation(id_, name, arguments, text, place, number, execution)

    def verified(self, completion: ChatCompletion) -> bool:
        """The answer has ended well: what its calls are is certain now. Return False where its ending proves no call whole."""
        message = completion.message
        sent: dict[str, Any] = {"role": "assistant", "content": ""} if message is None else message.to_dict()
        calls = (message.tool_calls if message is not None else None) or []
        if calls and "tool_calls" not in sent:
            self.take_back()
            if not self._round.calls:
                self._round.verify(sent)
            return False
        ids = [call["id"] for call in self._round.verify(sent).get("tool_calls", ())]
        for place, (call, id_) in enumerate(zip(calls, ids, strict=True)):
            self._settle(place, call, id_)
        return True

    def _settle(self, place: int, call: ToolCall, id_: str) -> None:
        known = self._round.calls.get(place)
        if known is not None:
            known.rename(id_)
            if not same_call(known.invocation, call):
                known.cancel("changed")
            return
        name, text, arguments = arguments_of(call)
        tool = self._tools.get(name)
        state = CallState(self._invocation(place, id_, name, text, arguments), tool)
        self._round.calls[place] = state
        try:
            if place >= MOST_CALLS:
                raise ArgumentsError(f"this is one call too many: at most {MOST_CALLS} calls are run for one answer")
            if tool is None:
                names = ", ".join(sorted(self._tools)) or "none"
                raise ArgumentsError(f"there is no tool {name[:64]!r}; the tools are: {names}")
            state.bound = tool.read(call)
        except ArgumentsError as error:
            self._refuse(state, error)
            return
        if _waits(tool):
            self._carrying_out.hold(state)
        else:
            self._start(state)

    def _refuse(self, call: CallState, error: ArgumentsError) -> None:
        """Tell the model what is wrong with a call; nothing is run."""
        self._round.problem = self._round.problem or str(error)
        self._carrying_out.refuse(call, error)

    def resume(self) -> None:
        """Carry out what was decided about the calls of a paused round."""
        for call in self._round.of_status("pending"):
            if call.refusal is not None:
                self._refuse(call, ArgumentsError(call.refusal))
            elif call.decision is None:
                self._carrying_out.hold(call)
            else:
                call.status = "running"
                self._start(call)

    def take_back(self) -> None:
        """The answer proves no call whole: cancel what was started."""
        for call in self._round.of_status("running"):
            call.cancel("incomplete")


def _waits(tool: Tool[..., Any]) -> bool:
    """Whether the calls of a tool pause the run."""
    return tool.approve is True or tool.function is None


def _has_arguments(text: str, tool: Tool[..., Any]) -> bool:
    """Whether a call that the next one followed may be taken as it stands: an empty object is a placeholder of some gateways."""
    takes_some = bool(tool.parameters and tool.parameters.get("properties"))
    return bool(text.strip(" \t\r\n{}")) or (not takes_some and text.strip() != "")


def _as_call(
    tool: Tool[..., Any], event: FunctionToolCallArgumentsDeltaEvent | FunctionToolCallArgumentsDoneEvent
) -> ToolCall:
    """Return a call as far as its events tell; what a whole call is the core says."""
    if tool.custom:
        return ToolCall({"id": event.id, "type": "custom", "custom": {"name": event.name, "input": event.arguments}})
    return ToolCall({"id": event.id, "function": {"name": event.name, "arguments": event.arguments}})
