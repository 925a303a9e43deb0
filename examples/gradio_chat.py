"""A chat with Gradio: tokens as they come, and its stop button ends the request upstream.

    python examples/gradio_chat.py --demo      # without a key, against the simulated server
    COMETAPI_KEY=... python examples/gradio_chat.py

Then open http://127.0.0.1:8000. Needs ``pip install gradio``.
"""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gradio  # pyright: ignore[reportMissingImports] # not among the developers' packages: too heavy
import uvicorn
from fastapi import FastAPI

from cometstream import CometError, CometSession
from cometstream.testing import SimulatedServer


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_session() as app.state.session:  # one session, and one pool of connections, for all users
        yield


async def answer(message: str, history: list[dict[str, Any]]) -> AsyncIterator[str]:
    session: CometSession = app.state.session
    messages = [{"role": one["role"], "content": text_of(one["content"])} for one in history]
    text = ""
    try:
        # Gradio cancels this when the user presses stop: leaving the block closes the connection upstream.
        async with session.stream(
            model="gpt-5.4", messages=[*messages, {"role": "user", "content": message}], pace=0.05
        ) as stream:
            async for piece in stream.text():
                text += piece
                yield text  # Gradio wants all of it, each time: pace lets tokens gather for 50 ms
    except CometError as error:
        # An answer that was cut must not look whole. The log has the rest; the user sees the public half.
        raise gradio.Error(error.public_message, duration=None) from error


def text_of(content: Any) -> str:
    """What a message of Gradio's history says."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer(token_rate=30) as server:
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


app = FastAPI(lifespan=lifespan)
chat = gradio.ChatInterface(answer, title="Night sky chat", examples=["What is a comet?"], cache_examples=False)
gradio.mount_gradio_app(app, chat, path="/")

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
