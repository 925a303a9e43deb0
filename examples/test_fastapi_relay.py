"""Tests of the program beside this one, ``fastapi_relay.py``, without a network.

Run them with ``pytest test_fastapi_relay.py``: the fixture comes with cometstream.
"""

import asyncio

import pytest
from fastapi.testclient import TestClient
from fastapi_relay import app

from cometstream import CometSession
from cometstream.testing import CometServer


def ask(prompt: str) -> str:
    with TestClient(app) as browser:
        return browser.get("/chat", params={"prompt": prompt}).text


def test_a_rate_limit_is_waited_for(comet_server: CometServer) -> None:
    comet_server.rate_limited(retry_after=0).reply("A comet ", "is ice.")
    assert ask("What is a comet?").endswith("data: [DONE]\n\n")
    assert len(comet_server.requests) == 2
    comet_server.assert_asked(model="gpt-5.4", stream=True, prompt="What is a comet?")


def test_the_browser_is_told_of_a_cut(comet_server: CometServer) -> None:
    comet_server.cut_after("A comet ")
    answer = ask("What is a comet?")
    assert "A comet " in answer
    assert "[DONE]" not in answer


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_browser_is_not_told_why_a_request_was_refused(comet_server: CometServer, status: int) -> None:
    comet_server.error(status, "the owner's private words", times=3)
    assert "private" not in ask("What is a comet?")


def test_a_stop_button_stops_the_answer(comet_server: CometServer) -> None:
    async def press_stop() -> None:
        async with CometSession() as session:
            messages = [{"role": "user", "content": "On and on"}]
            async with session.stream(model="gpt-5.4", messages=messages) as stream:
                async for _ in stream.text():
                    break

    comet_server.stall_after("on ")
    asyncio.run(press_stop())
    comet_server.wait_until_left()
