"""The protocol ``ag-ui``: the events of AG-UI 1.0, as CopilotKit and other agent UIs read them.

Source: PyPI ``ag-ui-protocol`` 1.0.0, ``ag_ui/core/events.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.relay.parts import Call, PartEncoder
from cometstream.relay.sse import EVENT_STREAM, event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.answer.smooth import Smoother
    from cometstream.relay.told import Told

__all__ = ["AgUiEncoder"]


class AgUiEncoder(PartEncoder):
    """Writes one run.

    Args:
        source: What is relayed.
        message_id: The id of the message; its parts have ids that begin with it.
        smoother: Spreads bursts of text; None leaves them as they come.
        thread_id: The conversation, as the request's ``threadId`` named it.
        run_id: The run, as the request's ``runId`` named it.
    """

    headers: Mapping[str, str] = EVENT_STREAM
    refuses_in_text: bool = False

    def __init__(self, source: Any, message_id: str, smoother: Smoother | None, thread_id: str, run_id: str) -> None:
        super().__init__(source, message_id, smoother)
        self._pending: list[str] = []  # calls that nobody has answered
        self._interrupts: list[dict[str, str]] = []
        self._run = {"threadId": thread_id, "runId": run_id}

    def begin(self) -> bytes:
        """Write the beginning of the message."""
        return event({"type": "RUN_STARTED", **self._run, "protocolVersion": "1.0"})

    def part_begins(self, kind: str, id: str) -> bytes:  # noqa: A002 - the wire's own name
        """Write the beginning of a part: of text, or of reasoning."""
        if kind == "text":
            return event({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"})
        start = {"type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning"}
        return event({"type": "REASONING_START", "messageId": id}) + event(start)

    def part_goes_on(self, kind: str, id: str, delta: str) -> bytes:  # noqa: A002
        """Write a piece of a part."""
        type_ = "TEXT_MESSAGE_CONTENT" if kind == "text" else "REASONING_MESSAGE_CONTENT"
        return event({"type": type_, "messageId": id, "delta": delta})

    def part_ends(self, kind: str, id: str) -> bytes:  # noqa: A002
        """Write the end of a part."""
        if kind == "text":
            return event({"type": "TEXT_MESSAGE_END", "messageId": id})
        end = event({"type": "REASONING_MESSAGE_END", "messageId": id})
        return end + event({"type": "REASONING_END", "messageId": id})

    def call_begins(self, call: Call) -> bytes:
        """Write the beginning of a tool call."""
        return event({"type": "TOOL_CALL_START", "toolCallId": call.id, "toolCallName": call.name})

    def call_goes_on(self, call: Call, delta: str) -> bytes:
        """Write a piece of a call's arguments."""
        return event({"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": delta})

    def call_ends(self, call: Call, arguments: dict[str, Any] | None) -> bytes:
        """Write the end of a call; its arguments are None where it was not written to its end, or they are no object."""
        if arguments is not None:
            self._pending.append(call.id)
        return event({"type": "TOOL_CALL_END", "toolCallId": call.id})

    def call_waits(self, call: Call, approval: str) -> bytes:
        """Write nothing now: what a run waits for stands in its end."""
        message = f"{call.name} waits for your approval"
        waits = {"id": approval, "reason": "tool_call", "message": message, "toolCallId": call.id}
        self._interrupts.append(waits)
        return b""

    def call_result(self, call: Call, value: Any, content: str) -> bytes:
        """Write the result of a call."""
        if call.id in self._pending:
            self._pending.remove(call.id)
        return event(
            {"type": "TOOL_CALL_RESULT", "messageId": f"{call.id}-result", "toolCallId": call.id, "content": content}
        )

    def call_failed(self, call: Call, content: str) -> bytes:
        """Write that a call has no result, in the words that the model is told."""
        return self.call_result(call, None, content)

    def step_ends(self) -> bytes:
        """Write nothing: messages and calls have ends of their own."""
        return b""

    def finish(self) -> bytes:
        """Return the last bytes of an answer that is complete."""
        ended = super().finish()
        completion = self.completion
        outcome: dict[str, Any] = {"type": "success"}
        if self._interrupts:
            outcome = {"type": "interrupt", "interrupts": self._interrupts}
        elif self._pending:
            outcome["pendingToolCallIds"] = self._pending
        finished: dict[str, Any] = {"type": "RUN_FINISHED", **self._run, "outcome": outcome}
        usage = self.usage
        if usage:
            finished["usage"] = [{**usage, "model": completion.model} if completion.model else usage]
        return ended + event(finished)

    def fail(self, told: Told) -> bytes:
        """Return the last bytes of one that is not."""
        return self.begun_now() + event({"type": "RUN_ERROR", "message": told.text, "code": told.type})
