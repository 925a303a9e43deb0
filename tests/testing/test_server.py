from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import aiohttp
import openai
import orjson
import pytest

from cometstream.errors import UsageError
from cometstream.testing import DONE, MODELS, RecordedRequest, Reply, SimulatedServer, serve

T = TypeVar("T")

BODY: dict[str, Any] = {
    "model": "gpt-5.4",
    "messages": [{"role": "user", "content": "Write one sentence about comets."}],
}


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer() as server:
        yield server


@pytest.fixture
async def session(server: SimulatedServer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with aiohttp.ClientSession(f"{server.base_url}/", headers=headers) as session:
        yield session


@pytest.fixture
async def client(server: SimulatedServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


async def soon(wait: Awaitable[T]) -> T:
    """What is awaited, or a failure where it would hang."""
    return await asyncio.wait_for(wait, 10)


async def ask(session: aiohttp.ClientSession, **params: Any) -> tuple[int, bytes]:
    async with session.post("chat/completions", json={**BODY, **params}) as response:
        return response.status, await response.read()


async def list_models(session: aiohttp.ClientSession) -> None:
    """Ask for the models and leave an idle connection in the pool."""
    async with session.get("models") as response:
        await response.read()


async def test_openai_streams_from_it(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**BODY, stream=True, stream_options={"include_usage": True})
    text, usage = "", None
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage
    assert text.count(".") == 1
    assert usage is not None
    assert usage.completion_tokens > 0


async def test_openai_completes_lists_models_and_calls_tools_with_it(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(**BODY)
    assert "comet" in (completion.choices[0].message.content or "")
    assert [model.id async for model in client.models.list()] == list(MODELS)
    assert (await client.models.retrieve("gpt-4.1")).id == "gpt-4.1"
    tool: Any = {
        "type": "function",
        "function": {"name": "f", "strict": True, "parameters": {"properties": {"x": {"type": "integer"}}}},
    }
    async with client.chat.completions.stream(**BODY, tools=[tool]) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert orjson.loads(calls[0].function.arguments) == {"x": 1}


async def test_openai_gets_typed_errors_from_it(server: SimulatedServer, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match=r"gpt-9 \(request id: sim000000001\)") as unknown:
        await client.chat.completions.create(model="gpt-9", messages=BODY["messages"])
    assert (unknown.value.status_code, unknown.value.code) == (503, "model_not_found")
    assert unknown.value.response.headers["X-Cometapi-Request-Id"] == "sim000000001"
    with pytest.raises(openai.NotFoundError, match="no such model: gpt-9"):
        await client.models.retrieve("gpt-9")
    server.script(Reply.error(429, retry_after=2))
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(**BODY)
    assert caught.value.response.headers["retry-after"] == "2"


async def test_a_wrong_key_is_the_documented_401(server: SimulatedServer) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": server.api_key}):
        async with aiohttp.ClientSession(f"{server.base_url}/", headers=headers) as session:
            status, body = await ask(session)
            assert status == 401
            request_id = server.requests[-1].id
            assert orjson.loads(body)["error"] == {
                "message": f"invalid token (request id: {request_id})",
                "type": "comet_api_error",
                "code": "",
            }


async def test_validation_answers_over_http(session: aiohttp.ClientSession) -> None:
    assert (await ask(session, model=""))[0] == 400
    assert (await ask(session, messages=None))[0] == 500
    async with session.post("chat/completions", data=b"{half") as response:
        assert response.status == 400
    async with session.get("chat/completions") as response:
        assert response.status == 404
        assert "GET /v1/chat/completions" in (await response.json())["error"]["message"]


async def test_a_request_is_recorded_as_it_was_sent(server: SimulatedServer, session: aiohttp.ClientSession) -> None:
    sent = orjson.dumps({**BODY, "user": "x" * 3_000_000})
    headers = {"X-Mine": "1", "Content-Type": "application/json"}
    async with session.post("chat/completions?a=b", data=io.BytesIO(sent), headers=headers) as response:
        assert response.headers["x-request-id"] == server.requests[0].id
        assert response.status == 200
        await response.read()
    await list_models(session)
    request, models = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions?a=b")
    assert request.headers["x-mine"] == "1"
    assert request.body == sent
    assert request.json == orjson.loads(sent)
    assert request.finished.is_set()
    assert not request.disconnected.is_set()
    assert (models.method, models.path, models.body, models.json) == ("GET", "/v1/models", b"", None)


async def test_streams_one_after_another_use_one_connection(
    server: SimulatedServer, session: aiohttp.ClientSession
) -> None:
    for _ in range(5):
        status, body = await ask(session, stream=True)
        assert (status, body.endswith(DONE)) == (200, True)
    assert server.connections_seen == 1
    assert server.connections_open == 1
    await session.close()
    await soon(server.until_unconnected())
    assert server.connections_open == 0


async def test_many_streams_run_at_once(server: SimulatedServer, session: aiohttp.ClientSession) -> None:
    answers = await asyncio.gather(*(ask(session, stream=True) for _ in range(100)))
    assert all(status == 200 and body.endswith(DONE) for status, body in answers)
    assert len({body for _, body in answers}) == 100  # each its own id


async def test_a_script_is_used_up_and_then_the_default_answers(
    server: SimulatedServer, session: aiohttp.ClientSession
) -> None:
    server.script(Reply.error(503), Reply.plain(b"<html>", content_type="text/html"))
    assert [(await ask(session))[0] for _ in range(3)] == [503, 200, 200]
    server.always(Reply.error(502))
    server.script(Reply.error(504))
    assert [(await ask(session))[0] for _ in range(3)] == [504, 502, 502]
    server.always(None)
    assert (await ask(session))[0] == 200


async def test_a_script_may_choose_by_the_request(server: SimulatedServer, session: aiohttp.ClientSession) -> None:
    def only_mini(request: RecordedRequest) -> Reply | None:
        return None if request.json["model"] == "gpt-5.4-mini" else Reply.error(503)

    server.always(only_mini)
    assert (await ask(session))[0] == 503
    assert (await ask(session, model="gpt-5.4-mini"))[0] == 200


async def test_a_client_that_leaves_half_way_is_noted(server: SimulatedServer, session: aiohttp.ClientSession) -> None:
    server.script(Reply.text(*["comet"] * 50).paced(3600))
    response = await session.post("chat/completions", json=BODY)
    response.close()
    await soon(server.requests[0].disconnected.wait())
    await soon(server.requests[0].finished.wait())


async def test_closing_does_not_wait_for_streams_or_readers(session: aiohttp.ClientSession) -> None:
    server = SimulatedServer()
    await server.start()
    asked = asyncio.Event()

    def never(_: RecordedRequest) -> Reply:
        asked.set()
        return Reply.text().after(3600)

    flood = Reply.sse(b"x" * 65536).forever(b"x" * 65536)
    server.script(Reply.text("Hello").stall(), never, flood)
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with aiohttp.ClientSession(f"{server.base_url}/", headers=headers) as other:
        stalled = await other.post("chat/completions", json=BODY)
        waiting = asyncio.ensure_future(other.post("chat/completions", json=BODY))
        await asked.wait()
        unread = await other.post("chat/completions", json=BODY)
        await list_models(other)
        await soon(server.aclose())
        assert server.connections_open == 0
        assert not any(request.disconnected.is_set() for request in server.requests)
        assert all(request.finished.is_set() for request in server.requests)
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting
        stalled.close()
        unread.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await other.get("models")
    await server.aclose()
    gc.collect()


async def test_closing_leaves_no_task() -> None:
    async with SimulatedServer() as server, aiohttp.ClientSession() as session:
        server.always(Reply.text("Hello").stall())
        responses = [await session.post(server.base_url) for _ in range(10)]
        for response in responses:
            await response.content.readany()
        await server.aclose()
        for response in responses:
            response.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_server_can_start_again_and_says_so_when_misused() -> None:
    server = SimulatedServer()
    with pytest.raises(UsageError):
        _ = server.base_url
    for _ in range(2):
        await server.start()
        with pytest.raises(UsageError):
            await server.start()
        async with aiohttp.ClientSession() as session, session.get(f"{server.base_url}/models") as response:
            assert response.status == 401
        await server.aclose()


async def test_it_listens_on_ipv6_too() -> None:
    try:
        server = SimulatedServer(host="::1")
        await server.start()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert server.base_url.startswith("http://[::1]:")
    async with aiohttp.ClientSession() as session, session.get(f"{server.base_url}/models") as response:
        assert response.status == 401
    await server.aclose()


async def test_serve_runs_until_cancelled() -> None:
    started: asyncio.Future[SimulatedServer] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(port=0, api_key="k", token_rate=None, started=started.set_result))
    server = await started
    async with aiohttp.ClientSession(f"{server.base_url}/", headers={"Authorization": "Bearer k"}) as session:
        assert (await ask(session))[0] == 200
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(session)
