"""The ledger: of two processes one runs a call, and what was written is there after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cometstream import ConfigurationError
from cometstream.tools import Ledger, LedgerEntry, SqliteLedger

CALL = {"id": "a", "name": "pay", "arguments": "{}"}


async def test_an_execution_is_new_once_then_unknown_then_has_its_result(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "deep" / "ledger")
    assert isinstance(ledger, Ledger)
    assert await ledger.start("x", CALL) is None
    assert await ledger.start("x", CALL) == LedgerEntry(None)
    await ledger.finish("x", "done")
    await ledger.finish("x", "done again")
    await ledger.finish("y", "never started")
    other = SqliteLedger(tmp_path / "deep" / "ledger")
    assert await other.start("x", CALL) == LedgerEntry("done")
    assert await other.start("y", CALL) is None


async def test_of_many_that_start_at_the_same_time_one_is_let(tmp_path: Path) -> None:
    ledgers = [SqliteLedger(tmp_path / "ledger") for _ in range(8)]
    answers = await asyncio.gather(*(ledger.start("x", CALL) for ledger in ledgers))
    assert answers.count(None) == 1


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal
from cometstream.tools import SqliteLedger

async def main():
    await SqliteLedger({str(tmp_path / "ledger")!r}).start("x", {CALL!r})
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert asyncio.run(SqliteLedger(tmp_path / "ledger").start("x", CALL)) == LedgerEntry(None)


def test_the_file_is_the_users_own_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COMETSTREAM_LEDGER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert SqliteLedger().path == tmp_path / "cometstream" / "ledger.sqlite3"
    for platform, names in (("linux", (".local", "state")), ("win32", ("AppData", "Local"))):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        monkeypatch.delenv("LOCALAPPDATA", raising=False)
        assert SqliteLedger().path == Path.home().joinpath(*names, "cometstream", "ledger.sqlite3")
    monkeypatch.setenv("COMETSTREAM_LEDGER", os.fspath(tmp_path / "mine"))
    assert SqliteLedger().path == tmp_path / "mine"


async def test_a_file_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, but a text that is long enough to be looked at as one" * 20)
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path):
        with pytest.raises(ConfigurationError, match=r"the ledger .* cannot be used"):
            await SqliteLedger(path).start("x", CALL)


def test_a_path_that_is_none_is_refused() -> None:
    for path in (7, "\ud800"):
        with pytest.raises(ConfigurationError, match="the ledger's path"):
            SqliteLedger(path)  # type: ignore[arg-type]


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("COMETSTREAM_LEDGER", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigurationError, match="set COMETSTREAM_LEDGER"):
        SqliteLedger()
