"""A request that another client wrote, and the server's own events: `CometSession.forward` and `ChatStream.frames`."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from typing import Any

import pytest
from support.serving import CHAT, KEY, ask, serving

from cometstream import (
    ChatCompletionChunk,
    CometSession,
    ConfigurationError,
    InvalidRequestError,
    RateLimitError,
    UsageError,
)
from cometstream.answer.sse import Comment, Event
from cometstream.testing import Reply

BODY = b'{"model": "gpt-5.4", "stream": true, "odd": 1e400, "messages": [{"role": "user", "content": "hi"}]}'


def data_of(event: Event | Comment, chunk: ChatCompletionChunk | None) -> bytes:
    assert (chunk is None) == isinstance(event, Comment)
    return event.text if isinstance(event, Comment) else event.data + b"\n"


async def test_a_body_is_sent_as_it_is_and_its_events_come_as_they_are() -> None:
    events = [
        b'{"choices": [{"index": 0, "delta": {"content": "\\u00e9"}}]}',
        b'{"choices":[{"index":0,"finish_reason":"stop"}]}',
    ]
    reply = Reply.sse(b": here\n\n", *(b"data: " + event + b"\n\n" for event in events), b"data: [DONE]\n\n")
    async with serving(reply) as (server, session):
        async with session.forward(BODY, headers={"X-A": "b"}, query="v=1") as stream:
            written = b"".join([piece async for piece in stream.frames(data_of)])
        (request,) = server.requests
    assert (request.body, request.path, request.headers["X-A"]) == (BODY, "/v1/chat/completions?v=1", "b")
    assert written == b" here" + b"".join(event + b"\n" for event in events)
    assert stream.outcome == "complete"


async def test_events_that_have_come_together_come_together() -> None:
    body = b"".join(piece for piece in Reply.text("a", "b", "c").body if isinstance(piece, bytes))
    async with serving(Reply.sse(body)) as (_, session):
        async with session.forward(BODY) as stream:
            pieces = [piece async for piece in stream.frames(data_of)]
    assert len(pieces) == 1
    assert pieces[0].count(b"\n") == 5


async def test_the_synchronous_form_has_one_event_its_document_as_the_server_wrote_it() -> None:
    document = b'{ "choices": [ {"message": {"content": "hi"}, "finish_reason": "stop"} ] }'
    reply = Reply((document,), headers=(("Content-Type", "application/json"),), framing="length")
    async with serving(reply) as (server, session):
        async with session.forward(b'{"model": "m"}') as stream:
            assert [piece async for piece in stream.frames(data_of)] == [document + b"\n"]
        assert server.requests[0].headers["Accept"] == "application/json"


async def test_a_forwarded_request_is_repeated_and_turns_to_fallbacks() -> None:
    async with serving(Reply.error(429), retry=None) as (server, session):
        async with session.forward(BODY.replace(b"1e400", b"1"), fallback_models=["gpt-5.4-mini"]) as stream:
            await stream.until_done()
        assert [request.json["model"] for request in server.requests] == ["gpt-5.4", "gpt-5.4-mini"]


async def test_an_error_of_a_forwarded_request_is_typed() -> None:
    async with serving(Reply.error(429), retry=None) as (_, session):
        with pytest.raises(RateLimitError):
            await session.forward(BODY).__aenter__()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, "{}", None])
async def test_a_body_that_is_no_json_object_is_refused(body: Any) -> None:
    async with serving() as (server, session):
        with pytest.raises(InvalidRequestError, match="body: "):
            session.forward(body)
    assert server.requests == []


@pytest.mark.parametrize("query", ["a b", "a#b", "é", 3, None, "a\n"])
async def test_a_query_that_cannot_stand_in_a_url_is_refused(query: Any) -> None:
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError, match="query must be"):
            session.forward(BODY, query=query)
        with pytest.raises(ConfigurationError, match="query must be"):
            await session.models(query=query)


async def test_a_closed_session_forwards_nothing() -> None:
    async with serving() as (_, session):
        pass
    with pytest.raises(UsageError):
        session.forward(BODY)


async def test_every_call_takes_a_query() -> None:
    async with serving() as (server, session):
        await session.complete(**CHAT, query="a=1")
        await ask(session, query="a=2")
        await session.models(query="a=3")
    assert [request.path.partition("?")[2] for request in server.requests] == ["a=1", "a=2", "a=3"]


async def test_a_completion_knows_its_request_id() -> None:
    async with serving() as (_, session):
        assert (await session.complete(**CHAT)).request_id == "sim000000001"


async def test_a_session_is_closed_without_waiting() -> None:
    async with serving() as (server, _):
        session = CometSession(api_key=KEY, base_url=server.base_url)
        await ask(session)
        session.close_soon()
        session.close_soon()
        assert session.closed
        with pytest.raises(UsageError):
            await ask(session)
        await asyncio.sleep(0)


async def test_a_session_of_another_threads_loop_is_closed_there() -> None:
    async with serving() as (server, _):
        session = CometSession(api_key=KEY, base_url=server.base_url)

        def elsewhere() -> None:
            async def run() -> None:
                await ask(session)
                closing = asyncio.to_thread(session.close_soon)
                await closing
                await asyncio.sleep(0.01)

            asyncio.run(run())

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await asyncio.to_thread(elsewhere)
            gc.collect()


def test_the_body_is_read_as_json_reads_it() -> None:
    assert json.loads(BODY)["odd"] == float("inf")
