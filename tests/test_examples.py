"""Every example runs as it stands, as its own process, against the simulated server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from support.ports import free_port
from support.pytest_plugin import run_with_plugin

from cometstream.testing import Reply, SimulatedServer

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).parent.parent / "examples"

# What each example must have printed; the relays are servers, with tests of their own.
PRINTED = {
    "stream.py": ["A comet is a small world of ice and dust", "complete stop", "tokens"],
    "tool_calls.py": ['get_weather{"city"', "celsius"],
    "batch.py": ["comets: A comet", "nebulae: ", "8 done, 0 failed"],
    "stop_button.py": ["cancelled after"],
    "tool_loop.py": ["get_weather {'city': ", " starts early]", "complete after 2 rounds"],
    "approval.py": ["may I call pay({'to': ", "euros were paid to", "\ncomplete\n"],
    "structured_partial.py": ["seen from Babylon, 22 September", "Halley: A small dark world", "2 sightings"],
    "otel.py": [
        "chat gpt-5.4 outcome=complete attempts=2 ",
        "execute_tool get_weather outcome=complete",
        "gen_ai.client.operation.duration",
    ],
    "conversation.py": ["A comet is a small world", "I would rather talk about comets", "5 messages kept"],
}
DEMOS = {"structured_partial.py", "tool_loop.py", "approval.py", "otel.py"}
RELAYS = ["fastapi_relay.py", "aiohttp_relay.py"]
# Tests of a program, as a user would write them.
TESTS = ["test_fastapi_relay.py"]
# Driven by tests/web_chat/test_ui_builders.py, where their tools are installed.
UI_BUILDERS = ["gradio_chat.py", "streamlit_chat.py", "textual_chat.py"]


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


def environment(server: SimulatedServer, **more: str) -> dict[str, str]:
    keys = {"COMETAPI_KEY": server.api_key, "COMETAPI_BASE_URL": server.base_url}
    return {**os.environ, **keys, "PYTHONWARNINGS": "error::ResourceWarning", **more}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PRINTED, *RELAYS, *TESTS, *UI_BUILDERS}


@pytest.mark.parametrize("name", PRINTED)
async def test_example_prints_what_it_promises(name: str, server: SimulatedServer) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), *(["--demo"] if name in DEMOS else [])),
        env=environment(server),
        stdout=-1,
        stderr=-1,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, "")
    for text in PRINTED[name]:
        assert text in out.decode()


@pytest.mark.parametrize("name", TESTS)
def test_the_tests_of_an_example_pass(name: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error")
    result = run_with_plugin(pytester, monkeypatch, "--import-mode=importlib", str(EXAMPLES / name))
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] > 3


@pytest.mark.parametrize("name", RELAYS)
async def test_relay_passes_the_answer_on_and_refusals_as_the_browser_may_know_them(
    name: str, server: SimulatedServer
) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), env=environment(server, PORT=str(port)), stdout=-1, stderr=-1
    )
    url = f"http://127.0.0.1:{port}/chat"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as browser:
            body = await first_answer(browser, url, process)
            assert body.count("data: {") > 10
            assert body.endswith("data: [DONE]\n\n")

            server.script(Reply.text("half", finish_reason=None, done=False).cut())
            async with browser.get(url, params={"prompt": "hi"}) as answer:
                body = await answer.text()
            assert '"type":"StreamTruncatedError"' in body
            assert "[DONE]" not in body

            server.always(Reply.error(403))
            async with browser.get(url, params={"prompt": "hi"}) as answer:
                # The operator's quota is no business of the browser's.
                assert answer.status == 502
                assert "quota" not in await answer.text()

            endless = Reply.text("on and on", finish_reason=None, done=False).stall()
            server.always(endless)
            async with browser.get(url, params={"prompt": "hi"}) as answer:
                await answer.content.readany()
                upstream = server.requests[-1]
            await asyncio.wait_for(upstream.disconnected.wait(), 30)

            async with browser.get(url, params={"prompt": "hi"}) as answer:
                await answer.content.readany()
                process.terminate()
                assert b"the server is restarting" in await answer.content.read()
    finally:
        if process.returncode is None:
            process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert b"Traceback" not in err
    assert b"relay " in err  # what the browsers were not told stands in the log


async def first_answer(browser: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process) -> str:
    """Ask until the example listens."""
    while process.returncode is None:
        try:
            async with browser.get(url, params={"prompt": "hi"}) as answer:
                return await answer.text()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
    raise AssertionError("the example ended before it listened")
