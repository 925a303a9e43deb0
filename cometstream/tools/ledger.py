"""What was run, written down before it runs: so that no call runs twice, whichever process was killed when."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import anyio
import anyio.to_thread
import orjson

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

__all__ = ["Ledger", "LedgerEntry", "SqliteLedger", "checked_ledger"]

# Seconds that a process waits for another one that writes.
_BUSY: Final = 30.0

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS executions (
    id TEXT PRIMARY KEY, call TEXT NOT NULL, content TEXT,
    started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, finished TEXT
)
"""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What a ledger knows of one execution.

    Attributes:
        content: The result, as the model was or will be told; None where it was started and its result is not known.
    """

    content: str | None


@runtime_checkable
class Ledger(Protocol):
    """Where a run writes down its executions; make one of your own over your database."""

    async def start(self, execution_id: str, call: Mapping[str, Any], /) -> LedgerEntry | None:
        """Write down that a call is about to run, durably, before returning.

        It must be one step: of two processes that ask at the same time, one is given None.

        Args:
            execution_id: Names the execution; at most 200 ASCII characters.
            call: ``id``, ``name`` and ``arguments`` (text) of the call.
        Returns:
            None where the execution was not known: it is run now. What was known of it otherwise: it is not run.
        """
        ...

    async def finish(self, execution_id: str, content: str, /) -> None:
        """Write down the result of an execution that was started."""
        ...


class SqliteLedger:
    """A ledger in a SQLite file, which any number of processes of one machine may share.

    Args:
        path: The file; it is made where it is missing. None takes the environment variable ``COMETSTREAM_LEDGER``, then a file in
            the user's directory for state.

    Raises:
        ConfigurationError: The path cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        try:
            self.path = _default_path() if path is None else Path(os.fspath(path))
            os.fsencode(self.path)
        except (TypeError, ValueError):
            raise ConfigurationError(f"the ledger's path must be a file's name; got {shown(path)}") from None
        except RuntimeError:  # of Path.home(), as in a container whose user has no name
            raise ConfigurationError(
                "the ledger has no place, as this user has no home: give ledger= a file's name, or set COMETSTREAM_LEDGER"
            ) from None

    async def start(self, execution_id: str, call: Mapping[str, Any], /) -> LedgerEntry | None:
        """Write down that a call is about to run; return what was known of it already.

        Cancellation:
            Waits until it is written.
        """
        return await anyio.to_thread.run_sync(
            self._start, execution_id, orjson.dumps(dict(call)).decode(), limiter=anyio.CapacityLimiter(1)
        )

    async def finish(self, execution_id: str, content: str, /) -> None:
        """Write down the result of an execution.

        Cancellation:
            Waits until it is written.
        """
        await anyio.to_thread.run_sync(self._finish, execution_id, content, limiter=anyio.CapacityLimiter(1))

    def _start(self, execution_id: str, call: str) -> LedgerEntry | None:
        with self._transaction() as connection:
            row = connection.execute("SELECT content FROM executions WHERE id = ?", (execution_id,)).fetchone()
            if row is None:
                connection.execute("INSERT INTO executions (id, call) VALUES (?, ?)", (execution_id, call))
        return None if row is None else LedgerEntry(row[0])

    def _finish(self, execution_id: str, content: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE executions SET content = ?, finished = CURRENT_TIMESTAMP WHERE id = ? AND content IS NULL",
                (content, execution_id),
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # A connection for each: it belongs to its thread and process, and a write to the disk costs more anyway.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                # At once for writing: a lock that is taken later is not waited for.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_TABLE)
                yield connection
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"the ledger {str(self.path)!r} cannot be used: {error}") from error


def _default_path() -> Path:
    named = os.environ.get("COMETSTREAM_LEDGER")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "cometstream" / "ledger.sqlite3"


def checked_ledger(ledger: object) -> Ledger | None:
    """Return a caller's ledger; a path is one of SQLite's.

    Raises:
        ConfigurationError: It is none.
    """
    if ledger is None:
        return None
    if isinstance(ledger, (str, os.PathLike)):
        return SqliteLedger(ledger)
    if isinstance(ledger, type) or not isinstance(ledger, Ledger):
        raise ConfigurationError(
            f"ledger must be a file's name, or have async start() and finish() as cometstream.tools.Ledger; got {shown(ledger)}"
        )
    return ledger
