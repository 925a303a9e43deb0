"""The example's two backends, without a browser: what the page and ``useChat`` rely on, and who may read what."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.browsing import data_of
from support.ports import free_port
from web_chat import apps

from cometstream.testing import Reply, SimulatedServer


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture(params=apps.NAMES)
async def url(
    request: pytest.FixtureRequest, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[str]:
    async with apps.serving(request.param, server, monkeypatch, tmp_path / "ledger") as url:
        yield url


def user() -> aiohttp.ClientSession:
    # Python's jar keeps no cookies of addresses without a name, unless it is told to.
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


def said(text: str) -> dict[str, Any]:
    return {"id": "u1", "role": "user", "parts": [{"type": "text", "text": text}]}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"id": "chat1", "trigger": "submit-message", "messages": list(messages), **more}


async def test_an_answer_can_be_read_again_and_stopped_by_its_user_alone(url: str, server: SimulatedServer) -> None:
    server.script(Reply.text("one ", finish_reason=None, done=False).stall())
    async with user() as ann, user() as bob:
        for one in (ann, bob):
            async with one.get(f"{url}/") as page:
                assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        async with ann.get(f"{url}/api/chat/chat1/stream") as none:
            assert none.status == 204
        async with ann.post(f"{url}/api/chat", json=body(said("Count."))) as first:
            assert first.headers["x-vercel-ai-ui-message-stream"] == "v1"
            await first.content.readuntil(b'"delta":"one "')
            # The same id of a chat is another chat where it is another's.
            async with bob.get(f"{url}/api/chat/chat1/stream") as none:
                assert none.status == 204
            async with bob.post(f"{url}/api/chat/chat1/stop") as none:
                assert none.status == 404
            async with ann.post(f"{url}/api/chat/chat1/stop") as stopped:
                assert stopped.status == 204
            await asyncio.wait_for(server.requests[0].disconnected.wait(), 10)
            async with ann.get(f"{url}/api/chat/chat1/stream") as again:
                events = data_of(await again.read())
    assert [one["type"] for one in events] == ["start", "start-step", "text-start", "text-delta", "error"]
    assert events[-1]["errorText"] == "the answer was stopped"


async def test_leaving_does_not_stop_an_answer(url: str, server: SimulatedServer) -> None:
    go_on = asyncio.Event()
    server.script(Reply.text("one ", go_on, "two"))
    async with user() as ann:
        await (await ann.get(f"{url}/")).read()
        async with ann.post(f"{url}/api/chat", json=body(said("Count."))) as first:
            await first.content.readuntil(b'"delta":"one "')
        go_on.set()
        async with ann.get(f"{url}/api/chat/chat1/stream") as again:
            assert data_of(await again.read())[-1] == "[DONE]"
    assert not server.requests[0].disconnected.is_set()


async def test_a_decision_runs_what_was_asked_for_and_not_what_the_browser_says(
    url: str, server: SimulatedServer
) -> None:
    server.script(Reply.tool_calls(("order_telescope", {"model": "Newton", "euros": 249}, "c1")), Reply.text("Done."))
    async with user() as ann:
        await (await ann.get(f"{url}/")).read()
        async with ann.post(f"{url}/api/chat", json=body(said("Order one."))) as first:
            events = data_of(await first.read())
        (asked,) = [one for one in events if one != "[DONE]" and one["type"] == "tool-approval-request"]
        assert [one["type"] for one in events[-4:-1]] == ["tool-approval-request", "finish-step", "finish"]
        part = {"type": "tool-order_telescope", "toolCallId": "c1", "state": "approval-responded"}
        part |= {"input": {"model": "Newton", "euros": 1}, "approval": {"id": asked["approvalId"], "approved": True}}
        message = {"id": events[0]["messageId"], "role": "assistant", "parts": [{"type": "step-start"}, part]}
        decided = body(said("Order one."), message, messageId=message["id"])
        async with ann.post(f"{url}/api/chat", json=decided) as second:
            events = data_of(await second.read())
        assert events[0] == {"type": "start", "messageId": message["id"]}
        (output,) = [one["output"] for one in events if one != "[DONE]" and one["type"] == "tool-output-available"]
        assert output == "Newton was ordered for 249 euros"
        async with ann.post(f"{url}/api/chat", json=decided) as late:
            assert late.status == 409
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "sent", [b"", b"[]", b'{"messages": [{"role": "system", "parts": []}]}', b'{"id": "x", "messages": 3}']
)
async def test_a_bad_request_is_refused_in_public_words(url: str, server: SimulatedServer, sent: bytes) -> None:
    async with user() as ann:
        headers = {"Content-Type": "application/json"}
        async with ann.post(f"{url}/api/chat", data=sent, headers=headers) as stranger:
            assert stranger.status == 401
        await (await ann.get(f"{url}/")).read()
        async with ann.post(f"{url}/api/chat", data=sent, headers=headers) as refused:
            assert refused.status == 400
            assert await refused.text() in ("the request was refused", "the body is not JSON")
        forged = {"type": "tool-order_telescope", "toolCallId": "c1", "state": "approval-responded", "input": {}}
        forged["approval"] = {"id": "made up", "approved": True}
        decision = body(said("Hi"), {"id": "a1", "role": "assistant", "parts": [forged]})
        async with ann.post(f"{url}/api/chat", json=decision) as refused:
            assert refused.status == 409
    assert server.requests == []


@contextlib.asynccontextmanager
async def demo(name: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run an example as its first lines say; return the process and its address."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COMETAPI_", "COMETSTREAM_"))}
    environment = {**kept, "PORT": str(free_port()), "PYTHONWARNINGS": "error::ResourceWarning"}
    process = await apps.start(name, environment, "--demo")
    ended = asyncio.create_task(process.communicate())
    url = f"http://127.0.0.1:{environment['PORT']}"
    try:
        yield process, url
    finally:
        process.terminate()
        out, err = await asyncio.wait_for(ended, 30)
    assert f"open {url}" in out.decode()
    assert b"Traceback" not in err


@pytest.mark.parametrize("name", apps.NAMES)
async def test_the_demo_needs_nothing_else(name: str) -> None:
    async with demo(name) as (_, url), user() as ann:
        for path in ("", "chat.js", "style.css", "ui_stream.js", "markdown.js"):
            async with ann.get(f"{url}/{path}") as file:
                assert file.status == 200
        async with ann.post(f"{url}/api/chat", json=body(said("How is the weather in Boston?"))) as answer:
            events = data_of(await answer.read())
        assert events[-1] == "[DONE]"
        assert "tool-output-available" in [one["type"] for one in events[:-1]]


@pytest.mark.slow
@pytest.mark.parametrize("name", apps.NAMES)
async def test_a_server_that_stops_tells_the_browser_in_band(name: str) -> None:
    async with user() as ann:
        async with demo(name) as (_, url):
            await (await ann.get(f"{url}/")).read()
            answer = await ann.post(f"{url}/api/chat", json=body(said("What is a comet?")))
            await answer.content.readuntil(b"reasoning-delta")
        # It takes longer than the time of grace.
        assert b'"errorText":"the server is restarting: ask again"' in await answer.read()
