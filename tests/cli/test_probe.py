"""A probe says what it may cost, asks, measures, and shows what it measured."""

from __future__ import annotations

import io
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.cli_process import read_until, start
from support.cli_server import ServerThread

from cometstream.cli import main, probe
from cometstream.cli.probe_figures import Probed, as_table, percentile
from cometstream.cli.probe_plot import as_svg
from cometstream.metrics import StreamMetrics
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import RecordedRequest

USAGE = {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8}
WHOLE = Reply.text("Hello", 0.002, " world", usage=USAGE)
CUT = Reply.text("Hel", finish_reason=None, done=False).cut()


@pytest.fixture
def probed(server: SimulatedServer) -> Iterator[SimulatedServer]:
    server.always(replies())
    yield server
    server.always(None)


def replies(**others: Reply) -> Any:
    """What answers each model; the catalogue and the like are the server's own."""

    def reply(request: RecordedRequest) -> Reply | None:
        return others.get(request.json["model"], WHOLE) if request.method == "POST" else None

    return reply


def asked(server: SimulatedServer) -> list[str]:
    return [request.json["model"] for request in server.requests if request.method == "POST"]


def measured(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main(["probe", "--yes", "--json", *args]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_models_stand_side_by_side_and_the_cost_is_said_before(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--streams", "3", "--max-tokens", "100", "-m", "gpt-5.4", "-m", "gpt-5.4-mini", "Hello there, you"]
    assert main(["probe", "--yes", *args]) == 0
    assert sorted(asked(probed)) == ["gpt-5.4"] * 3 + ["gpt-5.4-mini"] * 3
    assert probed.requests[-1].json["max_completion_tokens"] == 100
    out, err = capsys.readouterr()
    rows = {line[:26].strip(): line[26:].split() for line in out.splitlines()}
    assert out.split()[:2] == ["gpt-5.4", "gpt-5.4-mini"]
    assert rows["streams complete"] == ["3", "of", "3", "3", "of", "3"]
    assert rows["first content, p95"][1] in ("ms", "s")
    assert "gap, max" in rows
    assert rows["output tokens"] == ["6", "6"]
    assert rows["cost"] == ["$0.000108"] * 2  # the answers name gpt-5.4
    assert "requests went over a used one" in out
    # 13 tokens of input at 2 dollars a million and 100 of output at 12, three times
    assert err.splitlines()[0] == (
        "cometstream: gpt-5.4: 3 streams of up to 100 tokens: about $0.003678 at most ($2 and $12 a million tokens)"
    )
    assert err.splitlines()[1].startswith("cometstream: gpt-5.4-mini: 3 streams of up to 100 tokens: about $0.00")
    assert err.splitlines()[2].startswith("cometstream: all: about $0.00")


def test_an_unknown_price_is_said_to_be_unknown(probed: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--yes", "--streams", "1", "-m", "new-model"]) == 0
    out, err = capsys.readouterr()
    assert err == "cometstream: new-model: 1 stream of up to 200 tokens: the price is unknown\n"
    assert "unknown" in next(line for line in out.splitlines() if line.startswith("cost"))


def test_a_sum_says_where_it_lacks_a_price(probed: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--yes", "--streams", "1", "-m", "new-model", "-m", "gpt-5.4"]) == 0
    assert capsys.readouterr().err.splitlines()[-1].endswith("at most, and what is unknown")


def test_where_the_catalogue_cannot_be_read_the_probe_goes_on(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    probed.always(lambda request: WHOLE if request.method == "POST" else Reply.error(500))
    assert main(["probe", "--yes", "--streams", "1"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert "prices cannot be read" in first
    assert second.endswith("the price is unknown")


def test_without_a_terminal_and_without_yes_it_refuses_in_one_line(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe"]) == 2
    assert capsys.readouterr() == (
        "",
        "cometstream: a probe spends money, and there is no terminal to ask on: give --yes, or try --demo "
        "(see `cometstream probe --help`)\n",
    )
    assert not probed.requests


@pytest.mark.parametrize(("typed", "code", "streams"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("", 130, 0)])
def test_on_a_terminal_it_asks(
    probed: SimulatedServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
    streams: int,
) -> None:
    monkeypatch.setattr(probe, "is_terminal", lambda _: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert main(["probe", "--streams", "1"]) == code
    assert len(asked(probed)) == streams
    out, err = capsys.readouterr()
    assert "about $" in err
    assert "Go on? [y/N]" in err
    assert bool(out) == bool(streams)


def test_figures_are_those_of_the_streams(probed: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    # Three pieces: two that come together, and one after a pause.
    probed.always(replies(slow=Reply.text("a", "b", 0.3, "c", usage=USAGE)))
    document = measured(capsys, "--streams", "4", "--concurrency", "2", "-m", "slow")
    (model,) = document["models"]
    assert (model["model"], model["streams"], model["complete"], model["output_tokens"]) == ("slow", 4, 4, 8)
    assert 0.05 < model["gap"]["max"] < 10
    assert model["first_content"]["p50"] <= model["first_content"]["p95"] <= model["first_content"]["max"]
    assert model["tokens_per_second"]["p50"] > 0
    assert model["errors"] == {}
    assert document["seconds"] >= 0.1
    connections = document["connections"]
    assert 0 <= connections["opened"] <= 2  # the catalogue's own connection may have been free
    assert connections["opened"] + connections["reused"] == 4


def test_errors_are_counted_by_kind(probed: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    probed.always(replies(cut=CUT, busy=Reply.error(429)))
    document = measured(capsys, "--streams", "2", "-m", "cut", "-m", "busy", "-m", "gpt-5.4")
    cut, busy, good = document["models"]
    assert cut["errors"] == {"StreamTruncatedError": 2}
    assert list(busy["errors"].values()) == [2]
    assert next(iter(busy["errors"])).startswith("RateLimitError 429")
    assert good["errors"] == {}
    assert (cut["complete"], busy["complete"], good["complete"]) == (0, 0, 2)
    assert main(["probe", "--yes", "--streams", "2", "-m", "cut", "-m", "gpt-5.4"]) == 0
    assert next(line for line in capsys.readouterr().out.splitlines() if "Truncated" in line).split()[1:] == ["2", "0"]


def test_where_no_stream_is_complete_the_last_error_is_the_exit_code(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    probed.always(replies(busy=Reply.error(429)))
    assert main(["probe", "--yes", "--streams", "2", "-m", "busy"]) == 4
    out, err = capsys.readouterr()
    assert "0 of 2" in out
    assert "429" in err.splitlines()[-1]


def test_a_refused_key_ends_it_at_once(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-wrong")
    probed.always(None)
    assert main(["probe", "--yes", "--streams", "50", "--concurrency", "1"]) == 3
    assert len(asked(probed)) == 1
    assert capsys.readouterr().out == ""


def test_a_server_that_is_not_there_reuses_nothing(probed: SimulatedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--yes", "--json", "--streams", "1", "--base-url", "http://127.0.0.1:9/v1"]) == 7
    assert json.loads(capsys.readouterr().out)["connections"] == {"opened": 0, "reused": 0}


def test_a_demo_needs_neither_key_nor_question(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_MODEL", "a-model-of-the-environment")
    assert main(["probe", "--demo", "--streams", "1", "--max-tokens", "2"]) == 0
    out, err = capsys.readouterr()
    assert "gpt-5.4" in out
    assert "1 of 1" in out
    assert err == ""


def test_the_plot_is_a_picture_of_every_model(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "plot.svg"
    assert main(["probe", "--yes", "--streams", "3", "-m", "gpt-5.4", "-m", "a<b>&c", "--plot", str(file)]) == 0
    assert f"drawn into {file}" in capsys.readouterr().err
    drawn = ElementTree.parse(file).getroot()
    texts = ["".join(element.itertext()) for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "gpt-5.4: 3 streams, 2 at a time" in texts
    assert "a<b>&c: 3 streams, 2 at a time" in texts
    assert texts.count("p95") == 2
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) >= 2  # no gaps, where the client is late


@pytest.mark.parametrize("name", ["plot.png", "plot", "missing/plot.svg", "folder.svg"])
def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_sent(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.svg").mkdir()
    assert main(["probe", "--yes", "--plot", str(tmp_path / name)]) == 2
    assert "--plot takes the name of an .svg file" in capsys.readouterr().err
    assert not probed.requests


def test_a_plot_that_cannot_be_written_does_not_lose_the_table(
    probed: SimulatedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["probe", "--yes", "--streams", "1", "--plot", str(tmp_path / "plot.svg")]) == 1
    out, err = capsys.readouterr()
    assert "1 of 1" in out
    assert "cannot be written: No space left on device" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's here")
def test_ctrl_c_shows_what_was_measured(thread: ServerThread) -> None:
    came = thread.server
    came.requests.clear()
    came.script(Reply.error(500), WHOLE, Reply.text("a", finish_reason=None, done=False).stall())
    with start(thread, "probe", "--yes", "--streams", "2", "--concurrency", "1", "-m", "gpt-5.4", "--json") as process:
        assert process.stderr is not None
        read_until(process.stderr.fileno(), b"the price is unknown")
        while len(came.requests) < 3:
            time.sleep(0.01)  # another process
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    (model,) = json.loads(out)["models"]
    assert (model["streams"], model["complete"]) == (1, 1)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3.0], 0.5, 3.0), ([3.0], 0.0, 3.0), ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0), ([1.0, 2.0], 0.95, 2.0)],
)
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def probed_streams(*firsts: float | None, gaps: list[float]) -> Probed:
    probed = Probed(["m"], len(firsts), 1)
    for first in firsts:
        probed.note(StreamMetrics("r", 1, first, 1.0, 3, 100, None, model="m"), gaps, None)
    return probed


@pytest.mark.parametrize(
    ("firsts", "gaps"),
    [([], []), ([None], []), ([1.0], [1.0]), ([1e-9, 1e9], [1e-5] * 3), ([0.2, 0.4], [0.0001, 10.0]), ([0.3] * 5, [])],
)
def test_any_figures_can_be_drawn(firsts: list[float | None], gaps: list[float]) -> None:
    probed = probed_streams(*firsts, gaps=gaps)
    drawn = ElementTree.fromstring(as_svg(probed))
    for line in drawn.iter("{http://www.w3.org/2000/svg}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= float(drawn.attrib["width"])
            assert 0 <= y <= float(drawn.attrib["height"])
    assert "streams complete" in as_table(probed)


def test_times_are_shown_as_people_read_them() -> None:
    table = as_table(probed_streams(0.0123, gaps=[0.00042, 1.5]))
    assert "12.3 ms" in table
    assert "0.4 ms" in table
    assert "1.50 s" in table
