"""The proxy: any client, by its base URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from cometstream import ConfigurationError, RetryPolicy
from cometstream.proxy import Proxy, serve
from cometstream.testing import Reply, SimulatedServer, chunk

CHAT: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def proxy(server: SimulatedServer) -> AsyncIterator[Proxy]:
    retry = RetryPolicy(initial_delay=0)
    async with Proxy(upstream=server.base_url, api_key=server.api_key, retry=retry) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy, server: SimulatedServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=server.api_key, base_url=proxy.base_url) as client:
        yield client


async def text_of(client: openai.AsyncOpenAI) -> str:
    stream = await client.chat.completions.create(**CHAT, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_answers_come_through_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    assert (await client.chat.completions.create(**CHAT)).choices[0].message.content
    assert await text_of(client)
    assert [model.id async for model in client.models.list()]


async def test_an_ending_that_is_not_complete_is_an_error_frame(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    server.always(Reply.text("half", finish_reason=None))
    with pytest.raises(openai.APIError, match="without a finish_reason"):
        await text_of(client)


async def test_only_the_proxy_repeats(client: openai.AsyncOpenAI, server: SimulatedServer) -> None:
    server.always(Reply.error(503))
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(**CHAT)
    assert len(server.requests) == 3


async def test_a_dead_upstream_is_a_502_that_says_so() -> None:
    async with Proxy(upstream="http://127.0.0.1:9/v1", retry=None) as proxy:
        async with openai.AsyncOpenAI(api_key="sk-1", base_url=proxy.base_url, max_retries=0) as client:
            for ask in (client.chat.completions.create(**CHAT), client.models.list()):
                with pytest.raises(openai.InternalServerError, match="no answer from") as caught:
                    await ask
                assert caught.value.status_code == 502


async def test_bent_tool_calls_are_mended_unless_told_otherwise(server: SimulatedServer) -> None:
    bent = {"tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": "{}"}}]}
    server.always(Reply.sse(chunk(bent), chunk(finish_reason="tool_calls"), b"data: [DONE]\n\n"))
    for repair, index in ((True, 0), (False, None)):
        async with Proxy(upstream=server.base_url, repair=repair) as proxy:
            async with openai.AsyncOpenAI(api_key=server.api_key, base_url=proxy.base_url) as client:
                chunks = [each async for each in await client.chat.completions.create(**CHAT, stream=True)]
        calls: Any = chunks[0].choices[0].delta.tool_calls
        assert [call.index for call in calls] == [index]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"Origin": "https://a.page"}, 401), ({"Authorization": "Bearer sk-of-somebody"}, 401)],
)
async def test_the_proxys_key_is_lent_to_this_machine_and_not_to_a_browsers_page(
    proxy: Proxy, headers: dict[str, str], status: int
) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{proxy.base_url}/chat/completions", json=CHAT, headers=headers) as answer:
            assert answer.status == status
        async with http.get(f"{proxy.base_url}/models", headers=headers) as answer:
            assert answer.status == status


async def test_a_proxy_that_others_can_reach_lends_no_key(server: SimulatedServer) -> None:
    async with (
        Proxy(upstream=server.base_url, host="0.0.0.0", api_key=server.api_key) as proxy,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(f"{proxy.base_url}/chat/completions", json=CHAT) as answer:
            assert answer.status == 401
    assert server.requests == []


async def test_a_body_that_is_no_object_is_left_to_the_server(proxy: Proxy, server: SimulatedServer) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{proxy.base_url}/chat/completions", data=b"[]") as answer:
        assert answer.status == 400
    assert server.requests[0].body == b"[]"


async def test_a_client_that_leaves_closes_the_upstream(client: openai.AsyncOpenAI, server: SimulatedServer) -> None:
    server.script(Reply.text("first", 60.0, "never"))
    async with await client.chat.completions.create(**CHAT, stream=True) as stream:
        async for each in stream:
            if each.choices[0].delta.content:
                break
    await client.close()
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)


async def test_serving_ends_when_it_is_cancelled(server: SimulatedServer) -> None:
    listens = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(upstream=server.base_url, port=0, started=listens.set_result))
    assert (await listens).base_url.startswith("http://127.0.0.1:")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_upstream_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Proxy(upstream="ftp://x")
