"""The protocol ``ui``: the UI message stream, version 1, that Vercel's AI SDK reads (``useChat``).

Source: npm ``ai`` 7.0.173, ``docs/04-ai-sdk-ui/50-stream-protocol.mdx`` and ``src/ui-message-stream/ui-message-chunks.ts``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cometstream.relay.extras import files_of, sources_of
from cometstream.relay.parts import Call, PartEncoder
from cometstream.relay.sse import EVENT_STREAM, event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.relay.told import Told
__all__ = ["FINISH_REASONS", "UiEncoder"]

FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "stop",
        "end_turn": "stop",
        "eos": "stop",
        "length": "length",
        "max_tokens": "length",
        "content_filter": "content-filter",
        "tool_calls": "tool-calls",
        "function_call": "tool-calls",
        "tool_use": "tool-calls",
    }
)
"""The wire's finish reasons in the UI message stream's words; every other is ``other``."""

_CUT_CALL: Final = "the call was not written to its end, or its arguments are no JSON object"


class UiEncoder(PartEncoder):
    """Writes one assistant message of one step.

    Args:
        source: What is relayed.
        message_id: The id of the message.
        smoother: Spreads bursts of text; None leaves them as they come.
    """

    headers: Mapping[str, str] = MappingProxyType({**EVENT_STREAM, "x-vercel-ai-ui-message-stream": "v1"})
    refuses_in_text: bool = True  # the client shows a refusal's body as it is

    def begin(self) -> bytes:
        """Write the beginning of the message."""
        return event({"type": "start", "messageId": self.message_id}) + event({"type": "start-step"})

    def part_begins(self, kind: str, id: str) -> bytes:  # noqa: A002 - the wire's own name
        """Write the beginning of a part: of text, or of reasoning."""
        return event({"type": f"{kind}-start", "id": id})

    def part_goes_on(self, kind: str, id: str, delta: str) -> bytes:  # noqa: A002
        """Write a piece of a part."""
        return event({"type": f"{kind}-delta", "id": id, "delta": delta})

    def part_ends(self, kind: str, id: str) -> bytes:  # noqa: A002
        """Write the end of a part."""
        return event({"type": f"{kind}-end", "id": id})

    def call_begins(self, call: Call) -> bytes:
        """Write the beginning of a tool call."""
        return event({"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name})

    def call_goes_on(self, call: Call, delta: str) -> bytes:
        """Write a piece of a call's arguments."""
        return event({"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": delta})

    def call_ends(self, call: Call, arguments: dict[str, Any] | None) -> bytes:
        """Write the end of a call; its arguments are None where it was not written to its end, or they are no object."""
        called = {"toolCallId": call.id, "toolName": call.name}
        if arguments is None:
            return event({"type": "tool-input-error", **called, "input": "".join(call.pieces), "errorText": _CUT_CALL})
        return event({"type": "tool-input-available", **called, "input": arguments})

    def call_waits(self, call: Call, approval: str) -> bytes:
        """Write that a call waits for the user's decision."""
        return event({"type": "tool-approval-request", "approvalId": approval, "toolCallId": call.id})

    def call_result(self, call: Call, value: Any, content: str) -> bytes:
        """Write the result of a call."""
        output = value if isinstance(value, (str, int, float, list, dict)) or value is None else content
        return event({"type": "tool-output-available", "toolCallId": call.id, "output": output})

    def call_failed(self, call: Call, content: str) -> bytes:
        """Write that a call has no result, in the words that the model is told."""
        return event({"type": "tool-output-error", "toolCallId": call.id, "errorText": content})

    def step_ends(self) -> bytes:
        """Write the end of one of several answers."""
        return event({"type": "finish-step"}) + event({"type": "start-step"})

    def finish(self) -> bytes:
        """Return the last bytes of an answer that is complete."""
        completion = self.completion
        pieces = [super().finish()]
        pieces += [event(source) for source in _sources(completion)]
        pieces += [event({"type": "file", **file}) for file in files_of(completion)]
        reason = completion.choices[0].finish_reason if completion.choices else None
        metadata: dict[str, Any] = {"model": completion.model, "usage": self.usage}
        finish: dict[str, Any] = {"type": "finish", "finishReason": FINISH_REASONS.get(reason or "", "other")}
        known = {name: value for name, value in metadata.items() if value}
        if known:
            finish["messageMetadata"] = known
        pieces += [event({"type": "finish-step"}), event(finish), b"data: [DONE]\n\n"]
        return b"".join(pieces)

    def fail(self, told: Told) -> bytes:
        """Return the last bytes of one that is not."""
        # No end for the parts that are open: the client keeps them as they are, with the state "streaming".
        return event({"type": "error", "errorText": told.text})


def _sources(completion: Any) -> list[dict[str, Any]]:
    return [
        {"type": "source-url", "sourceId": f"source-{number}", **source}
        for number, source in enumerate(sources_of(completion), 1)
    ]
