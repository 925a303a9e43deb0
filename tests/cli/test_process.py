"""The command line as a process: real pipes, a real terminal, real signals."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.cli_process import environment, read_until, start
from support.cli_server import ServerThread

from cometstream.testing import Reply, chunk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals and signals are POSIX's here")


def test_a_terminal_gets_each_token_and_dim_reasoning_as_they_arrive(thread: ServerThread) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    event = asyncio.Event()
    begin = [chunk({"reasoning_content": "Hm."}), chunk({"content": "Hello"})]
    end = [chunk({"content": " world"}), chunk(finish_reason="stop")]
    thread.server.script(Reply.sse(*begin, event, *end))
    with start(thread, "ask", "Hi", "--show-reasoning", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = read_until(ours, b"Hello")
        thread.set(event)
        shown += read_until(ours, b"world\r\n")
        assert process.wait() == 0
    os.close(ours)
    assert shown.startswith(b"\x1b[2mHm.\x1b[0m")
    assert re.sub(rb"\x1b\[\d+m", b"", shown) == b"Hm.\r\nHello world\r\n"


def test_a_terminal_gets_no_control_characters_of_the_model_and_a_pipe_gets_them_all(thread: ServerThread) -> None:
    pty = pytest.importorskip("pty")
    text = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\u202eHello\tworld\r\n"
    ours, theirs = pty.openpty()
    replies = [Reply.sse(chunk({"reasoning_content": text}), chunk({"content": text}), chunk(finish_reason="stop"))]
    thread.server.script(*replies)
    with start(thread, "ask", "Hi", "--show-reasoning", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while shown.count(b"world") < 2:
            shown += os.read(ours, 1024)
        assert process.wait() == 0
    os.close(ours)
    shown = re.sub(rb"\x1b\[\d+m", b"", shown)
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xc2[\x80-\x9f]|\xe2\x80\xae", shown)
    assert b"Hello" in shown
    thread.server.script(*replies)
    with start(thread, "ask", "Hi") as process:
        out, _ = process.communicate()
    assert out == text.encode()


def test_ctrl_c_keeps_what_came_closes_the_stream_and_exits_130(thread: ServerThread) -> None:
    thread.server.script(Reply.sse(chunk({"content": "Hello"})).stall())
    with start(thread, "ask", "Hi") as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Hello"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, b"\n", b"")
    thread.do(asyncio.wait_for(thread.server.requests[-1].disconnected.wait(), 20))
    thread.server.script(Reply.text("world"))
    with start(thread, "ask", "-c", "Go on") as process:
        assert process.communicate()[0] == b"world\n"
    sent = thread.server.requests[-1].json["messages"]
    assert [message["content"] for message in sent] == ["Hi", "Hello", "Go on"]


def test_a_second_ctrl_c_ends_what_does_not_end_by_itself() -> None:
    stubborn = """
import asyncio, os, signal
from cometstream.cli.process import run_until_signal

async def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

run_until_signal(main(), signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", stubborn], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_a_signal_that_does_not_interrupt_the_wait_of_the_loop_is_heard_all_the_same() -> None:
    # It is another thread's here. One that comes between the loop's last line and its system call is missed in the same way.
    waiting = """
import asyncio, signal, threading, time
from cometstream.cli.process import Interrupted, run_until_signal

def elsewhere():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

async def main():
    threading.Thread(target=elsewhere).start()
    await asyncio.Event().wait()

def former(number, frame): ...

signal.signal(signal.SIGINT, former)
try:
    run_until_signal(main(), signal.SIGINT)
except Interrupted:
    print("heard", signal.getsignal(signal.SIGINT) is former)
"""
    ended = subprocess.run([sys.executable, "-c", waiting], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"heard True\n", b"")


def test_what_can_be_drained_is_drained_first_then_cancelled_then_ended() -> None:
    stubborn = """
import asyncio, os, signal
from cometstream.cli.process import run_until_signal

drained = asyncio.Event()

async def main():
    os.kill(os.getpid(), signal.SIGTERM)
    await drained.wait()
    print("drained", flush=True)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

run_until_signal(main(), signal.SIGTERM, drain=drained.set)
"""
    ended = subprocess.run([sys.executable, "-c", stubborn], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, b"drained\ncancelled\n", b"")


def test_a_pipe_gets_each_token_as_it_arrives_and_a_reader_that_leaves_ends_the_program_without_a_word(
    thread: ServerThread,
) -> None:
    second, third = asyncio.Event(), asyncio.Event()
    thread.server.script(
        Reply.sse(
            chunk({"content": "one"}), second, chunk({"content": "two"}), third, chunk({"content": "three"})
        ).stall()
    )
    with start(thread, "ask", "Hi") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3) == b"one"
        thread.set(second)
        assert process.stdout.read(3) == b"two"
        process.stdout.close()
        thread.set(third)
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_the_demo_streams_over_http_without_a_key() -> None:
    with start(None, "ask", "--demo", "--max-tokens=3", "Write one sentence about comets.") as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (0, b"A comet is\n")
    assert err == b"cometstream: the token limit cut the answer (finish_reason: length)\n"


def in_a_shell(thread: ServerThread, script: str) -> subprocess.CompletedProcess[bytes]:
    thread.server.requests.clear()
    script = script.replace("cometstream", f"{shlex.quote(sys.executable)} -m cometstream")
    return subprocess.run(["sh", "-c", script], env=environment(thread), capture_output=True, timeout=60, check=False)


def prompts(thread: ServerThread) -> list[str]:
    return [request.json["messages"][0]["content"] for request in thread.server.requests]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose stdin it is")
def test_a_loop_of_the_shell_keeps_its_lines_and_a_pipe_of_its_own_is_read(
    thread: ServerThread, tmp_path: Path
) -> None:
    (tmp_path / "fruit").write_text("apples\npears\n")
    loop = 'while read -r line; do cometstream ask "Eat $line"; done'
    for script in (f"printf 'apples\\npears\\n' | {loop}", f"{loop} < {tmp_path / 'fruit'}"):
        ended = in_a_shell(thread, script)
        assert (ended.returncode, prompts(thread)) == (0, ["Eat apples", "Eat pears"])
        assert ended.stderr.count(b"stdin belongs to the shell that runs this") == 2
    ended = in_a_shell(thread, f"printf '1\\n2\\n3\\n' | {loop.replace('ask', 'ask --stdin')}")
    assert (ended.stderr, prompts(thread)) == (b"", ["Eat 1\n\n2\n3"])
    for script in (
        'printf text | cometstream ask "Explain:"',
        f'cometstream ask "Explain:" < {tmp_path / "fruit"}',
    ):
        assert in_a_shell(thread, script).returncode == 0
        assert prompts(thread)[0] in ("Explain:\n\ntext", "Explain:\n\napples\npears")


def test_a_pipe_that_nobody_ends_is_waited_for_no_longer_than_the_clock(thread: ServerThread) -> None:
    reader, writer = os.pipe()
    with start(thread, "ask", "Hi", "--total-timeout=0.3", stdin=reader) as process:
        _, err = process.communicate()
    os.close(reader)
    os.close(writer)
    assert process.returncode == 6
    assert err == b"cometstream: stdin did not end within 0.3 s (--total-timeout)\n"


def test_a_terminal_is_told_what_is_waited_for_and_why(thread: ServerThread) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    event = asyncio.Event()
    reasoning = Reply.sse(
        chunk({"reasoning_content": "Hm."}), event, chunk({"content": "Hello"}), chunk(finish_reason="stop")
    )
    thread.server.script(Reply.error(429, "slow down", retry_after=1.2), reasoning)
    with start(thread, "ask", "Hi", stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        told = read_until(ours, b"trying again in 1 s: 429: slow down")
        assert b"trying again in 2 s: 429: slow down" in told
        assert b"waiting for" not in told
        shown = read_until(ours, b"gpt-5.4 is reasoning")
        thread.set(event)
        shown = read_until(ours, b"Hello\r\n")
        assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[2K" in shown  # the line is taken away before the answer


def test_serve_answers_until_sigterm() -> None:
    with start(None, "serve", "--port=0") as process:
        assert process.stderr is not None
        introduction = read_until(process.stderr.fileno(), b"curl -N")
        assert re.search(rb"\n  export COMETAPI_BASE_URL=http://\S+/v1 COMETAPI_KEY=sk-simulated\n", introduction)
        base_url, key = (introduction.split(label)[1].split()[0].decode() for label in (b"base URL:", b"API key:"))
        request = urllib.request.Request(f"{base_url}/models", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            assert b"gpt-5.4" in response.read()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in err


def test_help_waits_for_neither_a_server_nor_rich() -> None:
    program = """
import sys
from cometstream.cli import main

code = main(["ask", "--help"])
late = {"rich", "cometstream.testing"}.intersection(sys.modules)
sys.exit(f"imported: {late}" if late else code)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
