"""A request in one piece over a connection of the session's own: the same bytes, the same answers, errors and clocks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from support import virtual_clock
from support.loops import Run, on_each_loop
from support.raw_server import Answering, answer, raw_server
from support.serving import CHAT, KEY, ask, failure, serving
from support.tls import client_context, serving_tls
from support.ways import as_if_aiohttp_were_unknown, needs_a_known_aiohttp

from cometstream import APIConnectionError, APITimeoutError, CometSession, ProtocolError, RateLimitError, Timeouts
from cometstream.testing import Reply
from cometstream.transport.quirks import Connector, _Handler

HINT = {"Retry-After": "3", "X-Request-Id": "r-1"}

OWN = {"X-Tenant": "Zoë", "X-Trace": "1"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that were sent in one piece."""
    needs_a_known_aiohttp()
    requests: list[bytes] = []
    ask_as_before = _Handler.ask

    def noting(self: _Handler, request: bytes) -> Any:
        requests.append(request)
        return ask_as_before(self, request)

    monkeypatch.setattr(_Handler, "ask", noting)
    return requests


@pytest.mark.parametrize(
    "headers",
    [
        None,
        OWN,
        {"X-Client-Request-Id": "mine"},
        {"accept": "text/x", "accept-encoding": "identity", "user-agent": "me"},
    ],
)
async def test_the_server_gets_byte_for_byte_what_aiohttp_would_send(
    asked: list[bytes], headers: dict[str, str] | None
) -> None:
    got: list[tuple[list[bytes], bytes]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.split(b"\r\n")
                size = next(int(line[15:]) for line in lines if line.startswith(b"Content-Length:"))
                got.append((lines, await reader.readexactly(size)))
                writer.write(answer("Hello"))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/deploy%20ment"
    async with CometSession(api_key=KEY, base_url=url, retry=None) as session:
        for _ in range(2):
            assert (await ask(session, headers=headers)).content == "Hello"
        await ask(session, headers={"Accept": "text/y"})
    server.close()
    (by_aiohttp, first_body), (in_one_piece, second_body), (of_another_call, _) = got
    assert len(asked) == 2
    assert [line for line in of_another_call if line.lower().startswith(b"accept:")] == [b"Accept: text/y"]
    assert len([line for line in of_another_call if line.startswith(b"Accept-Encoding:")]) == 1
    assert first_body == second_body
    assert in_one_piece[:2] == by_aiohttp[:2]  # the request line, and Host

    def without_the_id(lines: list[bytes]) -> list[bytes]:
        return sorted(line for line in lines if line.endswith(b": mine") or not line.startswith(b"X-Client-Request-Id"))

    assert without_the_id(in_one_piece) == without_the_id(by_aiohttp)
    names = [line.partition(b":")[0].lower() for line in in_one_piece if line]
    assert len(names) == len(set(names))
    assert len(in_one_piece) == len(by_aiohttp)


async def test_aiohttp_sends_the_first_request_what_is_large_and_a_get(asked: list[bytes]) -> None:
    async with serving() as (_, session):
        await ask(session)
        await session.models()
        await ask(session, messages=[{"role": "user", "content": "x" * 70_000}])
        assert asked == []
        await session.complete(**CHAT)
        assert len(asked) == 1


@on_each_loop
@pytest.mark.parametrize("serve", [serving, serving_tls])
def test_once_a_request_was_sent_new_connections_are_asked_as_well(run: Run, asked: list[bytes], serve: Any) -> None:
    async def main() -> None:
        async with (
            serve(*[Reply.text("Hello", 0.01, "!")] * 20) as (server, one),
            CometSession(api_key=KEY, base_url=one.base_url, ssl=client_context()) as session,
        ):
            answers = await asyncio.gather(*(ask(session) for _ in range(20)))
            assert [answer.content for answer in answers] == ["Hello!"] * 20
            assert server.connections_seen == 20
            assert len(asked) == 19

    run(main())


async def test_with_a_limit_aiohttp_opens_each_connection_since_it_tells_of_the_wait(asked: list[bytes]) -> None:
    async with serving(max_connections=20) as (_, session):
        await asyncio.gather(*(ask(session) for _ in range(20)))
        assert asked == []


@on_each_loop
@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply.raw().cut(), "no answer from"),
        (Reply.raw(b"HTTP/1.1 200 OK\r\nContent-").cut(), "no answer from"),
        (Reply.raw(b"no HTTP\r\n\r\n").cut(), "not HTTP"),
    ],
)
def test_a_new_connection_that_fails_is_an_attempt_that_failed(
    run: Run, asked: list[bytes], reply: Reply, outcome: str
) -> None:
    async def main() -> None:
        async with serving(Reply.text("Hello").with_headers({"Connection": "close"}), reply, retry=None) as (
            _,
            session,
        ):
            await ask(session)
            error = await failure(session)
            assert outcome in str(error)
            assert isinstance(error, (APIConnectionError, ProtocolError))
            assert error.__cause__ is None
            assert error.__context__ is None

    run(main())
    assert len(asked) == 1


async def test_a_server_that_has_gone_is_told_as_of_the_first_connection(asked: list[bytes]) -> None:
    async with serving(Reply.text("Hello").with_headers({"Connection": "close"}), retry=None) as (server, session):
        await ask(session)
        await server.aclose()
        gone = await failure(session)
        async with CometSession(api_key=KEY, base_url=server.base_url, retry=None) as other:
            first = await failure(other)
    assert type(gone) is type(first) is APIConnectionError
    assert str(gone) == str(first)
    assert asked == []


@pytest.mark.parametrize("turns", range(12))
async def test_a_new_connection_is_given_back_wherever_the_caller_is_cancelled(asked: list[bytes], turns: int) -> None:
    async with serving(Reply.text("Hello").with_headers({"Connection": "close"}), Reply.text("x").after(0.2)) as (
        server,
        session,
    ):
        await ask(session)
        asking = asyncio.ensure_future(ask(session))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.until_unconnected()
        assert (await ask(session)).content


async def test_aiohttp_sends_over_a_client_of_the_callers_own_and_through_a_proxy(
    asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as (server, _):
        async with aiohttp.ClientSession() as client:
            async with CometSession(api_key=KEY, base_url=server.base_url, client=client) as session:
                for _ in range(2):
                    await ask(session)
        monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1"))
        with pytest.warns(UserWarning, match="NO_PROXY"):
            session = CometSession(api_key=KEY, base_url=server.base_url)
        async with session:
            for _ in range(2):
                await ask(session)
    assert asked == []


async def test_an_unknown_aiohttp_sends_everything_itself(asked: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    as_if_aiohttp_were_unknown(monkeypatch)
    async with serving() as (server, session):
        for _ in range(3):
            await ask(session)
        assert server.connections_seen == 1
    assert asked == []


async def test_a_pool_with_a_limit_keeps_it(asked: list[bytes]) -> None:
    async with serving(max_connections=2) as (server, session):
        await asyncio.gather(*(ask(session) for _ in range(8)))
        await asyncio.gather(*(ask(session) for _ in range(8)))
        assert server.connections_seen == 2
    assert asked


async def test_a_refusal_is_read_with_its_body(asked: list[bytes]) -> None:
    async with serving(Reply.text("Hello"), Reply.error(429, message=f"slow down, {KEY}").with_headers(HINT)) as (
        _,
        session,
    ):
        await ask(session)
        error = await failure(session, retry=None)
        assert isinstance(error, RateLimitError)
        assert error.retry_after == 3
        assert error.request_id == "r-1"
        assert "slow down" in str(error)
        assert KEY not in str(error)
    assert len(asked) == 1


@pytest.mark.parametrize("clock", ["first_content", "total"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_clock_bounds_the_wait_for_a_head_and_a_repeat_has_no_clock_of_its_own(
    asked: list[bytes], clock: str, lost: bool
) -> None:
    """A connection that is lost after two seconds leaves the fresh one three of five."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timeouts = Timeouts(**{"first_content": 100, "total": None, clock: 5})
        async with serving(timeouts=timeouts, retry=None) as (server, session):
            await ask(session)
            server.script(*([Reply.raw().after(2).cut()] if lost else []), Reply.text("late").after(60))
            began = loop.time()
            error = await failure(session)
            assert isinstance(error, APITimeoutError)
            assert error.clock == clock
            assert 5 <= loop.time() - began < 5.1
            await server.until_unconnected()
        assert len(asked) == 1 + lost

    virtual_clock.run(main())


def test_the_connect_clock_bounds_the_fresh_connection_that_replaces_a_lost_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object) -> Any:
        await asyncio.sleep(1000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(retry=None, timeouts=Timeouts(connect=7)) as (server, session):
            await ask(session)
            server.script(Reply.raw().after(2).cut())
            monkeypatch.setattr(Connector, "_create_connection", never)
            began = loop.time()
            error = await failure(session)
            assert isinstance(error, APITimeoutError)
            assert error.clock == "connect"
            assert 9 <= loop.time() - began < 9.1

    virtual_clock.run(main())


async def comes(writer: asyncio.StreamWriter) -> bool:
    for piece in (b"HTTP/1.1 103 Early Hints\r\n\r\n", answer("kept")):
        await asyncio.sleep(0)
        writer.write(piece)
    return True


async def dies(writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(0)
    writer.transport.abort()
    return False


async def refuses(writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(0)
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n")
    await asyncio.sleep(0)
    writer.write(b"busy")
    return True


Second = Callable[[asyncio.StreamWriter], Awaitable[bool]]


def answering(second: list[Second]) -> Answering:
    async def answers(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if number == 2 and second:
            return await second.pop()(writer)
        writer.write(answer("Hello"))
        return True

    return answers


@on_each_loop
@pytest.mark.parametrize("second", [comes, dies, refuses])
@pytest.mark.parametrize("how", ["cancel", "cancel twice", "aclose", "close the session", "fire"])
def test_it_can_be_ended_at_every_step(run: Run, second: Second, how: str) -> None:
    """In each turn of the loop from the request to the end of the answer; what is left over fails `run`, or the next request."""

    async def main() -> None:
        step = 0
        while not await self_ended_before(step):
            step += 1
        assert step > 5
        gc.collect()

    async def self_ended_before(step: int) -> bool:
        planned = [second]
        async with raw_server(answering(planned)) as server:
            session = CometSession(api_key=KEY, base_url=server.base_url, retry=None, timeouts=None)
            async with session:
                await ask(session)
                stream = session.stream(**CHAT)

                async def read() -> None:
                    async with stream:
                        await stream.until_done()

                task = asyncio.ensure_future(read())
                for _ in range(step):
                    await asyncio.sleep(0)
                ended = task.done()
                if how == "aclose":
                    await stream.aclose()
                elif how == "close the session":
                    await session.aclose()
                elif how == "fire":
                    clock = getattr(stream._connect, "_scope", None)  # nothing is being opened once an answer has begun
                    if clock is not None:
                        clock._end()
                else:
                    task.cancel()
                    if how == "cancel twice":
                        await asyncio.sleep(0)
                        task.cancel()
                await asyncio.wait([task])
                _ = task.cancelled() or task.exception()
                planned.clear()
                if how != "close the session":
                    assert (await ask(session)).content == "Hello"
            return ended

    run(main())
