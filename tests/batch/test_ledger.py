from __future__ import annotations

import asyncio
import secrets
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.cli_process import environment
from support.cli_server import ServerThread
from support.loops import turns_until
from support.redis_server import redis_url as redis_url  # a fixture
from support.serving import serving

from cometstream import BatchResult, CometError, CometSession, ConfigurationError, FanOut, Ledger, OutputError, fan_out
from cometstream.batch import claims, rows
from cometstream.batch.ledger import Ask, Verdict
from cometstream.batch.row_key import row_key
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

ONE_AT_A_TIME: Any = {"model": "gpt-5.4", "concurrency": 1}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "sqlite":
        return Ledger(tmp_path / "rows.db", lease=0.5)
    return Ledger(request.getfixturevalue("redis_url"), prefix=f"{secrets.token_hex(4)}:", lease=0.5)


def row(number: int, **params: Any) -> dict[str, Any]:
    return {"custom_id": f"row-{number}", "messages": [{"role": "user", "content": str(number)}], **params}


def asked(recorded: RecordedRequest) -> str:
    return str(recorded.json["messages"][-1]["content"])


def echo(recorded: RecordedRequest) -> Reply:
    return Reply.text(f"re: {asked(recorded)}", usage=USAGE)


def sent(server: SimulatedServer) -> Counter[str]:
    return Counter(map(asked, server.requests))


async def collect(session: CometSession, requests: Any, ledger: Any, **options: Any) -> list[BatchResult]:
    given: dict[str, Any] = {
        "model": "gpt-5.4",
        "pace": 0.0,
        "concurrency": 4,
        "ordered": True,
        "retry": None,
        **options,
    }
    async with fan_out(session, requests, ledger=ledger, **given) as batch:
        return [result async for result in batch]


async def test_a_finished_row_is_not_sent_again_and_has_the_answer_that_was_written_down(ledger: Ledger) -> None:
    async with serving() as (server, session):
        server.always(echo)
        first = await collect(session, [row(number) for number in range(20)], ledger)
        assert [result.from_ledger for result in first] == [False] * 20
        async with fan_out(session, [row(number) for number in range(25)], ledger=ledger, model="gpt-5.4") as batch:
            again = sorted([result async for result in batch], key=lambda result: result.index)
        assert sent(server) == Counter(str(number) for number in range(25))
        assert [result.from_ledger for result in again] == [True] * 20 + [False] * 5
        assert (batch.progress.done, batch.progress.from_ledger, batch.progress.maybe_paid_twice) == (25, 20, 0)
        assert batch.progress.prompt_tokens == 5 * 7  # only what this batch has paid
        for known, result in zip(first, again, strict=False):
            assert known.completion is not None
            assert known.metrics is not None
            assert result.completion is not None
            assert result.completion.to_dict() == known.completion.to_dict()
            assert result.completion.request_id == known.metrics.request_id
            assert (result.outcome, result.error, result.attempts, result.metrics) == ("complete", None, 0, None)


async def test_another_model_name_or_parameter_is_another_row_and_the_order_of_names_is_not(ledger: Ledger) -> None:
    async with serving() as (server, session):
        server.always(echo)
        base = {"custom_id": "a", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
        await collect(session, [base], ledger)
        others = [
            {**base, "custom_id": "b"},
            {**base, "model": "gpt-4.1"},
            {**base, "temperature": 0.6},
            {**base, "extra_body": {"top_k": 3}},
            {**base, "response_format": {"type": "json_object"}},
            {"messages": base["messages"], "temperature": 0.5},
        ]
        assert not any(result.from_ledger for result in await collect(session, others, ledger))
        same = {"temperature": 0.5, "messages": [{"content": "hi", "role": "user"}], "custom_id": "a"}
        assert [result.from_ledger for result in await collect(session, [same, *others[1:]], ledger)][:5] == [True] * 5
        assert not (await collect(session, [base], ledger, split_think=True))[0].from_ledger
        assert (await collect(session, [base], ledger, pace=0.1, retry=3))[0].from_ledger


async def test_rows_without_a_name_are_known_by_their_place(ledger: Ledger) -> None:
    nameless = {"messages": [{"role": "user", "content": "the same"}]}
    async with serving() as (server, session):
        server.always(echo)
        assert len(await collect(session, [nameless] * 3, ledger)) == 3
        assert len(server.requests) == 3
        assert [result.from_ledger for result in await collect(session, [nameless] * 4, ledger)] == [True] * 3 + [False]


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(400),
        Reply.text("half", finish_reason=None, done=False).cut(),
        Reply.text("no end", finish_reason=None),
    ],
)
async def test_a_row_without_a_whole_answer_is_sent_again_and_was_not_paid_twice(ledger: Ledger, reply: Reply) -> None:
    async with serving() as (server, session):
        server.always(reply)
        (failed,) = await collect(session, [row(1)], ledger)
        assert failed.outcome != "complete"
        server.always(echo)
        async with fan_out(session, [row(1)], ledger=ledger, model="gpt-5.4") as batch:
            (result,) = [result async for result in batch]
        assert (result.outcome, result.from_ledger, batch.progress.maybe_paid_twice) == ("complete", False, 0)


class Sum(BaseModel):
    total: int


async def test_the_value_that_was_asked_for_is_read_from_the_ledger_too(ledger: Ledger) -> None:
    async with serving() as (server, session):
        server.always(Reply.text('{"total": 3}', usage=USAGE))
        await collect(session, [row(1)], ledger, response_format=Sum)
        async with fan_out(session, [row(1)], ledger=ledger, model="gpt-5.4", response_format=Sum) as batch:
            (result,) = [result async for result in batch]
        assert result.from_ledger
        assert result.completion is not None
        assert result.completion.parsed == Sum(total=3)
        server.always(Reply.text("no JSON", usage=USAGE))
        (wrong,) = await collect(session, [row(2)], ledger, response_format=Sum)
        assert isinstance(wrong.error, OutputError)
        server.always(Reply.text('{"total": 4}', usage=USAGE))
        (mended,) = await collect(session, [row(2)], ledger, response_format=Sum)
        assert (mended.outcome, mended.from_ledger) == ("complete", False)


async def test_workers_with_the_same_rows_send_each_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_ELSEWHERE", 0.05)
    async with serving() as (server, session):
        server.always(echo)
        requests = [row(number) for number in range(40)]
        every = await asyncio.gather(*(collect(session, requests, ledger) for _ in range(3)))
        assert sent(server) == Counter(str(number) for number in range(40))
        for results in every:
            assert [result.outcome for result in results] == ["complete"] * 40
            assert [result.completion.content for result in results if result.completion] == [
                f"re: {number}" for number in range(40)
            ]


async def test_the_same_row_twice_in_one_batch_is_sent_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_ELSEWHERE", 0.05)
    async with serving() as (server, session):
        server.always(echo)
        results = await collect(session, [row(1)] * 8, ledger)
        assert [result.outcome for result in results] == ["complete"] * 8
        assert len(server.requests) == 1


async def test_the_rows_of_a_worker_that_died_are_sent_again_after_its_lease_and_told_of(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_ELSEWHERE", 0.05)
    async with serving() as (server, session):
        server.always(echo)
        params = {"model": "gpt-5.4", "messages": row(0)["messages"], "split_think": False}
        dead = ledger.store()
        await dead.open()
        claim = Ask("claim", row_key("row-0", 0, params, None), "row-0")
        assert await dead.apply([claim, claim], renew=True) == ["mine", "mine"]
        began = time.monotonic()
        async with fan_out(session, [row(0), row(1)], ledger=ledger, model="gpt-5.4", concurrency=2) as batch:
            first = await anext(batch)
            assert first.custom_id == "row-1"  # it need not wait
            second = await anext(batch)
        assert (second.custom_id, second.outcome, second.from_ledger) == ("row-0", "complete", False)
        assert batch.progress.maybe_paid_twice == 1
        assert time.monotonic() - began > 0.3
        (answer,) = await dead.apply([claim], renew=False)
        assert isinstance(answer, bytes)
        await dead.close(leave=True)


async def test_rows_under_way_when_a_batch_is_left_count_as_maybe_paid_twice(ledger: Ledger) -> None:
    async with serving() as (server, session):
        server.always(Reply.text("half", finish_reason=None, done=False).stall())
        async with fan_out(session, [row(1), row(2)], ledger=ledger, model="gpt-5.4", concurrency=1) as batch:
            reading = asyncio.ensure_future(anext(batch))
            await turns_until(lambda: bool(server.requests))
            reading.cancel()
        server.always(echo)
        async with fan_out(session, [row(1), row(2)], ledger=ledger, model="gpt-5.4") as batch:
            results = [result async for result in batch]
        assert [result.outcome for result in results] == ["complete"] * 2
        assert batch.progress.maybe_paid_twice == 1


async def test_a_batch_that_is_drained_hands_over_what_is_finished_and_cancels_the_rest(ledger: Ledger) -> None:
    async with serving() as (server, session):
        server.always(echo)
        await collect(session, [row(1)], ledger)
        async with fan_out(session, [row(1), row(2)], ledger=ledger, model="gpt-5.4", ordered=True) as batch:
            batch.drain()
            assert [result.outcome async for result in batch] == ["complete", "cancelled"]
        assert len(server.requests) == 1


def modes_in(folder: Path) -> dict[str, int]:
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in folder.iterdir()}


async def test_a_file_is_its_owners_alone_and_is_free_for_others_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    modes = {}

    def answer(recorded: RecordedRequest) -> Reply:
        modes.update(modes_in(tmp_path))  # the batch has claimed the row
        return echo(recorded)

    async with serving() as (server, session):
        server.always(answer)
        await collect(session, [row(1)], path)
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    assert modes_in(tmp_path) == {"rows.db": 0o600}
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM workers").fetchone() == (0,)
        assert connection.execute("SELECT name FROM rows").fetchall() == [("row-1",)]
    connection.close()


@pytest.mark.parametrize("address", [None, 7, "", b"rows.db", "a\0b", "http://host", "postgres://host/db", object()])
def test_what_is_not_an_address_is_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"the ledger"):
        Ledger(address)


@pytest.mark.parametrize(
    "options", [{"lease": 0.1}, {"lease": "x"}, {"lease": float("inf")}, {"prefix": ""}, {"prefix": 3}]
)
def test_options_that_cannot_be_used_are_refused(options: Any) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Ledger("rows.db", **options)


def test_the_password_of_a_redis_stands_in_no_repr() -> None:
    assert repr(Ledger("redis://:secret@host")) == "Ledger('redis://...')"
    assert repr(Ledger("rows.db")) == "Ledger('rows.db')"


@pytest.mark.parametrize("ledger", [7, [], object()])
async def test_what_is_no_ledger_is_refused_before_anything_is_sent(ledger: Any) -> None:
    async with CometSession(api_key="sk-x") as session:
        with pytest.raises(ConfigurationError, match=r"^ledger must be"):
            fan_out(session, [], ledger=ledger)
        with pytest.raises(ConfigurationError, match=r"the address of Redis must be like"):
            fan_out(session, [], ledger="redis://host:port")


async def test_a_file_that_cannot_be_a_ledger_is_told_of_and_nothing_is_sent(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"no database at all, and long enough to be seen as none" * 50)
    async with serving() as (server, session):
        for path in (tmp_path, tmp_path / "missing" / "rows.db", other):
            with pytest.raises(ConfigurationError, match=r"the ledger .* cannot be used"):
                await collect(session, [row(1)], path)
        assert not server.requests
    assert other.read_bytes().startswith(b"no database")


async def test_an_entry_that_is_not_an_answer_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "rows.db"
    async with serving() as (server, session):
        server.always(echo)
        await collect(session, [row(1)], path)
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE rows SET answer = ?", (b"{}",))
        connection.close()
        with pytest.raises(CometError, match=r"has an entry that is not an answer"):
            await collect(session, [row(1)], path)
        assert len(server.requests) == 1


class Failing(Ledger):
    """A ledger that cannot be used for one kind of question, so many times."""

    def __init__(self, kind: str, times: float) -> None:
        super().__init__("rows.db")
        self.kind = kind
        self.times = times
        self.closed = False

    def store(self) -> Failing:
        return self

    async def open(self) -> None: ...

    async def apply(self, asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
        if self.times > 0 and any(ask.kind == self.kind for ask in asks):
            self.times -= 1
            raise CometError("the ledger is away", retryable=True)
        return ["mine" if ask.kind == "claim" else "free" for ask in asks]

    async def close(self, *, leave: bool) -> None:
        self.closed = True


@pytest.mark.parametrize("kind", ["find", "claim", "finish"])
async def test_a_ledger_that_comes_back_is_waited_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_AGAIN", 0.01)
    failing = Failing(kind, 3)
    async with serving() as (server, session):
        server.always(echo)
        results = await collect(session, [row(1), row(2)], failing)
        assert [result.outcome for result in results] == ["complete"] * 2
        assert len(server.requests) == 2
    assert failing.closed


@pytest.mark.parametrize(("kind", "told"), [("find", 0), ("claim", 0), ("finish", 1)])
async def test_a_ledger_that_stays_away_ends_the_batch_and_no_answer_is_lost(
    kind: str, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_AGAIN", 0.01)
    monkeypatch.setattr(claims, "_PATIENCE", 0.05)
    async with serving() as (server, session):
        server.always(echo)
        told_of: list[BatchResult] = []
        with pytest.raises(CometError, match="the ledger is away"):
            await read_into(told_of, fan_out(session, [row(1), row(2)], ledger=Failing(kind, 1e9), **ONE_AT_A_TIME))
        assert [result.outcome for result in told_of] == ["complete"] * told
        assert len(server.requests) == told


async def read_into(results: list[BatchResult], batch: FanOut) -> None:
    async with batch:
        async for result in batch:
            results.append(result)  # noqa: PERF401 - what came before an error counts


WORKER = textwrap.dedent(
    """
    import asyncio, sys
    from cometstream import CometSession, Ledger, fan_out

    async def main():
        async with CometSession() as session:
            requests = [
                {"custom_id": f"row-{n}", "messages": [{"role": "user", "content": str(n)}]} for n in range(int(sys.argv[2]))
            ]
            ledger = Ledger(sys.argv[1], lease=1.0)
            async with fan_out(session, requests, ledger=ledger, model="gpt-5.4", concurrency=8, pace=0.0) as batch:
                async for result in batch:
                    print(result.custom_id, result.outcome, int(result.from_ledger), flush=True)
            print("twice", batch.progress.maybe_paid_twice, flush=True)

    asyncio.run(main())
    """
)


def test_a_worker_that_is_killed_at_any_moment_pays_no_finished_row_again(tmp_path: Path) -> None:
    count, maybe = 150, -1

    def slow(recorded: RecordedRequest) -> Reply:
        return Reply.text("re: ", 0.01, asked(recorded), usage=USAGE)

    finished: Counter[str] = Counter()
    with ServerThread() as thread:
        thread.server.always(slow)
        command = [sys.executable, "-c", WORKER, str(tmp_path / "rows.db"), str(count)]
        for stop in (1, 30, 70, None):
            seen = 0
            with subprocess.Popen(command, env=environment(thread), stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    name, *rest = line.split()
                    if name == "twice":
                        maybe = int(rest[0])
                        continue
                    assert rest[0] == "complete"
                    # Once it was told, it is told from the ledger.
                    assert not finished[name] or rest[1] == "1"
                    finished[name] += 1
                    seen += rest[1] == "0"
                    if seen == stop:
                        process.send_signal(signal.SIGKILL)
                        stop = None
            assert process.returncode in (0, -signal.SIGKILL)
        again = sum(sent(thread.server).values()) - count
    assert set(finished) == {f"row-{number}" for number in range(count)}
    # Eight were under way each time.
    assert again <= 3 * 8
    assert 0 <= maybe <= 3 * 8


async def test_a_result_is_handed_over_when_it_is_written_and_not_before() -> None:
    written = asyncio.Event()
    writing = asyncio.Event()

    class Slow(Failing):
        async def apply(self, asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
            if any(ask.kind == "finish" for ask in asks):
                writing.set()
                await written.wait()
            return await super().apply(asks, renew=renew)

    async with serving() as (server, session):
        server.always(echo)
        async with fan_out(session, [row(1)], ledger=Slow("none", 0), **ONE_AT_A_TIME) as batch:
            reading = asyncio.ensure_future(anext(batch))
            await writing.wait()
            await turns_until(lambda: server.requests[0].finished.is_set())
            early = reading.done()
            written.set()
            assert not early
            assert (await reading).outcome == "complete"
