from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli_process import read_until, start
from support.cli_server import ServerThread

from cometstream.cli import main
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes are POSIX's here"),
    pytest.mark.slow,
]

USAGE = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}


def asked(recorded: RecordedRequest) -> str:
    return str(recorded.json["messages"][-1]["content"])


def answer(recorded: RecordedRequest) -> Reply:
    if asked(recorded).endswith("7"):
        return Reply.error(400)
    return Reply.text("re: ", asked(recorded), usage=USAGE)


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def server(thread: ServerThread, monkeypatch: pytest.MonkeyPatch) -> SimulatedServer:
    thread.server.always(answer)
    monkeypatch.delenv("COMETAPI_MODEL", raising=False)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    return thread.server


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    rows = ({"custom_id": f"row-{number}", "prompt": str(number)} for number in range(60))
    (tmp_path / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    paths = [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    return ["batch", *paths, "--model", "gpt-5.4", "--processes", "2"]


def lines(folder: Path) -> dict[str, Any]:
    every = [orjson.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]
    assert len({line["custom_id"] for line in every}) == len(every)
    return {line["custom_id"]: line for line in every}


def children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def test_each_row_has_one_line_whichever_process_sent_it(
    server: SimulatedServer, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, "--retries", "0", "--price", "1,1"]) == 8
    every = lines(tmp_path)
    assert len(every) == 60
    for number in range(60):
        line = every[f"row-{number}"]
        if number % 10 == 7:
            assert line["error"]["code"]
        else:
            assert line["response"]["body"]["choices"][0]["message"]["content"] == f"re: {number}"
    assert Counter(map(asked, server.requests)) == Counter(map(str, range(60)))
    told = capsys.readouterr().err
    assert re.search(r"│ done\W+54 ", told)
    assert re.search(r"│ prompt tokens\W+3,240 ", told)
    assert re.search(r"│ cost\W+0\.0054 ", told)
    assert "6 rows failed" in told


def test_money_is_counted_over_all_processes(server: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    server.always(lambda recorded: Reply.text("re: ", 0.1, asked(recorded), usage=USAGE))
    options = ["--price", "10000,10000", "--max-cost", "10", "--concurrency", "4", "--quiet"]
    assert main([*args, *options]) == 9  # rows are left
    # Ten, and what was under way before the others knew.
    assert 10 <= len(server.requests) <= 10 + 3 * 4


def test_hedges_are_counted_over_all_processes(
    server: SimulatedServer, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hung: set[str] = set()

    def hang(recorded: RecordedRequest) -> Reply:
        number = asked(recorded)
        if not number.endswith("9") or number in hung:
            return Reply.text("re: ", number, usage=USAGE)
        hung.add(number)
        return Reply().stall()

    server.always(hang)
    assert main([*args, "--hedge", "0.2", "--hedge-share", "0.5", "--concurrency", "20"]) == 0
    assert all(line["error"] is None for line in lines(tmp_path).values())
    assert len(hung) == 6
    told = re.search(r"│ hedged, as they were late\W+(\d+) ", capsys.readouterr().err)
    assert told is not None
    # On a busy machine others may be late, too.
    assert len(server.requests) == 60 + int(told[1]) >= 66


def test_the_first_signal_drains_all_processes(
    thread: ServerThread, server: SimulatedServer, args: list[str], tmp_path: Path
) -> None:
    server.always(lambda recorded: Reply.text("re: ", 0.3, asked(recorded), usage=USAGE))
    with start(thread, *args, "--concurrency", "4", start_new_session=True) as process:
        wait_for_requests(server, 4)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes of the group
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 130
    assert b"ending: no more rows are sent" in told
    assert re.search(rb"\d+ rows are left: the same command with --resume runs them", told)
    every = lines(tmp_path)
    assert 0 < len(every) == len(server.requests) < 60
    assert all(line["error"] is None for line in every.values())
    server.always(answer)
    assert main([*args, "--resume", "--quiet"]) == 8
    assert len(lines(tmp_path)) == 60


def test_the_second_signal_ends_all_processes_at_once(
    thread: ServerThread, server: SimulatedServer, args: list[str]
) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    with start(thread, *args) as process:
        wait_for_requests(server, 2)
        workers = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        read_until(process.stderr.fileno(), b"once more ends them now")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert len(workers) >= 2
    assert not any(is_alive(worker) for worker in workers)


def test_workers_end_with_a_parent_that_is_killed(
    thread: ServerThread, server: SimulatedServer, args: list[str]
) -> None:
    server.always(Reply.text("on", finish_reason=None, done=False).stall())
    with start(thread, *args) as process:
        wait_for_requests(server, 2)
        workers = children(process.pid)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))


def test_the_rows_of_a_worker_that_is_killed_are_sent_by_another_one(
    thread: ServerThread, server: SimulatedServer, args: list[str], tmp_path: Path
) -> None:
    server.always(lambda recorded: Reply.text("re: ", 0.2, asked(recorded), usage=USAGE))
    ledger = ["--ledger", str(tmp_path / "rows.db")]
    with start(thread, *args, *ledger, "--concurrency", "8") as process:
        wait_for_requests(server, 12)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 0
    assert b"a worker process ended with code -9" in told
    assert len(lines(tmp_path)) == 60
    assert len(server.requests) <= 60 + 4  # what that worker had under way


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--demo"], "--demo has its server in this process"),
        (["--processes", "0"], "0 is not in the range"),
        (["--shared-limits", "http://host"], "the address of the shared limits begins with"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    server: SimulatedServer, args: list[str], options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, *options]) == 2
    assert told in capsys.readouterr().err
    assert not server.requests


def wait_for_requests(server: SimulatedServer, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(server.requests) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
