"""The Textual example, driven as a person drives it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cometstream import CometSession
from cometstream.testing import Reply, SimulatedServer, chunk

pytest.importorskip("textual", reason="textual is not installed")

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "chat_uis" / "textual_chat.py"


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


def example() -> Any:
    spec = importlib.util.spec_from_file_location("textual_chat", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def written(app: Any, pilot: Any, text: str) -> None:
    """Wait until a text stands on the screen."""
    said: list[str] = []
    for _ in range(500):
        await pilot.pause(0.01)
        said = [widget.source for widget in app.query("Markdown")] + [
            str(widget.render()) for widget in app.query("Static")
        ]
        if any(text in one for one in said):
            return
    raise AssertionError(said)


async def test_an_answer_grows_can_be_stopped_and_failures_are_shown(server: SimulatedServer) -> None:
    server.script(
        Reply.text("**Icy", "** things."),
        Reply.sse(chunk({"content": "Once upon"})).stall(),
        Reply.sse(chunk({"content": "half"})).cut(),
    )
    async with CometSession(base_url=server.base_url, api_key=server.api_key) as session:
        app = example().Chat(session)
        async with app.run_test() as pilot:
            await pilot.press(*"Comets", "enter")
            await written(app, pilot, "**Icy** things.")
            await pilot.pause(0.05)
            await pilot.press(*"Tell", "enter")
            await written(app, pilot, "Once upon")
            await pilot.press("escape")
            await asyncio.wait_for(server.requests[-1].disconnected.wait(), 20)
            await pilot.pause(0.05)
            await pilot.press(*"More", "enter")
            await written(app, pilot, "The answer broke off: ")
    assert [message["content"] for message in server.requests[-1].json["messages"]] == [
        "You are brief.",
        "Comets",
        "**Icy** things.",
        "Tell",
        "Once upon",
        "More",
    ]
