"""Fields whose shape the provider decides: their fragments to whole values.

Reasoning that is signed, citations, images and the steps of a provider's own tools come as lists of blocks, and a block may come
in fragments: which block a fragment continues, its index and type say. A provider refuses blocks in pieces when they are sent
back, so that a whole block is made of them: texts are joined, labels are kept once, the signature is carried along.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from cometstream.views.content import is_reasoning_type
from cometstream.views.view import int_or_none, text_or_none

__all__ = ["Blocks", "joined", "merge"]

# Fields that say again what they said, or something newer; everything else that is a text comes in pieces.
_LABELS: Final = frozenset(
    {
        "created_at",
        "detail",
        "file_id",
        "filename",
        "format",
        "language",
        "media_type",
        "mime_type",
        "model",
        "name",
        "object",
        "role",
        "signature",
        "status",
        "title",
        "type",
        "url",
    }
)

# Of these fields the first value that says something is kept: a program has logged it, and asks for it later.
_IDS: Final = frozenset({"id", "call_id", "tool_call_id"})

# Fields that come in pieces. Two pieces may be the same: "ha" and "ha" are "haha".
_TEXTS: Final = frozenset({"content", "reasoning", "summary", "text", "thinking", "transcript"})

# Of these, a piece this long that says all that came before it is the text said once more, and no piece.
_RESTATED: Final = 32

# Levels that are merged; deeper than this the last value that says something counts, and nobody has to recurse far.
_DEEPEST: Final = 12

# Whole in one fragment: two that differ are two blocks.
_WHOLE: Final = ("id", "url", "file_id")


class _Pieces(list[str]):
    """Pieces of a text, told from a list that the wire sent."""

    __slots__ = ("size",)

    def __init__(self, first: str) -> None:
        super().__init__((first,))
        self.size = len(first)

    def add(self, piece: str) -> None:
        self.append(piece)
        self.size += len(piece)

    def says(self, text: str) -> bool:
        """Whether `text` is all that came; the pieces are joined only for one that is as long."""
        return len(text) == self.size and text == "".join(self)


class _Block:
    """One item of a list; more of it may come. What came in one piece is kept as it came."""

    __slots__ = ("fields", "index", "kind", "level", "restates")

    def __init__(self, item: dict[str, Any], index: int | None, restates: bool, level: int) -> None:
        self.fields: dict[str, Any] = dict(item)
        self.index = index
        self.kind = text_or_none(item.get("type")) or ""
        self.restates = restates
        self.level = level

    def takes(self, item: dict[str, Any]) -> bool:
        """Add an item of the same index and type; return whether it belongs to this block, else it is one of its own."""
        if self._takes_piece(item):
            return True
        if self.is_another(item):
            return False
        self.add(item)
        return True

    def _takes_piece(self, item: dict[str, Any]) -> bool:
        """Add what nearly every fragment is: the labels that are known, and one piece of a text. Else add nothing."""
        fields = self.fields
        if fields.get("signature"):
            return False
        pieces: _Pieces | None = None
        text = ""
        for key, value in item.items():
            have = fields.get(key)
            if type(value) is str and type(have) is _Pieces:
                if pieces is not None or key not in _TEXTS or len(value) >= _RESTATED:
                    return False
                pieces, text = have, value
            elif value is not None and have != value:
                return False
        if pieces is None:
            return False
        pieces.add(text)
        return True

    def add(self, item: dict[str, Any]) -> None:
        self.kind = self.kind or text_or_none(item.get("type")) or ""
        said = self._is_said_once_more(item)
        for key, value in item.items():
            if not (said and key in _TEXTS):
                merge(self.fields, key, value, restates=self.restates, level=self.level + 1)

    def _is_said_once_more(self, item: dict[str, Any]) -> bool:
        """Whether a fragment that comes with the signature, or after it, says the whole text that is signed."""
        if not self.fields.get("signature"):
            in_pieces = any(isinstance(self.fields.get(key), _Pieces) for key in item if key in _TEXTS)
            if not in_pieces or not item.get("signature"):
                return False
        return self._restated(item)

    def is_another(self, item: dict[str, Any]) -> bool:
        """Whether an item of the same index and type is a block of its own: what comes whole differs, or this one is signed."""
        fields = self.fields
        for key in _WHOLE:
            if _differ(fields.get(key), item.get(key)):
                return True
        for key, value in item.items():
            if isinstance(value, dict) and isinstance(have := fields.get(key), (dict, _Block)):
                inner = have if isinstance(have, dict) else have.fields
                if _differ(inner.get("url"), value.get("url")):
                    return True
        if _differ(fields.get("data"), item.get("data")) and not _has_pieces(item):
            return "encrypted" in self.kind or "redacted" in self.kind
        signature = fields.get("signature")
        return bool(signature) and signature != item.get("signature") and _has_pieces(item) and not self._restated(item)

    def _restated(self, item: dict[str, Any]) -> bool:
        """Whether the texts of `item` say no more than this block does."""
        texts = [(key, value) for key, value in item.items() if key in _TEXTS and isinstance(value, str) and value]
        return all(_is_text(self.fields.get(key), value) for key, value in texts)

    def goes_on(self, item: dict[str, Any]) -> bool:
        """Whether an item without an index is the next piece of this block: a text of the same type, while none is signed."""
        kind = text_or_none(item.get("type")) or ""
        return (
            self.index is None
            and kind == self.kind
            and (is_reasoning_type(kind.lower()) or "text" in kind.lower())
            and (_has_pieces(item) or bool(item.get("signature")))
            and not self.fields.get("signature")
            and not self.is_another(item)
        )

    def build(self) -> dict[str, Any]:
        return {key: joined(value) for key, value in self.fields.items()}


class Blocks:
    """A list whose items may come in fragments.

    An item goes to the block of its index and type. One without an index is a block of its own, but for the next piece of a
    text, and for what came before and is sent once more.

    Args:
        restates: A long text that says what came before says it once more; else it is a piece like others.
    """

    __slots__ = ("_by_index", "_items", "_last", "_level", "_restates", "_seen")

    def __init__(self, *, restates: bool = True, level: int = 0) -> None:
        self._level = level
        self._last: _Block | None = None  # the block with an index to which the last fragment went
        self._items: list[Any] = []
        self._by_index: dict[tuple[int, str], _Block] = {}
        self._seen: set[bytes] = set()
        self._restates = restates

    def add(self, items: list[Any]) -> None:
        """Add one fragment of the list; its items are neither kept nor changed where more may come to them."""
        seen: list[bytes] = []
        last = self._items[-1] if self._items else None
        for item in items:
            if not isinstance(item, dict):
                self._items.append(item)
            else:
                index = int_or_none(item.get("index"))
                if index is not None:
                    self._add_indexed(index, item)
                elif isinstance(last, _Block) and last.goes_on(item):
                    last.add(item)
                elif not self._came_before(item, seen):
                    self._items.append(_Block(item, None, self._restates, self._level))
            last = None  # within one fragment of a list, two items are two blocks
        self._seen.update(seen)

    def _add_indexed(self, index: int, item: dict[str, Any]) -> None:
        kind = text_or_none(item.get("type")) or ""
        by_index = self._by_index
        # Where one of them has no type, the index alone decides.
        block = by_index.get((index, kind))
        if block is None and kind and (untyped := by_index.get((index, ""))) is not None and not untyped.kind:
            block = untyped
        if block is None or not block.takes(item):
            block = _Block(item, index, self._restates, self._level)
            self._items.append(block)
        elif block is self._last:
            return
        by_index[index, kind] = by_index[index, ""] = self._last = block

    def _came_before(self, item: dict[str, Any], seen: list[bytes]) -> bool:
        """Whether an earlier fragment brought just the same; a text may repeat itself, and counts each time."""
        if _has_pieces(item):
            return False
        try:
            said = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        except TypeError:  # not from the wire
            return False
        seen.append(said)
        return said in self._seen

    def build(self) -> list[Any]:
        """Return the list so far; a copy."""
        return [item.build() if isinstance(item, _Block) else item for item in self._items]


def merge(into: dict[str, Any], key: str, value: Any, *, restates: bool = True, level: int = 0) -> None:
    """Fold one value of a field into what came of it before.

    Texts are pieces, lists grow, objects are merged, and of all else the last that says something counts: null, ``""``, ``{}``,
    ``[]``, 0 and false take nothing back.
    """
    have = into.get(key)
    if not value:
        if have is None and value is not None:
            into[key] = value
    elif isinstance(value, str):
        if key not in _LABELS and key not in _IDS:
            into[key] = _with_piece(have, key, value, restates)
        elif key in _LABELS or not have:
            into[key] = value
    elif isinstance(value, list) and level < _DEEPEST:
        if not isinstance(have, Blocks):
            blocks = into[key] = Blocks(restates=restates, level=level)
            if isinstance(have, list) and not isinstance(have, _Pieces):
                blocks.add(have)
            have = blocks
        have.add(value)
    elif isinstance(value, dict) and level < _DEEPEST and isinstance(have, (dict, _Block)):
        if isinstance(have, dict):
            have = into[key] = _Block(have, None, restates, level)
        have.add(value)
    else:
        into[key] = value


def _with_piece(have: Any, key: str, piece: str, restates: bool) -> Any:
    """Return the pieces of a text and one more, unless that one says once more what they say."""
    if isinstance(have, str):
        have = _Pieces(have)
    if not isinstance(have, _Pieces):
        return _Pieces(piece)
    grows = key in _TEXTS or key.endswith(("_text", "_content"))
    if not have.says(piece) or (grows and (len(piece) < _RESTATED or not restates)):
        have.add(piece)
    return have


def _has_pieces(item: dict[str, Any]) -> bool:
    return any(value and key in _TEXTS for key, value in item.items())


def _is_text(have: Any, text: str) -> bool:
    return have.says(text) if isinstance(have, _Pieces) else have == text


def _differ(have: Any, value: Any) -> bool:
    return bool(have and value) and isinstance(value, str) and isinstance(have, str) and have != value


def joined(value: Any) -> Any:
    """Return the value that its fragments make; a copy of what may still grow."""
    if isinstance(value, _Pieces):
        return "".join(value)
    return value.build() if isinstance(value, (Blocks, _Block)) else value
