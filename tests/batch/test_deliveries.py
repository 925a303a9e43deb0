from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

from cometstream.batch.deliveries import Deliveries, Ended


def futures(count: int) -> list[Future[dict[str, Any]]]:
    return [Future() for _ in range(count)]


def awaited(deliveries: Deliveries, rows: list[Future[dict[str, Any]]]) -> asyncio.Future[None]:
    ended = Ended(len(rows), deliveries)
    for row in rows:
        row.add_done_callback(ended.one)
    return ended.all


async def test_a_call_without_rows_has_ended() -> None:
    assert awaited(Deliveries(asyncio.get_running_loop()), []).done()


async def test_calls_end_with_their_last_row_whichever_threads_end_them() -> None:
    deliveries = Deliveries(asyncio.get_running_loop())
    calls = [futures(1 + number % 7) for number in range(500)]
    rows = [row for call in calls for row in call]
    threads = [
        threading.Thread(target=lambda part=part: [row.set_result({}) for row in part])
        for part in (rows[0::3], rows[1::3], rows[2::3])
    ]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(asyncio.gather(*(awaited(deliveries, call) for call in calls)), 20)
    assert all(row.done() for row in rows)


async def test_the_loop_is_woken_once_for_all_that_ended_meanwhile() -> None:
    loop, wakes = asyncio.get_running_loop(), 0

    class Counting:
        @staticmethod
        def create_future() -> asyncio.Future[None]:
            return loop.create_future()

        @staticmethod
        def call_soon_threadsafe(function: Any) -> None:
            nonlocal wakes
            wakes += 1
            loop.call_soon_threadsafe(function)

    deliveries: Any = Deliveries(Counting())  # type: ignore[arg-type] # as far as it is used
    rows = futures(100)
    calls = [awaited(deliveries, [row]) for row in rows]
    for row in rows:
        row.set_result({})
    await asyncio.wait_for(asyncio.gather(*calls), 20)
    assert wakes == 1


def test_a_loop_that_was_closed_wants_nothing() -> None:
    loop = asyncio.new_event_loop()
    (row,) = rows = futures(1)
    awaited(Deliveries(loop), rows)
    loop.close()
    row.set_result({})


async def test_who_was_cancelled_is_not_woken() -> None:
    first, second = futures(2)
    deliveries = Deliveries(asyncio.get_running_loop())
    left, kept = awaited(deliveries, [first]), awaited(deliveries, [second])
    left.cancel()
    first.set_result({})
    second.set_result({})
    await asyncio.wait_for(kept, 20)
    assert left.cancelled()
