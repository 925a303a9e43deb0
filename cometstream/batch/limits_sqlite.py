"""Shared limits in a SQLite file, for all processes of one machine."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from cometstream.batch.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["SqliteLimits"]

_T = TypeVar("_T")

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS limits (name TEXT PRIMARY KEY, state BLOB NOT NULL)"
_READ: Final = "SELECT state FROM limits WHERE name = ?"
_WRITE: Final = "INSERT INTO limits VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state"


class SqliteLimits:
    """Shared limits in a file; see ``LimitStore``.

    Args:
        path: The file.
        name: Of the job.
    """

    def __init__(self, path: str, name: str) -> None:
        self._file = SqliteThread(path, what="the file of shared limits", schema=_SCHEMA)
        self._name = name

    async def open(self) -> None:
        """Open the file."""
        await self._file.open()

    async def update(self, change: Callable[[bytes | None, float], tuple[bytes, _T]]) -> _T:
        """Change the state in one transaction."""
        return await self._file.run(partial(self._update, change), write=True)

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()

    def _update(self, change: Callable[[bytes | None, float], tuple[bytes, _T]], connection: sqlite3.Connection) -> _T:
        row = connection.execute(_READ, (self._name,)).fetchone()
        state, result = change(None if row is None else bytes(row[0]), time.time())
        connection.execute(_WRITE, (self._name, state))
        return result
