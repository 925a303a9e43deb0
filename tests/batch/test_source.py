from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.loops import turns_until

from cometstream import ConfigurationError
from cometstream.batch.source import NOTHING, Source, check_requests


def nobody() -> None:
    raise AssertionError("nothing arrives by itself")


@pytest.mark.parametrize("requests", [["a", "b"], ("a", "b"), iter(["a", "b"]), (name for name in "ab")])
async def test_what_is_not_async_is_there_at_once(requests: Any) -> None:
    source = Source(requests, nobody)
    assert [source.pull(ask=True), source.pull(ask=True)] == ["a", "b"]
    assert not source.ended
    assert source.pull(ask=True) is NOTHING
    assert source.ended


async def test_a_length_is_known_where_there_is_one() -> None:
    assert Source(["a", "b"], nobody).total == 2
    assert Source(iter(["a", "b"]), nobody).total is None


async def test_nothing_is_pulled_unasked() -> None:
    pulled = []

    def requests() -> Iterator[int]:
        for number in range(9):
            pulled.append(number)
            yield number

    source = Source(requests(), nobody)
    assert source.pull(ask=False) is NOTHING
    assert pulled == []
    assert source.pull(ask=True) == 0
    assert pulled == [0]


async def test_an_iterator_that_fails_ends_with_its_failure() -> None:
    def requests() -> Iterator[str]:
        yield "a"
        raise LookupError("no more")

    source = Source(requests(), nobody)
    assert source.pull(ask=True) == "a"
    assert source.pull(ask=True) is NOTHING
    assert source.ended
    assert str(source.failure) == "no more"


async def test_an_async_iterator_tells_when_the_request_that_was_asked_for_has_come() -> None:
    arrivals = []
    pulled = []

    async def requests() -> AsyncIterator[str]:
        for name in "ab":
            pulled.append(name)
            yield name

    source = Source(requests(), lambda: arrivals.append(len(pulled)))
    await asyncio.sleep(0)
    assert source.pull(ask=False) is NOTHING
    assert pulled == []
    assert source.pull(ask=True) is NOTHING
    assert source.pull(ask=True) is NOTHING  # asking twice pulls one
    await turns_until(lambda: arrivals)
    for _ in range(5):
        await asyncio.sleep(0)
    assert pulled == ["a"]
    assert source.pull(ask=False) == "a"
    assert source.pull(ask=True) is NOTHING
    await turns_until(lambda: len(arrivals) == 2)
    assert source.pull(ask=False) == "b"
    assert source.pull(ask=True) is NOTHING
    await turns_until(lambda: len(arrivals) == 3)
    assert source.ended
    assert source.failure is None
    assert source.pull(ask=True) is NOTHING


async def test_asking_while_a_request_is_being_made_does_not_ask_for_another() -> None:
    made = asyncio.Event()
    pulled = []

    async def requests() -> AsyncIterator[str]:
        for name in "ab":
            await made.wait()
            pulled.append(name)
            yield name

    source = Source(requests(), lambda: None)
    source.pull(ask=True)
    await asyncio.sleep(0)
    source.pull(ask=True)  # the iterator is at work on the first
    made.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert pulled == ["a"]
    assert not source.ended
    assert source.pull(ask=True) == "a"
    source.pull(ask=True)
    await turns_until(lambda: len(pulled) == 2)
    assert not source.ended
    assert source.pull(ask=True) == "b"


async def test_an_async_iterator_that_fails_ends_with_its_failure() -> None:
    arrivals = []

    async def requests() -> AsyncIterator[str]:
        raise LookupError("no more")
        yield "never"

    source = Source(requests(), lambda: arrivals.append(1))
    source.pull(ask=True)
    await turns_until(lambda: arrivals)
    assert source.ended
    assert str(source.failure) == "no more"


async def test_cancelling_gives_up_the_request_that_is_being_made() -> None:
    given_up = []

    async def requests() -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(1)
            raise
        yield "never"

    source = Source(requests(), nobody)
    source.pull(ask=True)
    assert source.task is not None
    await asyncio.sleep(0)
    source.cancel()
    await asyncio.wait([source.task])
    assert given_up
    assert source.ended
    assert source.pull(ask=True) is NOTHING


@pytest.mark.parametrize("requests", [{"model": "gpt-5.4"}, "requests.jsonl", b"{}", 3, None])
def test_what_is_no_list_of_requests_is_refused(requests: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^requests: "):
        check_requests(requests)
