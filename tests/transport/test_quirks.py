"""A read makes no room for more than a read brings: asyncio's own 256 KiB cost more than a token."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support.loops import Run, on_each_loop
from support.serving import CHAT, KEY, ask, serving

from cometstream import CometSession
from cometstream.testing import DONE, Reply, chunk, frame
from cometstream.transport.quirks import _Handler, make_connector, receive_less

ROOM = 64 * 1024


class Room:
    """In the place of the attribute that tells a transport how much to receive; keeps what it is set to."""

    def __init__(self) -> None:
        self.set: list[int] = []

    def __get__(self, transport: Any, cls: Any) -> int:
        return transport.__dict__.get("max_size", 256 * 1024)

    def __set__(self, transport: Any, size: int) -> None:
        self.set.append(size)
        transport.__dict__["max_size"] = size


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    async with serving() as (server, _):
        host, port = server.base_url.split("/")[2].split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        cls = type(writer.transport)
        writer.close()
    if not hasattr(cls, "max_size"):
        pytest.skip("this event loop's transports have no such attribute")
    room = Room()
    monkeypatch.setattr(cls, "max_size", room)
    return room


async def test_each_connection_of_a_session_receives_less_from_its_first_answer_on(room: Room) -> None:
    async with serving() as (_, session):
        await ask(session)
        assert room.set == [ROOM]
        await ask(session)
        assert room.set == [ROOM]  # the same connection


async def test_so_does_a_connection_of_the_callers_own_client_that_streams(room: Room) -> None:
    go_on = asyncio.Event()
    reply = Reply([frame(chunk({"content": "Comets"})), go_on, frame(chunk(finish_reason="stop")), DONE])
    async with serving(reply) as (server, _), aiohttp.ClientSession() as client:
        async with CometSession(api_key=KEY, base_url=server.base_url, client=client) as session:
            async with session.stream(**CHAT) as stream:
                assert room.set == [ROOM]
                go_on.set()
                assert (await stream.until_done()).content == "Comets"


@on_each_loop
def test_an_answer_larger_than_the_room_comes_whole(run: Run) -> None:
    async def main() -> None:
        text = "x" * (5 * ROOM)
        async with serving(Reply([frame(chunk({"content": text})), frame(chunk(finish_reason="stop")), DONE])) as (
            _,
            session,
        ):
            assert (await ask(session)).content == text

    run(main())


@on_each_loop
@pytest.mark.parametrize("compressed", [False, True])
def test_a_connection_that_is_paused_for_a_slow_reader_goes_on_when_he_does(run: Run, compressed: bool) -> None:
    async def main() -> None:
        pieces = [f"{number} " for number in range(20_000)]
        reply = Reply(
            [*(frame(chunk({"content": piece})) for piece in pieces), frame(chunk(finish_reason="stop")), DONE]
        )
        async with serving(reply.compressed("gzip") if compressed else reply) as (_, session):
            async with session.stream(**CHAT) as stream:
                await anext(stream)
                await asyncio.sleep(0.3)  # by then the server has filled every buffer between
                assert (await stream.until_done()).content == "".join(pieces)

    run(main())


async def test_a_connection_that_was_not_paused_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("pause_reading", "resume_reading"):
        monkeypatch.setattr(ResponseHandler, name, lambda *_, name=name: calls.append(name))
    monkeypatch.setattr("cometstream.transport.quirks._KNOWN", True)
    handler = _Handler(asyncio.get_running_loop())
    handler.resume_reading()
    assert calls == []
    handler.pause_reading()
    handler.resume_reading()
    handler.resume_reading()
    assert calls == ["pause_reading", "resume_reading"]
    monkeypatch.setattr("cometstream.transport.quirks._KNOWN", False)
    handler.resume_reading()
    assert calls == ["pause_reading", "resume_reading", "resume_reading"]


async def test_a_session_reads_through_such_connections() -> None:
    connector = make_connector(0)
    factory: Any = connector._factory
    assert isinstance(factory(), _Handler)
    await connector.close()


def test_a_transport_that_makes_less_room_or_does_not_tell_is_left_alone() -> None:
    small = SimpleNamespace(max_size=100)
    receive_less(small)  # type: ignore[arg-type]
    assert small.max_size == 100
    other = SimpleNamespace()
    receive_less(other)  # type: ignore[arg-type]
    assert vars(other) == {}
    receive_less(None)
