"""``cometstream chat`` in a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cli_process import start
from support.cli_server import ServerThread

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


class Chatting:
    """A chat that a test writes to, and whose screen it waits for."""

    def __init__(self, terminal: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.raw = b""
        self._terminal = terminal
        self._read = 0  # how far the text was waited for

    @property
    def text(self) -> str:
        """What was written on the terminal, without what moves the cursor and gives colours."""
        return _SEQUENCE.sub(b"", self.raw).decode("utf-8", "replace")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, wanted: str) -> str:
        """Wait until a text stands after the one that was waited for before, and return all between."""
        due = time.monotonic() + 60
        while (place := self.text.find(wanted, self._read)) < 0:
            assert self._piece(due), self.text
        begun, self._read = self._read, place + len(wanted)
        return self.text[begun : self._read]

    def leave(self) -> int:
        """End the chat as a person does."""
        self.type("\x04")
        return self.ended()

    def ended(self) -> int:
        """Read to the end, and return the exit code."""
        while self._piece(time.monotonic() + 60):
            pass
        return self.process.wait(60)

    def _piece(self, due: float) -> bool:
        while time.monotonic() < due:
            if select.select([self._terminal], [], [], 0.5)[0]:
                try:
                    piece = os.read(self._terminal, 65536)
                except OSError:  # Linux tells so that nobody else has it open
                    return False
                self.raw += piece
                return bool(piece)
            if self.process.poll() is not None:
                return False
        return False


@contextmanager
def chat(thread: ServerThread | None, state: Path, *args: str) -> Iterator[Chatting]:
    """Start a chat whose conversations are kept in a folder of the test's."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    before = os.environ.get("XDG_STATE_HOME", "")
    os.environ["XDG_STATE_HOME"] = str(state)
    try:
        with start(thread, "chat", *args, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            chatting = Chatting(ours, process)
            try:
                chatting.until("/help lists the commands, Ctrl-D ends")
                yield chatting
            finally:
                process.kill()
    finally:
        os.environ["XDG_STATE_HOME"] = before
        os.close(ours)
