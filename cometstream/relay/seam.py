"""Where a text that was cut goes on: which models can be asked to, and what of the new text is not new. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["Seam", "prefix_fields"]

# What marks an assistant's last message as the beginning of the answer, by words in the model's id. Source: the providers'
# documents ("prefill" at Anthropic, "chat prefix completion" at DeepSeek, "prefix" at Mistral, "partial mode" at Qwen, Moonshot).
_PREFIXES: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("claude", MappingProxyType({})),
    ("deepseek", MappingProxyType({"prefix": True})),
    ("codestral", MappingProxyType({"prefix": True})),
    ("mistral", MappingProxyType({"prefix": True})),
    ("ministral", MappingProxyType({"prefix": True})),
    ("pixtral", MappingProxyType({"prefix": True})),
    ("qwen", MappingProxyType({"partial": True})),
    ("kimi", MappingProxyType({"partial": True})),
    ("moonshot", MappingProxyType({"partial": True})),
)

# Characters that a model repeats by chance; more of them are a text said twice.
_BY_CHANCE: Final = 10

# Characters of the old text in which a repetition is looked for, beside its very beginning.
_WINDOW: Final = 2000


def prefix_fields(model: str) -> Mapping[str, Any] | None:
    """Return what is added to the assistant's message so that a model goes on with it; None where it takes no prefix."""
    name = model.lower()
    return next((fields for word, fields in _PREFIXES if word in name), None)


class Seam:
    """Takes the new text piece by piece, and gives what of it is new.

    A model that goes on may say the end of the old text again, or begin from its start. As long as the new text could be such a
    repetition it is held.

    Args:
        text: The old text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._held = ""
        first = max(0, len(text) - _WINDOW)
        self._starts = [0, *range(max(1, first), len(text) - _BY_CHANCE + 1)] if len(text) >= _BY_CHANCE else []
        self.overlap = 0
        self._begun = False

    def add(self, piece: str) -> str:
        """Return what is certainly new."""
        held = self._held = self._held + piece
        text = self._text
        self._starts = [
            start for start in self._starts if text.startswith(held, start) or held.startswith(text[start:])
        ]
        # The longest repetition counts: the first start of which the whole rest was said again.
        if self._starts and not held.startswith(text[self._starts[0] :]):
            return ""
        return self.rest()

    def rest(self) -> str:
        """Return what is held but for what was said before."""
        said = next((self._text[start:] for start in self._starts if self._held.startswith(self._text[start:])), "")
        self.overlap += len(said)
        new, self._held, self._starts = self._held[len(said) :], "", []
        return new

    def joined(self, new: str) -> str:
        """Return new text as it follows the old: white space at the seam, which the model was not shown, is not said twice."""
        begun, self._begun = self._begun, True
        return new if begun or not self._text[-1:].isspace() else new.lstrip()
