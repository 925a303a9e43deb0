from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from cometstream.batch.sqlite_thread import SqliteThread
from cometstream.errors import CometError

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)"


def add(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO things VALUES ('a')")


def count(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM things").fetchone()
    return int(number)


async def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = SqliteThread(str(tmp_path / "a.db"), what="the file", schema=SCHEMA)
    await file.close()  # it was not opened
    await file.open()

    def twice(connection: sqlite3.Connection) -> None:
        add(connection)
        add(connection)

    with pytest.raises(CometError, match=r"the file '.*a\.db' cannot be used: UNIQUE") as caught:
        await file.run(twice, write=True)
    assert caught.value.retryable
    assert await file.run(count, write=False) == 0
    with pytest.raises(ZeroDivisionError):
        await file.run(lambda _: 1 // 0, write=True)
    await file.run(add, write=True)
    assert await file.run(count, write=False) == 1
    await file.close(twice)
    await file.close()


async def test_the_loop_turns_while_another_process_holds_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        held.set()
        free.wait(10)
        other.execute("COMMIT")
        other.close()

    holder = threading.Thread(target=hold)
    holder.start()
    await asyncio.to_thread(held.wait, 10)
    file = SqliteThread(path, what="the file", schema=SCHEMA)
    opening = asyncio.ensure_future(file.open())
    for _ in range(50):
        await asyncio.sleep(0.002)
        assert not opening.done()
    free.set()
    await opening
    await file.run(add, write=True)
    holder.join()
    await file.close()
