"""The example's page in a real browser: what a user sees, token by token, and when things go wrong."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.chromium import Page, Tabs
from support.chromium import chromium as chromium  # fixtures
from support.chromium import tabs as tabs
from support.ports import free_port
from web_chat import apps

from cometstream.testing import DONE, Reply, SimulatedServer, chunk

pytestmark = pytest.mark.slow


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def url(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[str]:
    async with apps.serving("fastapi_app.py", server, monkeypatch, tmp_path / "ledger") as url:
        yield url


async def say(page: Page, text: str) -> None:
    await page.write(text)  # the focus is there when the page has loaded
    await page.press("Enter")


def answer(page: Page, text: str) -> str:
    return (
        f"document.querySelector('article.assistant:last-of-type .markdown')?.innerText.trim() === {json.dumps(text)}"
    )


async def test_tokens_are_shown_as_they_come(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    second, third = asyncio.Event(), asyncio.Event()
    server.script(Reply.text("A **comet", second, "** is", third, " ice."))
    page = await tabs.open(url)
    await say(page, "What is a comet?")
    await page.until(answer(page, "A **comet"))
    assert await page.run("document.querySelector('article.assistant').ariaBusy") == "true"
    second.set()
    await page.until(answer(page, "A comet is"))
    assert await page.run("document.querySelector('.markdown strong').textContent") == "comet"
    third.set()
    await page.until(answer(page, "A comet is ice."))
    await page.until("document.querySelector('article.assistant').ariaBusy === 'false'")
    await page.until("document.getElementById('said').textContent.trim() === 'A comet is ice.'")
    assert await page.run("document.activeElement.id") == "text"
    assert page.errors == []


async def test_reasoning_is_folded_away_and_what_was_cut_says_so(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    server.script(
        Reply.sse(
            chunk({"reasoning_content": "Hm, ice."}), chunk({"content": "Ice"}), chunk(finish_reason="length"), DONE
        ),
        Reply.text("Half an", finish_reason=None, done=False).cut(),
        Reply.text("Half an answer."),
    )
    page = await tabs.open(url)
    await say(page, "What is a comet?")
    await page.until_shown("The answer was cut at the length limit.")
    assert await page.run("document.querySelector('details').open") is False
    assert await page.run("document.querySelector('details').textContent") == "ThoughtsHm, ice."
    await say(page, "And a tail?")
    await page.until_shown("The answer was cut off")
    await page.until(answer(page, "Half an"))
    assert await page.run("document.querySelectorAll('.notice.bad').length") == 1
    await page.click("Try again")
    await page.until(answer(page, "Half an answer."))
    assert await page.run("document.querySelectorAll('.notice.bad').length") == 0
    assert [one["role"] for one in server.requests[2].json["messages"]] == ["system", "user", "assistant", "user"]


async def test_a_refusal_is_shown_as_the_public_may_know_it(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    server.script(Reply.error(401, "invalid token sk-secret"))
    page = await tabs.open(url)
    await say(page, "What is a comet?")
    await page.until("document.querySelector('.notice.bad')?.textContent.includes('(reference ')")
    assert "secret" not in await page.run("document.body.innerText")


async def test_stop_closes_upstream_and_keeps_the_text(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    server.script(Reply.text("one ", "two ", finish_reason=None, done=False).stall())
    page = await tabs.open(url)
    await say(page, "Count.")
    await page.until(answer(page, "one two"))
    await page.press("Escape")
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 10)
    await page.until_shown("You stopped this answer.")
    assert await page.run(answer(page, "one two"))
    await page.refresh()
    await page.until_shown("You stopped this answer.")
    assert await page.run(answer(page, "one two"))


async def test_a_refresh_in_the_middle_continues(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    go_on = asyncio.Event()
    server.script(Reply.text("one ", go_on, "two"))
    page = await tabs.open(url)
    await say(page, "Count.")
    await page.until(answer(page, "one"))
    await page.refresh()
    await page.until(answer(page, "one"))
    go_on.set()
    await page.until(answer(page, "one two"))
    await page.until("!document.getElementById('send').hidden")
    assert len(server.requests) == 1
    await page.refresh()
    await page.until(answer(page, "one two"))
    assert await page.run("document.querySelectorAll('article').length") == 2


async def test_another_tab_shows_the_same_answer_and_its_stop(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    go_on = asyncio.Event()
    server.script(Reply.text("one ", go_on, "two ").stall())
    page = await tabs.open(url)
    other = await tabs.open(await page.run("location.href"))
    await say(page, "Count.")
    await other.until(answer(other, "one"))
    go_on.set()
    await other.until(answer(other, "one two"))
    await other.click("Stop")
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 10)
    for tab in (page, other):
        await tab.until_shown("You stopped this answer.")
    stranger = await tabs.open(url)
    assert "Count." not in await stranger.run("document.body.innerText")


async def test_a_server_that_is_killed_in_the_middle_shows_as_an_error(
    tabs: Tabs, server: SimulatedServer, tmp_path: Path
) -> None:
    environment = {**os.environ, "PORT": str(free_port()), "COMETSTREAM_LEDGER": str(tmp_path / "ledger")}
    environment |= {"COMETAPI_KEY": server.api_key, "COMETAPI_BASE_URL": server.base_url}
    server.script(Reply.text("one ").stall(), Reply.text("one two"))
    process = await apps.start("fastapi_app.py", environment)
    try:
        page = await tabs.open(f"http://127.0.0.1:{environment['PORT']}/")
        await say(page, "Count.")
        await page.until(answer(page, "one"))
        process.kill()
        await process.communicate()
        await page.until_shown("The connection was lost. Trying again…")
        process = await apps.start("fastapi_app.py", environment)
        await page.until_shown("The answer was cut off")
        assert await page.run(answer(page, "one"))
        await page.click("Try again")
        await page.until(answer(page, "one two"))
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_call_that_needs_permission_waits_for_the_user(
    tabs: Tabs, url: str, server: SimulatedServer, allowed: bool
) -> None:
    order = {"model": "Newton", "euros": 249}
    server.script(
        Reply.tool_calls(("get_weather", {"city": "Boston"}, "c1"), ("order_telescope", order, "c2"), text="Well."),
        Reply.error(503),  # is tried again unseen
        Reply.text("As you like."),
    )
    page = await tabs.open(url)
    await say(page, "Order a telescope, if the sky is clear.")
    await page.until_shown('May I call order_telescope with {"model":"Newton","euros":249}?')
    await page.refresh()
    await page.until_shown("get_weather is done")
    await page.click("Allow" if allowed else "Deny")
    await page.until_shown("As you like.")
    await page.until_shown("order_telescope is done" if allowed else "order_telescope was not allowed")
    assert await page.run("document.querySelectorAll('article').length") == 2
    assert await page.run("document.querySelectorAll('.question').length") == 0
    told = [one["content"] for one in server.requests[-1].json["messages"] if one["role"] == "tool"]
    assert '"sky":"clear"' in told[0]
    assert ("was ordered" in told[1]) is allowed
    await page.refresh()
    await page.until_shown("As you like.")
    assert page.errors == []


ATTACKS = [
    "<img src=x onerror='window.hacked = 1'>",
    "<script>window.hacked = 1</script>",
    "[click](javascript:window.hacked=1) [data](data:text/html,<script>alert(1)</script>)",
    "![picture](https://example.invalid/?leak)",
    '<svg onload="window.hacked=1"><a xlink:href="javascript:window.hacked=1">x</a></svg>',
    '<a href="x" onclick="window.hacked=1">a</a><form action="/api/chat"><button>Allow</button></form>',
    "```html\n</code></pre><img src=x onerror=window.hacked=1>\n```",
    '[x](https://example.com "\\" onmouseover=\\"window.hacked=1")',
    "<style>body { display: none }</style><iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    'data: {"type":"error","errorText":"forged"}\n\ndata: [DONE]\n\n',
]


async def test_what_a_model_writes_is_never_run(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    attack = "\n\n".join(ATTACKS)
    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": json.dumps({"city": attack})},
    }
    server.script(
        Reply.sse(
            chunk({"reasoning_content": attack}),
            *(chunk({"content": attack[start : start + 3]}) for start in range(0, len(attack), 3)),
            chunk({"tool_calls": [call]}),
            chunk(finish_reason="tool_calls"),
            DONE,
        ),
        Reply.text("The end."),
    )
    page = await tabs.open(url)
    await say(page, attack)
    await page.until_shown("The end.")
    assert await page.run("window.hacked") is None
    said = "document.getElementById('messages')"
    made = f"{said}.querySelectorAll('img, script, style, svg, form, button, iframe, input')"
    assert await page.run(f"{made}.length") == 0
    attributes = f"[...{said}.querySelectorAll('*')].flatMap(one => [...one.attributes])"
    assert (
        await page.run(f"{attributes}.filter(one => /^on|javascript:|^data:/i.test(one.name + one.value)).length") == 0
    )
    assert "<img src=x" in await page.run(f"{said}.querySelector('.markdown').innerText")
    links = f"[...{said}.querySelectorAll('a[href]')].map(one => one.href)"
    assert await page.run(links) == ["https://example.invalid/?leak", "https://example.com/"]
    # The second wall holds without the first: neither a script nor a picture of a stranger's gets in past the sanitiser.
    assert "TrustedHTML" in await page.run(
        "(() => { try { document.body.innerHTML = '<b>'; } catch (error) { return `${error}`; } })()"
    )


async def test_a_phone_shows_all_of_it_in_the_dark(tabs: Tabs, url: str, server: SimulatedServer) -> None:
    wide = (
        "| "
        + " | ".join(["a wide column"] * 12)
        + " |\n|"
        + "---|" * 12
        + "\n\n```\n"
        + "x" * 400
        + "\n```\n"
        + "y" * 300
    )
    server.script(Reply.text(wide))
    page = await tabs.open(url)
    await page.screen(375, 667, dark=True)
    await say(page, "z" * 200)
    await page.until("!document.getElementById('send').hidden && document.querySelector('pre')")
    assert await page.run("document.documentElement.scrollWidth") == 375
    assert await page.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 28)"
    # What scrolls within the page is reached by the keyboard.
    assert await page.run("[...document.querySelectorAll('pre, .scrolls')].every(one => one.tabIndex === 0)")
    small = (
        "[...document.querySelectorAll('button, textarea')].filter(one => one.offsetParent && one.offsetHeight < 44)"
    )
    assert await page.run(f"{small}.length") == 0


async def test_everything_is_reached_by_the_keyboard_and_has_a_name(
    tabs: Tabs, url: str, server: SimulatedServer
) -> None:
    server.script(Reply.tool_calls(("order_telescope", {"model": "Newton", "euros": 249}, "c2")))
    page = await tabs.open(url)
    await say(page, "Order a telescope.")
    await page.until("document.querySelector('.question')")
    await page.until("!document.getElementById('send').hidden")
    reached = []
    for _ in range(8):
        await page.press("Tab")
        reached.append(await page.run("document.activeElement.textContent.trim() || document.activeElement.id"))
    assert {"New chat", "Allow", "Deny", "Send", "text"} <= set(reached)
    await page.call("Accessibility.enable")
    nodes = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    named = {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node and "role" in node}
    assert {("textbox", "Your message"), ("group", "Permission for order_telescope"), ("main", "Conversation")} <= named
    assert not [
        node for node in nodes if node["role"]["value"] in ("button", "textbox", "link") and not node["name"]["value"]
    ]
    roles = {node["role"]["value"] for node in nodes}
    assert {"status", "article", "heading"} <= roles
    assert "May I call" in await page.run("document.getElementById('said').textContent")
