from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import warnings
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from support import virtual_clock
from support.loops import Run, on_each_loop, turns_until
from support.serving import KEY, serving

from cometstream import (
    BadRequestError,
    BatchProgress,
    BatchResult,
    CometSession,
    ConfigurationError,
    FanOut,
    InvalidRequestError,
    RateLimitError,
    RetryPolicy,
    StreamTruncatedError,
    StreamUnterminatedError,
    Timeouts,
    UsageError,
    fan_out,
)
from cometstream.batch.limits import Limits
from cometstream.request.providers import WARNED
from cometstream.testing import DONE, Reply, SimulatedServer, chunk, frame
from cometstream.testing.server import RecordedRequest

MODEL = "gpt-5.4"


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jitter at its end: every wait is as long as it may be."""
    monkeypatch.setattr("random.random", lambda: 1.0)


def request(text: str, **params: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **params}


def requests(count: int) -> list[dict[str, Any]]:
    return [request(str(number)) for number in range(count)]


def asked(recorded: RecordedRequest) -> str:
    """What a request that the server has read asks."""
    return str(recorded.json["messages"][-1]["content"])


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def echo(recorded: RecordedRequest) -> Reply:
    return Reply.text(f"re: {asked(recorded)}", usage=USAGE)


def text(result: BatchResult) -> str | None:
    return None if result.completion is None else result.completion.content


async def collect(session: CometSession, rows: Any, **options: Any) -> list[BatchResult]:
    given: dict[str, Any] = {"model": MODEL, "pace": 0.0, "concurrency": 4, **options}
    async with fan_out(session, rows, **given) as batch:
        return [result async for result in batch]


async def anext_of(batch: FanOut) -> BatchResult:
    return await anext(batch)


def failing(times: int, reply: Reply) -> Callable[[RecordedRequest], Reply]:
    """Answer each question so many times with `reply`, and then properly."""
    seen: Counter[str] = Counter()

    def answer(recorded: RecordedRequest) -> Reply:
        seen[asked(recorded)] += 1
        return reply if seen[asked(recorded)] <= times else echo(recorded)

    return answer


def test_a_timer_need_not_tell_when_it_is_due() -> None:
    class Loop(asyncio.SelectorEventLoop):
        """As uvloop: what is due soon gets a handle that does not know when; here that is more than half a millisecond."""

        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
            if when - self.time() < 0.1:
                return self.call_soon(callback, *args, context=context)
            return super().call_at(when, callback, *args, context=context)

    async def main() -> None:
        async with serving() as (server, session):
            server.always(failing(1, Reply.error(503)))
            results = await collect(session, requests(50), concurrency=50, retry=RetryPolicy(initial_delay=0.01))
        assert {result.attempts for result in results} == {2}

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@on_each_loop
def test_every_row_comes_back_once_with_its_own_answer(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(echo)
            results = await collect(session, requests(50))
            assert sorted(result.index for result in results) == list(range(50))
            for result in results:
                assert result.request == request(str(result.index))
                assert text(result) == f"re: {result.index}"
                assert (result.outcome, result.error, result.attempts) == ("complete", None, 1)
                assert result.metrics is not None
                assert result.metrics.usage is not None
            assert len(server.requests) == 50

    run(main())


async def test_a_row_has_the_defaults_and_its_own_parameters_before_them() -> None:
    async with serving() as (server, session):
        rows = [
            request("plain"),
            request("own", model="gpt-4.1", temperature=0.5, custom_id="row-7"),
            request("extra", extra_body={"top_k": 3}, stream=False, max_completion_tokens=None),
        ]
        results = await collect(session, rows, temperature=1.0, max_completion_tokens=9)
        bodies = {asked(recorded): recorded.json for recorded in server.requests}
    assert {result.custom_id for result in results} == {None, "row-7"}
    assert bodies["plain"]["temperature"] == 1.0
    assert bodies["own"]["model"] == "gpt-4.1"
    assert bodies["own"]["temperature"] == 0.5
    assert bodies["own"]["max_completion_tokens"] == 9
    assert "custom_id" not in bodies["own"]
    assert bodies["extra"]["top_k"] == 3
    assert bodies["extra"]["stream"] is True
    assert "max_completion_tokens" not in bodies["extra"]


def test_results_come_in_the_order_of_their_ends_or_of_the_requests() -> None:
    async def indexes(*, ordered: bool) -> list[int]:
        async with serving() as (server, session):
            server.always(lambda recorded: echo(recorded).after(9.0 - int(asked(recorded))))
            return [result.index for result in await collect(session, requests(4), ordered=ordered)]

    assert virtual_clock.run(indexes(ordered=False)) == [3, 2, 1, 0]
    assert virtual_clock.run(indexes(ordered=True)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (5, "request: is of type int"),
        (["messages"], "request: is of type list"),
        ({}, "messages: is null"),
        (request("a", temperature=9), "temperature: is 9"),
        (request("a", temprature=1), "temprature"),
        (request("a", custom_id=7), "custom_id: is of type int"),
        (request("a", pace=0.1), "pace: is not a wire parameter"),
        (request("a", retry=1), "retry: is not a wire parameter"),
        ({**request("a"), 3: 4}, "3: is not a wire parameter"),
        (request("a", extra_body=[1]), "extra_body"),
    ],
)
async def test_a_bad_request_is_told_of_and_ends_nothing(bad: Any, problem: str) -> None:
    async with serving() as (server, session):
        server.always(echo)
        results = await collect(session, [request("0"), bad, request("2")], ordered=True)
        assert [result.outcome for result in results] == ["complete", "error", "complete"]
        assert isinstance(results[1].error, InvalidRequestError)
        assert problem in str(results[1].error)
        assert results[1].attempts == 0
        assert results[1].request is bad
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply.text("Hello").cut(200),
        Reply.text("Hello").reset(200),
        Reply.text("Hello").stall(200),
        Reply.sse(chunk({"content": "Hello"}), b"data: {half\n\n"),
        Reply.sse(chunk({"content": "Hello"}), frame({"error": {"code": 502, "message": "gone"}})),
        Reply.sse(DONE),
        Reply.error(503),
        Reply.error(429, retry_after=1),
        Reply.raw(b""),
    ],
    ids=["cut", "reset", "stalled", "malformed", "error frame", "empty", "503", "429", "no answer"],
)
def test_an_answer_that_broke_off_is_asked_for_again_whole(reply: Reply) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(failing(2, reply))
            results = await collect(session, requests(3), timeouts=Timeouts(content_idle=20, first_content=20))
            assert {result.index: text(result) for result in results} == {n: f"re: {n}" for n in range(3)}
            assert [result.attempts for result in results] == [3, 3, 3]
            assert all(result.error is None for result in results)

    virtual_clock.run(main())


def test_an_answer_without_a_finish_reason_is_asked_for_once_more_and_then_kept() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply.text("no end", finish_reason=None))
            (result,) = await collect(session, requests(1))
            assert result.outcome == "unterminated"
            assert isinstance(result.error, StreamUnterminatedError)
            assert text(result) == "no end"
            assert result.attempts == len(server.requests) == 2

    virtual_clock.run(main())


def test_what_another_attempt_does_not_mend_comes_back_at_once() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.script(Reply.error(400))
            (result,) = await collect(session, requests(1))
            assert isinstance(result.error, BadRequestError)
            assert (result.outcome, result.completion, result.attempts) == ("error", None, 1)

    virtual_clock.run(main())


@pytest.mark.parametrize(("retry", "attempts"), [(None, 1), (0, 1), (3, 4), (RetryPolicy(max_retries=1), 2)])
def test_retries_are_bounded_and_the_last_partial_answer_is_kept(retry: Any, attempts: int) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply.text("Hello", finish_reason=None, done=False).cut())
            async with fan_out(session, requests(1), model=MODEL, retry=retry) as batch:
                (result,) = [result async for result in batch]
                assert batch.progress.retries == attempts - 1
            assert result.outcome == "truncated"
            assert isinstance(result.error, StreamTruncatedError)
            assert text(result) == "Hello"
            assert result.attempts == len(server.requests) == attempts

    virtual_clock.run(main())


async def flapping(up: float, down: float, **options: Any) -> Counter[str]:
    """How rows end with a gateway that is there for so many seconds, and then answers 502 for so many."""
    loop = asyncio.get_running_loop()
    async with serving() as (server, session):
        down_from = loop.time() + up

        def answer(recorded: RecordedRequest) -> Reply:
            return Reply.error(502) if down_from <= loop.time() < down_from + down else echo(recorded).after(1.0)

        server.always(answer)
        return Counter(result.outcome for result in await collect(session, requests(40), **options))


@pytest.mark.parametrize(
    ("up", "down", "options", "all_whole"),
    [
        (3, 300, {}, True),  # five minutes
        (0, 50, {}, True),  # from the beginning
        (3, 1500, {}, False),  # for good, as far as anybody can tell
        (0, 900, {}, False),  # never there: the address may be wrong
        (3, 300, {"retry": 5}, False),  # who gives a number gets that number
    ],
)
def test_a_batch_outlasts_a_gateway_that_is_down_for_minutes(
    up: float, down: float, options: dict[str, Any], all_whole: bool
) -> None:
    outcomes = virtual_clock.run(flapping(up, down, **options))
    assert sum(outcomes.values()) == 40
    assert (outcomes["complete"] == 40) is all_whole


def test_a_row_that_waits_for_its_next_attempt_holds_no_place() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(lambda recorded: Reply.error(502) if asked(recorded) == "0" else echo(recorded))
            results = await collect(session, requests(5), concurrency=1, retry=RetryPolicy(2, initial_delay=30))
            assert [result.index for result in results] == [1, 2, 3, 4, 0]

    virtual_clock.run(main())


def test_a_refused_row_waits_as_asked_and_no_other_row_does() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        moments: dict[str, list[float]] = {"gpt-5.4": [], "gpt-4.1": []}
        async with serving() as (server, session):

            def answer(recorded: RecordedRequest) -> Reply:
                of_model = moments[recorded.json["model"]]
                of_model.append(loop.time() - began)
                if recorded.json["model"] == MODEL and len(of_model) == 1:
                    return Reply.error(429, retry_after=30)
                return echo(recorded)

            server.always(answer)
            rows = [request(str(n), model=("gpt-5.4", "gpt-4.1")[n % 2]) for n in range(20)]
            results = await collect(session, rows, concurrency=1)
        assert all(result.outcome == "complete" for result in results)
        assert moments["gpt-5.4"][0] < 1
        assert max(moments["gpt-5.4"][:-1]) < 5
        assert moments["gpt-5.4"][-1] >= 30
        assert max(moments["gpt-4.1"]) < 5

    virtual_clock.run(main())


async def test_nothing_is_pulled_that_cannot_be_started() -> None:
    pulled = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield request(str(number))

    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(lambda recorded: echo(recorded).after(hold))
        async with fan_out(session, endless(), model=MODEL, concurrency=3) as batch:
            await turns_until(lambda: len(server.requests) == 3)
            assert pulled == 3
            hold.set()
            for _ in range(10):
                await anext(batch)
        assert pulled <= 10 + 2 * 3


async def test_a_slow_reader_holds_the_requests_back() -> None:
    pulled = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield request(str(number)) if number % 2 else {"bad": number}

    async with serving() as (server, session):
        server.always(echo)
        async with fan_out(session, endless(), model=MODEL, concurrency=3, pace=0.0) as batch:
            for read in range(1, 30):
                await anext(batch)
                for _ in range(50):
                    await asyncio.sleep(0)
                assert pulled <= read + 2 * 3 + 1


def test_a_first_row_that_takes_long_bounds_what_is_done_before_its_turn() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            hold = asyncio.Event()
            server.always(lambda recorded: echo(recorded).after(hold) if asked(recorded) == "0" else echo(recorded))
            async with fan_out(session, requests(2000), model=MODEL, concurrency=10, ordered=True, pace=0.0) as batch:
                first = asyncio.ensure_future(anext(batch))
                await asyncio.sleep(60)
                assert 10 < batch.progress.done < 400
                hold.set()
                assert (await first).index == 0
                assert [result.index async for result in batch] == list(range(1, 2000))

    virtual_clock.run(main())


async def test_requests_may_come_one_by_one_and_late() -> None:
    arrivals: asyncio.Queue[int | None] = asyncio.Queue()

    async def rows() -> AsyncIterator[dict[str, Any]]:
        while (number := await arrivals.get()) is not None:
            yield request(str(number))

    async with serving() as (server, session):
        server.always(echo)
        async with fan_out(session, rows(), model=MODEL, pace=0.0) as batch:
            for number in range(3):
                arrivals.put_nowait(number)
                assert text(await anext(batch)) == f"re: {number}"
            arrivals.put_nowait(None)
            assert [result async for result in batch] == []


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_what_the_iterator_raises_comes_after_the_rows_that_it_gave(kind: str) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from requests(6)
        raise LookupError("the file broke off")

    async def async_rows() -> AsyncIterator[dict[str, Any]]:
        for row in rows():
            yield row

    async with serving() as (server, session):
        server.always(echo)
        batch = fan_out(session, rows() if kind == "sync" else async_rows(), model=MODEL, pace=0.0)
        assert sorted([(await anext(batch)).index for _ in range(6)]) == list(range(6))
        with pytest.raises(LookupError, match="broke off"):
            await anext(batch)


@on_each_loop
def test_leaving_the_block_ends_every_request(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply.sse(chunk({"content": "a"})).stall())
            server.script(Reply.text("the first"))
            async with fan_out(session, requests(9), model=MODEL, concurrency=3) as batch:
                async for result in batch:
                    assert text(result) == "the first"
                    break
            await left_by_their_client(server.requests[1:])
            assert batch.progress.running == 0

    run(main())


async def test_closing_it_from_another_task_ends_the_reader_quietly() -> None:
    async with serving() as (server, session):
        server.always(Reply.sse(chunk({"content": "a"})).stall())
        async with fan_out(session, requests(9), model=MODEL, concurrency=3) as batch:
            reader = asyncio.ensure_future(collect_rest(batch))
            await turns_until(lambda: len(server.requests) == 3)
            await batch.aclose()
            assert await reader == []
            await batch.aclose()
            assert [result async for result in batch] == []
        await asyncio.wait_for(server.until_unconnected(), 5)


async def left_by_their_client(recorded: list[RecordedRequest]) -> None:
    assert recorded
    await asyncio.wait_for(asyncio.gather(*[one.disconnected.wait() for one in recorded]), 5)


async def collect_rest(batch: AsyncIterator[BatchResult]) -> list[BatchResult]:
    return [result async for result in batch]


async def test_closing_the_session_ends_the_batch_and_tells_its_reader() -> None:
    async with serving() as (server, session):
        server.always(Reply.sse(chunk({"content": "a"})).stall())
        server.script(Reply.text("the first"))
        batch = fan_out(session, requests(9), model=MODEL, concurrency=1)
        reader = asyncio.ensure_future(collect_rest(batch))
        await turns_until(lambda: len(server.requests) == 2)
        await session.aclose()
        with pytest.raises(UsageError, match="session of this batch is closed"):
            await reader
        await asyncio.wait_for(server.until_unconnected(), 5)


async def test_rows_that_were_done_before_their_turn_are_told_when_the_session_is_closed() -> None:
    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(lambda recorded: echo(recorded).after(hold) if asked(recorded) == "0" else echo(recorded))
        async with fan_out(session, requests(4), model=MODEL, ordered=True, pace=0.0) as batch:
            await turns_until(lambda: batch.progress.done == 3)
            await session.aclose()
            assert [(await anext(batch)).index for _ in range(3)] == [1, 2, 3]
            with pytest.raises(UsageError):
                await anext(batch)


async def test_closing_the_callers_own_client_ends_the_batch_and_tells_its_reader() -> None:
    async with SimulatedServer(api_key=KEY) as server:
        client = aiohttp.ClientSession()
        async with CometSession(api_key=KEY, base_url=server.base_url, client=client) as session:
            hold = asyncio.Event()
            server.always(echo_after(hold))
            server.script(echo)
            batch = fan_out(session, requests(100), model=MODEL, concurrency=1, pace=0.0)
            assert text(await anext(batch)) == "re: 0"
            await turns_until(lambda: len(server.requests) == 2)
            await client.close()
            with pytest.raises(UsageError):
                await anext(batch)


def test_closing_the_session_ends_a_batch_that_only_waits() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving() as (server, session):
            server.always(Reply.error(429, retry_after=50))
            batch = fan_out(session, requests(1), model=MODEL)
            reader = asyncio.ensure_future(collect_rest(batch))
            await asyncio.sleep(5)
            began = loop.time()
            await session.aclose()
            with pytest.raises(UsageError):
                await reader
            assert loop.time() - began < 1

    virtual_clock.run(main())


async def test_a_closed_session_starts_no_batch() -> None:
    async with serving() as (_, session):
        batch = fan_out(session, requests(1), model=MODEL)
        await session.aclose()
        with pytest.raises(UsageError):
            await anext(batch)
        with pytest.raises(UsageError):
            fan_out(session, requests(1), model=MODEL)


def test_draining_lets_end_what_runs_and_gives_back_what_waits() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            hold = asyncio.Event()

            def answer(recorded: RecordedRequest) -> Reply:
                return Reply.error(502) if asked(recorded) == "0" else echo(recorded).after(hold)

            server.always(answer)
            results = []
            async with fan_out(session, requests(9), model=MODEL, concurrency=3, retry=RetryPolicy(1, 30)) as batch:
                reader = asyncio.ensure_future(collect_rest(batch))
                await asyncio.sleep(1)  # the first waits for its second attempt, three are on their way
                batch.drain()
                batch.drain()
                hold.set()
                results = await reader
            assert {result.index: result.outcome for result in results} == {
                0: "cancelled",
                1: "complete",
                2: "complete",
                3: "complete",
            }
            (waited,) = [result for result in results if result.index == 0]
            assert waited.error is not None
            assert waited.attempts == 1
            assert batch.progress.failed == 0

    virtual_clock.run(main())


async def test_a_row_that_would_be_sent_again_is_given_back_while_draining() -> None:
    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(Reply.error(502).after(hold))
        async with fan_out(session, requests(9), model=MODEL, concurrency=2) as batch:
            await turns_until(lambda: len(server.requests) == 2)
            batch.drain()
            hold.set()
            assert [result.outcome for result in await collect_rest(batch)] == ["cancelled"] * 2


async def test_draining_before_the_first_row_ends_it() -> None:
    async with serving() as (server, session):
        batch = fan_out(session, requests(3), model=MODEL)
        batch.drain()
        assert await collect_rest(batch) == []
        assert server.requests == []


async def test_a_request_that_arrives_after_draining_is_given_back() -> None:
    wanted = asyncio.Event()

    async def rows() -> AsyncIterator[dict[str, Any]]:
        await wanted.wait()
        yield request("late")

    async with serving() as (server, session):
        server.always(echo)
        hold = asyncio.Event()
        server.script(echo_after(hold))

        async def both() -> AsyncIterator[dict[str, Any]]:
            yield request("early")
            async for row in rows():
                yield row

        async with fan_out(session, both(), model=MODEL, pace=0.0) as batch:
            await turns_until(lambda: len(server.requests) == 1)
            batch.drain()
            wanted.set()
            for _ in range(20):
                await asyncio.sleep(0)
            hold.set()
            assert [result.outcome for result in await collect_rest(batch)] == ["cancelled", "complete"]
        assert len(server.requests) == 1


def echo_after(event: asyncio.Event) -> Callable[[RecordedRequest], Reply]:
    return lambda recorded: echo(recorded).after(event)


async def test_no_row_starts_once_the_tokens_are_used_up() -> None:
    async with serving() as (server, session):
        server.always(echo)
        async with fan_out(session, requests(100), model=MODEL, concurrency=1, pace=0.0, max_tokens_total=95) as batch:
            results = await collect_rest(batch)
        assert [result.outcome for result in results] == ["complete"] * 10
        assert len(server.requests) == 10


async def test_what_is_expected_of_rows_on_their_way_counts_as_used() -> None:
    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(echo_after(hold))
        async with fan_out(
            session, requests(100), model=MODEL, concurrency=50, max_tokens_total=500, max_completion_tokens=200
        ) as batch:
            reader = asyncio.ensure_future(collect_rest(batch))
            await turns_until(lambda: len(server.requests) > 1)
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(server.requests) < 10
            hold.set()
            # They took less, so that others could start after all.
            assert 40 < len(await reader) < 60


def test_rows_that_wait_when_the_tokens_are_used_up_are_given_back() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(lambda recorded: Reply.error(502) if asked(recorded) == "0" else echo(recorded))
            results = await collect(session, requests(9), concurrency=1, max_tokens_total=15, retry=RetryPolicy(1, 30))
            assert {result.index: result.outcome for result in results} == {
                0: "cancelled",
                1: "complete",
                2: "complete",
            }

    virtual_clock.run(main())


@pytest.mark.parametrize("concurrency", [1, 7])
def test_once_the_money_is_spent_only_what_is_under_way_ends(concurrency: int) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(lambda recorded: echo(recorded).after(1.0))  # 7 tokens of input and 3 of output
            async with fan_out(
                session,
                requests(100),
                model=MODEL,
                concurrency=concurrency,
                pace=0.0,
                price=(1_000_000, 10_000_000),
                max_cost=37 * 10,
            ) as batch:
                results = await collect_rest(batch)
            assert {result.outcome for result in results} <= {"complete", "cancelled"}
            cost = batch.progress.cost
            assert cost is not None
            assert 370 <= cost <= 370 + 37 * (concurrency - 1)
            assert len(server.requests) == cost / 37

    virtual_clock.run(main())


def test_an_answer_without_usage_costs_what_the_others_cost() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.script(Reply.text("ok", usage=USAGE))
            server.always(Reply.text("ok", usage=None))
            async with fan_out(
                session, requests(100), model=MODEL, concurrency=1, pace=0.0, price=(1_000_000, 0), max_cost=70
            ) as batch:
                await collect_rest(batch)
            assert 2 < len(server.requests) < 30
            assert batch.progress.cost == USAGE["prompt_tokens"]

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("price", "reply"), [(None, Reply.text("ok", usage=USAGE)), ((1, 2), Reply.text("ok", usage=None))]
)
def test_a_cost_that_is_not_known_cannot_be_limited(price: Any, reply: Reply) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(reply.after(1.0))
            batch = fan_out(session, requests(100), model=MODEL, concurrency=3, pace=0.0, price=price, max_cost=1)
            with pytest.raises(ConfigurationError, match=r"max_cost: the cost of 'gpt-5\.4' is not known"):
                await collect_rest(batch)
            assert (batch.progress.done, batch.progress.failed) == (3, 0)
            assert len(server.requests) == 3

    virtual_clock.run(main())


@pytest.mark.parametrize("cap", [{"rpm": 60}, {"tpm": 60 * 10}])
def test_batches_of_one_session_share_a_cap(cap: dict[str, float]) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(echo)
            began = asyncio.get_running_loop().time()

            async def some() -> None:
                assert len(await collect(session, requests(20), max_completion_tokens=1, concurrency=5, **cap)) == 20

            await asyncio.gather(some(), some(), some())
            took = asyncio.get_running_loop().time() - began
            assert len(server.requests) == 60
            assert took >= 55

    virtual_clock.run(main())


async def test_progress_tells_what_came_and_what_it_cost() -> None:
    seen: list[BatchProgress] = []
    async with serving() as (server, session):
        server.always(echo)
        await collect(session, [*requests(5), {"bad": 1}], on_progress=seen.append, price=(1_000_000, 10_000_000))
    assert len(seen) == 6
    last = seen[-1]
    assert (last.done, last.failed, last.running, last.waiting, last.total) == (5, 1, 0, 0, 6)
    assert (last.prompt_tokens, last.completion_tokens) == (35, 15)
    assert last.cost == 35 + 150
    assert last.concurrency == 4
    assert last.elapsed >= 0


def test_how_many_ran_at_a_time_can_be_read() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(lambda recorded: echo(recorded).after(5.0))
            async with fan_out(session, requests(100), model=MODEL, pace=0.0) as batch:
                await collect_rest(batch)
            assert batch.history[0].concurrency == 16
            assert batch.history[-1].concurrency == batch.progress.concurrency > 16
            assert batch.history[-1].reason == batch.progress.concurrency_reason == "growing"

    virtual_clock.run(main())


async def test_answers_that_broke_off_and_reports_of_nonsense_count_as_what_was_expected() -> None:
    async with serving() as (server, session):
        nonsense = {"prompt_tokens": -7, "completion_tokens": 10**18, "total_tokens": 1.7e308, "cost": 1e308}
        server.always(Reply.text("Hello", usage=nonsense))
        async with fan_out(
            session, requests(100), model=MODEL, concurrency=1, pace=0.0, tpm=10**9, max_tokens_total=2600
        ) as batch:
            results = await collect_rest(batch)
        assert len(results) < 10
        assert (batch.progress.prompt_tokens, batch.progress.completion_tokens, batch.progress.cost) == (0, 0, None)
        server.always(Reply.text("Hello", finish_reason=None, done=False).cut())
        results = await collect(session, requests(100), concurrency=1, retry=None, max_tokens_total=2600)
        assert len(results) < 10


async def test_a_report_without_a_total_corrects_the_cap_on_tokens() -> None:
    async with serving() as (server, session):
        server.always(Reply.text("Hello", usage={"prompt_tokens": 900, "completion_tokens": 100}))
        batch = fan_out(session, requests(3), model=MODEL, concurrency=1, pace=0.0, tpm=600, max_completion_tokens=1)
        await anext(batch)
        await asyncio.sleep(0.05)
        assert batch.progress.waiting == 1  # for the debt of the first, over a minute
        await batch.aclose()
        assert batch.progress.waiting == 0


async def test_an_error_in_on_progress_is_told_though_a_bad_row_was_the_last() -> None:
    def complain(progress: BatchProgress) -> None:
        raise LookupError("not today")

    async with serving() as (_, session):
        batch = fan_out(session, [{"bad": 1}, *requests(5)], model=MODEL, on_progress=complain)
        assert (await anext(batch)).outcome == "error"
        with pytest.raises(LookupError, match="not today"):
            await anext(batch)


async def test_an_error_in_on_progress_ends_the_batch() -> None:
    def complain(progress: BatchProgress) -> None:
        raise LookupError("not today")

    async with serving() as (server, session):
        server.always(echo)
        batch = fan_out(session, requests(9), model=MODEL, concurrency=1, pace=0.0, on_progress=complain)
        assert text(await anext(batch)) == "re: 0"
        with pytest.raises(LookupError, match="not today"):
            await anext(batch)
        await asyncio.sleep(0)
        assert batch.progress.running == 0


async def test_a_batch_that_is_dropped_is_ended_and_warns() -> None:
    async with serving() as (server, session):
        server.always(Reply.sse(chunk({"content": "a"})).stall())
        server.script(Reply.text("the first"))
        with pytest.warns(ResourceWarning, match="dropped before its end"):  # noqa: PT031 - dropped when the loop is left
            async for _ in fan_out(session, requests(9), model=MODEL, concurrency=2):
                break
            gc.collect()
        await left_by_their_client(server.requests[1:])


async def test_a_batch_that_was_read_to_its_end_needs_no_block() -> None:
    async with serving() as (server, session):
        server.always(echo)
        results = [result async for result in fan_out(session, requests(3), model=MODEL)]
        gc.collect()
        assert len(results) == 3


async def test_a_batch_that_is_dropped_is_ended_though_its_warning_is_an_error() -> None:
    async with serving() as (server, session):
        server.always(Reply.sse(chunk({"content": "a"})).stall())
        server.script(Reply.text("the first"))
        unraisable: list[Any] = []
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("error")
            patch.setattr(sys, "unraisablehook", unraisable.append)
            async for _ in fan_out(session, requests(9), model=MODEL, concurrency=2):
                break
            gc.collect()
        assert unraisable
        await left_by_their_client(server.requests[1:])


async def test_a_batch_is_entered_once() -> None:
    async with serving() as (server, session):
        server.always(echo)
        batch = fan_out(session, requests(1), model=MODEL, pace=0.0)
        async with batch:
            await collect_rest(batch)
        with pytest.raises(UsageError, match="has ended"):
            async with batch:
                pass


def test_a_batch_without_an_event_loop_says_what_it_needs() -> None:
    session = CometSession(api_key=KEY)
    with pytest.raises(UsageError, match="event loop"):
        _ = fan_out(session, []).progress


async def test_two_readers_are_one_too_many() -> None:
    async with serving() as (server, session):
        server.always(Reply.text("a").after(asyncio.Event()))
        async with fan_out(session, requests(1), model=MODEL) as batch:
            reader = asyncio.ensure_future(collect_rest(batch))
            await turns_until(lambda: server.requests)
            with pytest.raises(UsageError, match="one reader"):
                await anext(batch)
            await batch.aclose()
            await reader


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(echo_after(hold))
        async with fan_out(session, requests(3), model=MODEL, pace=0.0) as batch:
            reader = asyncio.ensure_future(anext(batch))
            await turns_until(lambda: len(server.requests) == 3)
            reader.cancel()
            hold.set()
            assert sorted(result.index for result in await collect_rest(batch)) == [0, 1, 2]
            assert reader.cancelled()


async def test_a_row_whose_task_somebody_cancels_is_given_back() -> None:
    async with serving() as (server, session):
        hold = asyncio.Event()
        server.always(echo_after(hold))
        before = asyncio.all_tasks()
        async with fan_out(session, requests(1), model=MODEL, pace=0.0) as batch:
            (task,) = asyncio.all_tasks() - before
            await turns_until(lambda: server.requests)
            task.cancel()
            (result,) = await collect_rest(batch)
            assert result.outcome == "cancelled"
            assert result.attempts == 1


async def test_an_iterator_that_is_cancelled_from_within_ends_the_batch_and_tells_its_reader() -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        yield request("0")
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    async with serving() as (server, session):
        server.always(echo)
        batch = fan_out(session, rows(), model=MODEL, pace=0.0)
        assert text(await anext(batch)) == "re: 0"
        with pytest.raises(UsageError, match="iterator of the requests was cancelled"):
            await anext(batch)


async def test_an_iterator_that_makes_a_request_while_draining_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def rows() -> AsyncIterator[dict[str, Any]]:
        yield request("0")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving() as (server, session):
        server.always(echo)
        batch = fan_out(session, rows(), model=MODEL, pace=0.0)
        await anext(batch)
        batch.drain()
        assert await collect_rest(batch) == []
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_the_error_of_a_row_keeps_nothing_alive_but_itself() -> None:
    async with serving() as (server, session):
        server.always(Reply.error(400))
        (result,) = await collect(session, requests(1))
        assert result.error is not None
        assert result.error.__traceback__ is None


async def test_rows_that_were_told_of_are_gone_though_none_was_sent() -> None:
    gc.disable()  # what only it would find is kept for as long as it does not run
    try:
        async with serving() as (_, session):
            seen: list[weakref.ref[BatchResult]] = []
            result = None
            async for result in fan_out(session, ({"bad": n} for n in range(500)), model=MODEL):
                seen.append(weakref.ref(result))
            del result
            assert len(seen) == 500
            assert not any(reference() is not None for reference in seen)
    finally:
        gc.enable()


async def test_rows_that_were_sent_and_told_of_are_gone() -> None:
    gc.disable()
    try:
        async with serving() as (server, session):
            server.always(lambda recorded: echo(recorded) if int(asked(recorded)) % 2 else Reply.error(400))
            seen: list[weakref.ref[BatchResult]] = []
            result = None
            async for result in fan_out(session, requests(50), model=MODEL):
                seen.append(weakref.ref(result))
            del result
            assert len(seen) == 50
            assert sum(reference() is not None for reference in seen) <= 1
    finally:
        gc.enable()


async def test_a_reader_who_never_has_to_wait_keeps_nobody_else_from_running() -> None:
    async with serving() as (_, session):
        batch = fan_out(session, ({"bad": n} for n in itertools.count()), model=MODEL)
        closing = asyncio.create_task(batch.aclose())
        async for _result in batch:
            pass
        await closing


async def test_the_model_that_extra_body_names_is_the_one_whose_price_holds() -> None:
    async with serving() as (server, session):
        server.always(echo)
        rows = [request("0", extra_body={"model": "gpt-4.1"})]
        async with fan_out(session, rows, model=MODEL, price={"gpt-4.1": (1_000_000, 0)}) as batch:
            await collect_rest(batch)
            assert batch.progress.cost == 7


async def test_what_a_call_may_set_for_its_answer_holds_for_every_row() -> None:
    async with serving() as (server, session):
        server.always(Reply.text("<think>Halley?</think>", "It is Encke."))
        for result in await collect(session, requests(2), split_think=True):
            assert result.completion is not None
            assert (result.completion.reasoning, result.completion.content) == ("Halley?", "It is Encke.")
        server.always(Reply.text("x" * 2000))
        (result,) = await collect(session, requests(1), max_event_size=1024, retry=None)
        assert "max_event_size" in str(result.error)
        (result,) = await collect(session, [request("0", split_think=True)])
        assert "split_think: is not a wire parameter" in str(result.error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"rpm": 0}, "rpm"),
        ({"tpm": -1}, "tpm"),
        ({"pace": -1}, "pace"),
        ({"retry": "twice"}, "retry"),
        ({"timeouts": 5}, "timeouts"),
        ({"max_tokens_total": 0}, "max_tokens_total"),
        ({"max_cost": 0}, "max_cost"),
        ({"max_cost": float("nan")}, "max_cost"),
        ({"max_cost": "1"}, "max_cost"),
        ({"price": 3}, "price"),
        ({"on_progress": 5}, "on_progress"),
        ({"on_progress": anext_of}, "on_progress"),
        ({"split_think": 1}, "split_think"),
        ({"max_event_size": 5}, "max_event_size"),
        ({"headers": {"a": "b"}}, "headers"),
        ({"fallback_models": ["gpt-4.1"]}, "fallback_models"),
    ],
)
async def test_an_option_that_cannot_be_used_is_told_at_once(options: dict[str, Any], said: str) -> None:
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError, match=f"^{said}(: | must be )"):
            fan_out(session, [], **options)


async def test_a_default_that_breaks_the_specification_is_told_at_once() -> None:
    async with serving() as (_, session):
        with pytest.raises(InvalidRequestError, match="temperature"):
            fan_out(session, [], temperature=9)


async def test_what_is_no_list_of_requests_is_told_at_once() -> None:
    async with serving() as (_, session):
        with pytest.raises(ConfigurationError, match=r"^requests: "):
            fan_out(session, request("one"))  # type: ignore[arg-type] # that it is refused is the test


async def test_the_key_stands_in_no_error_of_a_row() -> None:
    async with serving() as (server, session):
        server.always(Reply.error(401, message=f"no such key: {KEY}"))
        (result,) = await collect(session, requests(1))
        assert result.error is not None
        assert KEY not in repr(result)


async def test_a_refusal_past_the_longest_wait_that_is_obeyed_comes_back() -> None:
    async with serving() as (server, session):
        server.always(Reply.error(429, retry_after=4000))
        (result,) = await collect(session, requests(1))
        assert isinstance(result.error, RateLimitError)
        assert result.attempts == 1


class Lazy(Mapping[str, Any]):
    """A mapping that fails when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise LookupError("the file is gone")

    def __iter__(self) -> Iterator[str]:
        return iter(["messages"])

    def __len__(self) -> int:
        return 1


async def test_whatever_a_request_raises_is_its_own_affair() -> None:
    WARNED.clear()
    async with serving() as (server, session):
        server.always(echo)
        rows = [request("0"), request("1", max_tokens=5), Lazy(), request("3", self=1), request("4")]
        results = await collect(session, rows, ordered=True)
        assert [result.outcome for result in results] == ["complete", "error", "error", "error", "complete"]
        said = [str(result.error) for result in results]
        assert "ParameterWarning: max_tokens" in said[1]
        assert "the file is gone" in said[2]
        assert "self: is not a wire parameter" in said[3]


async def test_an_error_of_our_own_ends_the_batch_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Limits, "completed", broken)
    async with serving() as (server, session):
        server.always(echo)
        with pytest.raises(ZeroDivisionError):
            await collect(session, requests(3))


async def test_many_rows_start_in_several_turns_of_the_event_loop() -> None:
    pulled = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal pulled
        for row in requests(300):
            pulled += 1
            yield row

    async with serving() as (server, session):
        server.always(echo)
        async with fan_out(session, rows(), model=MODEL, concurrency=300, pace=0.0) as batch:
            assert 0 < pulled < 300
            assert len(await collect_rest(batch)) == 300


def test_a_batch_that_outlives_its_event_loop_tells_that_its_session_is_closed() -> None:
    async def main() -> FanOut:
        async with serving() as (server, session):
            server.always(Reply.text("a").after(asyncio.Event()))
            batch = fan_out(session, requests(3), model=MODEL, concurrency=2)
            reader = asyncio.ensure_future(anext(batch))
            await turns_until(lambda: len(server.requests) == 2)
            reader.cancel()
            return batch

    batch = asyncio.run(main())
    assert batch.progress.running == 0
    with pytest.raises(UsageError):
        asyncio.run(anext_of(batch))
