"""``openai.types.chat.chat_completion_message_param``."""

from __future__ import annotations

from cometstream.openai.types.chat import ChatCompletionMessageParam

__all__ = ["ChatCompletionMessageParam"]
