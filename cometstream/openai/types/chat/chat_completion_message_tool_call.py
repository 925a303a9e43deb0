"""``openai.types.chat.chat_completion_message_tool_call``."""

from __future__ import annotations

from cometstream.views.completion import FunctionCall as Function
from cometstream.views.completion import ToolCall as ChatCompletionMessageToolCall

__all__ = ["ChatCompletionMessageToolCall", "Function"]
