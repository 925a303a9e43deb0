"""Answers that are JSON of any shape: ``response_format`` as the wire has it, ``json_object`` or a schema written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.answer.json_text import parse_json
from cometstream.answer.partial_json import PartialJSON, PartialJSONError

if TYPE_CHECKING:
    from cometstream.answer.partial_json import OnPart

__all__ = ["JSON_OUTPUT", "JSONOutput", "json_within", "read_pieces"]


class JSONOutput:
    """Reads an answer as dicts, lists, texts and numbers."""

    __slots__ = ()

    def parser(self, on_part: OnPart | None = None) -> PartialJSON:
        """Return a parser for such an answer."""
        return PartialJSON(prose=True, on_part=on_part)

    def read(self, text: str) -> Any:
        """Return the value that a whole answer's text says.

        Raises:
            ValueError: It is not JSON.
        """
        return parse_json(json_within(text))

    def read_partial(self, text: str) -> Any:
        """Return the value as far as a text says it; None where it does not begin."""
        return read_pieces(self.parser(), text)

    def __reduce__(self) -> str:
        return "JSON_OUTPUT"


JSON_OUTPUT: Final = JSONOutput()


def json_within(text: str) -> str:
    """Return the JSON of a text: all of it, or the first object where there is more around it.

    Raises:
        ValueError: There is none, or it has no end.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        parser = PartialJSON(prose=True)
        parser.feed(text)
        if parser.start is None:
            raise ValueError("it has no JSON object") from None
        if parser.end is None:
            raise ValueError("its JSON object has no end") from None
        return text[parser.start : parser.end]
    return text


def read_pieces(parser: PartialJSON, text: str) -> Any:
    """Return the value as far as a parser finds it in a text."""
    try:
        parser.feed(text)
    except PartialJSONError:
        pass
    return parser.value
