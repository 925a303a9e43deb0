"""What Ray Data, Daft and Spark have in common; tests/batch/engines tries the engines themselves."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli_server import ServerThread
from support.serving import KEY

from cometstream import CometError, ConfigurationError, InvalidRequestError, Ledger, SharedLimits, UsageError
from cometstream.batch.engine_rows import COLUMNS, EngineRows, Given, check_options
from cometstream.batch.ray import Completions as RayCompletions
from cometstream.batch.spark import Completions as SparkCompletions
from cometstream.batch.tables import read_rows, with_columns
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def asked(recorded: RecordedRequest) -> str:
    return str(recorded.json["messages"][-1]["content"])


def answer(recorded: RecordedRequest) -> Reply:
    """Bad for each 7, cut for each 8."""
    text = asked(recorded)
    if text.endswith("7"):
        return Reply.error(400)
    if text.endswith("8"):
        return Reply.text("half", finish_reason=None, done=False).cut()
    return Reply.text(f"re: {text}", usage=USAGE)


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def server(thread: ServerThread, monkeypatch: pytest.MonkeyPatch) -> SimulatedServer:
    thread.server.always(answer)
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    return thread.server


def engine_rows(given: Given | None = None, **options: Any) -> EngineRows:
    return EngineRows(given or Given(), session=None, options={"model": "m", "retry": None, "pace": 0.0, **options})


def told(rows: EngineRows, *asked: Any) -> list[dict[str, Any]]:
    return [future.result(20) for future in rows.submit([{"prompt": text} for text in asked])]


def test_each_row_comes_back_in_its_place_and_bad_ones_as_errors(server: SimulatedServer) -> None:
    rows = engine_rows()
    every = told(rows, *map(str, range(30)), None, 5, "")
    rows.close()
    for number, one in enumerate(every[:30]):
        if number % 10 in (7, 8):
            assert one["error"].startswith("BadRequestError: 400" if number % 10 == 7 else "StreamTruncatedError: ")
            assert one["content"] is one["finish_reason"] is None
        else:
            assert (one["content"], one["error"], one["finish_reason"]) == (f"re: {number}", None, "stop")
            assert (one["prompt_tokens"], one["completion_tokens"], one["from_ledger"]) == (7, 3, False)
            assert orjson.loads(one["completion"])["choices"][0]["message"]["content"] == f"re: {number}"
    # What came of an answer that broke off is there, but it is no answer.
    assert orjson.loads(every[8]["completion"])["choices"][0]["message"]["content"] == "half"
    assert every[30]["error"].startswith("InvalidRequestError: ")
    assert every[31]["error"].startswith("InvalidRequestError: ")
    assert {frozenset(one) for one in every} == {frozenset(COLUMNS)}


def test_rows_of_all_calls_are_under_way_together(server: SimulatedServer) -> None:
    running = most = 0

    def slow(recorded: RecordedRequest) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        return Reply.text("a", 0.3, "b")

    server.always(slow)
    rows = engine_rows(concurrency=200)

    async def many() -> list[list[dict[str, Any]]]:
        nonlocal running
        calls = [asyncio.ensure_future(rows.complete([{"prompt": "x"}] * 20)) for _ in range(8)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        running = -1000  # what starts from now on had to wait
        return await asyncio.gather(*calls)

    every = asyncio.run(many())
    rows.close()
    assert [len(one) for one in every] == [20] * 8
    assert all(row["error"] is None for one in every for row in one)
    assert most > 100


def test_a_ledger_holds_for_rows_with_names(server: SimulatedServer, tmp_path: Path) -> None:
    for known in (False, True):
        rows = engine_rows(Given(id="n"), ledger=tmp_path / "rows.db")
        futures = rows.submit([{"prompt": "hi", "n": 3}, {"prompt": "hi", "n": "four"}, {"prompt": "hi", "n": None}])
        every = [future.result(20) for future in futures]
        rows.close()
        assert [one["from_ledger"] for one in every] == [known] * 3
    with pytest.raises(ConfigurationError, match=r"^a ledger knows rows by their names"):
        engine_rows(ledger=tmp_path / "rows.db")


@pytest.mark.parametrize("option", ["max_tokens_total", "max_cost"])
def test_rows_after_the_end_of_the_money_are_told_that_they_were_not_sent(server: SimulatedServer, option: str) -> None:
    options: dict[str, Any] = {option: 15, "concurrency": 1, "price": (1e6, 1e6)}
    rows = engine_rows(**options)
    every = [*told(rows, *"abcdef"), *told(rows, "g")]
    rows.close()
    sent = [one for one in every if one["error"] is None]
    assert 1 <= len(sent) <= 3
    assert {one["error"] for one in every[len(sent) :]} == {
        "not sent: the batch was ended, by max_cost, max_tokens_total or the end of its worker"
    }


def test_what_ends_the_batch_is_raised_for_each_row(server: SimulatedServer) -> None:
    rows = engine_rows(max_cost=1, concurrency=1)  # without a price
    futures = rows.submit([{"prompt": str(number)} for number in range(3)])
    errors = [future.exception(20) for future in futures]
    assert isinstance(errors[-1], ConfigurationError)
    with pytest.raises(ConfigurationError, match="max_cost"):
        rows.submit([{"prompt": "more"}])
    rows.close()


def test_closing_ends_what_is_under_way(server: SimulatedServer) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    rows = engine_rows()
    futures = rows.submit([{"prompt": "a"}, {"prompt": "b"}])
    rows.close()
    rows.close()
    assert all(future.result(20)["error"].startswith("not sent") for future in futures)
    with pytest.raises(UsageError, match="was closed"):
        rows.submit([])


def test_a_caller_who_leaves_takes_the_rows_along_that_were_not_sent(server: SimulatedServer) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    rows = engine_rows(concurrency=1)

    async def leave() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(rows.complete([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]), 0.3)

    asyncio.run(leave())
    rows.close()
    assert len(server.requests) == 1


def test_the_garbage_collector_may_close_in_the_threads_of_the_rows(server: SimulatedServer) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    rows = engine_rows()
    closed: Future[None] = Future()

    def close(_: Future[dict[str, Any]]) -> None:
        rows.close()
        closed.set_result(None)

    (future,) = rows.submit([{"prompt": "a"}])
    future.add_done_callback(close)  # which is called in the thread
    rows.close()
    closed.result(20)


def test_nothing_is_waited_for_while_python_ends(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    rows = engine_rows()
    (future,) = rows.submit([{"prompt": "a"}])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "is_finalizing", lambda: True)
        rows.close()  # its thread would not come to its end then
    assert not future.done()
    rows.close()
    assert future.done()


@pytest.mark.parametrize(
    ("given", "row", "messages"),
    [
        (
            Given(messages="m"),
            {"m": [{"role": "user", "content": "a", "name": None}]},
            [{"role": "user", "content": "a"}],
        ),
        (Given(messages="m"), {"m": '[{"role": "user", "content": "b"}]'}, [{"role": "user", "content": "b"}]),
        (
            Given(request="r"),
            {"r": {"messages": [{"role": "user", "content": "c"}], "n": None}},
            [{"role": "user", "content": "c"}],
        ),
        (
            Given(request="r"),
            {"r": b'{"messages": [{"role": "user", "content": "d"}]}'},
            [{"role": "user", "content": "d"}],
        ),
    ],
)
def test_a_request_can_be_messages_or_whole_as_values_or_as_json(
    server: SimulatedServer, given: Given, row: dict[str, Any], messages: Any
) -> None:
    rows = engine_rows(given)
    (one,) = [future.result(20) for future in rows.submit([row])]
    rows.close()
    assert one["error"] is None
    assert server.requests[-1].json["messages"] == messages
    assert "n" not in server.requests[-1].json


@pytest.mark.parametrize("cell", ["{", "7", None, 7, [], "text"])
@pytest.mark.parametrize("given", [Given(request="c"), Given(messages="c")])
def test_a_cell_that_makes_no_request_is_an_error_of_its_row(server: SimulatedServer, given: Given, cell: Any) -> None:
    rows = engine_rows(given)
    (one,) = [future.result(20) for future in rows.submit([{"c": cell}])]
    rows.close()
    assert one["error"].startswith("InvalidRequestError: ")
    assert not server.requests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "prompt must be the name of a column"),
        ({"messages": 3}, "messages must be the name of a column"),
        ({"id": ""}, "id must be the name of a column"),
        ({"session": {"colour": "red"}}, "session: .*colour"),
        ({"ordered": True}, "ordered: is not an option here"),
        ({"on_progress": print}, "on_progress: is not an option here"),
        ({"rpm": -1}, "rpm must be"),
        ({"temperature": 9}, "temperature"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(server: SimulatedServer, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CometError, match=message):
        RayCompletions(**arguments)
    assert issubclass(InvalidRequestError, CometError)


def test_sparks_program_is_told_at_once_and_needs_no_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    SparkCompletions(model="m")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rpm": -1}, "rpm must be"),
        ({"ledger": "rows.db"}, "name the column that has them with id="),
    ]
    for arguments, message in cases:
        with pytest.raises(ConfigurationError, match=message):
            SparkCompletions(**arguments)


@pytest.mark.parametrize("kept", [str, Path, "object"])
def test_workers_of_other_folders_have_the_programs_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Any
) -> None:
    ledger: Any = Ledger("rows.db", lease=2.0) if kept == "object" else kept("rows.db")
    limits: Any = SharedLimits("limits.db", workers=2) if kept == "object" else kept("limits.db")
    monkeypatch.chdir(tmp_path)
    options = check_options(Given(id="n"), session=None, options={"ledger": ledger, "shared_limits": limits, "rpm": 60})
    assert options["rpm"] == 60
    assert options["ledger"].address == str(tmp_path / "rows.db")
    assert options["shared_limits"].address == str(tmp_path / "limits.db")
    if kept == "object":
        assert (options["ledger"].lease, options["shared_limits"].workers) == (2.0, 2)
        assert ledger.address == "rows.db"
    sent = pickle.loads(pickle.dumps(options))
    assert sent["ledger"].address == str(tmp_path / "rows.db")


def test_a_redis_and_what_is_not_given_stay_as_they_are() -> None:
    pytest.importorskip("redis")
    options = {"ledger": "redis://127.0.0.1:6379/0", "model": "m"}
    assert check_options(Given(id="n"), session=None, options=options) == options


async def test_rays_class_takes_and_gives_a_dict_of_arrays(server: SimulatedServer) -> None:
    np: Any = pytest.importorskip("numpy", reason="comes with the extra ray")
    completions = RayCompletions(prompt="question", model="m", prefix="answer_")
    batch = {"question": np.array(["1", "7"]), "n": np.array([1, 7])}
    out = await completions(batch)
    assert list(out["n"]) == [1, 7]
    assert list(out["answer_content"]) == ["re: 1", None]
    with pytest.raises(ConfigurationError, match=r"^there is no column 'question'; the columns are n$"):
        await completions({"n": [1]})
    with pytest.raises(ConfigurationError, match=r"there is a column 'answer_error' already"):
        await completions({"question": ["a"], "answer_error": ["b"]})
    del completions
    gc.collect()


def test_tables_of_pandas_keep_their_index_and_nulls(server: SimulatedServer) -> None:
    pd: Any = pytest.importorskip("pandas", reason="comes with the extra spark")
    frame = pd.DataFrame({"prompt": ["1", "7", None]}, index=[5, 6, 9])
    (out,) = SparkCompletions(model="m")(iter([frame]))
    assert list(out.index) == [5, 6, 9]
    assert out["content"].tolist() == ["re: 1", None, None]
    assert out["prompt_tokens"].tolist()[0] == 7
    assert out["prompt_tokens"].isna().tolist() == [False, True, True]


def test_tables_of_arrow_have_the_same_types_whatever_the_answers(server: SimulatedServer) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="comes with the extras ray and spark")
    tables = [pa.table({"prompt": ["1", "2"]}), pa.table({"prompt": ["7"]})]
    first, second = SparkCompletions(model="m")(iter(tables))
    assert first.schema == second.schema
    assert first["content"].to_pylist() == ["re: 1", "re: 2"]
    batch = tables[0].to_batches()[0]
    assert type(with_columns(batch, [dict.fromkeys(COLUMNS)] * 2, "")) is pa.RecordBatch
    assert read_rows(batch, Given(), "") == [{"prompt": "1"}, {"prompt": "2"}]


def test_the_key_is_the_environments_or_the_sessions(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    with pytest.raises(ConfigurationError, match="COMETAPI_KEY"):
        engine_rows()
    rows = EngineRows(Given(), session={"api_key": KEY}, options={"model": "m", "retry": None})
    (one,) = told(rows, "1")
    rows.close()
    assert one["error"] is None
    assert server.requests[-1].headers["Authorization"] == f"Bearer {KEY}"


async def test_tables_come_in_order_while_later_ones_are_under_way(server: SimulatedServer) -> None:
    pa: Any = pytest.importorskip("pyarrow", reason="comes with the extras ray and spark")
    taken = []

    def tables() -> Iterator[Any]:
        for number in range(5):
            taken.append(number)
            yield pa.table({"prompt": [f"{number}a"]})

    out = SparkCompletions(model="m")(tables())
    assert [table["content"].to_pylist() for table in out] == [[f"re: {number}a"] for number in range(5)]
    assert taken == [0, 1, 2, 3, 4]


def test_sparks_function_gives_tables_of_any_kind_with_their_answers(server: SimulatedServer) -> None:
    pytest.importorskip("numpy", reason="comes with the extra ray")
    tables: Any = iter([{"prompt": ["1", "7"]}, {"prompt": ["2"]}])
    first, second = SparkCompletions(model="m", retry=None)(tables)
    assert list(first["content"]) == ["re: 1", None]
    assert list(second["content"]) == ["re: 2"]
