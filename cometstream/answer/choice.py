"""One choice of an answer: what has come of it, and the message it makes."""

from __future__ import annotations

import base64
from typing import Any, Final

from cometstream.answer.blocks import joined
from cometstream.answer.tool_calls import ToolCallFold, ToolCallState
from cometstream.views.view import text_or_none

__all__ = ["NO_CALLS", "NO_TOOL_CALLS", "ChoiceState"]

NO_CALLS: Final = "finish_tool_calls_without_calls"


# Shared by all choices without tool calls; nothing is ever added to it.
NO_TOOL_CALLS: Final = ToolCallFold()


class ChoiceState:
    """What has come of one choice; texts as lists of pieces.

    Attributes:
        index: Which of the ``n`` choices.
        content: Pieces of the text.
        refusal: Pieces of the refusal.
        reasoning: Pieces of the reasoning.
        tool_calls: The calls in order of their first fragment.
        logprobs: Log probabilities, a list for each of ``content`` and ``refusal``.
        parts: Content that came as a list of parts, but for the text and thinking in it; None where none came as a list.
        finish_reason: Why the choice ended; None while it goes on.
    """

    __slots__ = (
        "audio",
        "audio_pieces",
        "content",
        "extra",
        "finish_reason",
        "function_call",
        "index",
        "logprobs",
        "message_extra",
        "parts",
        "reasoning",
        "reasoning_key",
        "refusal",
        "role",
        "tool_calls",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.role = ""
        self.content: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.reasoning_key = "reasoning_content"  # the wire's own name for it, kept for the next request
        self.parts: list[Any] | None = None
        self.tool_calls = NO_TOOL_CALLS
        self.function_call: ToolCallState | None = None
        self.audio: dict[str, Any] = {}
        self.audio_pieces: dict[str, list[str]] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None
        self.message_extra: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}

    def pieces_of(self, key: str) -> list[str]:
        """Return the texts to which a delta's field adds; for ``tool_calls``, the arguments of the call that came last."""
        call = self.tool_calls.last
        if key == "tool_calls" and call is not None:
            return call.arguments
        return self.content if key == "content" else self.refusal if key == "refusal" else self.reasoning

    def bent_at_the_end(self) -> list[str]:
        """Return the kinds of normalisation that only an ended choice can tell."""
        kinds: list[str] = []
        calls = self.tool_calls.calls
        if not calls and self.finish_reason != "tool_calls":
            return kinds
        if self.finish_reason == "tool_calls" and not calls and self.function_call is None:
            kinds.append(NO_CALLS)
        if calls and self.finish_reason is not None and any(call.id is None for call in calls):
            kinds.append("tool_call_id_missing")
        return kinds

    def build(self, completion_id: object) -> dict[str, Any]:
        """Return the choice as in a ``chat.completion``; calls without an id get one that is made from the completion's."""
        calls = self._build_calls(completion_id) if self.tool_calls.calls else None
        text = "".join(self.content)
        reasoning = "".join(self.reasoning) if self.reasoning else ""
        message: dict[str, Any] = {"role": self.role or "assistant"}
        if self.parts is not None:
            # What came as a list goes back as one.
            thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": reasoning}]}] if reasoning else []
            message["content"] = [*thinking, *([{"type": "text", "text": text}] if text else []), *self.parts] or None
        else:
            # As in the synchronous form: no text beside calls or a refusal is null, not "".
            message["content"] = text if text or (self.content and not calls) else None
            if reasoning:
                message[self.reasoning_key] = reasoning
        message["refusal"] = ("".join(self.refusal) or None) if self.refusal else None
        if calls:
            message["tool_calls"] = calls
        if self.function_call is not None:
            message["function_call"] = self.function_call.build_function()
        if self.audio or self.audio_pieces:
            message["audio"] = {
                **self.audio,
                **{key: _joined_audio(key, value) for key, value in self.audio_pieces.items()},
            }
        if self.message_extra:
            message.update({key: joined(value) for key, value in self.message_extra.items()})
        logprobs = {name: list(tokens) for name, tokens in self.logprobs.items()} if self.logprobs else None
        choice = {
            "index": self.index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
        }
        return {**choice, **self.extra} if self.extra else choice

    def _build_calls(self, completion_id: object) -> list[dict[str, Any]]:
        prefix = f"call_{text_or_none(completion_id) or ''}_{self.index}"
        return [call.build(f"{prefix}_{place}") for place, call in enumerate(self.tool_calls.calls)]


def _joined_audio(key: str, pieces: list[str]) -> str:
    if key == "data" and any(piece.endswith("=") for piece in pieces[:-1]):
        # Pieces that were padded on their own cannot be joined as text.
        try:
            return base64.b64encode(b"".join(base64.b64decode(piece) for piece in pieces)).decode()
        except ValueError:
            pass
    return "".join(pieces)
