"""Text in pieces for a display: bursts spread over a time, by words or by characters as a reader sees them. No I/O, time passed in.

A piece that arrives is due `seconds` later at the latest. What arrives together is spread evenly from now, or from where the pieces
before it end, until then; so nothing is ever shown more than `seconds` late, however much arrives.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from typing import Final, Literal

__all__ = ["Smoother", "pieces_of"]

# Scripts that are written without spaces between words: Thai to Khmer, kana, ideographs, and their full-width forms.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)

# A word with the space before it, cut where it is longer than the eye takes in at once; or one character where there are no words.
_WORDS: Final = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]{{1,12}})|\s+")

_JOINER: Final = "\u200d"


def _goes_on(character: str, before: str) -> bool:
    """Whether a character belongs to the one before it, as a reader sees them: UAX #29, as far as texts of models need it."""
    if character < "\u0300":
        return character == "\n" and before[-1] == "\r"
    if character == _JOINER or before[-1] == _JOINER:
        return True
    if unicodedata.category(character) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= character <= "\U0001f3ff":
        return True
    if "\U000e0020" <= character <= "\U000e007f":  # tags, of which the flags of regions are made
        return True
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        letters = len(before) - len(before.rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
        return letters % 2 == 1  # two of these letters are one flag
    # The parts of a Hangul syllable that follow its beginning.
    return "\u1160" <= character <= "\u11ff" and "\u1100" <= before[-1] <= "\u11ff"


def pieces_of(text: str, by: Literal["word", "grapheme"]) -> list[str]:
    """Return a text in pieces, none of which ends within a character as a reader sees it."""
    pieces: list[str] = []
    for piece in _WORDS.findall(text) if by == "word" else text:
        if pieces and _goes_on(piece[0], pieces[-1]):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


class Smoother:
    """Holds pieces until they are due.

    Args:
        seconds: How late a piece may be at most.
        by: What a piece is.
    """

    __slots__ = ("_by", "_held", "_last", "_seconds")

    def __init__(self, seconds: float, by: Literal["word", "grapheme"]) -> None:
        self._seconds = seconds
        self._by: Literal["word", "grapheme"] = by
        self._held: deque[tuple[float, str]] = deque()
        self._last = 0.0  # when the last piece that is held is due

    @property
    def at(self) -> float | None:
        """When the next piece is due; None where none is held."""
        return self._held[0][0] if self._held else None

    def add(self, text: str, now: float) -> None:
        """Hold a text that has arrived."""
        pieces = pieces_of(text, self._by)
        begins = max(now, self._last) if self._held else now
        step = (now + self._seconds - begins) / max(1, len(pieces))
        for number, piece in enumerate(pieces):
            self._held.append((begins + number * step, piece))
        self._last = begins + len(pieces) * step

    def take(self, now: float) -> str:
        """Return the pieces that are due."""
        due = [self._held.popleft()[1]]
        while self._held and self._held[0][0] <= now:
            due.append(self._held.popleft()[1])
        return "".join(due)

    def rest(self) -> str:
        """Return all that is held, at once."""
        rest = "".join([piece for _, piece in self._held])
        self._held.clear()
        return rest
