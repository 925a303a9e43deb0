from __future__ import annotations

import asyncio
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support import virtual_clock
from support.redis_server import redis_url as redis_url  # a fixture
from support.serving import KEY, serving

from cometstream import BatchResult, CometError, CometSession, ConfigurationError, SharedLimits, fan_out
from cometstream.batch import shared_limits
from cometstream.testing import Reply, SimulatedServer

_T = TypeVar("_T")

USAGE = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
PRICE = (10_000.0, 10_000.0)  # an answer costs 1


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> SharedLimits:
    name = secrets.token_hex(4)
    if request.param == "sqlite":
        return SharedLimits(tmp_path / "limits.db", name=name)
    return SharedLimits(request.getfixturevalue("redis_url"), name=name)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": str(number)}]} for number in range(count)]


async def run(session: CometSession, count: int, shared: Any, **options: Any) -> list[BatchResult]:
    given: dict[str, Any] = {"model": "m", "pace": 0.0, "concurrency": 4, "retry": None, **options}
    async with fan_out(session, rows(count), shared_limits=shared, **given) as batch:
        return [result async for result in batch]


class Memory(SharedLimits):
    """A state in this process, on the clock of its event loop, that may be away for a time."""

    def __init__(self, **options: Any) -> None:
        super().__init__("limits.db", **options)
        self.state: bytes | None = None
        self.away = False
        self.exchanges = 0
        self.closed = 0

    def store(self) -> Any:
        return self

    async def open(self) -> None:
        if self.away:
            raise CometError("the store is away", retryable=True)

    async def update(self, change: Callable[[bytes | None, float], tuple[bytes, _T]]) -> _T:
        await self.open()
        self.exchanges += 1
        self.state, result = change(self.state, asyncio.get_running_loop().time())
        return result

    async def close(self) -> None:
        self.closed += 1


async def test_workers_share_a_cap(shared: SharedLimits) -> None:
    # Each alone would send ten at once and the others in half a second.
    async with serving() as (server, session):
        server.always(Reply.text("Hello", usage=USAGE))
        began = asyncio.get_running_loop().time()
        every = await asyncio.gather(*(run(session, 5, shared, rpm=600) for _ in range(3)))
        took = asyncio.get_running_loop().time() - began
    assert [result.outcome for results in every for result in results] == ["complete"] * 15
    assert took > 14 / 10 - 0.2


async def test_the_money_that_all_spend_counts_for_each(shared: SharedLimits) -> None:
    async with serving() as (server, session):
        server.always(Reply.text("Hello", usage=USAGE))
        options: Any = {"price": PRICE, "max_cost": 6, "concurrency": 1}
        first = await run(session, 4, shared, **options)
        assert [result.outcome for result in first] == ["complete"] * 4
        second = await run(session, 9, shared, **options)
        # What is under way when the last money is spent comes to its end.
        assert 6 <= len(server.requests) <= 7
        assert [result.outcome for result in second][:2] == ["complete"] * 2
        assert not any(result.attempts for result in await run(session, 3, shared, **options))
        server.requests.clear()
        await run(session, 9, shared, max_tokens_total=800, concurrency=1)
        assert 1 <= len(server.requests) <= 3


async def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "limits.db"
    async with serving(Reply.text("Hello", usage=USAGE)) as (_, session):
        await run(session, 1, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_workers_that_lose_the_others_go_on_and_come_back() -> None:
    async def main() -> None:
        memory = Memory()
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello", usage=USAGE))
            async with CometSession(api_key=KEY, base_url=server.base_url) as session:
                done = 0

                def switch(_: object) -> None:
                    nonlocal done
                    done += 1
                    memory.away = 20 <= done < 60

                every = await asyncio.gather(
                    run(session, 40, memory, rpm=120, on_progress=switch), run(session, 40, memory, rpm=120)
                )
                assert [result.outcome for results in every for result in results] == ["complete"] * 80
        assert memory.closed == 2

    took = virtual_time_of(main)
    # As fast as the cap allows, also while each was alone with its half of it.
    assert 36 <= took <= 50


def virtual_time_of(main: Callable[[], Any]) -> float:
    async def timed() -> float:
        began = asyncio.get_running_loop().time()
        await main()
        return asyncio.get_running_loop().time() - began

    return virtual_clock.run(timed())


def test_a_store_that_was_never_reached_ends_the_batch_unless_the_share_is_known() -> None:
    async def main() -> None:
        memory = Memory()
        memory.away = True
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello", usage=USAGE))
            async with CometSession(api_key=KEY, base_url=server.base_url) as session:
                with pytest.raises(CometError, match="the store is away"):
                    await run(session, 3, memory)
                assert not server.requests
                known = Memory(workers=4)
                known.away = True
                began = asyncio.get_running_loop().time()
                assert len(await run(session, 10, known, rpm=240)) == 10
                assert asyncio.get_running_loop().time() - began > 8
        assert (memory.closed, known.closed) == (1, 1)

    virtual_clock.run(main())


def test_a_worker_asks_some_times_a_second_and_not_for_each_row() -> None:
    async def main() -> None:
        memory = Memory()
        async with SimulatedServer(api_key=KEY) as server:
            server.always(Reply.text("Hello", usage=USAGE))
            async with CometSession(api_key=KEY, base_url=server.base_url) as session:
                await run(session, 300, memory, concurrency=50)
                assert memory.exchanges < 60
                before, began = memory.exchanges, asyncio.get_running_loop().time()
                await run(session, 300, memory, rpm=6000, concurrency=50)
                assert (memory.exchanges - before) / (asyncio.get_running_loop().time() - began) < 22

    virtual_clock.run(main())


async def test_a_state_that_somebody_else_wrote_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    async with serving() as (server, session):
        server.always(Reply.text("Hello", usage=USAGE))
        await run(session, 2, memory)
        monkeypatch.setattr(
            shared_limits.SharedState, "read", classmethod(lambda cls, state, now: broken(cls(), memory.exchanges))
        )
        assert len(await run(session, 2, memory)) == 2


def broken(state: Any, exchanges: int) -> Any:
    state.seen = None
    return state


async def test_an_error_in_the_exchange_ends_the_batch() -> None:
    class Broken(Memory):
        async def update(self, change: Any) -> Any:
            raise RuntimeError("a bug")

    async with serving() as (_, session):
        with pytest.raises(RuntimeError, match="a bug"):
            await run(session, 2, Broken())


@pytest.mark.parametrize("address", [None, 7, "", b"limits.db", "http://host"])
def test_what_is_not_an_address_is_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"the shared limits"):
        SharedLimits(address)


@pytest.mark.parametrize("options", [{"name": ""}, {"name": 3}, {"name": "a\nb"}, {"workers": 0}, {"workers": True}])
def test_options_that_cannot_be_used_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        SharedLimits("limits.db", **options)


async def test_what_are_no_shared_limits_is_refused_before_anything_is_sent() -> None:
    async with CometSession(api_key="sk-x") as session:
        with pytest.raises(ConfigurationError, match=r"^shared_limits must be"):
            fan_out(session, [], shared_limits=7)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"the address of Redis must be like"):
            fan_out(session, [], shared_limits="redis://host:port")


async def test_a_file_that_cannot_be_used_is_told_of_and_nothing_is_sent(tmp_path: Path) -> None:
    async with serving() as (server, session):
        with pytest.raises(ConfigurationError, match=r"the file of shared limits .* cannot be used"):
            await run(session, 1, tmp_path)
        assert not server.requests


async def test_a_redis_that_is_not_there_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis", reason="needs the extra redis")
    monkeypatch.setattr(shared_limits, "_PATIENCE", 0.0)
    monkeypatch.setattr("cometstream.batch.claims._PATIENCE", 0.0)
    async with serving() as (server, session):
        for where in ("shared_limits", "ledger"):
            given: Any = {where: "redis://:secret@127.0.0.1:1/0"}
            with pytest.raises(CometError, match=r"in Redis cannot be used: ConnectionError$"):
                await run(session, 1, given.pop("shared_limits", None), **given)
        assert not server.requests


def test_the_password_of_a_redis_stands_in_no_repr() -> None:
    assert repr(SharedLimits("redis://:secret@host")) == "SharedLimits('redis://...', name='default')"
    assert repr(SharedLimits("limits.db", name="a")) == "SharedLimits('limits.db', name='a')"
