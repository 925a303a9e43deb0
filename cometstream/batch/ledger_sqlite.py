"""A ledger in a SQLite file, for all processes of one machine."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from cometstream.batch.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from cometstream.batch.ledger import Ask, Verdict

__all__ = ["SqliteLedger"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rows (
    key BLOB PRIMARY KEY, name TEXT NOT NULL, worker TEXT, sent REAL, answer BLOB, finished REAL
);
CREATE TABLE IF NOT EXISTS workers (id TEXT PRIMARY KEY, expires REAL NOT NULL)
"""

_FIND: Final = "SELECT answer, worker, expires FROM rows LEFT JOIN workers ON id = worker WHERE key = ?"
_CLAIM: Final = """
INSERT INTO rows (key, name, worker, sent) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET worker = excluded.worker, sent = excluded.sent
"""
# The first answer stays: whoever asks later is given the same one.
_FINISH: Final = """
INSERT INTO rows (key, name, worker, sent, answer, finished) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET answer = excluded.answer, finished = excluded.finished WHERE answer IS NULL
"""
_RELEASE: Final = "DELETE FROM rows WHERE key = ? AND worker = ? AND answer IS NULL"
_RENEW: Final = "INSERT INTO workers VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET expires = excluded.expires"
_LEAVE: Final = "DELETE FROM workers WHERE id = ?"


class SqliteLedger:
    """A ledger in a file; see ``LedgerStore``.

    Args:
        path: The file.
        worker: Who asks.
        lease: Seconds for which a sign of life holds.
    """

    def __init__(self, path: str, *, worker: str, lease: float) -> None:
        self._file = SqliteThread(path, what="the ledger", schema=_SCHEMA)
        self._worker = worker
        self._lease = lease

    async def open(self) -> None:
        """Open the file."""
        await self._file.open()

    async def apply(self, asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
        """Answer every question in one transaction."""
        write = renew or any(ask.kind != "find" for ask in asks)
        return await self._file.run(partial(self._apply, asks, renew), write=write)

    async def close(self, *, leave: bool) -> None:
        """Close the file."""
        await self._file.close(self._leave if leave else None)

    def _apply(self, asks: Sequence[Ask], renew: bool, connection: sqlite3.Connection) -> list[Verdict]:
        now = time.time()
        if renew:
            connection.execute(_RENEW, (self._worker, now + self._lease))
        return [self._answer(ask, connection, now) for ask in asks]

    def _answer(self, ask: Ask, connection: sqlite3.Connection, now: float) -> Verdict:
        if ask.kind == "finish":
            connection.execute(_FINISH, (ask.key, ask.name, self._worker, now, ask.answer, now))
            return "mine"
        if ask.kind == "release":
            connection.execute(_RELEASE, (ask.key, self._worker))
            return "free"
        row = connection.execute(_FIND, (ask.key,)).fetchone()
        answer, worker, expires = (None, None, None) if row is None else row
        if answer is not None:
            return bytes(answer)
        other = worker is not None and worker != self._worker
        if other and expires is not None and expires > now:
            return "busy"
        if ask.kind == "find":
            return "free"
        connection.execute(_CLAIM, (ask.key, ask.name, self._worker, now))
        return "mine again" if other else "mine"

    def _leave(self, connection: sqlite3.Connection) -> None:
        connection.execute(_LEAVE, (self._worker,))
