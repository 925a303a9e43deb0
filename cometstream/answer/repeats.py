"""Chunks whose views are made whole at once: what a reader of each chunk looks at lies in slots.

Nearly every chunk of a stream has all but one text in common with others, and nearly every reader wants the text alone: of these
(``Repeats``) ``raw``, and whatever is read through it, is made when it is first read. Others (``parsed``) have it already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from cometstream.views.chunks import (
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Repeats", "parsed"]

_V = TypeVar("_V")


class Repeats:
    """What chunks have in common.

    Args:
        raw: One of them; nothing in it but the way to its text is a list or an object, and no other choice, text or ending is
            in it. It is kept.
        key: The delta's field that holds the text; ``"tool_calls"`` for the arguments of one call.
    """

    __slots__ = ("_call_index", "_index", "choice", "delta", "fragment", "function", "key", "raw")

    def __init__(self, raw: dict[str, Any], key: str) -> None:
        self.raw = raw
        self.choice: dict[str, Any] = raw["choices"][0]
        self.delta: dict[str, Any] = self.choice["delta"]
        self.key = key
        self._index: int = self.choice["index"]
        if key == "tool_calls":
            self.fragment: dict[str, Any] = self.delta[key][0]
            self.function: dict[str, Any] = self.fragment["function"]
            self._call_index: int = self.fragment["index"]

    def read(self, piece: bytes) -> ChatCompletionChunk | None:
        """Return the chunk with another text, as JSON; None where `piece` is no text, or ``""``."""
        try:
            text = orjson.loads(piece)
        except orjson.JSONDecodeError:
            return None
        return self.chunk(text) if type(text) is str and text else None

    def chunk(self, text: str) -> ChatCompletionChunk:
        """Return the chunk with another text; nothing that a caller could change is shared with the next."""
        chunk = _new_chunk()
        chunk._repeats = self
        chunk._text = text
        choice = chunk._choice = _new_choice()
        chunk._choices = [choice]
        choice._repeats = self
        choice._index = self._index
        if self.key == "content":
            delta = choice._delta = _new_text_delta()
            delta._repeats = self
            delta._content = text
        elif self.key == "tool_calls":
            choice._delta = self._calls(text)
        else:
            choice._delta = ChoiceDelta({**self.delta, self.key: text})
        return chunk

    def _calls(self, text: str) -> ChoiceDelta:
        delta = _new_calls_delta()
        delta._repeats = self
        call = delta._call = _new_call()
        delta._tool_calls = [call]
        call._repeats = self
        call._index = self._call_index
        function = call._function = _new_function()
        function._repeats = self
        function._arguments = text
        return delta


def parsed(raw: dict[str, Any]) -> ChatCompletionChunk:
    """Return a chunk that was parsed whole; its views too, where its shape is that of nearly every chunk."""
    choices = raw.get("choices")
    if type(choices) is list and len(choices) == 1 and type(raw_choice := choices[0]) is dict:
        raw_delta, index = raw_choice.get("delta"), raw_choice.get("index")
        if type(raw_delta) is dict and type(index) is int:
            content = raw_delta.get("content")
            if content is None or type(content) is str:
                delta = _new_parsed_delta()
                delta._raw = raw_delta
                delta._content = content
                choice = _new_parsed_choice()
                choice._raw = raw_choice
                choice._delta = delta
                choice._index = index
                chunk = _new_parsed_chunk()
                chunk._raw = raw
                chunk._text = ""
                chunk._choices = [choice]
                return chunk
    return ChatCompletionChunk(raw)


def _known(*slots: str, absent: tuple[str, ...] = ()) -> Callable[[type[_V]], type[_V]]:
    """Make fields of a view read what lies in the slot of the same name with an underscore, and the absent ones None.

    Slots are read in C, in a third of the time that a property takes, whose function is Python. Instances are made in C too, by
    ``object.__init__`` and for half the price; `Repeats` fills their slots, and `View` asks for the dict when it first misses it.
    """

    def changed(cls: type[_V]) -> type[_V]:
        fields = {name: vars(cls)[f"_{name}"] for name in slots}
        for name, value in {**fields, **dict.fromkeys(absent), "__init__": object.__init__}.items():
            setattr(cls, name, value)
        return cls

    return changed


# The dict of an outer view holds those of the inner ones, as if all had been parsed together.


@_known("choices", absent=("usage",))
class _Chunk(ChatCompletionChunk, reads_as=ChatCompletionChunk):
    __slots__ = ("_choice", "_choices")

    _choice: _Choice  # also in `choices`, which is its reader's to change
    _choices: list[Choice]

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.raw, "choices": [self._choice.raw]}


@_known("delta", "index", absent=("finish_reason", "logprobs"))
class _Choice(Choice, reads_as=Choice):
    __slots__ = ("_delta", "_index", "_repeats")

    _repeats: Repeats
    _delta: ChoiceDelta
    _index: int

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.choice, "delta": self._delta.raw}


@_known("content", absent=("reasoning", "reasoning_content", "refusal", "tool_calls"))
class _TextDelta(ChoiceDelta, reads_as=ChoiceDelta):
    __slots__ = ("_content", "_repeats")

    _repeats: Repeats
    _content: str

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.delta, "content": self._content}


@_known("tool_calls", absent=("content", "reasoning", "reasoning_content", "refusal"))
class _CallsDelta(ChoiceDelta, reads_as=ChoiceDelta):
    __slots__ = ("_call", "_repeats", "_tool_calls")

    _repeats: Repeats
    _call: _Call  # also in `tool_calls`
    _tool_calls: list[ChoiceDeltaToolCall]

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.delta, "tool_calls": [self._call.raw]}


@_known("function", "index", absent=("id", "type"))
class _Call(ChoiceDeltaToolCall, reads_as=ChoiceDeltaToolCall):
    __slots__ = ("_function", "_index", "_repeats")

    _repeats: Repeats
    _function: ChoiceDeltaToolCallFunction
    _index: int

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.fragment, "function": self._function.raw}


@_known("arguments", absent=("name",))
class _Function(ChoiceDeltaToolCallFunction, reads_as=ChoiceDeltaToolCallFunction):
    __slots__ = ("_arguments", "_repeats")

    _repeats: Repeats
    _arguments: str

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.function, "arguments": self._arguments}


@_known("choices")
class _ParsedChunk(ChatCompletionChunk, reads_as=ChatCompletionChunk):
    __slots__ = ("_choices",)

    _choices: list[Choice]


@_known("delta", "index")
class _ParsedChoice(Choice, reads_as=Choice):
    __slots__ = ("_delta", "_index")

    _delta: ChoiceDelta
    _index: int


@_known("content")
class _ParsedDelta(ChoiceDelta, reads_as=ChoiceDelta):
    __slots__ = ("_content",)

    _content: str | None


def _maker(cls: type[_V]) -> Callable[[], _V]:
    """Return the class as what it is to be called as since `_known` changed it."""
    return cls


_new_chunk = _maker(_Chunk)
_new_choice = _maker(_Choice)
_new_text_delta = _maker(_TextDelta)
_new_calls_delta = _maker(_CallsDelta)
_new_call = _maker(_Call)
_new_function = _maker(_Function)
_new_parsed_chunk = _maker(_ParsedChunk)
_new_parsed_choice = _maker(_ParsedChoice)
_new_parsed_delta = _maker(_ParsedDelta)
