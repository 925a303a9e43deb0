"""A SQLite file for many processes, used from one thread: the event loop never waits for a lock or a disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from cometstream.errors import CometError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SqliteThread"]

_T = TypeVar("_T")

# Seconds that a process waits for another one that writes.
_BUSY: Final = 30.0
# The switch to a write-ahead log does not wait for other processes: it is tried again, so often and after so many seconds.
_TRIES: Final = 200
_PAUSE: Final = 0.05


class SqliteThread:
    """One connection, and the thread that owns it.

    Commits are safe if any process is killed at any moment. If the machine itself dies, the last ones may be lost.

    Args:
        path: The file. A new one is readable for its owner only.
        what: What it is, for messages.
        schema: Makes the tables where there are none.
    """

    def __init__(self, path: str, *, what: str, schema: str) -> None:
        self._path = path
        self._what = what
        self._schema = schema
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open the file.

        Raises:
            ConfigurationError: It cannot be used.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cometstream-sqlite")
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise ConfigurationError(f"{self._what} {self._path!r} cannot be used: {error}") from None

    async def run(self, change: Callable[[sqlite3.Connection], _T], *, write: bool) -> _T:
        """Call a function with the connection, within one transaction, and return what it returns.

        Raises:
            CometError: The file cannot be read or written; nothing was changed.
        """
        assert self._thread is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, change, write)
        except (OSError, sqlite3.Error) as error:
            raise CometError(f"{self._what} {self._path!r} cannot be used: {error}", retryable=True) from None

    async def close(self, last: Callable[[sqlite3.Connection], object] | None = None) -> None:
        """Close the file, after a last change; errors are not told."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        closed = thread.submit(self._close, last)
        thread.shutdown(wait=False)
        await asyncio.wrap_future(closed)

    def _open(self) -> None:
        # SQLite gives the files beside it the same permissions.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
        try:
            for left in reversed(range(_TRIES)):
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError:
                    if not left:
                        raise
                    time.sleep(_PAUSE)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _run(self, change: Callable[[sqlite3.Connection], _T], write: bool) -> _T:
        connection = self._connection
        assert connection is not None
        # At once for writing: a lock that is taken later is not waited for.
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            result = change(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        return result

    def _close(self, last: Callable[[sqlite3.Connection], object] | None) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(sqlite3.Error, OSError):
            if last is not None:
                last(connection)
        with contextlib.suppress(sqlite3.Error):
            connection.close()
