from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from cometstream.batch.result import BatchProgress
from cometstream.cli.batch_progress import BatchView, Ending


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(**given: Any) -> BatchProgress:
    figures: dict[str, Any] = {
        "done": 0,
        "failed": 0,
        "running": 0,
        "waiting": 0,
        "retries": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": None,
        "concurrency": 16,
        "concurrency_reason": "the start",
        "elapsed": 0.0,
        "total": None,
    }
    return BatchProgress(**{**figures, **given})


def ending(**given: Any) -> Ending:
    return Ending(**{"output": "out.jsonl", "earlier": 0, "bad": 0, "left": 0, "failures": Counter(), **given})


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_where_there_is_no_terminal_a_line_comes_every_30_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BatchView(rows=2000, quiet=False, clock=clock) as view:
        for second in range(121):
            clock.now = 100.0 + second
            view.show(progress(done=10 * second, failed=second // 60, running=64, completion_tokens=500 * second))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[1] == (
        "cometstream: 601 of 2,000 rows, 600 done, 1 failed, 64 running, 10.0 rows/s, 500 output tokens/s, "
        "concurrency 16 (the start), 0:02:19 left"
    )


def test_rates_and_time_left_are_those_of_the_last_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BatchView(rows=1000, quiet=False, clock=clock) as view:
        for second in range(61):
            clock.now = 100.0 + second
            view.show(progress(done=min(10 * second, 300 + (second - 30))))
    last = capsys.readouterr().err.splitlines()[-1]
    assert "1.0 rows/s" in last
    assert "0:11:10 left" in last


def test_where_nobody_knows_how_many_rows_there_are_no_end_is_foretold(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BatchView(rows=None, quiet=False, clock=clock) as view:
        view.show(progress())
        clock.now += 30
        view.show(progress(done=30))
    assert capsys.readouterr().err == (
        "cometstream: 30 rows, 30 done, 0 failed, 0 running, 1.0 rows/s, 0 output tokens/s, concurrency 16 (the start)\n"
    )


def test_nothing_is_foretold_as_long_as_nothing_comes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with BatchView(rows=10, quiet=False, clock=clock) as view:
        clock.now += 30
        view.show(progress(running=1))
        clock.now += 30
        view.show(progress(running=1))
    lines = capsys.readouterr().err.splitlines()
    assert "rows/s" not in lines[0]
    assert "left" not in lines[1]


def test_a_terminal_sees_counts_bar_rates_and_why_the_concurrency_is_what_it_is() -> None:
    clock, console = Clock(), terminal()
    with BatchView(rows=200, quiet=False, clock=clock, console=console) as view:
        view.show(progress())
        clock.now += 10
        view.show(
            progress(
                done=90,
                failed=10,
                running=7,
                completion_tokens=4000,
                cost=0.125,
                concurrency=8,
                concurrency_reason="halved:\n3 refusals",
            )
        )
    text = shown(console)
    for part in (
        "100 of 200 rows",
        "━━━",
        "0:00:10 left",
        "90 done, 10 failed, 7 running, 10.0 rows/s, 400 output tokens/s, cost 0.1250",
        "concurrency 8 (halved: 3 refusals)",
    ):
        assert part in text


def test_a_terminal_that_cannot_go_back_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    clock = Clock()
    with BatchView(rows=10, quiet=False, clock=clock, console=terminal()) as view:
        clock.now += 30
        view.show(progress(done=5))
    assert "5 of 10 rows" in capsys.readouterr().err


def test_the_terminal_gets_its_cursor_back() -> None:
    console = terminal()
    with BatchView(rows=None, quiet=False, console=console) as view:
        view.show(progress())
    assert shown(console).count("\x1b[?25l") == shown(console).count("\x1b[?25h") == 1


def test_the_table_tells_what_has_become_of_the_rows() -> None:
    console = Console(file=io.StringIO(), width=100)
    failures = Counter({"truncated": 3, "http_500": 2, "a\x1b[31m": 1, "d": 1, "e": 1, "f": 1})
    view = BatchView(rows=100, quiet=False, console=console)
    view.table(
        progress(done=90, failed=9, retries=4, prompt_tokens=1234, completion_tokens=5678, cost=1.5, elapsed=10.0),
        ending(bad=2, earlier=50, left=1, failures=failures, output="a/" * 80 + "out.jsonl"),
    )
    text = shown(console)
    assert text.startswith("a/" * 80 + "out.jsonl\n")
    figures = dict(re.findall(r"│ (.+?)\s+│\s+(\S+) │", text))
    assert figures == {
        "done": "90",
        "failed": "9",
        "  truncated": "3",
        "  http_500": "2",
        "  a [31m": "1",
        "  d": "1",
        "  e": "1",
        "not sent, bad lines": "2",
        "had a line before": "50",
        "left for --resume": "1",
        "requests sent again": "4",
        "prompt tokens": "1,234",
        "completion tokens": "5,678",
        "cost": "1.5000",
        "time": "0:00:10",
        "rows/s": "9.9",
        "output tokens/s": "568",
    }


def test_a_cost_that_nobody_told_is_not_shown() -> None:
    console = Console(file=io.StringIO(), width=100)
    BatchView(rows=1, quiet=False, console=console).table(progress(done=1), ending(left=None))
    assert "cost" not in shown(console)
    assert re.search(r"left for --resume +│ +unknown", shown(console))


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    clock, console = Clock(), terminal()
    with BatchView(rows=1, quiet=True, clock=clock, console=console) as view:
        clock.now += 60
        view.show(progress())
        view.table(progress(), ending())
    assert shown(console) == ""
    assert capsys.readouterr() == ("", "")


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stderr_that_cannot_be_written_is_not_the_batchs_trouble() -> None:
    for console in (
        Console(file=Full(), force_terminal=True, width=80),
        Console(file=Full(), width=80),
    ):
        with BatchView(rows=1, quiet=False, console=console) as view:
            view.show(progress())
            view.table(progress(), ending())
