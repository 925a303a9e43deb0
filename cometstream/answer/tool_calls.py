"""Tool-call fragments to whole calls.

The documented shape is simple: ``index`` names the call, the first fragment brings id and name, the rest bring pieces of the
arguments. Gateways leave the index out, give every call index 0, repeat or empty the id, send it late, or make a new one for every
fragment. What decides here, in this order: an id that was seen, else an index that was seen, else the last call; and then whether
what the fragment brings can still belong to the call so found, or starts another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cometstream.answer.blocks import joined, merge
from cometstream.views.arguments import arguments_text, said_once
from cometstream.views.content import says_something
from cometstream.views.view import dict_or_empty, int_or_none, text_or_none

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ToolCallFold", "ToolCallState"]

# An escaped character in JSON text.
_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)


class ToolCallState:
    """What has come of one call.

    Attributes:
        id: Its id; None until one came.
        names: Pieces of its function's name: one as a rule.
        place: Its place among the calls of its choice.
        arguments: Pieces of the arguments' JSON text.
        type: ``"function"``, or a kind the provider adds.
        ids_vary: Another id came for it: its gateway makes a new one for every fragment, so that ids prove nothing.
    """

    __slots__ = (
        "_begun",
        "_depth",
        "_escaped",
        "_in_string",
        "_named",
        "_said",
        "_scanned",
        "arguments",
        "extra",
        "function_extra",
        "id",
        "ids_vary",
        "names",
        "place",
        "type",
    )

    def __init__(self, place: int = 0) -> None:
        self.place = place
        self.id: str | None = None
        self.names: list[str] = []
        self.arguments: list[str] = []
        self.type = ""
        self.ids_vary = False
        self.extra: dict[str, Any] = {}
        self.function_extra: dict[str, Any] = {}
        self._named = 0
        self._said: tuple[int, str, str | None] | None = None
        self._scanned = 0
        self._begun = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def name(self) -> str:
        """Its function's name, ``""`` until one came; joined at each reading."""
        return "".join(self.names)

    def is_named(self, name: str) -> bool:
        """Whether `name` is the whole name; the pieces are joined only for one that is as long."""
        return len(name) == self._named and name == self.name

    def add(self, fragment: dict[str, Any], note: Callable[[str], None]) -> bool:
        """Add a fragment that is known to belong to this call; return whether it says anything new."""
        # The id first, wherever it stands: it does not come after the name beside it.
        says = "id" in fragment and self._add_id(fragment["id"], note)
        for key, value in fragment.items():
            if value is None or key == "index" or key == "id":
                continue
            if key == "function" or key == "custom":
                if isinstance(value, dict):
                    says = self.add_function(value, note) or says
                else:
                    note("tool_call_malformed")
            elif key == "type":
                if isinstance(value, str) and not self.type:
                    self.type = value
            else:
                says = _merged(self.extra, key, value) or says
        return says

    def add_function(self, function: dict[str, Any], note: Callable[[str], None]) -> bool:
        """Add the ``function`` part of a fragment, name and pieces of the arguments; return whether it says anything new."""
        says = False
        for key, value in function.items():
            if value is None:
                continue
            if key == "arguments" or key == "input":
                if type(value) is str:
                    self.arguments.append(value)
                    says = says or value != ""
                    continue
                text = arguments_text(value)
                if text is None:
                    note("arguments_malformed")
                else:
                    note("arguments_object")
                    self.arguments.append(text)
                    says = says or bool(value)
            elif key == "name":
                says = self._add_name(value, note) or says
            else:
                says = _merged(self.function_extra, key, value) or says
        return says

    def _add_id(self, value: object, note: Callable[[str], None]) -> bool:
        if value is None:
            return False
        if not isinstance(value, str):
            note("tool_call_malformed")
        elif not value:
            note("tool_call_id_empty")
        elif self.id is None:
            if self.names or self.arguments:
                note("tool_call_id_late")
            self.id = value
            return True
        elif value == self.id:
            note("tool_call_id_repeated")
        else:
            note("tool_call_id_changed")
            self.ids_vary = True
        return False

    def _add_name(self, value: object, note: Callable[[str], None]) -> bool:
        if not isinstance(value, str):
            note("tool_call_malformed")
        elif not value:
            pass
        elif self.is_named(value):
            note("tool_call_name_repeated")
        else:
            if self.names:
                # A piece lost would call another tool.
                note("tool_call_name_in_pieces")
            self.names.append(value)
            self._named += len(value)
            return True
        return False

    def said_once(self) -> tuple[str, str | None]:
        """Return the arguments' JSON text, said once where it was said twice, and the kind of that normalisation."""
        if self._said is None or self._said[0] != len(self.arguments):
            self._said = (len(self.arguments), *said_once(self.arguments))
        return self._said[1:]

    def has_arguments(self) -> bool:
        """Whether anything but white space came as arguments."""
        self._scan()
        return self._begun

    def is_whole(self) -> bool:
        """Whether every bracket and string that the arguments opened is closed."""
        self._scan()
        return self._depth <= 0 and not self._in_string

    def _scan(self) -> None:
        """Look at the pieces that came since the last time: where a gateway repeats the name, every fragment asks."""
        for piece in self.arguments[self._scanned :]:
            self._begun = self._begun or bool(piece.strip())
            # Loops in C alone: a server may send nothing but brackets.
            text = _ESCAPED.sub("", piece[1:] if self._escaped else piece)
            self._escaped = text.endswith("\\") if text else self._escaped and not piece
            bare = "".join(text.split('"')[self._in_string :: 2])
            self._in_string ^= text.count('"') % 2 == 1
            self._depth += bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
        self._scanned = len(self.arguments)

    def build_function(self) -> dict[str, Any]:
        """Return ``{"name", "arguments"}`` and what the provider added."""
        return {"name": self.name, "arguments": self.said_once()[0], **_built(self.function_extra)}

    def build(self, generated_id: str) -> dict[str, Any]:
        """Return the call as in a message; `generated_id` stands in where the wire gave none."""
        call: dict[str, Any] = {"id": self.id or generated_id, "type": self.type or "function"}
        if self.type == "custom":
            call["custom"] = {"name": self.name, "input": "".join(self.arguments), **_built(self.function_extra)}
        else:
            call["function"] = self.build_function()
        return {**call, **_built(self.extra)}


def _merged(extra: dict[str, Any], key: str, value: Any) -> bool:
    """Fold a provider's own field, which is not a piece of a text; return whether it says anything new."""
    if key in extra and (not value or extra[key] == value):
        return False
    if isinstance(value, dict):
        merge(extra, key, value)
    else:
        extra[key] = value
    return says_something(value)


def _built(extra: dict[str, Any]) -> dict[str, Any]:
    return {key: joined(value) for key, value in extra.items()}


class ToolCallFold:
    """The calls of one choice, found again for each fragment.

    Attributes:
        calls: The calls in order of their first fragment.
        last: The call that the last fragment went to.
        visits: The places of the calls that fragments went to, in their order; fragments of one call that follow one another
            are one visit.
    """

    __slots__ = ("_by_id", "_by_index", "calls", "last", "visits")

    def __init__(self) -> None:
        self.calls: list[ToolCallState] = []
        self.last: ToolCallState | None = None
        self.visits: list[int] = []
        self._by_index: dict[int, ToolCallState] = {}
        self._by_id: dict[str, ToolCallState] = {}

    def add(self, fragment: dict[str, Any], note: Callable[[str], None]) -> bool:
        """Add one fragment of ``delta.tool_calls``; return whether it says anything new."""
        index = fragment.get("index")
        call = self._by_index.get(index) if type(index) is int else None
        # The common fragment has its index and nothing that could say otherwise.
        if call is None or "id" in fragment or not _continues(fragment):
            call = self._find(fragment, note)
        says = call.add(fragment, note)
        if call.id is not None:
            self._by_id.setdefault(call.id, call)
        if call is not self.last:
            self.last = call
            self.visits.append(call.place)
        return says

    def _find(self, fragment: dict[str, Any], note: Callable[[str], None]) -> ToolCallState:
        index = int_or_none(fragment.get("index"))
        if index is None:
            note("tool_call_index_missing")
        call = self._belongs_to(_Claim(fragment), index, note)
        if call is None:
            call = ToolCallState(len(self.calls))
            self.calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _belongs_to(self, claim: _Claim, index: int | None, note: Callable[[str], None]) -> ToolCallState | None:
        """Return the call that a fragment continues; None where it starts one."""
        identified = self._by_id.get(claim.id or "")
        indexed = None if index is None else self._by_index.get(index)
        if identified is not None:
            # One id under two indexes: fragments of one call as a rule, two calls where they cannot be one.
            if index is None or identified is indexed or not claim.starts_another(identified):
                return identified
            note("tool_call_id_shared")
        elif indexed is not None:
            if not claim.starts_another(indexed, indexed=True):
                return indexed
            note("tool_call_index_repeated")
        elif self.last is not None:
            if index is None:
                return None if claim.starts_another(self.last) else self.last
            if not claim.id and not claim.name and not (self.last.has_arguments() and self.last.is_whole()):
                # An index of its own and nothing else: a gateway that counts fragments, not calls.
                note("tool_call_index_changed")
                return self.last
        return None


class _Claim:
    """What a fragment says of the call it belongs to."""

    __slots__ = ("brings_arguments", "id", "name")

    def __init__(self, fragment: dict[str, Any]) -> None:
        self.id = text_or_none(fragment.get("id"))
        function = dict_or_empty(fragment.get("function") or fragment.get("custom"))
        self.name = text_or_none(function.get("name"))
        self.brings_arguments = bool(function.get("arguments") or function.get("input"))

    def starts_another(self, call: ToolCallState, *, indexed: bool = False) -> bool:
        """Whether the fragment cannot belong to `call`, which it was found by.

        Args:
            call: The call.
            indexed: The call was found by its index, which allows for a name in pieces.
        """
        other_id = bool(self.id and call.id and self.id != call.id) and not call.ids_vary
        if not self.name:
            return other_id and not indexed and call.has_arguments() and call.is_whole()
        if not call.names:
            return False
        if not call.is_named(self.name):
            return other_id or not indexed or call.has_arguments()
        # The same tool again: a second call once the first has all it needs, else the name repeated.
        return (other_id or self.brings_arguments) and call.has_arguments() and call.is_whole()


def _continues(fragment: dict[str, Any]) -> bool:
    function = fragment.get("function")
    return isinstance(function, dict) and "name" not in function
