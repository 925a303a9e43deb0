"""The report of a batch is whole however the batch ends, tells what is known, and is one page that loads nothing."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.chromium import Tabs, chromium, tabs
from support.cli_process import start
from support.cli_server import ServerThread

from cometstream.batch import BatchProgress, BatchResult, ConcurrencyChange
from cometstream.cli import batch_report, main
from cometstream.cli.batch_figures import BatchFigures, Bin, Spread, Timeline
from cometstream.cli.batch_input import FileInput
from cometstream.cli.batch_report_page import RunFacts, as_page
from cometstream.cli.drawing import shown_time
from cometstream.errors import BadRequestError
from cometstream.testing import Reply, SimulatedServer

__all__ = ["chromium", "tabs"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and signals are POSIX's here")

USAGE = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
WHOLE = Reply.text("Hello", " world", usage=USAGE)


class Read(HTMLParser):
    """The text of a page, and its tags."""

    VOID = ("meta", "link", "path", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        assert not self.open
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


@pytest.fixture
def answering(server: SimulatedServer) -> Iterator[SimulatedServer]:
    server.always(WHOLE)
    yield server
    server.always(None)


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    rows(tmp_path, *({"custom_id": f"row-{number}", "prompt": str(number)} for number in range(6)))
    paths = [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--report", str(tmp_path / "r.html")]
    return ["batch", *paths, "--model", "gpt-5.4", "--quiet"]


def rows(folder: Path, *lines: dict[str, Any]) -> None:
    (folder / "in.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def report(folder: Path) -> Read:
    assert not list(folder.glob(".r.html.*"))
    return Read((folder / "r.html").read_text())


def test_a_page_tells_what_a_batch_did(answering: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    assert main([*args, "--price", "1,10", "--first-content-timeout", "9"]) == 0
    page = report(tmp_path)
    assert "Every row has its line." in page.text
    for told in ("rows complete 6", "rows failed 0", "rows left 0", "input tokens 360", "output tokens 240"):
        assert told in page.text
    assert "cost 0.0028" in page.text
    assert "by --price 6" in page.text
    assert "gpt-5.4 6" in page.text
    assert "--first-content-timeout 9.0" in page.text
    assert f"--base-url {answering.base_url}" in page.text
    assert "No row failed." in page.text
    assert re.search(r"Time to first content p50 \S+ m?s, p95 \S+ m?s, p99 \S+ m?s", page.text)
    assert "starting" in page.text  # the first entry of the history
    assert stat.S_IMODE(os.stat(tmp_path / "r.html").st_mode) == 0o600
    assert answering.api_key not in (tmp_path / "r.html").read_text()


def test_a_page_loads_nothing_and_is_told_to_a_screen_reader(
    answering: SimulatedServer, args: list[str], tmp_path: Path
) -> None:
    assert main(args) == 0
    page = report(tmp_path)
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(attributes.get("href", "data:") == "data:," for tag, attributes in page.tags if tag == "link")
    assert not any("src" in attributes for _, attributes in page.tags)
    text = (tmp_path / "r.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme:dark" in text
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 4
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert next(attributes["lang"] for tag, attributes in page.tags if tag == "html") == "en"
    headings = {attributes["id"] for tag, attributes in page.tags if tag == "h2"}
    assert headings == {attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section"}


def test_what_a_server_and_an_input_say_is_only_text(
    answering: SimulatedServer, args: list[str], tmp_path: Path
) -> None:
    evil = "</td><script>alert(1)</script>\u202e\"'"
    rows(tmp_path, *({"custom_id": f"{number}{evil}", "prompt": "x", "model": f"m{evil}"} for number in range(7)))
    answering.always(Reply.error(400, code=f"c{evil}", message=f"m{evil}"))
    assert main([*args, "--retries", "0"]) == 8
    page = report(tmp_path)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "\u202e" not in page.text
    assert page.text.count("</td><script>alert(1)</script>") >= 7
    assert "Some lines tell of a failure." in page.text
    named = page.text[page.text.index("the first one says") :]
    assert len(re.findall(r"\d</td>", named[: named.index("…")])) == 5  # of seven


def test_failures_and_attempts_are_told_by_kind(answering: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    with (tmp_path / "in.jsonl").open("ab") as file:
        file.write(b"nope\n")
    answering.script(Reply.error(400, code="too_odd"), Reply.text("Hel", finish_reason=None, done=False).cut())
    assert main([*args, "--concurrency", "1"]) == 8
    text = report(tmp_path).text
    assert re.search(r"too_odd 1 row-0 ", text)
    assert re.search(r"invalid_request 1 line-7-\w+ is not valid JSON", text)
    assert "1 requests were attempts beyond the first of their row." in text
    assert "StreamTruncatedError 1" in text
    assert "cost unknown" in text
    assert "rows failed 2" in text


def test_who_says_what_the_answers_cost_is_told(answering: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    answering.script(WHOLE, Reply.text("a"), Reply.text("b", usage={**USAGE, "cost": 0.25}))
    assert main([*args, "--concurrency", "1"]) == 0
    text = report(tmp_path).text
    assert "cost 0.2500 answers of unknown cost, not in it 5" in text
    assert "reported by the server, in US dollars 1 unknown 5" in text
    assert "answers without a count of tokens 1" in text


def test_rows_that_were_added_too_late_are_told(
    answering: SimulatedServer, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileInput, "added", lambda _: 2)
    assert main(args) == 9
    text = report(tmp_path).text
    assert "Rows are left: they were added to the input while it ran." in text
    assert "rows left 2" in text


def test_rows_that_a_worker_may_have_sent_before_are_told() -> None:
    figures = BatchFigures(priced=False)
    figures.end(progress(maybe_paid_twice=3), None)
    text = Read(as_page(figures, RunFacts("in.jsonl", "It ended.", False, 0, 0, 2, []))).text
    assert "maybe paid twice 3" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "0.1 s"), (59.96, "60 s"), (60, "1 min"), (61.2, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_times_are_written_as_a_clock_is_read(seconds: float, text: str) -> None:
    assert shown_time(seconds) == text


def test_what_was_hedged_is_told(
    answering: SimulatedServer, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answering.script(WHOLE, Reply().stall())
    quiet = args.pop()
    assert quiet == "--quiet"
    assert main([*args, "--hedge", "1", "--hedge-share", "0.5"]) == 0
    text = report(tmp_path).text
    assert "1 requests were hedged: sent a second time, as their content was late." in text
    assert "1 times the second one brought the answer." in text
    assert "0 requests were attempts beyond the first of their row." in text
    assert "--hedge 1.0" in text
    assert "--hedge-share 0.5" in text
    assert "rows complete 6" in text
    told = capsys.readouterr().err
    assert re.search(r"hedged, as they were late\W+1 ", told)
    assert re.search(r"the second one answered\W+1 ", told)


def test_the_ledger_and_earlier_lines_are_told(answering: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    ledger = ["--ledger", str(tmp_path / "rows.db")]
    assert main([*args, *ledger]) == 0
    (tmp_path / "out.jsonl").unlink()
    assert main([*args, *ledger]) == 0
    text = report(tmp_path).text
    assert "of complete, from the ledger 6" in text
    assert "No model was asked." in text
    assert main([*args, *ledger, "--resume"]) == 0
    assert "rows that had a line before 6" in report(tmp_path).text


@pytest.mark.parametrize(
    ("reply", "options", "code", "told"),
    [
        (WHOLE, ["--price", "9000,9000", "--max-cost", "1"], 9, "It was ended by --max-cost. Rows are left."),
        (Reply.error(401), [], 3, "It was ended by an error: 401"),
        (WHOLE, ["--max-cost", "1"], 2, "It was ended by an error:"),
    ],
)
def test_a_batch_that_ends_early_has_its_page(
    answering: SimulatedServer,
    args: list[str],
    tmp_path: Path,
    reply: Reply,
    options: list[str],
    code: int,
    told: str,
) -> None:
    answering.always(reply)
    assert main([*args, "--concurrency", "1", "--retries", "0", *options]) == code
    page = report(tmp_path)
    assert told in page.text
    assert re.search(r"rows left [1-9]", page.text)
    assert ("p", {"class": "ended partial"}) in page.tags


@pytest.mark.parametrize("signals", [1, 2])
def test_a_batch_that_a_signal_ends_has_its_page(
    thread: ServerThread, answering: SimulatedServer, args: list[str], tmp_path: Path, signals: int
) -> None:
    hangs = Reply.text("on", finish_reason=None, done=False).stall()
    answering.always(Reply.text("re: ", 0.3, "x", usage=USAGE) if signals == 1 else hangs)
    with start(thread, *args, "--concurrency", "1") as process:
        while not answering.requests:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"cometstream: ending")
        if signals == 2:
            process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    text = report(tmp_path).text
    assert "It was ended by a signal. Rows are left." in text
    assert ("rows left 6" if signals == 2 else "rows complete 1") in text


def test_an_output_that_cannot_be_written_is_told(answering: SimulatedServer, args: list[str], tmp_path: Path) -> None:
    with (tmp_path / "out.jsonl").open("wb"):
        pass

    def reply(_: object) -> Reply:
        (tmp_path / "out.jsonl").unlink(missing_ok=True)
        return WHOLE

    answering.always(reply)
    assert main(args) == 10
    assert re.search(r"It was ended by an error: \S+out\.jsonl", report(tmp_path).text)


def test_several_processes_have_a_page_that_says_what_is_unknown(
    answering: SimulatedServer, args: list[str], tmp_path: Path
) -> None:
    assert main([*args, "--processes", "2", "--price", "1,10"]) == 0
    text = report(tmp_path).text
    for told in ("rows complete 6", "input tokens 360", "cost 0.0028", "--processes 2"):
        assert told in text
    assert re.search(r"Time to first content p50 \S+ m?s", text)
    assert "The 2 worker processes were looked at four times a second" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("out.jsonl", "--report takes the name of an .html file"),
        ("in.html", "which this run reads or writes"),
        ("link.html", "which this run reads or writes"),
        ("out.html", "which this run reads or writes"),
        ("missing/r.html", "there is no folder"),
        ("folder.html", "is not a file"),
        (f"{'x' * 250}.html", "cannot be written"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(
    answering: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    (tmp_path / "in.html").write_bytes(b'{"prompt": "Hi"}\n')
    (tmp_path / "link.html").hardlink_to(tmp_path / "in.html")
    (tmp_path / "folder.html").mkdir()
    paths = [str(tmp_path / "in.html"), "-o", str(tmp_path / "out.html")]
    assert main(["batch", *paths, "--report", str(tmp_path / name)]) == 2
    assert told in capsys.readouterr().err
    assert not answering.requests
    assert not (tmp_path / "out.html").exists()
    assert (tmp_path / "in.html").read_bytes() == b'{"prompt": "Hi"}\n'


@pytest.mark.parametrize("mode", [0o500, 0o700])
def test_a_protected_place_is_refused(
    answering: SimulatedServer,
    args: list[str],
    tmp_path: Path,
    mode: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # The tests may run as root, who may write everywhere.
    if mode == 0o500:
        monkeypatch.setattr(batch_report, "check_folder", refuse)
    else:
        (tmp_path / "r.html").write_bytes(b"")
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(args) == 2
    assert "r.html cannot be written: " in capsys.readouterr().err
    assert not answering.requests


def test_nothing_is_reported_of_a_dry_run(
    answering: SimulatedServer, args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*args, "--dry-run"]) == 2
    assert "leave out --report" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_a_report_that_fails_at_the_end_changes_nothing_else(
    answering: SimulatedServer, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "r.html").write_text("the one before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main(args) == 0
    assert capsys.readouterr().err.endswith("r.html cannot be written: No space left on device\n")
    assert not list(tmp_path.glob(".r.html.*"))
    assert (tmp_path / "r.html").read_text() == "the one before"


def test_the_password_of_a_store_is_not_on_the_page() -> None:
    told = dict(batch_report.shown_settings({"ledger": "redis://me:secret@host:6379/0?password=secret", "total": 3}))
    assert told == {"--ledger": "redis://host:6379/0", "--total-timeout": "3"}
    assert batch_report.shown_settings({"shared_limits": "redis://[me:secret"}) == [("--shared-limits", "an address")]


def test_a_sketch_is_right_to_three_percent() -> None:
    spread = Spread()
    assert spread.percentile(0.5) is None
    assert spread.bars(10) == []
    for number in range(1, 20_001):
        spread.add(number / 1000)
    for share in (0.5, 0.95, 0.99):
        assert spread.percentile(share) == pytest.approx(20 * share, rel=0.03)
    assert (spread.shortest, spread.longest, spread.percentile(1.0)) == (0.001, 20.0, pytest.approx(20, rel=0.03))
    bars = spread.bars(40)
    assert len(bars) <= 40
    assert sum(count for _, _, count in bars) == spread.count == 20_000
    spread.add(10**7)
    assert spread.percentile(0.00001) == pytest.approx(0.001, rel=0.03)


def test_a_timeline_has_a_fixed_size_and_loses_nothing() -> None:
    timeline = Timeline()
    for number in range(50_000):
        timeline.at((number + 0.5) / 10).done += 1
    assert len(timeline.bins) <= 120
    assert sum(one.done for one in timeline.bins) == 50_000
    assert all(one.done == round(timeline.width * 10) for one in timeline.bins[:-1])
    timeline.at(10**9).failed += 1  # the machine slept
    assert len(timeline.bins) <= 120
    assert timeline.bins[-1].failed == 1


def progress(**fields: Any) -> BatchProgress:
    told: dict[str, Any] = dict.fromkeys(BatchProgress.__dataclass_fields__, 0)
    return BatchProgress(**{**told, "cost": None, "concurrency_reason": "growing", "trouble": None, **fields})


def test_figures_do_not_grow_with_the_rows() -> None:
    figures, now = BatchFigures(priced=False), [0.0]
    figures.begin(lambda: now[0])
    for number in range(3000):
        now[0] += 1.0
        error = BadRequestError("x" * 10_000, status=400, code=f"code-{number}")
        figures.note(BatchResult(number, None, None, None, error, "error", 1, None), f"{number}-" + "y" * 10_000)
        figures.look(progress(concurrency=number % 7, concurrency_reason=f"reason {number}"))
    figures.end(progress(), None)
    assert figures.failed == 3000
    assert len(figures.faults) <= 101
    assert figures.faults["other"].rows == 2900
    assert len(figures.changes) <= 1000
    page = as_page(figures, RunFacts("in.jsonl", "It ended.", False, None, 0, 3, []))
    assert len(page) < 300_000
    assert "rows left unknown" in Read(page).text


def test_the_marks_of_the_concurrency_say_why_it_was_lowered() -> None:
    figures, now = BatchFigures(priced=False), [100.0]
    figures.begin(lambda: now[0])
    for number in range(40):
        now[0] += 0.25
        figures.look(progress(concurrency=16 + number, running=9))
    changes = [(100.0, 16, "starting"), (101.0, 64, "growing"), (104.0, 32, "status 503"), (105.0, 33, "growing")]
    figures.end(progress(concurrency=33), [ConcurrencyChange(*change) for change in changes])
    text = Read(as_page(figures, RunFacts("in.jsonl", "It ended.", True, 0, 0, 1, []))).text
    assert "1 status 503 4 s 64 to 32" in text
    assert "looked at" not in text
    assert "At most 64 requests at a time; at the end 33 were allowed." in text


def test_a_last_piece_that_is_too_short_makes_no_rate() -> None:
    figures, now = BatchFigures(priced=False), [0.0]
    figures.begin(lambda: now[0])
    for at in (0.05, 0.15, 0.201):
        now[0] = at
        figures.look(progress())
        figures.timeline.at(at).done += 10
    figures.end(progress(), None)
    assert [(round(start, 3), round(length, 3), one.done) for start, length, one in figures.pieces()] == [
        (0.0, 0.1, 10),
        (0.1, 0.101, 20),
    ]
    assert figures.pieces()[-1][2] == Bin(done=20, running=0, allowed=0)


def test_a_run_that_never_began_has_a_page() -> None:
    text = Read(as_page(BatchFigures(priced=False), RunFacts("in.jsonl", "It failed.", False, 3, 0, 1, []))).text
    assert text.count("Nothing was measured.") == 4
    assert "tokens unknown cost unknown" in text


@pytest.mark.parametrize("width", [375, 1200])
async def test_a_browser_shows_the_page_without_complaint(tabs: Tabs, tmp_path: Path, width: int) -> None:
    figures, now = BatchFigures(priced=False), [0.0]
    figures.begin(lambda: now[0])
    for number in range(50):
        now[0] += 1.7
        figures.look(progress(concurrency=16 + number, running=9))
        figures.note_bad("long" * 60 + str(number), ["odd" * 100])
        figures.first_content.add(0.1 + number / 10)
    figures.end(progress(), None)
    settings = [("--ledger", "/long/name" * 40)]
    (tmp_path / "r.html").write_text(as_page(figures, RunFacts("in" * 80, "It ended.", False, 0, 0, 2, settings)))
    page = await tabs.open((tmp_path / "r.html").as_uri())
    for dark in (False, True):
        await page.screen(width, 800, dark=dark)
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        bright = await page.run("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) > 128")
        assert bright is not dark
    assert page.errors == []
