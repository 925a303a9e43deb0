"""A simulated server for the command line, and an environment that leads to it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_server import ServerThread

from cometstream.testing import SimulatedServer


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def server(thread: ServerThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimulatedServer:
    monkeypatch.delenv("COMETAPI_MODEL", raising=False)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    return thread.server
