"""One choice of an answer: what has come of it, and the message it makes."""

from __future__ import annotations

import base64
from typing import Any, Final

from cometstream.answer.blocks import Blocks, joined
from cometstream.answer.tool_calls import ToolCallFold, ToolCallState
from cometstream.views.content import split_parts
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
        reasoning_key: The wire's own name for the reasoning, kept for the next request; None where it came in parts alone.
        parts: Content that came as a list of parts, all of it in order; None where none came as a list.
        audio_ended: The sound came whole: its last piece said until when it is kept, and no finish reason follows.
        finish_reason: Why the choice ended; None while it goes on.
    """

    __slots__ = (
        "audio",
        "audio_ended",
        "audio_pieces",
        "content",
        "extra",
        "finish_reason",
        "function_call",
        "index",
        "logprobs",
        "message_extra",
        "parts",
        "pieces_in_parts",
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
        self.reasoning_key: str | None = None
        self.parts: Blocks | None = None
        self.pieces_in_parts = 0  # how many pieces of the text are in `parts`
        self.tool_calls = NO_TOOL_CALLS
        self.function_call: ToolCallState | None = None
        self.audio: dict[str, Any] = {}
        self.audio_ended = False
        self.audio_pieces: dict[str, list[str]] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None
        self.message_extra: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        """Whether the choice has said that nothing more comes."""
        return self.finish_reason is not None or self.audio_ended

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
        if self.finish_reason is None:
            return kinds
        if self.finish_reason == "tool_calls" and not calls and self.function_call is None:
            kinds.append(NO_CALLS)
        if not calls:
            return kinds
        if any(call.id is None for call in calls):
            kinds.append("tool_call_id_missing")
        for call in calls:
            kind = call.said_once()[1]
            if kind is not None:
                kinds.append(kind)
        return kinds

    def add_parts(self, parts: list[Any]) -> None:
        """Add content that came as a list of parts; their texts are added to ``content`` too."""
        if self.parts is None:
            self.parts = Blocks(restates=False)
        self._take_text_into(self.parts)
        self.parts.add([{"type": "text", "text": part} if isinstance(part, str) else part for part in parts])
        text = split_parts(parts)[0]
        if text:
            self.content.append(text)
            self.pieces_in_parts += 1

    def _take_text_into(self, parts: Blocks) -> None:
        """Add the text that came as such to the parts, in its place."""
        if self.pieces_in_parts < len(self.content):
            text = "".join(self.content[self.pieces_in_parts :])
            self.pieces_in_parts = len(self.content)
            if text:
                parts.add([{"type": "text", "text": text}])

    def build(self, completion_id: object) -> dict[str, Any]:
        """Return the choice as in a ``chat.completion``; calls without an id get one that is made from the completion's."""
        calls = self._build_calls(completion_id) if self.tool_calls.calls else None
        message: dict[str, Any] = {"role": self.role or "assistant"}
        if self.parts is not None:
            # What came as a list goes back as one.
            self._take_text_into(self.parts)
            message["content"] = self.parts.build() or None
        else:
            # As in the synchronous form: no text beside calls or a refusal is null, not "".
            text = "".join(self.content)
            message["content"] = text if text or (self.content and not calls) else None
        if self.reasoning and self.reasoning_key is not None:
            message[self.reasoning_key] = "".join(self.reasoning)
        message["refusal"] = ("".join(self.refusal) or None) if self.refusal else None
        if calls:
            message["tool_calls"] = calls
        if self.function_call is not None:
            message["function_call"] = self.function_call.build_function()
        if self.audio or self.audio_pieces:
            message["audio"] = {
                **{key: joined(value) for key, value in self.audio.items()},
                **{key: _joined_audio(key, value) for key, value in self.audio_pieces.items()},
            }
        for key, value in self.message_extra.items():
            message.setdefault(key, joined(value))
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
