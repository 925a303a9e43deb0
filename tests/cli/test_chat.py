"""The chat in a real pseudo-terminal: what a person sees, and what is sent."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.chatting import chat
from support.cli_server import ServerThread

from cometstream.cli import main
from cometstream.testing import Reply, chunk

pytest.importorskip("prompt_toolkit")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's here")

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cost": 0.0025}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def sent(thread: ServerThread) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in thread.server.requests[-1].json["messages"]]


def test_a_chat_shows_markdown_and_figures_and_sends_what_was_said(thread: ServerThread, tmp_path: Path) -> None:
    thread.server.script(
        Reply.text("# Comets\n\nThey are **icy**", " and *old*.\n\n- one\n", "- two\n", usage=USAGE), Reply.text("Yes.")
    )
    with chat(thread, tmp_path, "-m", "gpt-4o", "-s", "Be brief.") as talk:
        talk.type("What are comets?\r")
        shown = talk.until("tokens/s]")
        assert "They are icy and old." in shown
        assert " • two" in shown
        assert "**" not in shown
        assert "[11 tokens in, 7 out, $0.002500, first after 0." in shown
        talk.type("Really?\r")
        talk.until("Yes.")
        talk.until("cost unknown")
        talk.type("/usage\r")
        talk.until("2 answers: 11 tokens in, 7 out (1 not counted")
        assert talk.leave() == 0
    assert sent(thread) == [
        ("system", "Be brief."),
        ("user", "What are comets?"),
        ("assistant", "# Comets\n\nThey are **icy** and *old*.\n\n- one\n- two\n"),
        ("user", "Really?"),
    ]
    # `ask` goes on with it, and so does the next chat.
    thread.server.script(Reply.text("Go on."))
    with chat(thread, tmp_path, "-c") as talk:
        talk.type("And?\r")
        talk.until("Go on.")
        assert talk.leave() == 0
    assert len(sent(thread)) == 6
    assert thread.server.requests[-1].json["model"] == "gpt-4o"


def test_each_word_is_there_when_it_comes_and_ctrl_c_stops_the_answer_and_keeps_it(
    thread: ServerThread, tmp_path: Path
) -> None:
    thread.server.script(Reply.sse(chunk({"content": "Once upon"})).stall(), Reply.text("a time."))
    with chat(thread, tmp_path) as talk:
        talk.type("Tell\r")
        talk.until("Once upon")
        talk.process.send_signal(signal.SIGINT)
        talk.until("[stopped, tokens unknown")
        thread.do(asyncio.wait_for(thread.server.requests[-1].disconnected.wait(), 20))
        talk.type("Go on\r")
        talk.until("a time.")
        talk.until("tokens")
        assert talk.leave() == 0
    assert sent(thread) == [("user", "Tell"), ("assistant", "Once upon"), ("user", "Go on")]


def test_a_turn_that_failed_is_not_in_the_history_and_can_be_asked_again(thread: ServerThread, tmp_path: Path) -> None:
    thread.server.script(
        Reply.sse(chunk({"content": "half an"})).cut(), Reply.text("One."), Reply.error(400, "no"), Reply.text("Two.")
    )
    with chat(thread, tmp_path) as talk:
        talk.type("First\r")
        talk.until("half an")
        talk.until("cometstream: ")
        talk.until("/retry asks again")
        talk.type("Second\r")
        talk.until("One.")
        talk.until("tokens")
        assert sent(thread) == [("user", "Second")]
        talk.type("/retry\r")  # a new answer in the place of the last; the old one stays where that fails
        talk.until("/retry asks again")
        assert sent(thread) == [("user", "Second")]
        talk.type("Third\r")
        talk.until("Two.")
        talk.until("tokens")
        assert talk.leave() == 0
    assert sent(thread) == [("user", "Second"), ("assistant", "One."), ("user", "Third")]


def test_reasoning_is_dim_and_nothing_of_the_models_controls_the_terminal(thread: ServerThread, tmp_path: Path) -> None:
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\u202eHello &#x202e;[here](http://evil.example/\x1b[5m) <b>world</b>"
    thread.server.script(
        Reply.sse(
            chunk({"reasoning_content": f"Hm. {evil}\n\nSo."}), chunk({"content": evil}), chunk(finish_reason="stop")
        ),
        Reply.error(400, f"no {evil}"),
    )
    with chat(thread, tmp_path) as talk:
        talk.type("Hi\r")
        talk.until("Hm.")
        talk.until("So.")
        talk.until("<b>world</b>")
        talk.until("tokens unknown")
        talk.type("Hi\r")
        talk.until("/retry asks again")
        assert talk.leave() == 0
    assert re.search(rb"\x1b\[2;3mHm\. ", talk.raw)
    for forbidden in (b"\x1b]52", b"\x1b[2J", b"\x9b2J", b"\xc2\x9b", b"\xe2\x80\xae", b"\x1b[5m", b"\x1b]8"):
        assert forbidden not in talk.raw


def test_a_retry_that_waits_is_told_with_the_seconds_left_and_can_be_left(thread: ServerThread, tmp_path: Path) -> None:
    thread.server.script(Reply.error(429, "slow down", retry_after=30), Reply.text("Hello"))
    with chat(thread, tmp_path) as talk:
        talk.type("Hi\r")
        told = re.search(r"trying again in (\d+) s: 429: slow down", talk.until("s: 429: slow down"))
        assert told
        talk.until(f"trying again in {int(told[1]) - 1} s: 429: slow down")
        talk.process.send_signal(signal.SIGINT)
        talk.until("[stopped")
        talk.until("/retry asks again")
        talk.type("/retry\r")
        talk.until("Hello")
        assert talk.leave() == 0
    assert sent(thread) == [("user", "Hi")]


def test_several_lines_can_be_written_and_what_was_written_comes_back(thread: ServerThread, tmp_path: Path) -> None:
    thread.server.script(*(Reply.text(f"Answer {place}.") for place in range(3)))
    with chat(thread, tmp_path) as talk:
        talk.type("one\\\rtwo\x1b\rthree\r")
        talk.until("Answer 0.")
        talk.until("tokens")
        assert sent(thread)[-1] == ("user", "one\ntwo\nthree")
        talk.type("\x1b[200~pasted\nlines\x1b[201~\r")
        talk.until("Answer 1.")
        talk.until("tokens")
        assert sent(thread)[-1] == ("user", "pasted\nlines")
        assert talk.leave() == 0
    with chat(thread, tmp_path) as talk:
        talk.type("not sent")
        talk.until("not sent")
        talk.type("\x03")  # Ctrl-C at the prompt ends nothing
        talk.until("Ctrl-D ends the chat")
        talk.type("\x1b[A\r")
        talk.until("Answer 2.")
        talk.until("tokens")
        assert sent(thread) == [("user", "pasted\nlines")]
        talk.process.send_signal(signal.SIGTERM)
        assert talk.ended() == 130
    assert (tmp_path / "cometstream" / "history").stat().st_mode & 0o777 == 0o600


def test_commands_do_what_help_says(thread: ServerThread, tmp_path: Path) -> None:
    saved, other = tmp_path / "saved.json", tmp_path / "other.txt"
    other.write_text("mine")
    with chat(thread, tmp_path) as talk:

        def told(line: str, *wanted: str) -> None:
            talk.type(f"{line}\r")
            for text in wanted:
                talk.until(text)

        told("/help", "/model [ID]", "/tools [on|off]", "Ctrl-D ends")
        told("/nothing", "there is no command /nothing")
        told("/model", "the model is gpt-5.4", "gpt-4.1")
        thread.server.script(*(Reply.text(f"Answer {place}.") for place in range(3)))
        told("/model claude-sonnet-4-6", "the model is claude-sonnet-4-6")
        told("/system Be brief.", "instructions: Be brief.")
        told("//etc?", "Answer 0.", "tokens")
        assert sent(thread) == [("system", "Be brief."), ("user", "/etc?")]
        assert thread.server.requests[-1].json["model"] == "claude-sonnet-4-6"
        told(f"/save {saved}", "3 messages saved")
        told(f"/save {saved}", "3 messages saved")
        told(f"/save {other}", "is not a conversation, and is left")
        told("/save", "/save needs a file")
        told("/clear", "a new conversation")
        told("/retry", "there is no question")
        told("/model gpt-4o", "the model is gpt-4o")
        told("Again?", "Answer 1.", "tokens")
        assert sent(thread) == [("system", "Be brief."), ("user", "Again?")]
        told(f"/load {other}", "cometstream: ", "is not JSON")
        told(f"/load {tmp_path / 'missing'}", "No such file")
        told(f"/load {saved}", "3 messages, the model is claude-sonnet-4-6")
        told("/system -", "there are no instructions")
        told("/retry", "Answer 2.", "tokens")
        assert sent(thread) == [("user", "/etc?")]
        told("/tools", "there are no tools")
        told("/tools what", "/tools off and /tools on")
        told("/usage", "3 answers")
        talk.type("/quit\r")
        assert talk.ended() == 0
    assert other.read_text() == "mine"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert [message["role"] for message in json.loads(saved.read_text())["messages"]] == ["system", "user", "assistant"]


def test_images_go_by_their_paths(thread: ServerThread, tmp_path: Path) -> None:
    thread.server.script(Reply.text("An answer."), Reply.text("Another answer."))
    image = tmp_path / "my comet.png"
    image.write_bytes(PNG)
    with chat(thread, tmp_path) as talk:
        talk.type(f'What is @"{image}"?\r')
        talk.until("An answer.")
        talk.until("tokens")
        parts = sent(thread)[-1][1]
        assert [part["type"] for part in parts] == ["text", "image_url"]
        talk.type(f"'{image}'\r")  # as a terminal pastes what is dragged into it
        talk.until("goes with the next message")
        talk.type(f"/attach {image}\r")
        talk.until("goes with the next message")
        talk.type("And @missing.png?\r")
        talk.until("No such file")
        talk.until("And @missing.png?")
        talk.type("\x15And these?\r")
        talk.until("Another answer.")
        assert talk.leave() == 0
    parts = sent(thread)[-1][1]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url"]
    assert parts[0]["text"] == "And these?"


TOOLS = """
from cometstream import Tool

def weather(city):
    return f"4 degrees in {city}"

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
get_weather = Tool("get_weather", weather, description="Get the weather.", parameters=SCHEMA, approve=True)
"""


def test_tools_run_when_they_are_allowed(thread: ServerThread, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    call = Reply.tool_calls(("get_weather", {"city": "Paris"}))
    thread.server.script(
        *(call, Reply.text("Cold.")), *(call, Reply.text("Never mind.")), *(call, Reply.text("Still cold."))
    )
    with chat(thread, tmp_path, "--tools", str(tmp_path / "tools.py")) as talk:
        talk.type("/tools\r")
        talk.until("get_weather  Get the weather.")
        talk.type("Weather?\r")
        talk.until('run get_weather {"city":"Paris"}? [y]es, [n]o, [a]lways:')
        talk.type("y\r")
        talk.until("get_weather gave 4 degrees in Paris")
        talk.until("Cold.")
        talk.until("tokens")
        assert [role for role, _ in sent(thread)] == ["user", "assistant", "tool"]
        talk.type("Weather?\r")
        talk.until("[a]lways:")
        talk.type("n\r")
        talk.until("Never mind.")
        talk.until("tokens")
        assert sent(thread)[-1] == ("tool", '{"error":"the user did not allow this call"}')
        talk.type("Weather?\r")
        talk.until("[a]lways:")
        talk.type("a\r")
        talk.until("Still cold.")
        talk.until("tokens")
        talk.type("/tools off\r")
        talk.until("switched off")
        assert talk.leave() == 0


def test_the_demo_needs_no_key_and_keeps_a_conversation_of_its_own(tmp_path: Path) -> None:
    with chat(None, tmp_path, "--demo") as talk:
        talk.type("Write one sentence about comets.\r")
        talk.until("near the Sun.")
        talk.until("tokens/s]")
        assert talk.leave() == 0
    assert sorted(path.name for path in (tmp_path / "cometstream").iterdir()) == ["demo-history", "demo-last.json"]


def test_without_a_terminal_there_is_no_chat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--demo"]) == 2
    assert "chat needs a terminal" in capsys.readouterr().err
