"""A call's arguments as far as they came, parsed for whoever asks and when they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.answer.partial_json import PartialJSON, PartialJSONError

if TYPE_CHECKING:
    from cometstream.answer.tool_calls import ToolCallState

__all__ = ["PartialArguments"]


class PartialArguments:
    """Parses the pieces of one call's arguments, each once; nothing before somebody asks.

    Args:
        call: The call.
    """

    __slots__ = ("_call", "_parser", "_read")

    def __init__(self, call: ToolCallState) -> None:
        self._call = call
        self._parser: PartialJSON | None = None
        self._read = 0

    def value(self, end: int) -> dict[str, Any] | None:
        """Return the arguments as far as `end` pieces say them; None before they begin.

        Later ones are not taken back: the value is alive, and may be further than `end`.
        """
        call = self._call
        if call.type == "custom":
            return None  # its input is a text
        parser = self._parser
        if parser is None:
            parser = self._parser = PartialJSON(prose=True)
        if end > self._read:
            pieces = call.arguments[self._read : end]
            self._read = end
            try:
                parser.feed("".join(pieces))
            except PartialJSONError:
                pass  # what came before it stays; ``ToolCall.parse()`` tells what is wrong
        value = parser.value
        return value if isinstance(value, dict) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._call,)  # a copy parses anew
