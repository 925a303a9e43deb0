"""Fields whose shape the provider decides: their fragments to whole values."""

from __future__ import annotations

from typing import Any

__all__ = ["joined", "merge"]


def merge(into: dict[str, Any], key: str, value: Any) -> None:
    """Fold an unknown delta field: texts are pieces, lists grow, the rest is replaced.

    A text that repeats its first piece exactly is a label (``"type": "text"``), not a piece, and is kept once.
    """
    have = into.get(key)
    if isinstance(value, str):
        if isinstance(have, _Pieces):
            if have != [value]:
                have.append(value)
        else:
            into[key] = _Pieces([value])
    elif isinstance(value, list):
        if isinstance(have, list) and not isinstance(have, _Pieces):
            have.extend(value)
        else:
            into[key] = list(value)
    else:
        into[key] = value


class _Pieces(list[str]):
    """Pieces of a text, told from a list that the wire sent."""

    __slots__ = ()


def joined(value: Any) -> Any:
    """Return the value that its fragments make; a copy of what may still grow."""
    if isinstance(value, _Pieces):
        return "".join(value)
    return list(value) if isinstance(value, list) else value
