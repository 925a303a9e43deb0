"""Chunks whose views are made whole at once: what a reader of each chunk looks at lies in slots.

Nearly every chunk of a stream has all but one text in common with others, and nearly every reader wants the text alone: of these
(``Repeats``) ``raw``, and whatever is read through it, is made when it is first read. Others (``parsed``) have it already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

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

__all__ = ["Repeats"]

_V = TypeVar("_V")

_NO_TEXT: Final = b'""'


class Repeats:
    """What chunks have in common.

    Args:
        before: The bytes of each before its text.
        between: From there to the padding; empty where there is none.
        after: The rest.
        raw: One of them; nothing in it but the way to its text is a list or an object, and no other choice, text or ending is
            in it.
        key: The delta's field that holds the text; ``"tool_calls"`` for the arguments of one call.
    """

    __slots__ = ("_after", "_before", "_between", "_call_index", "_sample", "index", "key")

    def __init__(self, before: bytes, between: bytes, after: bytes, raw: dict[str, Any], key: str) -> None:
        self._before = before
        self._between = between
        self._after = after
        # Parsed again where somebody asks for it: kept, it would be 1 KB of an open stream.
        self._sample: dict[str, Any] | None = None
        self.key = key
        choice = raw["choices"][0]
        self.index: int = choice["index"]
        if key == "tool_calls":
            self._call_index: int = choice["delta"][key][0]["index"]

    @property
    def raw(self) -> dict[str, Any]:
        """A chunk whose text is empty; not to be changed, as the objects in it."""
        sample = self._sample
        if sample is None:
            padding = _NO_TEXT if self._between else b""
            sample = orjson.loads(b"".join((self._before, _NO_TEXT, self._between, padding, self._after)))
            self._sample = sample
        return sample

    @property
    def choice(self) -> dict[str, Any]:
        """Its choice."""
        choice: dict[str, Any] = self.raw["choices"][0]
        return choice

    @property
    def delta(self) -> dict[str, Any]:
        """The choice's delta."""
        delta: dict[str, Any] = self.choice["delta"]
        return delta

    @property
    def fragment(self) -> dict[str, Any]:
        """The delta's fragment of a call."""
        fragment: dict[str, Any] = self.delta["tool_calls"][0]
        return fragment

    @property
    def function(self) -> dict[str, Any]:
        """The fragment's function."""
        function: dict[str, Any] = self.fragment["function"]
        return function

    def chunk(self, text: str, padding: bytes | None = None) -> ChatCompletionChunk:
        """Return the chunk with another text; nothing that a caller could change is shared with the next.

        Args:
            text: The text.
            padding: The padding, as it is written in JSON; None where it is that of the other chunks, or there is none.
        """
        if padding is None:
            chunk = _new_chunk()
        else:
            chunk = padded = _new_padded_chunk()
            padded._padding = padding
        chunk._repeats = self
        choice = chunk._choice = _new_choice()
        chunk._choices = [choice]
        choice._repeats = self
        choice._index = self.index
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
    __slots__ = ("_choice", "_choices", "_repeats")

    _repeats: Repeats
    _choice: _Choice  # also in `choices`, which is its reader's to change
    _choices: list[Choice]

    def _made_raw(self) -> dict[str, Any]:
        return {**self._repeats.raw, "choices": [self._choice.raw]}


class _PaddedChunk(_Chunk, reads_as=ChatCompletionChunk):
    __slots__ = ("_padding",)

    _padding: bytes

    def _made_raw(self) -> dict[str, Any]:
        return {**super()._made_raw(), "obfuscation": orjson.loads(self._padding)}


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


def _maker(cls: type[_V]) -> Callable[[], _V]:
    """Return the class as what it is to be called as since `_known` changed it."""
    return cls


_new_chunk = _maker(_Chunk)
_new_padded_chunk = _maker(_PaddedChunk)
_new_choice = _maker(_Choice)
_new_text_delta = _maker(_TextDelta)
_new_calls_delta = _maker(_CallsDelta)
_new_call = _maker(_Call)
_new_function = _maker(_Function)
