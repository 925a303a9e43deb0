from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import cometstream.session
from cometstream import CometSession, RetryPolicy, Timeouts
from cometstream.cli import app, main, prompt
from cometstream.cli.exit_codes import EPILOG, ExitCode
from cometstream.cli.words import in_cli_words
from cometstream.request.providers import WARNED
from cometstream.testing import MODELS, Reply, SimulatedServer, chunk

USAGE = {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8}


class Stdin(io.TextIOWrapper):
    def __init__(self, text: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(text))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def told(err: str) -> str:
    """Return the one line that stderr has to be."""
    assert err.startswith("cometstream: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err[len("cometstream: ") : -1]


def test_the_answer_is_all_that_stdout_gets(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(Reply.text("Hello", " world", usage=USAGE))
    assert main(["ask", "Hi"]) == 0
    assert capsys.readouterr() == ("Hello world\n", "")
    assert server.requests[0].json == {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_line_end_of_the_answers_own_is_not_doubled(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(Reply.text("Hello", "\n"))
    assert main(["ask", "Hi"]) == 0
    assert capsys.readouterr().out == "Hello\n"


@pytest.mark.parametrize(
    ("argument", "stdin", "content"),
    [
        (["Summarise:"], Stdin(b"a text\r\n"), "Summarise:\n\na text"),
        (["Hi"], Stdin(terminal=True), "Hi"),
        (["Hi"], None, "Hi"),
        ([], Stdin("\ufeffGrüße\n\n".encode()), "Grüße"),
        (["-"], Stdin(b"typed\n", terminal=True), "typed"),
        (["--", "-5 + 3"], Stdin(), "-5 + 3"),
    ],
)
def test_the_prompt_is_the_argument_and_stdin(
    server: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    argument: list[str],
    stdin: Stdin | None,
    content: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    server.script(Reply.text("Yes."))
    assert main(["ask", "-s", "Be brief.", *argument]) == 0
    assert server.requests[0].json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": content},
    ]


def test_a_prompt_that_does_not_come_is_asked_for(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            for timer in threading.enumerate():
                if isinstance(timer, threading.Timer):
                    timer.join()
            return b""

    monkeypatch.setattr(prompt, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Silent()))
    server.script(Reply.text("Yes."))
    assert main(["ask", "Hi"]) == 0
    assert "stdin" in told(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("model", "parameter"),
    [("gpt-5.4", "max_completion_tokens"), ("gpt-4o", "max_tokens"), ("claude-sonnet-4-6", "max_tokens")],
)
def test_the_token_limit_has_the_name_that_the_model_wants(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str], model: str, parameter: str
) -> None:
    server.script(Reply.text("Yes."))
    assert main(["ask", "Hi", "--model", model, "--max-tokens", "7", "--temperature", "0.5"]) == 0
    sent = server.requests[0].json
    assert {name: value for name, value in sent.items() if name.startswith("max_")} == {parameter: 7}
    assert sent["temperature"] == 0.5
    assert capsys.readouterr().err == ""


def test_flags_win_over_the_environment(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_MODEL", "gpt-4.1")
    server.script(Reply.text("Yes."), Reply.text("Yes."))
    assert main(["ask", "Hi"]) == 0
    monkeypatch.setenv("COMETAPI_BASE_URL", "http://127.0.0.1:9/v1")
    assert main(["ask", "Hi", "-m", "gpt-5.4-mini", "--base-url", server.base_url]) == 0
    assert [request.json["model"] for request in server.requests] == ["gpt-4.1", "gpt-5.4-mini"]


def test_each_clock_and_the_retries_have_a_flag(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[CometSession] = []

    class Kept(CometSession):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            sessions.append(self)

    monkeypatch.setattr(cometstream.session, "CometSession", Kept)
    clocks = [field.name for field in dataclasses.fields(Timeouts)]
    given = [f"--{clock.replace('_', '-')}-timeout={seconds}" for seconds, clock in enumerate(clocks, start=7)]
    off = [f"--{clock.replace('_', '-')}-timeout=0" for clock in clocks]
    server.script(*[Reply.text("Yes.")] * 3)
    assert [main(["ask", "Hi", *flags]) for flags in ([], [*given, "--retries=5"], [*off, "--retries=0"])] == [0, 0, 0]
    assert [dataclasses.astuple(session.clocks) for session in sessions] == [
        (10, 300, 120, None),
        (7, 8, 9, pytest.approx(10, abs=5)),  # what reading stdin has left of it
        (None, None, None, None),
    ]
    assert [session.retry.max_retries for session in sessions] == [RetryPolicy().max_retries, 5, 0]


@pytest.mark.parametrize(
    ("reply", "flags", "code", "out", "message"),
    [
        (Reply.error(400), [], 1, "", "400"),
        (Reply.error(500, code="invalid_request"), [], 1, "", "500"),
        (Reply.error(401), [], 3, "", "COMETAPI_KEY"),
        (Reply.error(403), [], 3, "", "quota"),
        (Reply.error(429, retry_after=120), [], 4, "", "wait 120 s"),
        (Reply.error(503, "first line\r\n\x1b[31msecond"), [], 1, "", "first line [31msecond"),
        (Reply.text("Hel", "lo", finish_reason=None, done=False).cut(), [], 5, "Hello\n", "cut"),
        (Reply.text("Hello", finish_reason=None), [], 5, "Hello\n", "finish_reason"),
        (Reply.sse(chunk({"content": "Hello"}), {"error": {"code": 429}}), [], 5, "Hello\n", "inside the stream"),
        (Reply.plain(b"<html><title>Down</title>", content_type="text/html"), [], 5, "", "Down"),
        (Reply.sse().stall(), ["--first-content-timeout=0.05"], 6, "", "--first-content-timeout"),
        (
            Reply.sse(chunk({"content": "Hello"})).stall(),
            ["--content-idle-timeout=0.05"],
            6,
            "Hello\n",
            "--content-idle-timeout",
        ),
        (Reply.raw().reset(), [], 7, "", "no answer"),
    ],
)
def test_each_failure_has_its_exit_code_and_one_line(
    server: SimulatedServer,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    flags: list[str],
    code: int,
    out: str,
    message: str,
) -> None:
    server.script(reply)
    assert main(["ask", "Hi", "--retries=0", *flags]) == code
    captured = capsys.readouterr()
    assert captured.out == out
    assert message in told(captured.err)
    assert server.api_key not in captured.err


def test_an_error_tells_the_request_id_once(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    unterminated = Reply.text("Hello", finish_reason=None).with_headers({"x-request-id": "abc"})
    server.script(Reply.error(400), unterminated)
    assert main(["ask", "Hi"]) == 1
    assert capsys.readouterr().err.count("request id: ") == 1
    assert main(["ask", "Hi"]) == 5
    assert told(capsys.readouterr().err).endswith(" (request id: abc)")


BAD_USAGE = [
    (["ask", "Hi"], {"COMETAPI_KEY": None}, "set the environment variable COMETAPI_KEY"),
    (["ask", "Hi"], {"COMETAPI_KEY": " "}, "empty"),
    (["ask", "Hi"], {"COMETAPI_KEY": "sk-a\nb"}, "copy it again"),
    (["models"], {"COMETAPI_KEY": None}, "--demo"),
    (["ask", "Hi", "--base-url=nonsense"], {}, "https://api.cometapi.com/v1"),
    (["ask", "Hi"], {"COMETAPI_BASE_URL": "ftp://example.com"}, "https://api.cometapi.com/v1"),
    (["ask", "Hi", "--nonsense"], {}, "(see `cometstream ask --help`)"),
    (["ask", "Hi", "there"], {}, "there"),
    (["ask", "Hi", "--temperature=3"], {}, "from 0 to 2"),
    (["ask", "Hi", "--max-tokens=0"], {}, "--max-tokens"),
    (["ask", "Hi", "--total-timeout=-1"], {}, "--total-timeout"),
    (["ask", "Hi", "--total-timeout=nan"], {}, "--total-timeout"),
    (["ask", "Hi", "--demo", "--base-url=http://127.0.0.1:9/v1"], {}, "--base-url"),
    (["ask", " "], {}, "empty"),
    (["ask"], {}, "empty"),
    (["ask", "Hi\udcff"], {}, "messages[0].content"),
    (["serve", "--port=65536"], {}, "65535"),
    ([], {}, "(see `cometstream --help`)"),
    (["nonsense"], {}, "nonsense"),
]


@pytest.mark.parametrize(("args", "environment", "message"), BAD_USAGE)
def test_bad_usage_is_told_on_one_line_and_sends_nothing(
    server: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    environment: dict[str, str | None],
    message: str,
) -> None:
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in told(captured.err)
    assert server.requests == []


@pytest.mark.parametrize(("stdin", "message"), [(Stdin(terminal=True), "no prompt"), (None, "no prompt")])
def test_stdin_that_holds_no_prompt_is_bad_usage(
    server: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdin: Stdin | None,
    message: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["ask"]) == 2
    assert message in told(capsys.readouterr().err)


def test_bytes_that_are_no_text_are_replaced_and_told_of(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(Reply.text("Yes."), Reply.text("Yes."))
    monkeypatch.setattr(sys, "stdin", Stdin(b"caf\xe9 \xff"))
    assert main(["ask", "Read:"]) == 0
    assert "stdin is not all UTF-8 text" in told(capsys.readouterr().err)
    monkeypatch.setattr(sys, "stdin", Stdin("\ufffd is no fault".encode()))
    assert main(["ask", "Read:", "--total-timeout=60"]) == 0
    assert capsys.readouterr().err == ""
    contents = [request.json["messages"][0]["content"] for request in server.requests]
    assert contents == ["Read:\n\ncaf\ufffd \ufffd", "Read:\n\n\ufffd is no fault"]


def test_stdin_is_left_alone_where_a_flag_says_so(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"a text"))
    server.script(Reply.text("Yes."))
    assert main(["ask", "--no-stdin", "Hi"]) == 0
    assert server.requests[0].json["messages"][0]["content"] == "Hi"
    capsys.readouterr()
    server.script(Reply.text("Yes."))
    assert main(["ask", "--stdin", "Hi"]) == 0
    assert server.requests[1].json["messages"][0]["content"] == "Hi\n\na text"
    capsys.readouterr()
    for rest in ([], ["-"]):
        assert main(["ask", "--no-stdin", *rest]) == 2
        assert "--no-stdin needs a PROMPT" in told(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("no answer within 3 s (timeouts.total)", "no answer within 3 s (--total-timeout)"),
        (
            "(timeouts.first_content) or (timeouts.content_idle)",
            "(--first-content-timeout) or (--content-idle-timeout)",
        ),
        ("the base URL from base_url= is", "the base URL from --base-url is"),
        ("set COMETAPI_KEY, or pass api_key=. More", "set COMETAPI_KEY. More"),
        ("raise the limit (`ulimit -n 65536`) or set max_connections", "raise the limit (`ulimit -n 65536`)"),
        ("timeouts.mine", "timeouts.mine"),
    ],
)
def test_messages_are_in_the_command_lines_own_words(message: str, words: str) -> None:
    assert in_cli_words(message) == words


def test_a_clock_is_named_by_its_flag(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(Reply.text("Hello").after(60))
    assert main(["ask", "Hi", "--total-timeout=0.05", "--no-stdin"]) == 6
    message = told(capsys.readouterr().err)
    assert "(--total-timeout)" in message
    assert "timeouts." not in message


def test_ctrl_c_at_the_prompt_exits_130(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted()))
    assert main(["ask"]) == 130
    assert capsys.readouterr().err.strip() == ""


def test_ctrl_c_at_any_other_moment_exits_130(server: SimulatedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", interrupted)
    assert main(["ask", "Hi"]) == 130


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str], server: SimulatedServer) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"
        assert main(["ask", "Hi", "--retries=0", "--base-url", base_url]) == 7
    assert base_url in told(capsys.readouterr().err)


def test_json_is_each_chunk_as_it_came_and_then_the_ending(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    chunks = [chunk({"role": "assistant", "x": 1}), chunk({"content": "Grüße"}), chunk(finish_reason="stop")]
    usage = {**chunk(), "choices": [], "usage": USAGE}
    server.script(Reply.sse(*chunks, usage, b"data: [DONE]\n\n").with_headers({"x-request-id": "abc"}))
    assert main(["ask", "Hi", "--json"]) == 0
    captured = capsys.readouterr()
    *lines, ending = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    assert lines == [*chunks, usage]
    metrics = ending.pop("metrics")
    assert ending == {"object": "cometstream.ending", "outcome": "complete", "error": None, "usage": USAGE}
    assert (metrics["request_id"], metrics["attempts"], metrics["chunks"]) == ("abc", 1, 4)
    assert metrics["duration"] >= metrics["time_to_first_content"] >= 0


@pytest.mark.parametrize(
    ("reply", "outcome", "error", "status"),
    [
        (Reply.text("Hello", finish_reason=None, done=False).cut(), "truncated", "StreamTruncatedError", None),
        (Reply.text("Hello", finish_reason=None), "unterminated", "StreamUnterminatedError", None),
        (Reply.error(401), "error", "AuthenticationError", 401),
    ],
)
def test_json_tells_how_a_failed_answer_ended(
    server: SimulatedServer,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    outcome: str,
    error: str,
    status: int | None,
) -> None:
    server.script(reply)
    assert main(["ask", "Hi", "--json"]) != 0
    captured = capsys.readouterr()
    ending = json.loads(captured.out.splitlines()[-1])
    assert (ending["outcome"], ending["error"]["type"], ending["error"]["status"]) == (outcome, error, status)
    assert ending["error"]["message"] in told(captured.err)


def test_usage_and_metrics_come_on_stderr(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    server.script(
        Reply.text("Hello", usage={**USAGE, **details}), Reply.text("Hello", usage=USAGE), Reply.text("Hello")
    )
    told_usage = []
    for _ in range(3):
        assert main(["ask", "Hi", "--usage"]) == 0
        captured = capsys.readouterr()
        usage, metrics = captured.err.splitlines()
        assert captured.out == "Hello\n"
        assert "first content after" in metrics
        assert "attempts: 1" in metrics
        told_usage.append(usage)
    assert told_usage == [
        "usage: 6 prompt + 2 completion = 8 tokens (of these 4 cached, 1 reasoning)",
        "usage: 6 prompt + 2 completion = 8 tokens",
        "usage: unknown, the server reported none",
    ]


def test_usage_is_told_of_an_answer_that_failed(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.script(Reply.sse().cut())
    assert main(["ask", "Hi", "--usage", "--retries=0"]) == 5
    usage, metrics, _ = capsys.readouterr().err.splitlines()
    assert "unknown" in usage
    assert "no content" in metrics


def test_reasoning_is_shown_on_stderr_where_it_is_asked_for(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    thinking = [chunk({"reasoning_content": text}) for text in ("Let me", " see\n[bold]", " 1 + 1")]
    other = chunk({"reasoning_content": "other", "content": "other"}, index=1)
    reply = Reply.sse(
        *thinking, other, chunk({"content": "Two"}), chunk(finish_reason="stop"), chunk(index=1, finish_reason="stop")
    )
    server.script(reply, reply, Reply.sse(*thinking, chunk(finish_reason="stop")))
    assert main(["ask", "Hi"]) == 0
    assert capsys.readouterr() == ("Two\n", "")
    assert main(["ask", "Hi", "--show-reasoning"]) == 0
    assert capsys.readouterr() == ("Two\n", "Let me see\n[bold] 1 + 1\n")
    assert main(["ask", "Hi", "--show-reasoning"]) == 0
    assert capsys.readouterr() == ("", "Let me see\n[bold] 1 + 1\n")


@pytest.mark.parametrize(
    ("reply", "out", "message"),
    [
        (Reply.text("Hello", finish_reason="length"), "Hello\n", "finish_reason: length"),
        (Reply.text("Hello", finish_reason="content_filter"), "Hello\n", "finish_reason: content_filter"),
        (Reply.sse(chunk({"refusal": "I can't."}), chunk(finish_reason="stop")), "", "the model refused: I can't."),
    ],
)
def test_an_answer_that_is_whole_but_less_than_asked_for_is_told(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str], reply: Reply, out: str, message: str
) -> None:
    server.script(reply)
    assert main(["ask", "Hi"]) == 0
    captured = capsys.readouterr()
    assert captured.out == out
    assert message in told(captured.err)


def test_a_warning_is_one_line(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    WARNED.clear()
    server.script(Reply.text("Yes."))
    assert main(["ask", "Hi", "-m", "claude-sonnet-4-6", "--temperature=1.5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "Yes.\n"
    assert told(captured.err).startswith("warning: temperature: ")


def test_models_are_listed_one_a_line(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr() == ("".join(f"{model}\n" for model in MODELS), "")
    assert main(["models", "--json", "--base-url", server.base_url]) == 0
    models = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [model["id"] for model in models] == list(MODELS)
    assert {model["object"] for model in models} == {"model"}


def test_the_demo_needs_nothing_from_the_environment(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"KEY": "", "BASE_URL": "nonsense", "MODEL": "nonsense"}.items():
        monkeypatch.setenv(f"COMETAPI_{name}", value)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert main(["ask", "--demo", "--max-tokens=2", "Hi"]) == 0
    assert capsys.readouterr().out == "You said\n"
    assert main(["models", "--demo"]) == 0
    assert capsys.readouterr().out.split() == list(MODELS)


def test_a_server_that_cannot_listen_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port]) == 1
    assert f"port {port} of 127.0.0.1 is taken" in told(capsys.readouterr().err)
    assert main(["serve", "--host", "192.0.2.1"]) == 1
    assert "192.0.2.1" in told(capsys.readouterr().err)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["ask", "Hi"]) == 1
    assert told(capsys.readouterr().err) == f"the command line needs {missing}: pip install 'cometstream[cli]'"


@pytest.mark.parametrize("command", [[], ["ask"], ["models"]])
def test_help_tells_every_exit_code(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in EPILOG.splitlines()[2:])
    assert all(f"{code:3d}  " in EPILOG for code in ExitCode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_line(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script(Reply.text("Hello"))
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["ask", "Hi"]) == 1
    assert os.strerror(errno.ENOSPC) in told(capsys.readouterr().err)


@pytest.mark.parametrize("reason", [BrokenPipeError(), OSError(errno.ENOSPC, "full")])
def test_an_answer_does_not_suffer_where_stderr_fails(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: OSError
) -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise reason

    monkeypatch.setattr(sys, "stderr", Failing())
    server.script(Reply.sse(chunk({"reasoning": "Hm."}), chunk({"content": "Hello"}), chunk(finish_reason="length")))
    assert main(["ask", "Hi", "--show-reasoning", "--usage"]) == 0
    assert capsys.readouterr().out == "Hello\n"


def test_a_closed_stdout_is_one_line(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["ask", "Hi"]) == 1
    assert "stdout" in told(capsys.readouterr().err)
    assert server.requests == []


def test_a_character_that_stdout_cannot_write_costs_only_itself(
    server: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(Reply.text("Gr\u00fc\u00dfe ", "\u2604", "!"))
    with io.TextIOWrapper(io.BytesIO(), encoding="latin-1") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["ask", "Hi"]) == 0
        assert stdout.buffer.getvalue() == b"Gr\xfc\xdfe ?!\n"


def test_the_catalogue_is_printed_in_columns_or_as_json(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--prices"]) == 0
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["MODEL", "INPUT", "OUTPUT", "CONTEXT", "ROUTES"]
    assert ["gpt-5.4", "2", "12", "400000", "/v1/chat/completions"] in rows
    assert ["comet-image-1", "-", "-", "-", "/v1/images/generations"] in rows
    assert main(["models", "--prices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["pricing"]["ratio"] == 0.8


def test_the_balance_is_printed_in_dollars_or_as_json(
    server: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["balance"]) == 0
    assert capsys.readouterr() == ("remaining: $8.75\nused: $1.25\n", "")
    assert main(["balance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"remaining": 8.75, "used": 1.25}
    server.script(Reply.json({"hard_limit_usd": 100_000_000}), Reply.json({"total_usage": 0}))
    assert main(["balance"]) == 0
    assert capsys.readouterr().out == "remaining: no limit\nused: $0.00\n"


def test_the_cost_is_told_with_its_source(server: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    server.script(Reply.text("Hello", usage=usage))
    assert main(["ask", "--cost", "Hi"]) == 0
    assert capsys.readouterr() == ("Hello\n", "cost: $0.003200 (by the catalogue's prices)\n")
    server.script(Reply.text("Hello", usage={**usage, "cost": 0.5}))
    assert main(["ask", "--usage", "Hi"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "cost: $0.500000 (as the server reported)"
    server.script(Reply.text("Hello", usage=usage), Reply.error(404))
    assert main(["ask", "--cost", "Hi"]) == 0
    told_of, cost = capsys.readouterr().err.splitlines()
    assert told_of.startswith("cometstream: the prices cannot be read: 404: ")
    assert cost == "cost: unknown, neither the server nor the catalogue says"
    server.script(Reply.text("Hello", usage=usage))
    assert main(["ask", "--cost", "--json", "Hi"]) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert (metrics["cost"], metrics["cost_source"]) == (0.0032, "catalog")
