"""Vercel's own ``useChat`` on React, in a real browser, in front of the example's backend."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.ai_sdk import needs_react as needs_react  # fixtures
from support.chromium import Page, Tabs
from support.chromium import chromium as chromium
from support.chromium import tabs as tabs
from web_chat import apps

from cometstream.testing import DONE, Reply, SimulatedServer, chunk

pytestmark = pytest.mark.slow

PAGE = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><div id="root"></div><script src="{}"></script>'


@pytest.fixture(scope="module")
def bundle(needs_react: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page, as the bundler has made it."""
    folder = tmp_path_factory.mktemp("react")
    source = needs_react / "page.jsx"
    source.write_text((Path(__file__).parent / "react_page.jsx").read_text())
    command = [str(needs_react / "node_modules" / ".bin" / "esbuild"), str(source), "--bundle", "--jsx=automatic"]
    command += ["--define:process.env.NODE_ENV='production'", f"--outfile={folder / 'page.js'}", "--log-level=error"]
    subprocess.run(command, check=True, timeout=60)
    (folder / "index.html").write_text(PAGE.format("other/page.js"))
    return folder


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def page(
    tabs: Tabs, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path
) -> AsyncIterator[Page]:
    ledger = tmp_path / "ledger"
    async with apps.serving("fastapi_app.py", server, monkeypatch, ledger, page=bundle) as url:
        page = await tabs.open(f"{url}/#chat1")
        await page.until("document.activeElement.tagName === 'INPUT'")
        await until_status(page, "ready")
        yield page
        assert page.errors == []


async def say(page: Page, text: str) -> None:
    await page.write(text)
    await page.press("Enter")


async def until_status(page: Page, status: str) -> None:
    await page.until(f"document.getElementById('status')?.textContent === {json.dumps(status)}")


async def texts(page: Page) -> list[str]:
    shown: list[str] = await page.run("[...document.querySelectorAll('.text')].map(one => one.textContent)")
    return shown


async def test_text_and_reasoning_come_token_by_token(page: Page, server: SimulatedServer) -> None:
    go_on = asyncio.Event()
    pieces = (chunk({"reasoning_content": "Hm."}), chunk({"content": "one "}), go_on, chunk({"content": "two"}))
    server.script(Reply.sse(*pieces, chunk(finish_reason="stop"), DONE))
    await say(page, "Count.")
    await page.until("document.querySelector('.assistant .text')?.textContent === 'one '")
    await until_status(page, "streaming")
    assert await page.run("document.querySelector('.reasoning').textContent") == "Hm."
    go_on.set()
    await until_status(page, "ready")
    assert await texts(page) == ["Count.", "one two"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_tool_waits_for_permission_and_the_message_goes_on(
    page: Page, server: SimulatedServer, allowed: bool
) -> None:
    order = ("order_telescope", {"model": "Newton", "euros": 249}, "c1")
    server.script(Reply.tool_calls(order, text="Well. "), Reply.text("As you like."))
    await say(page, "Order one.")
    await page.click("Allow" if allowed else "Deny")
    await page.until_shown("As you like.")
    await until_status(page, "ready")
    assert await texts(page) == ["Order one.", "Well. ", "As you like."]
    assert await page.run("document.querySelectorAll('.assistant').length") == 1
    tool = await page.run("document.querySelector('.tool').textContent")
    assert ("Newton was ordered for 249 euros" in tool) is allowed
    assert len(server.requests) == 2


async def test_stop_closes_upstream_and_keeps_the_text(page: Page, server: SimulatedServer) -> None:
    server.script(Reply.text("one ", finish_reason=None, done=False).stall())
    await say(page, "Count.")
    await page.until_shown("one")
    await page.click("Stop")
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 10)
    await until_status(page, "ready")
    assert await texts(page) == ["Count.", "one "]


async def test_a_refresh_in_the_middle_continues(page: Page, server: SimulatedServer) -> None:
    go_on = asyncio.Event()
    server.script(Reply.text("one ", go_on, "two"))
    await say(page, "Count.")
    await page.until_shown("one")
    await page.refresh()
    await until_status(page, "streaming")
    go_on.set()
    await until_status(page, "ready")
    assert await texts(page) == ["Count.", "one two"]
    assert len(server.requests) == 1


async def test_a_cut_answer_shows_an_error_and_can_be_asked_for_again(page: Page, server: SimulatedServer) -> None:
    server.script(Reply.text("Half", finish_reason=None, done=False).cut(), Reply.text("Half and half."))
    await say(page, "Count.")
    await until_status(page, "error")
    assert "the answer was cut off" in await page.run("document.getElementById('error').textContent")
    assert await texts(page) == ["Count.", "Half"]
    await page.click("Try again")
    await until_status(page, "ready")
    assert await texts(page) == ["Count.", "Half and half."]


async def test_a_refusal_shows_its_public_words(page: Page, server: SimulatedServer) -> None:
    server.script(Reply.error(401, "invalid token sk-secret"))
    await say(page, "Count.")
    await until_status(page, "error")
    shown = await page.run("document.body.innerText")
    assert "(reference " in shown
    assert "secret" not in shown
    assert [error for error in page.errors if "502" in error]  # the browser's own note of the status
    page.errors.clear()
