from __future__ import annotations

import asyncio
import math
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import virtual_clock
from support.loops import Run, on_each_loop, turns_until
from support.serving import serving

from cometstream import (
    BadRequestError,
    BatchProgress,
    BatchResult,
    CometError,
    CometSession,
    ConfigurationError,
    FanOut,
    Hedge,
    InternalServerError,
    Ledger,
    RateLimitError,
    fan_out,
)
from cometstream.batch.attempt import Attempt
from cometstream.batch.hedging import Hedging, checked_hedge
from cometstream.batch.ledger import Ask, LedgerStore, Verdict
from cometstream.batch.limits import Limits
from cometstream.batch.schedule import Row
from cometstream.testing import DONE, Reply, SimulatedServer, chunk, frame
from cometstream.testing.server import RecordedRequest

MODEL = "gpt-5.4"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
NEVER = 10_000.0


def requests(count: int, **params: Any) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": str(number)}], **params} for number in range(count)]


def asked(recorded: RecordedRequest) -> str:
    return str(recorded.json["messages"][-1]["content"])


def answering(*texts: str | float, finish_reason: str | None = "stop") -> Reply:
    return Reply.text(*texts, usage=USAGE, finish_reason=finish_reason)


def in_turn(*replies: Reply) -> Callable[[RecordedRequest], Reply]:
    """Answer the requests of each row with these replies, one after another, and the rest with the last."""
    seen: Counter[str] = Counter()

    def answer(recorded: RecordedRequest) -> Reply:
        seen[asked(recorded)] += 1
        return replies[min(seen[asked(recorded)], len(replies)) - 1]

    return answer


def sent(server: SimulatedServer) -> Counter[str]:
    return Counter(map(asked, server.requests))


async def run(session: CometSession, rows: Any, **options: Any) -> tuple[list[BatchResult], BatchProgress]:
    given: dict[str, Any] = {"model": MODEL, "pace": 0.0, "concurrency": 4, "hedge": Hedge(1.0, share=1.0), **options}
    async with fan_out(session, rows, **given) as batch:
        results = sorted([result async for result in batch], key=lambda result: result.index)
    return results, batch.progress


def hedged_row(*replies: Reply, **options: Any) -> tuple[BatchResult, BatchProgress, list[RecordedRequest]]:
    """Run one row whose requests are answered with these replies."""

    async def main() -> tuple[BatchResult, BatchProgress, list[RecordedRequest]]:
        async with serving() as (server, session):
            server.always(in_turn(*replies))
            (result,), progress = await run(session, requests(1), **options)
            assert progress.running == 0
            return result, progress, server.requests

    return virtual_clock.run(main())


def content(result: BatchResult) -> str | None:
    return None if result.completion is None else result.completion.content


# What a user sees


def test_the_tail_is_cut_and_few_requests_are_doubled() -> None:
    """3 % of the requests hang 20 times as long as the others take."""

    async def main(hedge: Hedge | None) -> tuple[list[BatchResult], BatchProgress, int]:
        async with serving() as (server, session):
            server.always(
                lambda recorded: answering("hi").after(
                    2.0 if int(asked(recorded)) % 33 == 5 and sent(server)[asked(recorded)] == 1 else 0.1
                )
            )
            results, progress = await run(session, requests(300), concurrency=50, hedge=hedge)
            return results, progress, len(server.requests)

    for hedge in (Hedge(0.3), Hedge("p95")):
        results, progress, count = virtual_clock.run(main(hedge))
        assert all(result.outcome == "complete" for result in results)
        assert [result.index for result in results] == list(range(300))
        assert progress.hedges_won == 9
        assert 9 <= progress.hedged <= 300 * 0.05
        assert count <= 300 + progress.hedged
        assert max(result.metrics.duration for result in results if result.metrics) < 0.5
        assert progress.elapsed < 1.5
        assert Counter(result.attempts for result in results) == {1: 300 - progress.hedged, 2: progress.hedged}
    _, progress, _ = virtual_clock.run(main(None))
    assert progress.elapsed > 2.0
    assert progress.hedged == 0


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_server_that_is_slow_for_all_gets_no_more_than_the_share(share: float) -> None:
    async def main() -> tuple[BatchProgress, int]:
        async with serving() as (server, session):
            server.always(answering("hi").after(5.0))
            _, progress = await run(session, requests(100), concurrency=40, hedge=Hedge(1.0, share=share))
            return progress, len(server.requests)

    progress, count = virtual_clock.run(main())
    assert 0 < progress.hedged <= 100 * share
    assert count == 100 + progress.hedged
    assert progress.done == 100


def test_content_that_comes_in_time_is_not_late_because_arrivals_may_gather() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            role = chunk({"role": "assistant", "content": ""})
            server.always(Reply.sse(role, 0.1, chunk({"content": "a"}), chunk(finish_reason="stop"), DONE))
            results, progress = await run(session, requests(40), pace=0.5, hedge=Hedge(0.2, share=1.0))
            assert progress.hedged == 0
            for result in results:
                assert result.metrics is not None
                assert result.metrics.time_to_first_content == pytest.approx(0.1, abs=0.05)

    virtual_clock.run(main())


def test_the_hedge_that_brings_content_first_wins_and_the_other_connection_is_closed_at_once() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(in_turn(answering(NEVER, "late"), answering("a", 5.0, "b")))
            async with fan_out(session, requests(1), model=MODEL, pace=0.0, hedge=Hedge(1.0, share=1.0)) as batch:
                reading = asyncio.ensure_future(anext_of(batch))
                await asyncio.sleep(2.0)
                first, second = server.requests
                assert first.disconnected.is_set()
                assert not second.finished.is_set()
                assert first.json == second.json
                assert batch.progress.running == 1
                result = await reading
            assert (content(result), result.outcome, result.error, result.attempts) == ("ab", "complete", None, 2)
            metrics = result.metrics
            assert metrics is not None
            assert (metrics.attempts, metrics.failures, metrics.error) == (2, (), None)
            assert metrics.usage is not None
            assert metrics.time_to_first_content == pytest.approx(1.0, abs=0.1), "counted from the first request"
            assert metrics.duration == pytest.approx(6.0, abs=0.1)
            assert (batch.progress.hedged, batch.progress.hedges_won, batch.progress.retries) == (1, 1, 0)
            assert (batch.progress.prompt_tokens, batch.progress.completion_tokens) == (7, 3)

    virtual_clock.run(main())


async def anext_of(batch: FanOut) -> BatchResult:
    return await anext(batch)


def test_the_first_request_that_brings_content_after_all_wins_over_its_hedge() -> None:
    result, progress, (first, second) = hedged_row(answering(1.5, "first", 3.0, "!"), answering(NEVER, "second"))
    assert (content(result), result.attempts) == ("first!", 2)
    assert (progress.hedged, progress.hedges_won) == (1, 0)
    assert second.disconnected.is_set()
    assert not first.disconnected.is_set()
    assert result.metrics is not None
    assert result.metrics.time_to_first_content == pytest.approx(1.5, abs=0.1)


def test_nothing_is_hedged_once_content_came() -> None:
    result, progress, recorded = hedged_row(answering(0.5, "a", 30.0, "b"))
    assert (content(result), progress.hedged, len(recorded)) == ("ab", 0, 1)


def test_a_hedge_has_no_hedge() -> None:
    _, progress, recorded = hedged_row(answering(30.0, "a"), answering(20.0, "b"))
    assert (progress.hedged, len(recorded)) == (1, 2)


@pytest.mark.parametrize("hedge", [1.0, 1, "p95"])
def test_seconds_or_a_percentile_stand_for_a_hedge(hedge: Any) -> None:
    assert checked_hedge(hedge) == Hedge(after=hedge)
    _, progress, recorded = hedged_row(answering(3.0, "a"), hedge=hedge)
    assert (progress.hedged, len(recorded)) == (0, 1), "one row brings no whole token"


def test_every_choice_and_tool_call_comes_from_the_same_answer() -> None:
    def choices(word: str, *waits: float) -> Reply:
        events: list[Any] = [*waits]
        for index in range(3):
            events += [chunk({"content": word}, index=index), 0.2]
        events += [chunk(index=index, finish_reason="stop") for index in range(3)]
        return Reply.sse(*events, DONE)

    result, _, _ = hedged_row(choices("first", NEVER), choices("second"), n=3)
    assert result.completion is not None
    assert [choice.message.content for choice in result.completion.choices] == ["second"] * 3

    call = ("look", {"for": "comets"})
    slow = Reply.tool_calls(("look", {"for": "moons"}))
    slow = Reply((NEVER, *slow.body), headers=slow.headers)
    result, _, _ = hedged_row(slow, Reply.tool_calls(call, usage=USAGE))
    assert result.completion is not None
    assert [one.function.arguments for one in result.completion.message.tool_calls or ()] == ['{"for":"comets"}']


# Failures


def failing(status: int, *, after: float, **headers: str) -> Reply:
    return Reply.error(status).with_headers({"Retry-After": "0", **headers}).after(after)


def test_if_the_hedge_fails_the_first_goes_on() -> None:
    result, progress, recorded = hedged_row(answering(5.0, "first"), failing(400, after=0.5))
    assert (content(result), result.outcome, result.attempts, len(recorded)) == ("first", "complete", 2, 2)
    assert result.metrics is not None
    assert result.metrics.error is None
    assert [(one.number, one.status, one.followed_by) for one in result.metrics.failures] == [(2, 400, "hedge")]
    assert (progress.hedged, progress.hedges_won, progress.retries, progress.failed) == (1, 0, 0, 0)


@pytest.mark.parametrize("retry", [None, 3])
def test_if_the_first_fails_in_a_way_that_proves_nothing_the_hedge_goes_on_alone(retry: Any) -> None:
    result, progress, recorded = hedged_row(failing(503, after=1.5), answering(9.0, "second"), retry=retry)
    assert (content(result), result.outcome, result.attempts, len(recorded)) == ("second", "complete", 2, 2)
    assert result.metrics is not None
    assert result.metrics.error is None
    assert [(one.number, one.status, one.followed_by) for one in result.metrics.failures] == [(1, 503, "hedge")]
    assert (progress.hedged, progress.hedges_won, progress.retries) == (1, 1, 0)


def test_if_the_first_is_refused_for_good_so_would_be_its_hedge() -> None:
    result, progress, (_, second) = hedged_row(failing(400, after=1.5), answering(NEVER, "second"))
    assert isinstance(result.error, BadRequestError)
    assert (result.outcome, result.attempts) == ("error", 2)
    assert second.disconnected.is_set()
    assert result.metrics is not None
    assert result.metrics.error is not None
    assert (progress.hedged, progress.hedges_won, progress.failed) == (1, 0, 1)


def test_if_both_fail_the_row_is_sent_again_once_and_as_late_as_either_asked() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            times: list[float] = []
            loop = asyncio.get_running_loop()
            replies = in_turn(
                failing(503, after=1.5, **{"Retry-After": "40"}), failing(500, after=4.0), answering("third")
            )

            def answer(recorded: RecordedRequest) -> Reply:
                times.append(loop.time())
                return replies(recorded)

            server.always(answer)
            (result,), progress = await run(session, requests(1))
            assert (content(result), result.attempts, progress.retries, progress.hedged) == ("third", 3, 1, 1)
            assert times[2] - times[0] >= 41.5
            assert result.metrics is not None
            told = [(one.number, one.status, one.followed_by) for one in result.metrics.failures]
            assert told == [(1, 503, "hedge"), (2, 500, "retry")]
            assert result.metrics.attempts == 3

    virtual_clock.run(main())


def test_the_last_failure_of_two_is_that_of_the_row() -> None:
    result, _, _ = hedged_row(failing(500, after=3.0), failing(502, after=0.5), retry=None)
    assert isinstance(result.error, InternalServerError)
    assert (result.error.status, result.attempts) == (500, 2)
    assert result.metrics is not None
    assert [(one.number, one.status, one.followed_by) for one in result.metrics.failures] == [
        (2, 502, "hedge"),
        (1, 500, "end"),
    ]
    assert result.metrics.error is not None


def test_an_answer_that_ends_without_content_is_one_that_failed() -> None:
    """What came of it before its end is handed over, and must not be taken for content."""
    empty = Reply.sse(chunk({"role": "assistant"}), 1.5, DONE)
    result, _, recorded = hedged_row(empty, answering(3.0, "second"))
    assert (content(result), result.outcome, len(recorded)) == ("second", "complete", 2)


def test_an_answer_with_a_finish_reason_and_no_content_ends_its_hedge() -> None:
    for rest in ((DONE,), (9.0, DONE)):
        empty = Reply.sse(1.5, chunk(finish_reason="stop"), *rest)
        result, progress, (_, second) = hedged_row(empty, answering(1.0, "second"))
        assert (content(result), result.outcome) == (None, "complete")
        assert second.disconnected.is_set()
        assert progress.hedges_won == 0


def test_an_answer_that_breaks_off_after_it_won_is_asked_for_again() -> None:
    result, progress, recorded = hedged_row(answering(NEVER, "x"), answering("second").cut(200), answering("third"))
    assert (content(result), result.outcome, result.attempts, len(recorded)) == ("third", "complete", 3, 3)
    assert (progress.hedged, progress.hedges_won, progress.retries) == (1, 0, 1)


def test_content_and_the_break_behind_it_may_come_at_once() -> None:
    """The other request is not closed yet when this one has failed: it must not be left alone with the row."""
    events = frame(chunk({"content": "first"})) + frame({"error": {"message": "overloaded", "code": 503}})
    broken = Reply((events,), headers=Reply.sse().headers).after(1.5)
    result, progress, recorded = hedged_row(broken, answering(NEVER, "x"), answering("third"))
    assert (content(result), result.outcome, result.attempts, len(recorded)) == ("third", "complete", 3, 3)
    assert (progress.hedged, progress.hedges_won, progress.retries) == (1, 0, 1)


@pytest.mark.parametrize("delay", [0.999, 1.0, 1.0001, 1.5])
def test_whichever_moment_both_bring_content_one_answer_is_read(delay: float) -> None:
    """Both arrive in the same turn of the event loop where the first takes 1.5 s and its hedge half a second."""
    result, progress, recorded = hedged_row(
        answering(delay, "first", 0.5, "!"), Reply.text(delay - 1.0 if delay > 1 else 0.0, "second", 0.5, "!")
    )
    assert content(result) in ("first!", "second!")
    assert result.outcome == "complete"
    assert result.attempts == 1 + progress.hedged
    assert len(recorded) <= result.attempts, "a hedge may be given up before it reaches the server"


def test_content_may_come_in_the_turn_in_which_the_hedge_is_due() -> None:
    """After some number of turns the content is in the socket, and the clock is moved to when the hedge is due."""

    async def main(turns: int) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_clock.VirtualClockLoop)
        async with serving() as (server, session):
            now = asyncio.Event()
            server.always(in_turn(Reply.text(now, "first", usage=USAGE), answering(NEVER, "x")))
            async with fan_out(session, requests(1), model=MODEL, pace=0.0, hedge=Hedge(1.0, share=1.0)) as batch:
                await asyncio.sleep(0.5)
                now.set()
                for _ in range(turns):
                    await asyncio.sleep(0)
                loop.jump(0.6)
                (result,) = [result async for result in batch]
            assert (content(result), result.outcome, result.error) == ("first", "complete", None)
            assert result.metrics is not None
            assert result.attempts == result.metrics.attempts == 1 + batch.progress.hedged
            assert len(server.requests) <= result.attempts
            return batch.progress.hedged

    assert {virtual_clock.run(main(turns)) for turns in range(20)} == {0, 1}


# Limits and caps


def test_a_hedge_waits_for_a_place_and_goes_before_rows_that_were_not_sent() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            order: list[str] = []

            def answer(recorded: RecordedRequest) -> Reply:
                order.append(asked(recorded))
                number = int(asked(recorded))
                return answering("hi").after(60.0 if number == 0 and order.count("0") == 1 else 3.0)

            server.always(answer)
            _, progress = await run(session, requests(4), concurrency=2)
            assert sorted(order[:2]) == ["0", "1"]
            assert order[2:] == ["0", "2", "3"]
            assert progress.hedged == 1
            assert progress.elapsed < 20

    virtual_clock.run(main())


def test_with_one_request_at_a_time_there_are_no_hedges() -> None:
    _, progress, recorded = hedged_row(answering(9.0, "a"), concurrency=1)
    assert (progress.hedged, len(recorded)) == (0, 1)


@pytest.mark.parametrize("limit", [{"rpm": 60}, {"tpm": 600}])
def test_hedges_take_from_the_caps_and_no_row_waits_for_them(limit: dict[str, float]) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            times: list[tuple[float, str]] = []
            loop = asyncio.get_running_loop()

            def answer(recorded: RecordedRequest) -> Reply:
                times.append((loop.time(), asked(recorded)))
                return answering(60.0 if sent(server)[asked(recorded)] == 1 else 0.1, "hi")

            server.always(answer)
            began = loop.time()
            _, progress = await run(
                session, requests(8, max_completion_tokens=2), concurrency=50, hedge=Hedge(0.5, share=1.0), **limit
            )
            order = [row for _, row in times]
            assert order[:8] == [str(number) for number in range(8)], "rows before hedges"
            assert progress.hedged == 8
            seconds = times[-1][0] - began
            assert seconds > 10, "the hedges were spaced, too"

    virtual_clock.run(main())


def test_no_hedge_is_sent_while_the_server_refuses() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            loop = asyncio.get_running_loop()
            began = loop.time()
            times: list[float] = []

            def answer(recorded: RecordedRequest) -> Reply:
                if asked(recorded) == "0":
                    times.append(loop.time() - began)
                    return answering(600.0 if len(times) == 1 else 0.1, "hi")
                # refused again and again for 20 seconds
                return answering("hi") if loop.time() - began > 20 else Reply.error(429)

            server.always(answer)
            await run(session, requests(2), retry=30)
            assert min(times[1:]) > 20

    virtual_clock.run(main())


def test_draining_sends_no_hedge() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(answering(9.0, "hi"))
            async with fan_out(session, requests(3), model=MODEL, hedge=Hedge(1.0, 1.0)) as batch:
                await asyncio.sleep(0.5)
                batch.drain()
                results = [result async for result in batch]
            assert Counter(result.outcome for result in results) == {"complete": 3}
            assert (len(server.requests), batch.progress.hedged) == (3, 0)

    virtual_clock.run(main())


def test_a_hedge_that_runs_while_draining_may_end_its_row() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(in_turn(failing(503, after=3.0), answering(9.0, "second")))
            async with fan_out(session, requests(1), model=MODEL, pace=0.0, hedge=Hedge(1.0, 1.0)) as batch:
                await asyncio.sleep(2.0)
                batch.drain()
                (result,) = [result async for result in batch]
            assert (content(result), result.outcome, len(server.requests)) == ("second", "complete", 2)

    virtual_clock.run(main())


def test_no_hedge_is_sent_once_the_tokens_are_used_up() -> None:
    for most, hedged in ((None, 1), (18, 0)):
        _, progress, _ = hedged_row(answering(9.0, "a"), max_tokens_total=most, max_completion_tokens=10)
        assert progress.hedged == hedged


def test_what_the_loser_may_have_cost_counts_as_expected() -> None:
    """Each row costs 10 tokens, as the server reports. The one that is hedged is long: its loser may have cost 100."""
    rows = requests(30, max_completion_tokens=1)
    rows[0]["messages"][0]["content"] = "0".zfill(400)

    async def main(**options: Any) -> tuple[int, BatchProgress]:
        async with serving() as (server, session):
            server.always(
                lambda recorded: answering(
                    90.0 if len(asked(recorded)) > 9 and sent(server)[asked(recorded)] == 1 else 0.1, "a"
                )
            )
            results, progress = await run(session, rows, concurrency=2, price=(1e5, 1e5), **options)
            return sum(result.outcome == "complete" for result in results), progress

    async def counts() -> None:
        for caps in ({"max_tokens_total": 200}, {"max_cost": 20.0}):
            done, progress = await main(hedge=None, **caps)
            assert (done >= 20, progress.hedged) == (True, 0)
            done, progress = await main(hedge=Hedge(0.15, share=1.0), **caps)
            assert 9 <= done <= 11
            assert (progress.hedged, progress.hedges_won) == (1, 1)
            assert progress.cost == pytest.approx(done * 1.0), "only what was reported is told as spent"
            assert progress.completion_tokens == done * 3

    virtual_clock.run(counts())


def test_hedges_end_once_they_may_have_cost_too_much() -> None:
    async def main(most: float | None) -> int:
        async with serving() as (server, session):
            server.always(
                lambda recorded: answering(9.0 if sent(server)[asked(recorded)] == 1 and asked(recorded) > "2" else 0.1)
            )
            hedge = Hedge(1.0, share=1.0, max_cost=most)
            rows = requests(10, max_completion_tokens=3)
            _, progress = await run(session, rows, concurrency=20, price=(1e5, 1e5), hedge=hedge)
            assert progress.done == 10
            return progress.hedged

    async def counts() -> None:
        assert await main(None) == 7
        assert 1 <= await main(3.0) <= 4, "each about as much as a row, which costs 1"
        assert await main(0.01) == 0

    virtual_clock.run(counts())


# Ends


@on_each_loop
def test_leaving_ends_both_requests(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply().stall())
            async with fan_out(session, requests(1), model=MODEL, hedge=Hedge(0.01, share=1.0)) as batch:
                reading = asyncio.ensure_future(anext_of(batch))
                while len(server.requests) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                assert batch.progress.running == 2
                await batch.aclose()
                with pytest.raises(StopAsyncIteration):
                    await reading
                assert batch.progress.running == 0
            await asyncio.gather(*(recorded.disconnected.wait() for recorded in server.requests))

    run(main())


def test_a_batch_that_is_ended_at_any_moment_leaves_nothing() -> None:
    """The loop of `virtual_clock` tells of tasks that are left."""

    async def main(moment: float) -> None:
        async with serving() as (server, session):
            server.always(in_turn(answering(1.1, "first", 0.2, "!"), answering(0.1, "second", 0.2, "!")))
            async with fan_out(session, requests(2), model=MODEL, pace=0.0, hedge=Hedge(0.5, share=1.0)) as batch:
                await asyncio.sleep(moment)
            assert batch.progress.running == 0
            await turns_until(lambda: all(recorded.finished.is_set() for recorded in server.requests))

    for moment in (0.0, 0.1, 0.4999, 0.5, 0.5001, 0.6, 0.6001, 0.65, 0.8, 1.0, 1.1, 1.3):
        virtual_clock.run(main(moment))


def test_a_row_whose_task_somebody_cancels_takes_its_hedge_along() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(answering(NEVER, "never"))
            before = asyncio.all_tasks()
            async with fan_out(session, requests(1), model=MODEL, hedge=Hedge(1.0, share=1.0)) as batch:
                await asyncio.sleep(2.0)
                (first, _) = [task for task in asyncio.all_tasks() - before if "_attempt" in repr(task)]
                first.cancel()
                (result,) = [result async for result in batch]
            assert result.outcome == "cancelled"
            await turns_until(lambda: all(recorded.disconnected.is_set() for recorded in server.requests))

    virtual_clock.run(main())


def test_closing_the_session_ends_both() -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(Reply().stall())
            async with fan_out(session, requests(1), model=MODEL, hedge=Hedge(1.0, share=1.0)) as batch:
                await asyncio.sleep(2.0)
                assert len(server.requests) == 2
                await session.aclose()
                with pytest.raises(CometError, match="session"):
                    await anext(batch)
            await turns_until(lambda: all(recorded.disconnected.is_set() for recorded in server.requests))

    virtual_clock.run(main())


# What is hedged, and when: without I/O


class Asked:
    """A `Hedging` with rows that are sent to it; the time is in its hands.

    Attributes:
        room: What its limits say.
        price: Of a token; None if it is not known.
    """

    def __init__(self, hedge: Hedge, *, concurrency: int = 100) -> None:
        self.room = 0.0
        self.now = 100.0
        self.price: float | None = None
        self.hedging = Hedging(
            hedge, lambda row, now: self.room, lambda tokens: None if self.price is None else self.price * tokens
        )
        self._limits = Limits(now=0.0)
        self._concurrency = concurrency
        self._rows = 0

    def send(self, model: str = "m", *, attempts: int = 1, other: Attempt | None = None) -> Attempt:
        row = Row(self._rows, None, {})
        self._rows += 1
        row.model = model
        row.attempts = attempts
        row.tokens = 10
        attempt = Attempt(row, self._limits.start(model, 1, self.now), other)
        self.hedging.sends(attempt, self.now, concurrency=self._concurrency)
        return attempt

    def answer(self, seconds: float, model: str = "m") -> None:
        attempt = self.send(model)
        self.now += seconds
        self.hedging.content(attempt, self.now)
        self.now -= seconds

    def fail(self, error: CometError, model: str = "m") -> None:
        attempt = self.send(model)
        self.hedging.failed(attempt, error, self.now)
        self.hedging.ended(attempt)

    def hedges(self) -> int:
        """Send all hedges that may be sent now, and return how many there are."""
        count = 0
        while (late := self.hedging.next(self.now)) is not None:
            self.send(other=late)
            count += 1
        return count


def test_a_token_is_brought_by_the_share_of_the_rows() -> None:
    asked = Asked(Hedge(1.0, share=0.1))
    for _ in range(9):
        asked.send()
    asked.send(attempts=2)  # a row brings it once
    asked.now += 5
    assert asked.hedges() == 0
    assert asked.hedging.due(asked.now) == math.inf
    asked.send()
    assert asked.hedges() == 1, "ten times a tenth is a whole, also in floating point"
    for _ in range(95):
        asked.send()
    assert asked.hedges() == 9
    assert asked.hedging.hedged == 10


@pytest.mark.parametrize(("concurrency", "most"), [(10, 10), (1000, 100)])
def test_good_rows_do_not_pay_for_doubling_the_load_later(concurrency: int, most: int) -> None:
    asked = Asked(Hedge(1.0, share=0.05), concurrency=concurrency)
    for _ in range(10_000):
        asked.answer(0.1)
    for _ in range(500):
        asked.send()
    asked.now += 2
    assert asked.hedges() == most


def test_the_first_to_be_late_is_the_first_to_be_hedged_and_only_once() -> None:
    asked = Asked(Hedge(1.0, share=1.0))
    first = asked.send()
    asked.now += 0.5
    second = asked.send()
    assert asked.hedging.next(asked.now) is None
    assert asked.hedging.due(asked.now) == pytest.approx(101.0)
    asked.now += 0.6
    assert asked.hedging.next(asked.now) is first
    assert asked.hedging.next(asked.now) is None
    asked.hedging.ended(second)
    assert asked.hedging.due(asked.now) == math.inf


def test_a_late_request_waits_for_room() -> None:
    asked = Asked(Hedge(1.0, share=1.0))
    asked.send()
    asked.now += 2
    asked.room = 3.0
    assert asked.hedges() == 0
    assert asked.hedging.due(asked.now) == pytest.approx(asked.now + 3.0)
    asked.room = 0.0
    assert asked.hedges() == 1


def test_a_percentile_is_that_of_the_model_and_counts_what_was_cut_off() -> None:
    asked = Asked(Hedge("p90", share=1.0))
    for number in range(19):
        asked.answer(0.1 * (number + 1))
        asked.answer(5.0, "slow")
    late = asked.send()
    asked.now += 60
    assert asked.hedges() == 0, "too little was seen"
    asked.now -= 60
    asked.answer(2.0)
    assert asked.hedging.due(asked.now) == pytest.approx(asked.now + 1.8), "9 of 10 were not slower"
    assert asked.send("slow")
    asked.now += 1.9
    assert asked.hedging.next(asked.now) is late
    for _ in range(40):  # each hedge wins after a tenth of a second, which says nothing of the first request
        late = asked.send()
        asked.now += 1.9
        hedge = asked.send(other=late)
        asked.now += 0.1
        asked.hedging.content(hedge, asked.now)
        asked.hedging.ended(late)
    asked.send()
    assert asked.hedging.due(asked.now) == pytest.approx(asked.now + 2.0)


def test_a_percentile_needs_as_much_as_lies_above_it() -> None:
    asked = Asked(Hedge("p99", share=1.0))
    for _ in range(198):
        asked.answer(1.0)
    asked.send()
    asked.now += 60
    assert asked.hedges() == 0
    asked.answer(1.0)
    asked.answer(1.0)
    assert asked.hedges() == 1


@pytest.mark.parametrize("count", [200])
def test_the_times_of_many_models_take_bounded_room(count: int) -> None:
    asked = Asked(Hedge("p50"))
    for number in range(count):
        asked.answer(1.0, f"model-{number}")
        asked.fail(RateLimitError("no", status=429), f"model-{number}")
    assert len(asked.hedging._times) == len(asked.hedging._refusals) == 64


def test_a_refusing_server_gets_no_hedges_until_it_answers_and_has_had_its_rest() -> None:
    asked = Asked(Hedge(1.0, share=1.0))
    asked.send("other")
    before = asked.send()
    asked.now += 0.1
    asked.fail(RateLimitError("no", status=429, retry_after=20.0))
    asked.fail(RateLimitError("no", status=429))
    asked.fail(BadRequestError("no", status=400), "other")
    asked.now += 4
    assert asked.hedging.next(asked.now).row.model == "other"  # type: ignore[union-attr] # None fails the test, too
    asked.now += 4000
    assert asked.hedging.next(asked.now) is None
    assert asked.hedging.due(asked.now) > asked.now + 4000
    asked.hedging.content(before, asked.now)
    asked.send()
    asked.now += 2
    assert asked.hedges() == 0, "what was sent before the refusal proves nothing"
    asked.hedging.content(asked.send(), asked.now)
    assert asked.hedges() > 0
    asked.fail(InternalServerError("busy", status=503))
    asked.now += 1
    asked.send()
    asked.answer(0.5)
    asked.now += 2
    assert asked.hedging.due(asked.now) == pytest.approx(asked.now + 2)
    asked.now += 2.1
    assert asked.hedges() > 0


@pytest.mark.parametrize(
    "after", [0, -1, 0.0, math.nan, math.inf, True, "95", "p", "p49", "p99.5", "p100", "P95", "p-5"]
)
def test_a_time_that_cannot_be_used_is_told_in_one_line(after: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"hedge: after must be .* 'p50' to 'p99'; got") as caught:
        Hedge(after)
    assert "\n" not in str(caught.value)


def test_hedges_may_cost_so_much_and_none_is_sent_before_a_cost_is_known() -> None:
    asked = Asked(Hedge(1.0, share=1.0, max_cost=0.35))
    for _ in range(9):
        asked.send()
    asked.now += 2
    assert asked.hedges() == 0
    assert asked.hedging.due(asked.now) == math.inf
    asked.price = 0.01
    assert asked.hedges() == 3
    asked.price = 0.001
    assert asked.hedges() == 6


@pytest.mark.parametrize("cost", [0, -1, math.nan, math.inf, True, "5"])
def test_a_cost_that_cannot_be_used_is_told_in_one_line(cost: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"hedge: max_cost must be a number above 0, or None"):
        Hedge(1.0, max_cost=cost)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, 5, math.nan, math.inf, True, "5%", None])
def test_a_share_that_cannot_be_used_is_told_in_one_line(share: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"hedge: share must be .* at most 1.0; got"):
        Hedge(1.0, share)


@pytest.mark.parametrize("hedge", [True, b"p95", [], {"after": 1}, object()])
def test_what_is_no_hedge_is_told_before_anything_is_sent(hedge: Any) -> None:
    with pytest.raises(ConfigurationError, match="hedge must be Hedge"):
        fan_out(CometSession(api_key="sk-x"), [], model=MODEL, hedge=hedge)


def test_a_hedge_reaches_another_process() -> None:
    assert pickle.loads(pickle.dumps(Hedge("p99", 0.5))) == Hedge("p99", 0.5)
    assert Hedge() == Hedge("p95", 0.05)


# With a ledger, and with limits that are shared


class Recorded(Ledger):
    """A ledger that counts what it is asked."""

    kinds: Counter[str]

    def store(self) -> LedgerStore:
        store, kinds = super().store(), Counter[str]()
        self.kinds, apply = kinds, store.apply

        async def recording(asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
            kinds.update(ask.kind for ask in asks)
            return await apply(asks, renew=renew)

        store.apply = recording  # type: ignore[method-assign] # of this store alone
        return store


def test_a_hedged_row_is_claimed_and_written_down_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(in_turn(answering(NEVER, "x"), answering(0.2, "second")))
            ledger = Recorded(tmp_path / "rows.db")
            rows = requests(3, model=MODEL)
            results, progress = await run(session, rows, ledger=ledger, hedge=Hedge(0.1, share=1.0), concurrency=8)
            assert [content(result) for result in results] == ["second"] * 3
            assert (progress.hedged, progress.hedges_won, progress.maybe_paid_twice) == (3, 3, 0)
            assert ledger.kinds == {"find": 3, "claim": 3, "finish": 3}
            count = len(server.requests)
            results, progress = await run(session, rows, ledger=Ledger(tmp_path / "rows.db"))
            assert [content(result) for result in results] == ["second"] * 3
            assert (progress.from_ledger, progress.hedged, len(server.requests)) == (3, 0, count)

    asyncio.run(main())


def test_both_requests_take_from_the_lease_of_shared_limits(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving() as (server, session):
            server.always(in_turn(answering(NEVER, "x"), answering("second")))
            started = asyncio.get_running_loop().time()
            _, progress = await run(
                session,
                requests(2),
                rpm=240,
                shared_limits=tmp_path / "limits.db",
                hedge=Hedge(0.1, share=1.0),
            )
            assert (progress.hedged, progress.hedges_won) == (2, 2)
            assert asyncio.get_running_loop().time() - started > 0.5, "four requests, one each 250 ms"

    asyncio.run(main())
