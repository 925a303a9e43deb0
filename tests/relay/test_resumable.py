"""Answers that outlive the browser's connection, in memory and in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support import virtual_clock
from support.browsing import Browser, data_of, serving_asgi
from support.redis_server import redis_url as redis_url  # a fixture
from support.serving import CHAT, KEY, serving

from cometstream import CometError, CometSession, ConfigurationError, SSEParser
from cometstream.answer.sse import Event
from cometstream.relay import RelayEnd, ResumableRelays, relay
from cometstream.relay.starlette import RelayResponse
from cometstream.relay.store import Store
from cometstream.testing import Reply

HALF = Reply.text("half", finish_reason=None, done=False)
WORDS = [f"word{number} " for number in range(30)]
DRIPPING = Reply.text(*[part for word in WORDS for part in (0.003, word)])


@pytest.fixture(params=["memory", "redis"])
def make_store(request: pytest.FixtureRequest) -> Callable[[], Store | None]:
    if request.param == "memory":
        return lambda: None
    url, prefix = request.getfixturevalue("redis_url"), f"{secrets.token_hex(4)}:"
    from cometstream.relay.redis_store import RedisStore

    return lambda: RedisStore(url, prefix=prefix)


async def whole(answer: Any) -> bytes:
    return b"".join([piece async for piece in relay(answer)])


@pytest.mark.parametrize("protocol", ["raw", "ui", "ag-ui"])
async def test_an_answer_goes_on_without_readers_and_is_read_again(make_store: Any, protocol: Any) -> None:
    ends: list[RelayEnd] = []
    async with serving(DRIPPING) as (_, session), ResumableRelays(make_store(), protocol=protocol) as relays:
        answer = await relays.start(session.stream(**CHAT), key="chat", owner="me", on_end=ends.append)
        reading = relay(answer)
        first = await reading.__anext__()
        await reading.aclose()  # a page that is refreshed
        again = await relays.resume("chat", by="me")
        assert again is not None
        body = await whole(again)
        assert body.startswith(first)
        assert ends[0].outcome == "complete"
        assert ends[0].completion.content == "".join(WORDS)
        third = await relays.resume("chat", by="me")  # at its end, and still kept
        assert third is not None
        assert await whole(third) == body
    if protocol == "ui":
        assert "".join(part["delta"] for part in data_of(body)[:-1] if "delta" in part) == "".join(WORDS)


async def test_joined_reads_are_the_whole_answer_to_the_byte(make_store: Any) -> None:
    chance = random.Random(7)
    async with serving(DRIPPING) as (_, session), ResumableRelays(make_store(), protocol="raw") as relays:
        await relays.start(session.stream(**CHAT), key="chat", owner="me")

        async def reconnecting() -> bytes:
            """A browser whose connection breaks at any byte, and which goes on behind the last whole event it had."""
            got, last = b"", None
            while True:
                answer = await relays.resume("chat", by="me", last_event_id=last)
                assert answer is not None
                reading, seen = relay(answer), b""
                breaks = chance.randrange(3000)
                async for piece in reading:
                    seen += piece
                    if len(seen) > breaks:
                        seen = seen[:breaks]
                        break
                else:
                    return got + seen
                await reading.aclose()
                kept = seen[: seen.rfind(b"\n\n") + 2] if b"\n\n" in seen else b""
                got += kept
                ids = [item.id for item in SSEParser().feed(kept) if isinstance(item, Event)]
                last = ids[-1] if ids else last

        reads = await asyncio.gather(*[reconnecting() for _ in range(20)])
        answer = await relays.resume("chat", by="me")
        expected = await whole(answer)
    assert set(reads) == {expected}
    assert expected.endswith(b"data: [DONE]\nid: 33\n\n")


async def test_a_stop_closes_upstream_and_keeps_what_came(make_store: Any) -> None:
    ends: list[RelayEnd] = []
    async with serving(HALF.stall()) as (server, session):
        async with ResumableRelays(make_store()) as writing, ResumableRelays(make_store()) as other:
            answer = await writing.start(session.stream(**CHAT), key="chat", owner="me", on_end=ends.append)
            reading = relay(answer)
            while b"half" not in await reading.__anext__():
                pass
            stopping = other if make_store() is not None else writing
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await stopping.stop("chat", by="me")
            await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)
            took = loop.time() - began
            rest = b"".join([piece async for piece in reading])
            assert data_of(rest)[-1] == {"type": "error", "errorText": "the answer was stopped"}
            assert (ends[0].outcome, ends[0].completion.content) == ("cancelled", "half")
            assert took < 2.0  # the promise is 0.1 s; a busy machine gets more


async def test_nobody_reads_or_stops_what_is_not_theirs(make_store: Any) -> None:
    async with serving(*[DRIPPING] * 3) as (_, session):
        async with ResumableRelays(make_store()) as relays:
            mine = await relays.start(session.stream(**CHAT), key="chat", owner="me")
            anyone = await relays.start(session.stream(**CHAT))
            assert await relays.resume("chat", by="you") is None
            assert await relays.resume("chat") is None
            assert not await relays.stop("chat", by="you")
            assert await relays.resume("other", by="me") is None
            assert await relays.resume(mine.id, by="me") is None  # the key leads to it
            assert await relays.resume(anyone.id) is not None
            assert len(anyone.id) >= 32
            assert await relays.resume("", by="me") is None
        asked: list[Any] = []

        async def authorise(key: str, owner: str | None, by: str | None) -> bool:
            asked.append((key, owner, by))
            return by == "boss"

        async with ResumableRelays(make_store(), authorise=authorise) as relays:
            await relays.start(session.stream(**CHAT), key="chat2", owner="me")
            assert await relays.resume("chat2", by="me") is None
            assert await relays.resume("chat2", by="boss") is not None
        assert asked == [("chat2", "me", "me"), ("chat2", "me", "boss")]


async def test_a_refusal_chooses_the_status_of_each_reader_who_was_sent_nothing(make_store: Any) -> None:
    async with serving(Reply.error(429, retry_after=7), retry=None) as (_, session):
        async with ResumableRelays(make_store()) as relays:
            answer = await relays.start(session.stream(**CHAT), key="chat", owner="me")
            for reader in (answer, await relays.resume("chat", by="me")):
                body = relay(reader)
                head = await body.head()
                assert (head.status, head.headers["Retry-After"]) == (429, "7")
                assert b"too many requests" in b"".join([piece async for piece in body])


def test_an_answer_expires_and_readers_have_heartbeats_of_their_own() -> None:
    async def main() -> None:
        async with serving(Reply.text("a", 5.0, "b"), Reply.error(401).after(5.0), retry=None) as (_, session):
            async with ResumableRelays(heartbeat=2.0, expires=10.0) as relays:
                answer = await relays.start(session.stream(**CHAT), key="chat", owner="me")
                body = await whole(answer)
                assert body.count(b": keep-alive\n\n") == 2
                await asyncio.sleep(9.0)
                assert await relays.resume("chat", by="me") is not None
                late = await relays.resume("chat", by="me")
                await asyncio.sleep(2.0)
                assert await relays.resume("chat", by="me") is None
                assert data_of(await whole(late))[-1]["errorText"] == "the answer was cut off: ask again"
                answer = await relays.start(session.stream(**CHAT), key="chat", owner="me")
                assert data_of(await whole(answer))[-1]["type"] == "error"

    virtual_clock.run(main())


async def test_leaving_ends_what_is_written_in_band(make_store: Any) -> None:
    async with serving(HALF.stall(), HALF.after(60.0)) as (server, session):
        async with ResumableRelays(make_store()) as relays:
            readings = []
            for number, key in enumerate(("one", "two"), 1):
                answer = await relays.start(session.stream(**CHAT), key=key, owner="me")
                readings.append(asyncio.create_task(whole(answer)))
                while len(server.requests) < number:  # noqa: ASYNC110 - what is waited for sets no event
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            await asyncio.gather(*[engine.end() for engine in relays._writers.values()])
            first, second = await asyncio.gather(*readings)
        assert data_of(first)[-1]["errorText"] == "the server is restarting: ask again"
        assert second == b"the server is restarting: ask again"


async def test_options_that_cannot_be_used_are_refused() -> None:
    for options in ({"expires": 0}, {"heartbeat": None}, {"heartbeat": 0}, {"authorise": 1}, {"protocol": "x"}):
        with pytest.raises(ConfigurationError):
            ResumableRelays(**options)  # type: ignore[arg-type]
    async with serving() as (_, session), ResumableRelays() as relays:
        odd: list[Any] = [{"key": "k"}, {"key": ""}, {"owner": 7}, {"protocol": "raw"}, {"heartbeat": 1}, {"on_end": 1}]
        for options in odd:
            with pytest.raises(ConfigurationError):
                await relays.start(session.stream(**CHAT), **options)
        answer = await relays.start(session.stream(**CHAT))
        with pytest.raises(ConfigurationError, match=r"given to start\(\)"):
            relay(answer, protocol="raw")
        async with session.stream(**CHAT) as stream:
            pass
        body = relay(await relays.start(stream))
        assert (await body.head()).status == 500  # and the log says what it was
        assert b"the answer could not be completed" in await body.__anext__()


async def test_over_http_with_a_refresh_and_204_where_there_is_none() -> None:
    fastapi = pytest.importorskip("fastapi")
    async with serving(Reply.text("a", 0.3, "b")) as (_, session), ResumableRelays() as relays:
        app = fastapi.FastAPI()

        @app.post("/chat")
        async def chat() -> RelayResponse:
            return RelayResponse(await relays.start(session.stream(**CHAT), key="c", owner="me"))

        @app.get("/chat/{id_}/stream")
        async def stream(id_: str) -> Any:
            answer = await relays.resume(id_, by="me")
            return fastapi.Response(status_code=204) if answer is None else RelayResponse(answer)

        async with serving_asgi(app) as port:
            browser = await Browser.ask(port, "/chat", b"{}")
            await browser.reader.readuntil(b'"a"')
            browser.leave()
            _, headers, body = await (await Browser.ask(port, "/chat/c/stream")).answer()
            status, _, _ = await (await Browser.ask(port, "/chat/d/stream")).answer()
    assert [part["delta"] for part in data_of(body)[:-1] if "delta" in part] == ["a", "b"]
    assert len(headers["x-stream-id"]) == 32
    assert status == 204


WRITER = """
import asyncio, sys
from cometstream import CometSession
from cometstream.relay import ResumableRelays
from cometstream.relay.redis_store import RedisStore

async def main():
    url, prefix, base_url, key = sys.argv[1:]
    async with CometSession(api_key=key, base_url=base_url) as session:
        relays = ResumableRelays(RedisStore(url, prefix=prefix), heartbeat=1.0)
        chat = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "x"}]}
        await relays.start(session.stream(**chat), key="chat", owner="me")
        print("started", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def writing(url: str, prefix: str, base_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, url, prefix, base_url, KEY, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"started\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_death_of_the_writing_process_is_told_within_the_heartbeat(redis_url: str) -> None:
    from cometstream.relay.redis_store import RedisStore

    prefix = f"{secrets.token_hex(4)}:"
    async with serving(HALF.stall()) as (server, _), writing(redis_url, prefix, server.base_url) as process:
        async with ResumableRelays(RedisStore(redis_url, prefix=prefix), heartbeat=1.0) as relays:
            answer = await relays.resume("chat", by="me")
            reading = relay(answer)
            while b"half" not in await reading.__anext__():
                pass
            await asyncio.sleep(1.5)  # it lives, and nothing is told of its death
            process.kill()
            loop = asyncio.get_running_loop()
            began = loop.time()
            rest = b"".join([piece async for piece in reading])
            took = loop.time() - began
    assert data_of(rest)[-1] == {"type": "error", "errorText": "the answer was cut off: ask again"}
    assert took < 1.0


async def test_a_stop_reaches_another_process(redis_url: str) -> None:
    from cometstream.relay.redis_store import RedisStore

    prefix = f"{secrets.token_hex(4)}:"
    async with serving(HALF.stall()) as (server, _), writing(redis_url, prefix, server.base_url):
        async with ResumableRelays(RedisStore(redis_url, prefix=prefix), heartbeat=1.0) as relays:
            reading = relay(await relays.resume("chat", by="me"))
            while b"half" not in await reading.__anext__():
                pass
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await relays.stop("chat", by="me")
            await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)
            took = loop.time() - began
            rest = b"".join([piece async for piece in reading])
    assert data_of(rest)[-1]["errorText"] == "the answer was stopped"
    assert took < 0.3  # the promise is 0.1 s; a busy machine gets more


async def test_a_redis_that_is_gone_is_an_error_and_no_silence() -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    from cometstream.relay.redis_store import RedisStore

    with pytest.raises(ConfigurationError, match="redis://"):
        RedisStore("http://127.0.0.1")
    for odd in (7, None):
        with pytest.raises(ConfigurationError):
            RedisStore(odd)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        RedisStore("redis://127.0.0.1:1", prefix=7)  # type: ignore[arg-type]
    async with CometSession(api_key=KEY) as session, ResumableRelays(RedisStore("redis://127.0.0.1:1")) as relays:
        with pytest.raises(CometError, match="Redis"):
            await relays.start(session.stream(**CHAT))
