from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from cometstream.cli import main
from cometstream.conversation import Conversation
from cometstream.testing import Reply, SimulatedServer, chunk


@pytest.fixture
def last(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cometstream" / "last.json"


def asked(server: SimulatedServer) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in server.requests[-1].json["messages"]]


def test_c_goes_on_with_the_last_conversation_and_its_model(server: SimulatedServer, last: Path) -> None:
    server.script(Reply.text("A comet."), Reply.text("Ice."), Reply.text("Dust."))
    assert main(["ask", "-m", "gpt-4o", "-s", "Be brief.", "What is it?"]) == 0
    assert main(["ask", "-c", "Of what?"]) == 0
    begun = [("system", "Be brief."), ("user", "What is it?"), ("assistant", "A comet."), ("user", "Of what?")]
    assert asked(server) == begun
    assert server.requests[-1].json["model"] == "gpt-4o"
    assert main(["ask", "-c", "-m", "gpt-5.4", "-s", "Be vivid.", "And?"]) == 0
    assert asked(server)[:2] == [("system", "Be vivid."), ("user", "What is it?")]
    assert server.requests[-1].json["model"] == "gpt-5.4"
    assert len(Conversation.from_json(last.read_bytes()).messages) == 7


def test_without_c_a_new_conversation_begins(server: SimulatedServer) -> None:
    server.script(Reply.text("One."), Reply.text("Two."))
    assert main(["ask", "First"]) == main(["ask", "Second"]) == 0
    assert asked(server) == [("user", "Second")]


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_nobody_else_can_read_what_is_kept(server: SimulatedServer, last: Path) -> None:
    before = os.umask(0)
    try:
        server.script(Reply.text("Hello"))
        assert main(["ask", "Hi"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(last.stat().st_mode) == 0o600
    assert stat.S_IMODE(last.parent.stat().st_mode) == 0o700
    assert [path.name for path in last.parent.iterdir()] == ["last.json"]  # no temporary file stays


def test_a_turn_that_failed_leaves_no_trace(server: SimulatedServer, last: Path) -> None:
    server.script(Reply.text("One."), Reply.sse(chunk({"content": "half"})).cut(), Reply.text("Three."))
    assert main(["ask", "First"]) == 0
    kept = last.read_bytes()
    assert main(["ask", "-c", "Second"]) == 5
    assert last.read_bytes() == kept
    assert main(["ask", "-c", "Third"]) == 0
    assert asked(server) == [("user", "First"), ("assistant", "One."), ("user", "Third")]


def test_no_keep_keeps_nothing_and_the_demo_keeps_for_itself(server: SimulatedServer, last: Path) -> None:
    server.script(Reply.text("One."))
    assert main(["ask", "--no-keep", "First"]) == 0
    assert not last.exists()
    assert main(["ask", "--demo", "--max-tokens", "2", "First"]) == 0
    assert [path.name for path in last.parent.iterdir()] == ["demo-last.json"]


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (None, "there is no conversation to continue yet"),
        (b"{", "is not JSON"),
        (b'{"format": "cometstream.conversation", "version": 2, "messages": []}', "reads version 1"),
        (b'{"format": "cometstream.conversation", "version": 1, "messages": [{"role": 1}]}', "cannot be sent"),
    ],
)
def test_what_cannot_be_continued_is_told_before_anything_is_sent(
    server: SimulatedServer, last: Path, capsys: pytest.CaptureFixture[str], stored: bytes | None, why: str
) -> None:
    if stored is not None:
        last.parent.mkdir(parents=True)
        last.write_bytes(stored)
    assert main(["ask", "-c", "Hi"]) == 2
    assert why in capsys.readouterr().err
    assert not server.requests


def test_an_answer_is_not_lost_because_it_cannot_be_kept(
    server: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the folder would be")
    server.script(Reply.text("Hello"))
    assert main(["ask", "Hi"]) == 0
    out, err = capsys.readouterr()
    assert out == "Hello\n"
    assert "the conversation is not kept for -c" in err
    assert err.count("\n") == 1


def test_a_relative_state_folder_is_ignored(
    server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / ".local" / "state"))
    server.script(Reply.text("Hello"))
    assert main(["ask", "Hi"]) == 0
    stored = json.loads((tmp_path / ".local" / "state" / "cometstream" / "last.json").read_bytes())
    assert stored["model"] == "gpt-5.4"
