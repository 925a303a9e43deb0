"""The command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.cli_server import ServerThread


def environment(thread: ServerThread | None = None) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COMETAPI_", "NO_COLOR", "PYTHONUNBUFFERED"))
    }
    inherited["TERM"] = "xterm"
    if thread is None:
        return inherited
    return {**inherited, "COMETAPI_BASE_URL": thread.server.base_url, "COMETAPI_KEY": thread.server.api_key}


@contextmanager
def start(thread: ServerThread | None, *args: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "cometstream.cli", *args]
    with subprocess.Popen[bytes](command, env=environment(thread), bufsize=0, **streams) as process:
        # A program that hangs shall fail its test, not hang it.
        guard = threading.Timer(100, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def read_until(fd: int, wanted: bytes) -> bytes:
    """Read until the wanted bytes are there; nothing more is waited for."""
    read = b""
    while wanted not in read:
        piece = os.read(fd, 65536)
        assert piece, read
        read += piece
    return read
