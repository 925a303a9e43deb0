"""One worker, driven by messages in this process; test_batch_processes.py has the processes."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import Any

import pytest
from support.serving import KEY, serving

from cometstream.cli import batch_worker
from cometstream.cli.pipe_messages import packed, receive
from cometstream.testing import Reply

OPTIONS: Any = {"model": "m", "retry": None, "pace": 0.0}


def row(number: int) -> tuple[str, dict[str, Any]]:
    return "row", {"custom_id": f"row-{number}", "messages": [{"role": "user", "content": str(number)}]}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", KEY)


async def told_of(*messages: tuple[Any, ...], reply: Reply, **options: Any) -> list[tuple[Any, ...]]:
    told: list[tuple[Any, ...]] = []
    reader = asyncio.StreamReader()
    async with serving() as (server, _):
        server.always(reply)
        for message in ((server.base_url, False, {**OPTIONS, **options}), *messages):
            reader.feed_data(packed(message))
        await batch_worker.work(reader, told.append)
    return told


async def test_rows_come_back_as_results_and_the_last_word_is_the_progress() -> None:
    told = await told_of(row(0), row(1), ("end",), reply=Reply.text("Hello"))
    results = [message[1] for message in told if message[0] == "result"]
    assert sorted(result.custom_id for result in results) == ["row-0", "row-1"]
    assert all(result.request is None and result.completion.content == "Hello" for result in results)
    kind, progress, error = told[-1]
    assert (kind, progress.done, error) == ("ended", 2, None)


async def test_a_worker_that_is_drained_sends_nothing_more() -> None:
    told = await told_of(("drain",), row(0), reply=Reply.text("Hello"))
    assert not [message for message in told if message[0] == "result" and message[1].attempts]
    assert told[-1][0] == "ended"


async def test_what_ends_its_batch_is_told() -> None:
    told = await told_of(row(0), row(1), row(2), reply=Reply.text("Hello"), max_cost=1, concurrency=1)
    assert "max_cost" in str(told[-1][2])


async def test_a_parent_that_says_nothing_is_no_error() -> None:
    reader = asyncio.StreamReader()
    reader.feed_eof()
    told: list[Any] = []
    await batch_worker.work(reader, told.append)
    assert told == []
    assert await receive(reader) is None


async def test_a_parent_that_is_gone_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    def leave(code: int) -> None:
        ended.set()
        raise asyncio.CancelledError

    monkeypatch.setattr("os._exit", leave)
    reader = asyncio.StreamReader()
    async with serving() as (server, _):
        server.always(Reply.text("on", finish_reason=None, done=False).stall())
        reader.feed_data(packed((server.base_url, False, OPTIONS)) + packed(row(0)))
        working = asyncio.ensure_future(batch_worker.work(reader, lambda message: None))
        reader.feed_eof()
        await asyncio.wait_for(ended.wait(), 20)
        working.cancel()
        await asyncio.wait([working])


def test_a_worker_searches_seldom_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    young: list[int] = []

    async def look() -> None:
        young.append(gc.get_threshold()[0])

    monkeypatch.setattr(batch_worker, "_main", look)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    before = gc.get_threshold()[0]
    batch_worker.main()
    assert young[0] > 10 * before
    assert gc.get_threshold()[0] == before
