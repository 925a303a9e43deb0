"""A chat as a Gradio app: its stop button closes the stream.

pip install cometstream gradio
python examples/chat_uis/gradio_chat.py
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import gradio

from cometstream import CometError, CometSession

MODEL = os.environ.get("COMETAPI_MODEL", "gpt-5.4")


def text_of(content: Any) -> str:
    """Return what a message of Gradio's history says: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


async def answer(message: str, history: list[dict[str, Any]]) -> AsyncIterator[str]:
    # Gradio adds fields of its own to messages: only the two that a model reads are sent.
    messages = [{"role": turn["role"], "content": text_of(turn["content"])} for turn in history]
    messages.append({"role": "user", "content": message})
    async with CometSession() as session:
        try:
            async with session.stream(model=MODEL, messages=messages) as stream:  # type: ignore[arg-type]
                # Gradio shows each text in the place of the one before, so that a few a second are enough.
                said = ""
                async for text in stream.text(smooth=0.3):
                    said += text
                    yield said
        except CometError as error:
            # The public half: what browsers see may not name keys or hosts.
            raise gradio.Error(error.public_message) from error


app = gradio.ChatInterface(answer, title="Ask about comets", api_name="chat")

if __name__ == "__main__":
    app.launch()
