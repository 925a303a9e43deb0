from __future__ import annotations

import asyncio
import gc
import math
from types import SimpleNamespace
from typing import Any

import pytest

from cometstream import APITimeoutError, UsageError
from cometstream.policy import Clocks
from cometstream.transport.kept import PlainAnswer, ask
from cometstream.transport.opening import OpeningClock


async def test_a_clock_that_has_fired_is_the_one_that_is_named_whatever_comes_in_the_same_turn() -> None:
    """A connection that is made in the very turn in which `connect` runs out, and no other clock that could be named."""
    clock = OpeningClock(Clocks(connect=1.0, first_content=None), math.inf, traced=True)
    with clock:
        clock.connecting()
        assert clock._scope is not None
        clock._scope.cancel()  # as its timer does
        clock.connected()
        clock.sending()
        await asyncio.sleep(0)
    error = clock.error("https://api.cometapi.com/v1")
    assert isinstance(error, APITimeoutError)
    assert error.clock == "connect"


def clock() -> OpeningClock:
    return OpeningClock(Clocks(first_content=None), math.inf, traced=False)


async def test_what_was_ended_before_it_waits_ends_at_its_first_wait() -> None:
    """A kept connection is lost in the very turn in which the stream is closed: the fresh one is not waited for."""
    opening = clock()
    opening.cancel()
    with opening:
        await asyncio.sleep(60)
    assert isinstance(opening.error("https://api.cometapi.com/v1"), UsageError)


class Connection:
    """A connection over which a head comes."""

    def __init__(self, coming: asyncio.Future[Any]) -> None:
        self.protocol = self
        self._coming = coming

    def ask(self, _: bytes) -> asyncio.Future[Any]:
        return self._coming

    def abort(self) -> None: ...

    def close(self) -> None: ...


async def head(opening: OpeningClock, coming: asyncio.Future[Any]) -> PlainAnswer:
    connection: Any = Connection(coming)
    return await ask(connection, b"", opening)


@pytest.mark.parametrize("cancelled", ["before", "in the same turn"])
async def test_a_failure_that_nobody_hears_of_is_not_logged(cancelled: str) -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    coming: asyncio.Future[None] = loop.create_future()
    task = asyncio.ensure_future(head(clock(), coming))
    await asyncio.sleep(0)
    if cancelled == "in the same turn":
        coming.set_exception(ConnectionResetError())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del coming, task
    gc.collect()
    assert told == []


async def test_the_head_that_came_in_the_turn_of_the_clock_counts() -> None:
    opening = clock()
    coming: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(head(opening, coming))
    await asyncio.sleep(0)
    body: Any = SimpleNamespace(on_eof=lambda _: None)
    coming.set_result((SimpleNamespace(code=200, headers={}), body))
    opening._end()
    assert (await task).content is body
