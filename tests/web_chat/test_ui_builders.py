"""The chats for tools that builders of UIs use: Textual, Gradio, Streamlit. Each is driven as its tool's own tests would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.browsing import serving_asgi
from support.chromium import Tabs
from support.chromium import chromium as chromium  # fixtures
from support.chromium import tabs as tabs
from web_chat import apps

from cometstream import CometSession
from cometstream.testing import Reply, SimulatedServer

pytestmark = [
    pytest.mark.slow,
    # Of the tools' own making.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"),
]


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


async def test_textual_shows_markdown_stops_and_keeps_failures_out_of_the_history(server: SimulatedServer) -> None:
    pytest.importorskip("textual", reason="needs textual")
    from textual.pilot import Pilot
    from textual.widgets import Markdown, Static

    module = apps.load("textual_chat.py", apps.EXAMPLES)
    server.script(
        Reply.text("**one** ", "two"),
        Reply.text("Half", finish_reason=None, done=False).cut(),
        Reply.text("on ", finish_reason=None, done=False).stall(),
    )

    async def say(pilot: Pilot[None], text: str) -> None:
        await pilot.press(*text, "enter")

    async def until(pilot: Pilot[None], kind: type, text: str) -> None:
        def shown() -> str:
            return "".join(
                one.source if isinstance(one, Markdown) else str(one.content)
                for one in list(pilot.app.query(kind))[-1:]
            )

        for _ in range(1000):
            if text in shown():
                return
            await pilot.pause(0.02)
        raise AssertionError(f"{text!r} was never shown, but {shown()!r}")

    async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
        app = module.Chat(session)
        async with app.run_test() as pilot:
            await say(pilot, "count")
            await until(pilot, Markdown, "**one** two")
            await app.workers.wait_for_complete()
            await say(pilot, "again")
            await until(pilot, Static, "cut")
            await app.workers.wait_for_complete()
            await say(pilot, "forever")
            await until(pilot, Markdown, "on ")
            await pilot.press("escape")
            await asyncio.wait_for(server.requests[2].disconnected.wait(), 10)
            await until(pilot, Static, "You stopped this answer.")
    assert [one["content"] for one in server.requests[2].json["messages"]][1:] == ["count", "**one** two", "forever"]


async def test_gradio_streams_shows_a_cut_and_stops(
    tabs: Tabs, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio", reason="needs gradio")
    monkeypatch.setenv("COMETAPI_KEY", server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", server.base_url)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    module = apps.load("gradio_chat.py", apps.EXAMPLES)
    go_on = asyncio.Event()
    server.script(
        Reply.text("one ", go_on, "two"),
        Reply.text("on and on", finish_reason=None, done=False).stall(),
        Reply.text("Half", finish_reason=None, done=False).cut(),
    )
    async with serving_asgi(module.app, lifespan="on", timeout_graceful_shutdown=1) as port:
        page = await tabs.open(f"http://127.0.0.1:{port}/")

        async def say(text: str) -> None:
            await page.until("document.querySelector('textarea')?.disabled === false")
            await page.run("document.querySelector('textarea').focus()")
            await page.write(text)
            await page.press("Enter")

        await say("Count.")
        await page.until_shown("one")
        go_on.set()
        await page.until_shown("one two")
        await page.until("!document.querySelector('.stop-button')")
        await say("For ever.")
        await page.until_shown("on and on")
        await page.run("document.querySelector('.stop-button').click()")
        await asyncio.wait_for(server.requests[1].disconnected.wait(), 10)
        await page.until("!document.querySelector('.stop-button')")
        await say("Again.")
        await page.until_shown("the answer was cut off")
        await page.open("data:text/html,left")


async def test_streamlit_shows_answers_and_keeps_failures_out_of_the_history(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = pytest.importorskip("streamlit.testing.v1", reason="needs streamlit")
    monkeypatch.setenv("COMETAPI_KEY", server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", server.base_url)
    server.script(
        Reply.text("**one** ", "two"),
        Reply.text("Half", finish_reason=None, done=False).cut(),
        Reply.text("three"),
    )

    def use() -> None:
        app = testing.AppTest.from_file(str(apps.EXAMPLES / "streamlit_chat.py"), default_timeout=30).run()
        app.chat_input[0].set_value("Count.").run()
        assert [one.value for one in app.markdown] == ["Count.", "**one** two"]
        app.chat_input[0].set_value("Again.").run()
        assert [one.value for one in app.markdown][-2:] == ["Again.", "Half"]
        assert [one.value for one in app.error] == ["the answer was cut off"]
        app.chat_input[0].set_value("On.").run()
        assert [one.value for one in app.markdown] == ["Count.", "**one** two", "On.", "three"]
        assert not app.exception

    await asyncio.to_thread(use)
