"""Thinking that a gateway wrote into the text, back to reasoning: ``<think>\\n...\\n</think>\\n`` split off, wherever it was cut.

Opt-in, since a model may well be asked to write the word ``<think>``. Only one that begins a choice's text counts (white space
before it is allowed and stays text); the newline after either tag belongs to the tag, everything else is kept.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from cometstream.views.chunks import ChatCompletionChunk, Choice

__all__ = ["ThinkSplitter"]

_OPENING: Final = "<think>"
_CLOSING: Final = "</think>"

# What flush() repeats, so that its chunk reads like one of the stream's.
_HEAD: Final[tuple[str, ...]] = ("id", "object", "created", "model")


class ThinkSplitter:
    """Moves ``<think>`` blocks from ``content`` to ``reasoning_content``, chunk by chunk.

    Text that may yet turn out to be part of a tag is held back until the next chunk of its choice, at most seven characters.
    Thinking that is never closed stays reasoning.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceSplit] = {}
        self._head: dict[str, Any] = {}

    def split(self, chunk: ChatCompletionChunk) -> ChatCompletionChunk:
        """Return the chunk with its thinking as reasoning; `chunk` itself where nothing changes.

        A choice's ``finish_reason`` brings what was held back of it in the same chunk.
        """
        self._head = chunk.raw
        choices = chunk.raw.get("choices")
        if not isinstance(choices, list):
            return chunk
        new = [self._split_choice(choice) if isinstance(choice, dict) else choice for choice in choices]
        if all(now is before for now, before in zip(new, choices, strict=True)):
            return chunk
        return ChatCompletionChunk({**chunk.raw, "choices": new})

    def flush(self) -> ChatCompletionChunk | None:
        """Return what was held back when the stream ended; None where nothing was."""
        choices = []
        for index, split in self._choices.items():
            reasoning, content = split.flush()
            if reasoning or content:
                delta = {"reasoning_content": reasoning} if reasoning else {"content": content}
                choices.append({"index": index, "delta": delta, "finish_reason": None})
        if not choices:
            return None
        head = {name: self._head[name] for name in _HEAD if name in self._head}
        return ChatCompletionChunk({**head, "choices": choices})

    def _split_choice(self, raw: dict[str, Any]) -> dict[str, Any]:
        choice = Choice(raw)
        delta = choice.delta
        text = delta.content or ""
        split = self._choices.get(choice.index)
        if split is None:
            split = self._choices[choice.index] = _ChoiceSplit()
        reasoning, content = split.feed(text)
        if choice.finish_reason is not None:
            held_reasoning, held_content = split.flush()
            reasoning += held_reasoning
            content += held_content
        if content == text and not reasoning:
            return raw
        # Of several names for a text in one delta only one is read: all goes under the usual one.
        new = {
            key: value for key, value in delta.raw.items() if key not in ("content", "reasoning", "reasoning_content")
        }
        reasoning = (delta.reasoning or "") + reasoning
        if reasoning:
            new["reasoning_content"] = reasoning
        if content:
            new["content"] = content
        return {**raw, "delta": new}


class _ChoiceSplit:
    """Where the text of one choice stands; each step returns (reasoning, content)."""

    __slots__ = ("_after_tag", "_held", "_phase")

    def __init__(self) -> None:
        self._phase: Literal["start", "thinking", "text"] = "start"
        self._after_tag = False  # a newline that comes now belongs to the tag before it
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        content = ""
        if self._phase == "start":
            text = self._held + text
            self._held = ""
            rest = text.lstrip()
            content = text[: len(text) - len(rest)]
            if not rest.startswith(_OPENING):
                if _OPENING.startswith(rest):
                    self._held = rest
                    return "", content
                self._phase = "text"
                return "", content + rest
            self._begin("thinking")
            text = rest[len(_OPENING) :]
        if self._phase == "thinking":
            reasoning, tag, text = (self._held + self._without_newline(text)).partition(_CLOSING)
            self._held = ""
            if not tag:
                return self._hold_back(reasoning), content
            self._begin("text")
            return reasoning, content + self._without_newline(text)
        return "", self._without_newline(text)

    def flush(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        if self._phase == "thinking":
            return held, ""
        if held:
            self._phase = "text"
        return "", held

    def _begin(self, phase: Literal["thinking", "text"]) -> None:
        self._phase = phase
        self._after_tag = True

    def _without_newline(self, text: str) -> str:
        if self._after_tag and text:
            self._after_tag = False
            return text.removeprefix("\n")
        return text

    def _hold_back(self, reasoning: str) -> str:
        # The tag has one "<", its first character: only the last one of the text can begin a cut tag.
        cut = reasoning.rfind("<")
        if cut < 0 or not _CLOSING.startswith(reasoning[cut:]):
            return reasoning
        self._held = reasoning[cut:]
        return reasoning[:cut]
