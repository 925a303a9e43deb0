"""``openai.types.chat.chat_completion``."""

from __future__ import annotations

from cometstream.views.completion import ChatCompletion
from cometstream.views.completion import CompletionChoice as Choice
from cometstream.views.parts import ChoiceLogprobs

__all__ = ["ChatCompletion", "Choice", "ChoiceLogprobs"]
