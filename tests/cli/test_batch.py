from __future__ import annotations

import asyncio
import gc
import gzip
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.cli_process import environment, read_until, start
from support.cli_server import ServerThread

from cometstream.cli import batch_run, main
from cometstream.testing import Reply, SimulatedServer, chunk
from cometstream.testing.server import RecordedRequest

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="locks and signals are POSIX's here"),
    pytest.mark.slow,
]

USAGE = {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8}
WHOLE = Reply.text("Hello", " world", usage=USAGE)


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def server(thread: ServerThread, monkeypatch: pytest.MonkeyPatch) -> SimulatedServer:
    thread.server.always(WHOLE)
    monkeypatch.delenv("COMETAPI_MODEL", raising=False)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    return thread.server


class Files:
    """An input of some rows, and where the output goes."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "in.jsonl"
        self.output = folder / "out.jsonl"
        self.errors = folder / "errors.jsonl"
        self.args = ["batch", str(self.source), "-o", str(self.output), "--model", "gpt-5.4"]

    def rows(self, count: int) -> None:
        self.write(*({"custom_id": f"row-{number}", "prompt": f"Hi {number}"} for number in range(count)))

    def write(self, *lines: dict[str, Any] | bytes) -> None:
        texts = (line if isinstance(line, bytes) else orjson.dumps(line) for line in lines)
        self.source.write_bytes(b"".join(text + b"\n" for text in texts))

    def lines(self, path: Path | None = None) -> dict[str, Any]:
        """Return the lines by their names; each must be whole, and no name there twice."""
        text = (path or self.output).read_bytes()
        assert not text or text.endswith(b"\n")
        lines = [orjson.loads(line) for line in text.splitlines()]
        names = Counter(line["custom_id"] for line in lines)
        assert set(names.values()) <= {1}, names
        return {line["custom_id"]: line for line in lines}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def asked(server: SimulatedServer) -> list[str]:
    """Return the prompts of the requests that came, in no order."""
    return sorted(request.json["messages"][-1]["content"] for request in server.requests)


def by_prompt(**replies: Reply) -> Callable[[RecordedRequest], Reply]:
    def reply(request: RecordedRequest) -> Reply:
        return replies.get(request.json["messages"][-1]["content"], WHOLE)

    return reply


def test_each_row_has_one_line_of_openais_shape(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(
        {
            "custom_id": "a",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": "A"}]},
        },
        {"custom_id": "b", "model": "gpt-4.1", "messages": [{"role": "user", "content": "B"}], "stream": False},
        {"prompt": "C", "extra_body": {"top_k": 4}},
    )
    assert main([*files.args, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    lines = files.lines()
    assert [name.partition("-")[0] for name in sorted(lines)] == ["a", "b", "line"]
    assert lines["a"]["response"]["status_code"] == 200
    assert lines["a"]["response"]["body"]["choices"][0]["message"]["content"] == "Hello world"
    assert lines["a"]["error"] is None
    sent = {request.json["messages"][0]["content"]: request.json for request in server.requests}
    assert {name: body["model"] for name, body in sent.items()} == {"A": "gpt-5.4", "B": "gpt-4.1", "C": "gpt-5.4"}
    assert all(body["stream"] is True for body in sent.values())
    assert sent["C"]["top_k"] == 4


def test_bad_lines_are_told_and_accounted_for_and_the_others_run(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write({"custom_id": "a", "prompt": "A"}, b"nope", {"custom_id": "c", "prompt": "C", "temperature": 3})
    assert main([*files.args, "--quiet"]) == 8
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith(f"cometstream: {files.source}, line 2: is not valid JSON")
    assert err[1] == f"cometstream: {files.source}, line 3: temperature: is 3; it must be a number from 0 to 2"
    assert err[2] == "cometstream: 2 rows failed: their lines say why; --retry-failed runs them again"
    assert asked(server) == ["A"]
    lines = files.lines()
    assert len(lines) == 3
    assert lines["c"]["response"] is None
    assert lines["c"]["error"]["code"] == "invalid_request"
    # Once more: nothing is left, and nothing is written twice.
    before = files.output.read_bytes()
    assert main([*files.args, "--quiet", "--resume"]) == 8
    assert capsys.readouterr().err.splitlines()[-1] == err[2]
    assert files.output.read_bytes() == before
    assert len(server.requests) == 1


def test_strict_sends_nothing_where_a_line_is_bad(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write({"prompt": "A"}, b"nope")
    assert main([*files.args, "--strict"]) == 2
    assert "1 lines are bad, so nothing was sent" in capsys.readouterr().err
    assert server.requests == []
    assert files.output.read_bytes() == b""


def test_only_some_of_many_bad_lines_are_shown(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write({"prompt": "Hi"}, *[b"nope"] * 50)
    assert main([*files.args, "--quiet"]) == 8
    err = capsys.readouterr().err
    assert err.count("is not valid JSON") == 20
    assert "30 more lines are bad; --dry-run lists them all" in err
    assert len(files.lines()) == 51


def test_a_dry_run_checks_every_line_and_sends_and_writes_nothing(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    files.write({"prompt": "A" * 400}, {"prompt": "B", "model": "gpt-4.1"}, *[b"nope"] * 30)
    assert main([*files.args, "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert re.fullmatch(
        rf"{files.source}: 2 good rows, 30 bad; about 1\d\d input tokens\n  1 for gpt-5.4\n  1 for gpt-4.1\n", out
    )
    assert err.count("is not valid JSON") == 30
    assert server.requests == []
    assert not files.output.exists()
    files.rows(3)
    assert main(["batch", str(files.source), "--dry-run", "--model", "m"]) == 0


def test_a_dry_run_reads_stdin_too(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = gzip.compress(b'{"prompt": "A"}\nnope\n')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["batch", "-", "--dry-run", "--model", "m"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("stdin: 1 good rows, 1 bad; about ")
    assert err.startswith("cometstream: stdin, line 2: is not valid JSON")


def test_failures_have_their_lines_and_can_be_run_again(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(*({"custom_id": name, "prompt": name} for name in ("good", "cut", "open", "refused")))
    server.always(
        by_prompt(
            cut=Reply.text("Hel", "lo", finish_reason=None, done=False).cut(),
            open=Reply.text("Hello", finish_reason=None),
            refused=Reply.error(400, "no such thing"),
        )
    )
    args = [*files.args, "--errors", str(files.errors), "--retries", "0"]
    assert main(args) == 8
    assert "3 rows failed" in capsys.readouterr().err
    assert set(files.lines()) == {"good"}
    failed = files.lines(files.errors)
    assert {name: line["error"]["code"] for name, line in failed.items()} == {
        "cut": "truncated",
        "open": "unterminated",
        "refused": "http_400",
    }
    assert failed["cut"]["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
    assert failed["refused"]["response"]["status_code"] == 400
    server.requests.clear()
    server.always(WHOLE)
    assert main([*args, "--resume"]) == 8
    assert server.requests == []
    assert main([*args, "--retry-failed"]) == 0
    assert asked(server) == ["cut", "open", "refused"]
    assert (set(files.lines()), files.lines(files.errors)) == ({"good", "cut", "open", "refused"}, {})


def test_codes_that_a_server_makes_up_do_not_fill_memory(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(5)
    monkeypatch.setattr(batch_run, "_CODES_KEPT", 2)
    server.always(lambda request: Reply.error(400, code=request.json["messages"][0]["content"]))
    assert main([*files.args, "--concurrency", "1"]) == 8
    assert re.findall(r"│   (\S.*?)\s+│\s+(\d) │", capsys.readouterr().err) == [
        ("other", "3"),
        ("Hi 0", "1"),
        ("Hi 1", "1"),
    ]


def test_garbage_is_searched_for_seldom_while_a_batch_runs_and_as_before_after_it(
    server: SimulatedServer, files: Files
) -> None:
    files.rows(2)
    former, frozen = gc.get_threshold(), gc.get_freeze_count()
    meanwhile: list[tuple[int, int]] = []

    def reply(_: RecordedRequest) -> Reply:
        meanwhile.append((gc.get_threshold()[0], gc.get_freeze_count()))
        return WHOLE

    server.always(reply)
    assert main([*files.args, "--quiet"]) == 0
    assert len(meanwhile) == 2
    assert all(young > 10 * former[0] and kept > frozen for young, kept in meanwhile)
    assert (gc.get_threshold(), gc.get_freeze_count()) == (former, frozen)


def test_a_row_whose_answer_broke_off_is_sent_again(server: SimulatedServer, files: Files) -> None:
    files.rows(1)
    server.script(Reply.text("Hel", finish_reason=None, done=False).cut())
    assert main([*files.args, "--quiet"]) == 0
    assert len(server.requests) == 2
    assert files.lines()["row-0"]["response"]["body"]["choices"][0]["message"]["content"] == "Hello world"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("way", ["stdin", "pipe"])
def test_rows_come_from_stdin_and_pipes_also_packed(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, packed: bool, way: str
) -> None:
    files.rows(120)
    text = files.source.read_bytes() + b"nope"
    source = "-"
    if way == "stdin":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(text) if packed else text)))
    else:
        source = str(files.source.with_name("fifo"))
        os.mkfifo(source)
        writer = threading.Thread(target=Path(source).write_bytes, args=(gzip.compress(text) if packed else text,))
        writer.start()
    assert main(["batch", source, "-o", str(files.output), "--model", "gpt-5.4", "--quiet"]) == 8
    assert len(files.lines()) == 121
    assert len(server.requests) == 120


def test_a_stream_can_be_resumed_and_one_that_is_another_is_refused(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(3)
    assert main([*files.args, "--quiet"]) == 0
    args = ["batch", "-", "-o", str(files.output), "--model", "gpt-5.4", "--quiet", "--resume"]
    text = files.source.read_bytes() + b'{"custom_id": "new", "prompt": "new"}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(args) == 0
    assert set(files.lines()) == {"row-0", "row-1", "row-2", "new"}
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"custom_id": "more", "prompt": "more"}')))
    assert main(args) == 0
    assert "answers 'row-" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"custom_id": "row-1", "prompt": "else"}')))
    assert main(args) == 2
    assert "is the output of another input" in capsys.readouterr().err


def test_a_strict_stream_ends_with_its_first_bad_line(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = b'{"custom_id": "a", "prompt": "A"}\nnope\n{"prompt": "B"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["batch", "-", "-o", str(files.output), "--model", "gpt-5.4", "--quiet", "--strict"]) == 1
    assert "line 2: is bad, so no more was sent (--strict)" in capsys.readouterr().err
    assert "B" not in asked(server)


def test_a_stream_that_breaks_says_so_and_keeps_what_came(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = gzip.compress(b'{"custom_id": "a", "prompt": "A"}\n' + os.urandom(300_000).hex().encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text[:100_000])))
    assert main(["batch", "-", "-o", str(files.output), "--model", "gpt-5.4", "--quiet"]) == 1
    assert "stdin, after line 1: the gzip data is cut or damaged" in capsys.readouterr().err
    assert set(files.lines()) == {"a"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no input: name a file of rows, or - for stdin"),
        (["{in}"], "no output: name a file with -o"),
        (["{folder}/none.jsonl", "-o", "{out}"], "none.jsonl cannot be read: No such file"),
        (["{folder}", "-o", "{out}"], "cannot be read: Is a directory"),
        (["{in}", "-o", "{in}"], "in.jsonl is the input: choose another output"),
        (["{in}", "-o", "{out}", "--errors", "{in}"], "in.jsonl is the input: choose another output"),
        (["{in}", "-o", "{out}", "--errors", "{out}"], "leave --errors out"),
        (["{in}", "-o", "{out}", "--concurrency", "0"], "0 is not in the range"),
        (["{in}", "-o", "{out}", "--concurrency", "many"], "'many' is not a valid integer"),
        (["{in}", "-o", "{out}", "--hedge", "0"], "'0' is neither seconds above 0 nor a percentile from p50 to p99"),
        (["{in}", "-o", "{out}", "--hedge", "nan"], "'nan' is neither seconds above 0 nor a percentile"),
        (["{in}", "-o", "{out}", "--hedge", "95%"], "'95%' is neither seconds above 0 nor a percentile"),
        (["{in}", "-o", "{out}", "--hedge", "p95", "--hedge-share", "5"], "5.0 is not in the range 0<x<=1"),
        (["{in}", "-o", "{out}", "--hedge-share", "0.1"], "--hedge-share needs --hedge"),
        (["{in}", "-o", "{out}", "--hedge-max-cost", "1"], "--hedge-max-cost needs --hedge"),
        (["{in}", "-o", "{out}", "--demo", "--base-url", "http://127.0.0.1"], "leave out --base-url"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    files.rows(1)
    before = files.source.read_bytes()
    places = {"in": str(files.source), "out": str(files.output), "folder": str(files.source.parent)}
    assert main(["batch", *(arg.format(**places) for arg in args)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert server.requests == []
    assert files.source.read_bytes() == before


def test_no_key_is_told_before_the_input_is_read(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    assert main(files.args) == 2
    assert "no API key" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_told_before_anything_is_sent(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(1)
    assert main([*files.args, "-o", str(files.output / "x" / "out.jsonl")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert server.requests == []


def test_an_output_of_another_input_is_refused_and_stays_as_it_is(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(2)
    server.always(by_prompt(**{"Hi 1": Reply.error(400)}))
    assert main([*files.args, "--quiet"]) == 8
    before = files.output.read_bytes()
    files.write({"custom_id": "row-0", "prompt": "something else"})
    for flag in ("--resume", "--retry-failed"):
        assert main([*files.args, flag]) == 2
        assert "answers custom_id 'row-0' with another body than line 1 has" in capsys.readouterr().err
    files.write({"prompt": "Hi"})
    assert main([*files.args, "--retry-failed"]) == 2
    assert "answers 'row-0', which is not a row of" in capsys.readouterr().err
    assert main(files.args) == 2
    assert "is not empty" in capsys.readouterr().err
    assert files.output.read_bytes() == before


def test_a_refused_key_ends_the_batch_and_leaves_its_rows(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(100)
    server.always(Reply.error(401))
    assert main([*files.args, "--quiet", "--concurrency", "2"]) == 3
    err = capsys.readouterr().err
    assert "100 rows are left: the same command with --resume runs them" in err
    assert "COMETAPI_KEY" in err
    assert files.lines() == {}
    assert len(server.requests) < 10


def test_one_refusal_of_the_key_among_answers_is_its_row_s_failure(server: SimulatedServer, files: Files) -> None:
    files.rows(30)
    server.always(by_prompt(**{"Hi 5": Reply.error(401), "Hi 29": Reply.error(401)}))
    assert main([*files.args, "--quiet", "--concurrency", "1"]) == 8
    lines = files.lines()
    assert len(lines) == 30
    assert [name for name, line in sorted(lines.items()) if line["error"]] == ["row-29", "row-5"]


def test_a_key_that_is_refused_from_some_row_on_ends_the_batch(server: SimulatedServer, files: Files) -> None:
    files.rows(200)
    server.always(lambda request: WHOLE if len(server.requests) <= 20 else Reply.error(401))
    assert main([*files.args, "--quiet", "--concurrency", "2"]) == 3
    failed = sum(line["error"] is not None for line in files.lines().values())
    assert len(files.lines()) - failed == 20
    assert failed <= 1  # as below
    assert len(server.requests) < 40


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Reply.error(402), 1),
        (Reply.error(403, code="insufficient_user_quota"), 3),
        (Reply.error(429, code="insufficient_quota"), 4),
        (Reply.error(404, "no available channel for model x", code="model_not_found"), 1),
    ],
    ids=["402", "403", "429", "404"],
)
def test_what_every_row_would_meet_ends_the_batch(
    server: SimulatedServer, files: Files, refusal: Reply, code: int
) -> None:
    files.rows(200)
    asked = itertools.count(1)
    server.always(lambda request: WHOLE if next(asked) <= 5 else refusal)
    assert main([*files.args, "--quiet", "--concurrency", "2"]) == code
    failed = sum(line["error"] is not None for line in files.lines().values())
    assert len(files.lines()) - failed == 5
    assert failed <= 1  # the first refusal may come before the last answer, and is then taken for its row's
    assert len(server.requests) < 25
    server.always(WHOLE)
    assert main([*files.args, "--quiet", "--resume", "--retry-failed"]) == 0
    assert len(files.lines()) == 200


def test_rows_of_an_unknown_model_fail_while_those_of_another_go_on(server: SimulatedServer, files: Files) -> None:
    files.rows(30)
    refusal = Reply.error(404, "no available channel", code="model_not_found")
    server.always(by_prompt(**{"Hi 0": refusal, "Hi 29": refusal}))
    assert main([*files.args, "--quiet", "--concurrency", "1"]) == 8
    assert [name for name, line in sorted(files.lines().items()) if line["error"]] == ["row-0", "row-29"]


@pytest.mark.parametrize("text", ['[{"prompt": "a"}, {"prompt": "b"}]\n', "custom_id,prompt\nr0,q0\n", "[\n{\n}\n]\n"])
def test_a_file_without_one_row_is_refused(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    files.source.write_text(text)
    assert main([*files.args, "--quiet"]) == 2
    assert "so nothing was sent" in capsys.readouterr().err
    assert not files.output.exists() or files.lines() == {}
    assert not server.requests


@pytest.mark.parametrize("text", [b"BZh91AY&SY", b"PK\x03\x04", b"\xfd7zXZ\x00", b"PAR1"])
def test_a_file_of_another_format_is_named(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    files.source.write_bytes(text + bytes(range(256)))
    assert main([*files.args, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "and no JSON lines" in err
    assert err.count("\n") == 1


def test_a_json_array_whose_last_line_looks_like_a_row_is_refused(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.source.write_text('[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n')
    assert main([*files.args, "--quiet"]) == 2
    assert not server.requests
    assert "is a JSON array, so nothing was sent" in capsys.readouterr().err


def test_a_stream_that_holds_no_rows_is_refused_in_one_message(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in (b"id,prompt\n1,a\n", b"[\n" + b'{"prompt": "a"},\n' * 2 + b'{"prompt": "b"}\n]\n', b"x\n" * 200_000):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert main(["batch", "-", "-o", str(files.output), "-q"]) == 2
        err = capsys.readouterr().err
        assert "so nothing was sent" in err
        assert err.count("\n") == 1
        assert files.lines() == {}
    assert not server.requests


def test_bad_lines_before_the_first_row_of_a_stream_have_their_lines(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'nope\n{"custom_id": "a"}\n{"custom_id": "b", "prompt": "B"}\nnope\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["batch", "-", "-o", str(files.output), "-q"]) == 8
    assert [bool(line["error"]) for line in files.lines().values()].count(True) == 3
    assert asked(server) == ["B"]


@pytest.mark.parametrize("closes", [False, True])
def test_the_output_may_be_stdout(thread: ServerThread, files: Files, closes: bool) -> None:
    thread.server.always(WHOLE)
    files.rows(100)
    lines = []
    with start(thread, *files.args[:2], "-o", "-", "-q", "--concurrency", "4") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            lines.append(orjson.loads(line))
            if closes:
                process.stdout.close()
                break
        assert process.wait(20) == (141 if closes else 0)
        if not closes:
            assert {line["custom_id"] for line in lines} == {f"row-{number}" for number in range(100)}
            assert process.stderr.read() == b""
    assert not (files.source.parent / "-").exists()


def test_what_went_to_stdout_cannot_be_resumed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.rows(1)
    assert main([*files.args, "-o", "-", "--resume"]) == 2
    assert "cannot be resumed" in capsys.readouterr().err


def test_a_row_may_have_a_number_for_a_name(server: SimulatedServer, files: Files) -> None:
    files.write({"custom_id": 7, "prompt": "a"}, {"custom_id": 0, "prompt": "b"})
    assert main([*files.args, "--quiet"]) == 0
    assert set(files.lines()) == {"0", "7"}
    assert main([*files.args, "--quiet", "--resume"]) == 0
    assert len(server.requests) == 2


def test_rows_without_a_model_go_to_the_default_and_that_is_told_once(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(30)
    args = files.args[:4]
    assert main(args) == 0
    err = capsys.readouterr().err
    assert err.count("rows that name no model are sent to gpt-5.4; --model names another") == 1
    assert {request.json["model"] for request in server.requests} == {"gpt-5.4"}


def test_resuming_by_another_model_is_refused_unless_it_is_forced(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(
        {"custom_id": "own", "model": "gpt-4.1", "prompt": "own"},
        *({"custom_id": f"row-{number}", "prompt": f"Hi {number}"} for number in range(5)),
    )
    args = [*files.args[:4], "--quiet", "--resume"]
    assert main([*args, "-m", "model-a", "--max-tokens-total", "20", "--concurrency", "1"]) == 9
    before = files.output.read_bytes()
    capsys.readouterr()
    assert main([*args, "-m", "model-b"]) == 2
    assert "has answers of another model" in capsys.readouterr().err
    assert files.output.read_bytes() == before
    sent = len(server.requests)
    assert main([*args, "-m", "model-b", "--force"]) == 0
    assert capsys.readouterr().err.count("has answers of another model") == 1
    assert {request.json["model"] for request in server.requests[sent:]} == {"model-b"}
    assert main([*args, "-m", "model-a", "--force"]) == 0
    assert len(files.lines()) == 6


def test_rows_that_are_added_meanwhile_are_sent_or_counted(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(300)

    def reply(request: RecordedRequest) -> Reply:
        if len(server.requests) in (5, 300):
            with files.source.open("ab") as source:
                source.write(orjson.dumps({"custom_id": f"more-{len(server.requests)}", "prompt": "More"}) + b"\n")
        return WHOLE

    server.always(reply)
    assert main([*files.args, "--quiet", "--concurrency", "1"]) in (0, 9)
    err = capsys.readouterr().err
    assert "rows were added" in err
    assert main([*files.args, "--quiet", "--resume"]) == 0
    assert len(files.lines()) == len(server.requests) == 302


def test_a_batch_costs_what_it_may(server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.rows(20)
    args = [*files.args, "--concurrency", "1", "--price", "1000000, 10000000,0"]
    assert main([*args, "--max-cost", "100"]) == 9  # 26 a row
    assert len(files.lines()) == 4
    assert "cost" in capsys.readouterr().err
    assert main([*args, "--quiet", "--resume"]) == 0
    assert main([*files.args, "--price", "3"]) == 2
    assert "IN,OUT" in capsys.readouterr().err


def test_an_output_that_is_deleted_meanwhile_ends_the_batch_with_its_own_code(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(50)

    def reply(request: RecordedRequest) -> Reply:
        if len(server.requests) == 10:
            files.output.unlink()
        return WHOLE

    server.always(reply)
    assert main([*files.args, "--quiet", "--concurrency", "1"]) == 10
    assert "was deleted or moved while the batch was writing it" in capsys.readouterr().err
    assert len(server.requests) < 50


def test_a_new_output_is_as_private_as_its_input(server: SimulatedServer, files: Files) -> None:
    files.rows(1)
    files.source.chmod(0o600)
    assert main([*files.args, "--quiet"]) == 0
    assert files.output.stat().st_mode & 0o777 == 0o600


def test_the_token_limit_leaves_rows_for_another_run(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(30)
    args = [*files.args, "--quiet", "--concurrency", "1"]
    assert main([*args, "--max-tokens-total", "40"]) == 9
    done = len(files.lines())
    assert 0 < done < 30
    assert f"{30 - done} rows are left" in capsys.readouterr().err
    assert main([*args, "--resume"]) == 0
    assert len(files.lines()) == 30
    assert len(server.requests) == 30


def test_the_cost_of_a_batch_is_told_where_it_is_asked_for(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cometstream.cli.connection._DEMO_RATE", None)
    assert main(["batch", "--demo", "-o", str(files.output)]) == 0
    assert "│ cost " not in capsys.readouterr().err
    files.output.unlink()
    assert main(["batch", "--demo", "--cost", "-o", str(files.output)]) == 0
    assert "│ cost " in capsys.readouterr().err


def test_the_demo_has_rows_of_its_own(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_MODEL", "nobody-serves-this")
    assert main(["batch", "--demo", "-o", str(files.output), "--quiet"]) == 0
    assert all(line["error"] is None for line in files.lines().values())


def test_a_batch_shows_its_end_and_never_an_answer(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(3)
    assert main(files.args) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert str(files.output) in err
    assert re.search(r"done\s+│\s+3 ", err)
    assert "Hello" not in err


def test_a_disk_that_is_full_stops_the_batch_and_another_run_goes_on(thread: ServerThread, files: Files) -> None:
    files.rows(40)
    thread.server.always(WHOLE)
    # Python ignores SIGXFSZ, so that a write past the limit fails as on a full disk.
    program = """
import resource, sys
from cometstream.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", program, *files.args, "--quiet"]
    ended = subprocess.run(command, env=environment(thread), capture_output=True, text=True, timeout=30, check=False)
    kept = len(files.lines())
    assert ended.returncode == 1
    assert 0 < kept < 40
    assert ended.stderr.startswith(f"cometstream: {files.output} cannot be written: File too large. Its {kept} lines")
    assert ended.stderr.endswith("--resume goes on from there\n")
    with start(thread, *files.args, "--quiet", "--resume") as process:
        assert process.wait() == 0
    assert len(files.lines()) == 40


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_bad_rows_that_cannot_be_written_stop_the_batch_too(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write({"prompt": "A"}, b"nope", *({"prompt": "B"} for _ in range(3000)))
    assert main([*files.args, "--errors", "/dev/full", "--quiet"]) == 1
    assert "/dev/full cannot be written: No space left on device" in capsys.readouterr().err
    assert len(server.requests) < 3000


def test_a_sync_that_fails_stops_the_batch(
    server: SimulatedServer, files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(1)
    server.always(WHOLE.after(60.0))
    monkeypatch.setattr(batch_run, "_TICK", 0.01)

    def refuse(_: object) -> None:
        from cometstream.batch.line_file import LineFileError

        raise LineFileError("the disk is gone")

    monkeypatch.setattr("cometstream.batch.output.BatchOutput.sync_if_due", refuse)
    assert main([*files.args, "--quiet"]) == 1
    assert "the disk is gone" in capsys.readouterr().err


class Gate:
    """Lets some answers through and holds the others back until it is opened."""

    def __init__(self, thread: ServerThread, free: int) -> None:
        self._event = asyncio.Event()
        self._thread = thread
        self._free = free
        thread.server.always(self._reply)

    def _reply(self, request: RecordedRequest) -> Reply:
        self._free -= 1
        held = Reply.sse(chunk({"content": "Hello"}), self._event, chunk(finish_reason="stop"), b"data: [DONE]\n\n")
        return WHOLE if self._free >= 0 else held

    def open(self) -> None:
        self._thread.set(self._event)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_drains_and_another_run_goes_on(
    thread: ServerThread, files: Files, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("these tests run under nohup, which a batch respects")
    files.rows(40)
    thread.server.requests.clear()
    gate = Gate(thread, 10)
    with start(thread, *files.args, "--concurrency=4", "--quiet") as process:
        assert process.stderr is not None
        while len(thread.server.requests) < 14:
            assert process.poll() is None
        process.send_signal(number)
        told = read_until(process.stderr.fileno(), b"\n")
        assert told == (
            b"cometstream: ending: no more rows are sent, 4 requests under way come to their end; once more ends them now\n"
        )
        gate.open()
        _, err = process.communicate()
    assert process.returncode == 130
    assert err == b"cometstream: 26 rows are left: the same command with --resume runs them\n"
    assert len(files.lines()) == 14
    with start(thread, *files.args, "--quiet", "--resume") as process:
        assert process.wait() == 0
    assert len(files.lines()) == len(thread.server.requests) == 40
    thread.server.always(None)


def test_a_batch_that_nohup_started_does_not_listen_to_the_end_of_its_terminal(
    thread: ServerThread, files: Files
) -> None:
    files.rows(1)
    thread.server.requests.clear()
    gate = Gate(thread, 0)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a process inherits what is ignored
    try:
        with start(thread, *files.args, "--quiet") as process:
            while not thread.server.requests:
                assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            gate.open()
            assert process.wait() == 0
    finally:
        signal.signal(signal.SIGHUP, former)
    thread.server.always(None)


def test_the_second_signal_ends_requests_at_once_and_leaves_a_whole_file(thread: ServerThread, files: Files) -> None:
    files.rows(20)
    thread.server.requests.clear()
    Gate(thread, 5)
    with start(thread, *files.args, "--concurrency=3", "--quiet") as process:
        assert process.stderr is not None
        while len(thread.server.requests) < 8:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        read_until(process.stderr.fileno(), b"\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert err == b"cometstream: 15 rows are left: the same command with --resume runs them\n"
    assert len(files.lines()) == 5
    thread.server.always(None)
    with start(thread, *files.args, "--quiet", "--resume") as process:
        assert process.wait() == 0
    assert len(files.lines()) == 20


def test_a_pipe_that_stays_open_keeps_nothing_from_ending(thread: ServerThread, files: Files) -> None:
    thread.server.requests.clear()
    thread.server.always(WHOLE)
    args = ["batch", "-", "-o", str(files.output), "--model", "gpt-5.4", "--quiet"]
    with start(thread, *args, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"custom_id": "a", "prompt": "A"}\n')
        while not (files.output.exists() and files.output.read_bytes().endswith(b"\n")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
        assert process.stderr is not None
        assert process.stderr.read().endswith(b"cometstream: rows are left: the same command with --resume runs them\n")
    assert set(files.lines()) == {"a"}
    thread.server.always(None)


def test_a_second_run_on_the_same_output_is_refused(thread: ServerThread, files: Files) -> None:
    files.rows(3)
    gate = Gate(thread, 0)
    thread.server.requests.clear()
    with start(thread, *files.args, "--quiet") as first:
        while not thread.server.requests:
            assert first.poll() is None
        with start(thread, *files.args, "--resume") as second:
            _, err = second.communicate()
        assert second.returncode == 1
        assert b"out.jsonl is being written by another run: wait for its end, or choose another file" in err
        gate.open()
        assert first.wait() == 0
    assert len(files.lines()) == 3
    thread.server.always(None)


@pytest.mark.slow
def test_runs_that_are_killed_write_every_row_once(thread: ServerThread, files: Files) -> None:
    files.rows(60)
    thread.server.requests.clear()
    late = itertools.cycle((0.0, 0.0, 0.3))
    thread.server.always(lambda recorded: Reply.text(next(late), "Hel", 0.01, "lo", usage=USAGE))
    options = ["--hedge=0.05", "--hedge-share=1"]
    for wanted in (5, 25, 45):
        with start(thread, *files.args, *options, "--quiet", "--resume", "--concurrency=4") as process:
            while not files.output.exists() or files.output.read_bytes().count(b"\n") < wanted:
                assert process.poll() is None
            process.kill()
            process.wait()
    with start(thread, *files.args, *options, "--quiet", "--resume") as process:
        assert process.wait() == 0
    lines = files.lines()
    assert set(lines) == {f"row-{number}" for number in range(60)}
    for line in lines.values():
        assert line["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
        assert line["error"] is None
    thread.server.always(None)


def test_a_terminal_sees_the_batch_come_on(thread: ServerThread, files: Files) -> None:
    pty = pytest.importorskip("pty")
    files.rows(8)
    gate = Gate(thread, 5)
    ours, theirs = pty.openpty()
    with start(thread, *files.args, "--concurrency=3", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = read_until(ours, b"5 done, 0 failed, 3 running")
        assert b"5 of 8 rows" in shown
        assert b"concurrency 3" in shown
        gate.open()
        shown = read_until(ours, "└".encode())
        assert process.wait() == 0
    os.close(ours)
    assert re.search(r"done\s+│\s+8 ", shown.decode())
    assert b"Hello" not in shown
    thread.server.always(None)


def test_a_signal_in_the_midst_drains_and_one_more_cancels(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(20)
    seen: list[RecordedRequest] = []

    def interrupting(request: RecordedRequest) -> Reply:
        seen.append(request)
        if len(seen) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return WHOLE

    server.always(interrupting)
    args = [*files.args, "--quiet", "--concurrency", "2"]
    assert main(args) == 130
    done = len(files.lines())
    assert 6 <= done <= 8
    assert f"{20 - done} rows are left" in capsys.readouterr().err

    def stubborn(request: RecordedRequest) -> Reply:
        # Two of the same number that come together would be one.
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return Reply.sse().stall()

    server.always(stubborn)
    assert main([*files.args, "--quiet", "--concurrency", "1", "--resume"]) == 130
    assert len(files.lines()) == done
    server.always(WHOLE)
    assert main([*args, "--resume"]) == 0
    assert len(files.lines()) == 20


def test_a_row_that_waits_to_be_sent_again_when_all_ends_has_no_line_and_is_left(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(2)

    def refusing(request: RecordedRequest) -> Reply:
        if request.json["messages"][0]["content"] == "Hi 0":
            return Reply.error(500, retry_after=30)
        os.kill(os.getpid(), signal.SIGTERM)
        return WHOLE.after(0.3)

    server.always(refusing)
    assert main([*files.args, "--quiet", "--concurrency", "1"]) == 130
    assert set(files.lines()) == {"row-1"}
    assert "1 row is left" in capsys.readouterr().err


def test_a_torn_line_is_told_of_and_its_row_runs_again(
    server: SimulatedServer, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(3)
    assert main([*files.args, "--quiet"]) == 0
    files.output.write_bytes(files.output.read_bytes()[:-30])
    assert main([*files.args, "--quiet", "--resume"]) == 0
    assert "the last line was cut off; it is removed, and its row runs again" in capsys.readouterr().err
    assert len(files.lines()) == 3
    assert len(server.requests) == 4


def test_a_stdin_that_is_closed_is_told(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["batch", "-", "-o", os.devnull]) == 2
    assert "stdin is closed" in capsys.readouterr().err


def test_help_waits_for_none_of_the_batchs_rooms() -> None:
    program = """
import sys
from cometstream.cli import main

code = main(["batch", "--help"])
late = {"rich", "cometstream.batch", "cometstream.testing"}.intersection(sys.modules)
sys.exit(f"imported: {late}" if late else code)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False)
    assert ended.stderr == b""
    assert ended.returncode == 0


def test_with_a_ledger_a_lost_output_is_written_again_and_nothing_is_sent(
    server: SimulatedServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(5)
    args = [*files.args, "--ledger", str(tmp_path / "rows.db")]
    assert main(args) == 0
    lines = files.lines()
    files.output.unlink()
    capsys.readouterr()
    assert main(args) == 0
    assert files.lines() == lines
    assert len(server.requests) == 5
    assert re.search(r"of done, from the ledger\W+5\b", capsys.readouterr().err)
    files.output.unlink()
    assert main([*args, "--model", "gpt-4.1", "--quiet"]) == 0
    assert len(server.requests) == 10


def test_answers_of_a_ledger_do_not_make_refusals_the_fault_of_their_rows(
    server: SimulatedServer, files: Files, tmp_path: Path
) -> None:
    args = [*files.args, "--quiet", "--concurrency", "1", "--ledger", str(tmp_path / "rows.db")]
    rows: list[dict[str, Any]] = [{"custom_id": f"row-{number}", "prompt": f"Hi {number}"} for number in range(60)]
    files.write(*rows[::5])
    assert main(args) == 0
    files.output.unlink()
    files.write(*rows)
    sent = len(server.requests)
    server.always(Reply.error(401))
    assert main(args) == 3
    assert len(server.requests) - sent < 10
    assert all(line["error"] is None for line in files.lines().values())


def test_a_ledger_that_cannot_be_used_is_told_of_and_nothing_is_sent(
    server: SimulatedServer, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.rows(2)
    for ledger, told in (
        ("http://host", "the address of the ledger begins with"),
        (str(files.source), "is the input or the output: choose another file for the ledger or the limits"),
        (str(tmp_path), "the ledger"),
    ):
        assert main([*files.args, "--ledger", ledger, "--quiet"]) == 2
        assert told in capsys.readouterr().err
        files.output.unlink(missing_ok=True)
    assert not server.requests
