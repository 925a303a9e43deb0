"""Vercel's own chat client over what the protocol ``ui`` writes: every fault of the table, tools, and a stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from faults.relayed import ROWS, relayed_fault
from faults.wire import TEXT
from support.ai_sdk import chat
from support.ai_sdk import needs_ai_sdk as needs_ai_sdk  # a fixture
from support.browsing import serving_aiohttp
from support.serving import serving

from cometstream import CometSession
from cometstream.relay import ui_request
from cometstream.relay.aiohttp import relay_response
from cometstream.testing import Reply
from cometstream.testing.replies import DONE, chunk

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
def test_every_fault_shows_as_an_error_and_what_came_stays(needs_ai_sdk: Path) -> None:
    answers = [relayed_fault(row, "ui") for row in ROWS]

    async def main() -> list[Any]:
        async def replay(request: web.Request) -> web.Response:
            head, body = answers[int(request.path.rpartition("/")[2])]
            return web.Response(status=head.status, headers=dict(head.headers), body=body)

        async with serving_aiohttp(replay) as port:
            jobs = [{"api": f"http://127.0.0.1:{port}/{number}", "text": "hi"} for number in range(len(ROWS))]
            return await chat(needs_ai_sdk, jobs)

    wrong = []
    for row, result in zip(ROWS, asyncio.run(main()), strict=True):
        text = "".join(
            part["text"]
            for message in result["messages"]
            if message["role"] == "assistant"
            for part in message["parts"]
            if part["type"] == "text"
        )
        expected = ("ready", TEXT) if row.error is None else ("error", row.kept or "")
        if (result["status"], text) != expected or (row.error is not None) != bool(result["error"]):
            wrong.append((row.fault, row.moment, result["status"], result["error"], text))
    assert not wrong
    assert len(ROWS) > 100


async def served(session: CometSession, folder: Path, *jobs: dict[str, Any]) -> list[Any]:
    async def handler(request: web.Request) -> web.StreamResponse:
        asked = ui_request(await request.json())
        stream = session.stream(model="gpt-5.4", messages=asked.messages)
        return await relay_response(request, stream, protocol="ui")

    async with serving_aiohttp(handler) as port:
        return await chat(folder, [{"api": f"http://127.0.0.1:{port}/api/chat", **job} for job in jobs])


async def test_reasoning_text_and_a_call_are_parts_of_one_message(needs_ai_sdk: Path) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
    reply = Reply.sse(
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "I look."}),
        chunk({"tool_calls": [call]}),
        chunk(finish_reason="tool_calls"),
        {**chunk(), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
        DONE,
    )
    async with serving(reply, Reply.text("Three stars.")) as (server, session):
        (first,) = await served(session, needs_ai_sdk, {"text": "Look up"})
        assert (first["status"], first["error"]) == ("ready", None)
        message = first["messages"][-1]
        assert [part["type"] for part in message["parts"]] == ["step-start", "reasoning", "text", "tool-look"]
        assert message["parts"][-1]["state"] == "input-available"
        assert message["metadata"]["usage"]["totalTokens"] == 3
        # The page ran the tool, and the conversation goes on.
        message["parts"][-1].update(state="output-available", output={"stars": 3})
        (second,) = await served(session, needs_ai_sdk, {"text": "Well?", "messages": first["messages"]})
    assert second["messages"][-1]["parts"][-1]["text"] == "Three stars."
    assert [one["role"] for one in server.requests[1].json["messages"]] == ["user", "assistant", "tool", "user"]
    assert server.requests[1].json["messages"][2]["content"] == '{"stars":3}'


async def test_the_stop_button_closes_upstream_and_keeps_the_text(needs_ai_sdk: Path) -> None:
    async with serving(Reply.text(*["word "] * 20, finish_reason=None, done=False).stall()) as (server, session):
        (result,) = await served(session, needs_ai_sdk, {"text": "hi", "stop_after": 30})
        await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)
    assert (result["status"], result["error"]) == ("ready", None)
    assert result["messages"][-1]["parts"][-1]["text"].startswith("word ")
