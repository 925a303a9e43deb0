"""A real Redis for the tests that need one."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest

from support.ports import free_port

__all__ = ["redis_server", "redis_url"]


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server on a free port, and give its address.

    Raises:
        FileNotFoundError: None is installed.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The address of a Redis server of its own; skips where none is installed."""
    pytest.importorskip("redis", reason="needs the extra redis")
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    with redis_server() as url:
        yield url
