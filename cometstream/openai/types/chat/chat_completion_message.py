"""``openai.types.chat.chat_completion_message``."""

from __future__ import annotations

from cometstream.views.completion import ChatCompletionMessage, FunctionCall
from cometstream.views.parts import Annotation

__all__ = ["Annotation", "ChatCompletionMessage", "FunctionCall"]
