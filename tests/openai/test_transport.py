"""OpenAI's own client over our transport: what it gets, what it raises, and what goes where."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from support.cli_server import ServerThread
from support.raw_server import raw_server

from cometstream import CometSession, ConfigurationError, Timeouts
from cometstream.openai.transport import CometTransport, SyncCometTransport
from cometstream.testing import Reply, SimulatedServer

try:
    import httpx2
except ImportError:  # httpx2 needs Python 3.11
    PACKAGES = [httpx]
else:
    PACKAGES = [httpx, httpx2]

KEY = "sk-0123456789-of-the-client"
CHAT: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}


def event(delta: str, finish: str = "null") -> bytes:
    return (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n' % (delta.encode(), finish.encode())
    )


@pytest.fixture(params=PACKAGES, ids=lambda package: package.__name__)
def package(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(api_key=KEY) as server:
        yield server


@pytest.fixture
async def client(server: SimulatedServer, package: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    http = package.AsyncClient(transport=CometTransport())
    async with openai.AsyncOpenAI(api_key=KEY, base_url=server.base_url, http_client=http) as client:
        yield client


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.0)
    monkeypatch.setattr("random.random", lambda: 0.0)  # the jitter of a retry's wait


async def text_of(client: openai.AsyncOpenAI, **options: Any) -> str:
    stream = await client.chat.completions.create(**CHAT, stream=True, **options)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_a_whole_answer_and_a_streamed_one_come_through(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(**CHAT)
    assert completion.choices[0].message.content
    assert completion._request_id == "sim000000001"
    assert await text_of(client)


async def test_the_server_gets_the_bytes_headers_and_query_of_the_client(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    await client.chat.completions.create(
        **CHAT, temperature=0.5, extra_query={"api-version": "1"}, extra_headers={"X-Mine": "yes"}
    )
    (request,) = server.requests
    assert request.body == json.dumps({**CHAT, "temperature": 0.5}, separators=(",", ":")).encode()
    assert request.path == "/v1/chat/completions?api-version=1"
    assert request.headers["X-Mine"] == "yes"
    assert request.headers["User-Agent"].startswith("AsyncOpenAI/Python")


async def test_bytes_are_passed_on_as_the_server_wrote_them(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    body = (
        b": keep-alive\n\n"
        + event('{"role":"assistant","content":"","spelled":"\\u00e9 \\/ 1.0"}')
        + event('{"content":"a"}')
        + event('{"content":"b"}')
        + event("{}", '"stop"')
        + b"data: [DONE]\n\n"
    )
    server.script(Reply.sse(body).with_headers({"x-request-id": "of-the-gateway", "X-Model-Region": "north"}))
    async with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as response:
        assert b"".join([piece async for piece in response.iter_bytes()]) == body
        assert (response.status_code, response.headers["x-model-region"]) == (200, "north")
        assert response.request_id == "of-the-gateway"


async def test_a_document_is_passed_on_as_the_server_wrote_it(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    document = (
        b'{ "id": "c1", "object": "chat.completion", "created": 1, "model": "m", "ratio": 1.50, "choices": '
        b'[ {"index": 0, "message": {"role": "assistant", "content": "\\u00e9"}, "finish_reason": "stop"} ] }'
    )
    server.script(Reply((document,), headers=(("Content-Type", "application/json"),), framing="length"))
    raw = await client.chat.completions.with_raw_response.create(**CHAT)
    assert raw.content == document


async def test_a_cut_at_any_byte_is_never_taken_for_a_whole_answer(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    whole = Reply.text("one", " two", usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    size = sum(len(piece) for piece in whole.body if isinstance(piece, bytes))
    proof = b"".join(piece for piece in whole.body if isinstance(piece, bytes)).index(b'"finish_reason":"stop"')
    ends = {}
    for at in range(0, size, 29):
        server.always(whole.cut(at=at))
        try:
            ends[at] = await text_of(client)
        except openai.APIError:
            pass
    assert ends
    assert all(at > proof and text == "one two" for at, text in ends.items())


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply.text("half", finish_reason=None), "[DONE] came without a finish_reason"),
        (Reply.text("half").cut(at=400), "cut"),
    ],
)
async def test_an_ending_that_is_not_complete_raises_openais_error(
    client: openai.AsyncOpenAI, server: SimulatedServer, reply: Reply, told: str
) -> None:
    server.always(reply)
    with pytest.raises(openai.APIError, match=told.replace("[", r"\[")) as caught:
        await text_of(client)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["outcome"] in ("unterminated", "truncated")


async def test_an_error_frame_keeps_the_servers_words(client: openai.AsyncOpenAI, server: SimulatedServer) -> None:
    frame = b'data: {"error":{"message":"overloaded","type":"overloaded_error","code":"529"}}\n\n'
    server.script(Reply.sse(event('{"content":"half"}'), frame))
    with pytest.raises(openai.APIError, match="overloaded") as caught:
        await text_of(client)
    assert (caught.value.code, caught.value.type) == ("529", "overloaded_error")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_an_error_status_is_openais_error_and_only_the_session_repeats(
    client: openai.AsyncOpenAI, server: SimulatedServer, status: int, kind: type[openai.APIStatusError]
) -> None:
    server.always(Reply.error(status, "what went wrong", request_id="r-1"))
    with pytest.raises(kind, match="what went wrong") as caught:
        await text_of(client)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert len(server.requests) == (3 if status in (429, 503) else 1)


async def test_an_attempt_that_dies_before_its_content_is_repeated_unseen(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    server.script(Reply.text("never seen").reset(at=0), Reply.error(503), Reply.text("whole"))
    assert await text_of(client) == "whole"


async def test_without_a_server_the_clients_retries_add_nothing(package: Any) -> None:
    attempts: list[int] = []

    async def answering(number: int, *_: Any) -> bool:
        attempts.append(number)
        return False

    async with raw_server(answering) as dead:
        http = package.AsyncClient(transport=CometTransport())
        async with openai.AsyncOpenAI(api_key=KEY, base_url=dead.base_url, http_client=http, max_retries=5) as client:
            with pytest.raises(openai.APIConnectionError, match="no answer from"):
                await client.chat.completions.create(**CHAT)
    assert len(attempts) == 3


async def test_a_client_that_repeats_after_a_failure_gets_the_same_failure_unsent(
    server: SimulatedServer, package: Any
) -> None:
    server.always(Reply(ending="reset", framing="raw"))
    async with package.AsyncClient(transport=CometTransport()) as http:
        headers = {"Authorization": f"Bearer {KEY}"}
        for count in ("0", "1", "2"):
            headers["x-stainless-retry-count"] = count
            with pytest.raises(package.ConnectError):
                await http.post(f"{server.base_url}/chat/completions", json=CHAT, headers=headers)
        assert len(server.requests) == 3
        headers["x-stainless-retry-count"] = "0"
        server.always(Reply.text("whole"))
        assert (await http.post(f"{server.base_url}/chat/completions", json=CHAT, headers=headers)).status_code == 200


async def test_a_timeout_of_the_client_limits_the_wait_for_content(
    client: openai.AsyncOpenAI, server: SimulatedServer
) -> None:
    server.always(Reply.text("late").stall(at=0))
    with pytest.raises(openai.APITimeoutError, match=r"0\.05 s"):
        await client.chat.completions.create(**CHAT, timeout=0.05)
    assert len(server.requests) >= 1


async def test_the_default_timeouts_of_the_client_leave_the_sessions_clocks(
    server: SimulatedServer, package: Any
) -> None:
    server.always(Reply.text("late").stall(at=0))
    timeouts = Timeouts(first_content=0.05)
    async with CometSession(api_key=KEY, base_url=server.base_url, timeouts=timeouts, retry=None) as session:
        http = package.AsyncClient(transport=CometTransport(session))
        async with openai.AsyncOpenAI(api_key=KEY, base_url=server.base_url, http_client=http) as client:
            with pytest.raises(openai.APIError, match=r"0\.05 s"):
                await text_of(client)
        assert not session.closed


async def test_a_client_without_an_address_goes_where_the_session_goes(server: SimulatedServer, package: Any) -> None:
    async with CometSession(api_key=KEY, base_url=server.base_url) as session:
        http = package.AsyncClient(transport=CometTransport(session))
        async with openai.AsyncOpenAI(api_key="sk-of-openai", http_client=http) as client:
            assert await text_of(client)
            with pytest.raises((ConfigurationError, openai.APIConnectionError), match="base_url"):
                await client.models.list()
    assert [request.headers["Authorization"] for request in server.requests] == [f"Bearer {KEY}"]


async def test_a_request_goes_where_its_client_says_with_the_key_it_brings(
    server: SimulatedServer, package: Any
) -> None:
    other_key = "sk-of-another-server"
    async with SimulatedServer(api_key=other_key) as other:
        async with CometSession(api_key=KEY, base_url=server.base_url) as session:
            http = package.AsyncClient(transport=CometTransport(session))
            async with openai.AsyncOpenAI(api_key=other_key, base_url=other.base_url, http_client=http) as client:
                assert await text_of(client)
        assert len(other.requests) == 1
    assert server.requests == []


async def test_other_routes_pass_through_untouched(client: openai.AsyncOpenAI, server: SimulatedServer) -> None:
    assert [model.id async for model in client.models.list()]
    server.script(
        Reply.json({"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    )
    await client.embeddings.create(model="m", input="x", encoding_format="float")
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/embeddings"]


async def test_a_body_that_is_no_object_is_left_to_the_server(server: SimulatedServer, package: Any) -> None:
    async with package.AsyncClient(transport=CometTransport()) as http:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = await http.post(f"{server.base_url}/chat/completions", content=b"[]", headers=headers)
    assert (answer.status_code, server.requests[0].body) == (400, b"[]")


async def test_leaving_a_stream_closes_the_connection(client: openai.AsyncOpenAI, server: SimulatedServer) -> None:
    server.script(Reply.text("first", 60.0, "never"))
    async with await client.chat.completions.create(**CHAT, stream=True) as stream:
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)


def test_the_synchronous_client_streams_too(package: Any, thread: ServerThread) -> None:
    server = thread.server
    with openai.OpenAI(
        api_key=server.api_key,
        base_url=server.base_url,
        http_client=package.Client(transport=SyncCometTransport()),
    ) as client:
        assert client.chat.completions.create(**CHAT).choices[0].message.content
        chunks = list(client.chat.completions.create(**CHAT, stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"
        server.always(Reply.text("half", finish_reason=None))
        with pytest.raises(openai.APIError, match="without a finish_reason"):
            list(client.chat.completions.create(**CHAT, stream=True))
        server.always(None)
        assert client.models.retrieve("gpt-5.4").id == "gpt-5.4"


def test_one_client_serves_one_event_loop_after_another(package: Any, thread: ServerThread) -> None:
    server = thread.server
    client = openai.AsyncOpenAI(
        api_key=server.api_key,
        base_url=server.base_url,
        http_client=package.AsyncClient(transport=CometTransport()),
    )

    async def ask() -> str:
        await client.models.list()
        return await text_of(client)

    assert asyncio.run(ask()) == asyncio.run(ask()) != ""


@pytest.mark.parametrize("arguments", [{"session": 1}, {"repair": None}])
def test_a_wrong_argument_is_named(arguments: dict[str, Any]) -> None:
    for kind in (CometTransport, SyncCometTransport):
        with pytest.raises(ConfigurationError, match=next(iter(arguments))):
            kind(**arguments)


def test_the_transport_is_one_of_httpxs() -> None:
    for each in PACKAGES:
        assert isinstance(CometTransport(), each.AsyncBaseTransport)
        assert isinstance(SyncCometTransport(), each.BaseTransport)
