"""Each fault of the table has a span with its outcome, and a measurement; streams that are cancelled leave nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from faults.kinds import KINDS
from faults.table import TABLE, Row
from faults.ways import WAYS, CountedRetries, scene
from support import virtual_clock
from support.serving import CHAT, serving
from support.telemetry import Recorded

from cometstream import CometSession
from cometstream.testing import Reply, chunk

# Seconds of the shortest clocks, where the clock jumps.
JUMPING = 20.0

# Bytes that may differ where nothing grows: a few streams are still on their way out. A span takes some thousand. Only what the
# library and OpenTelemetry hold is counted: asyncio keeps some for itself.
NOISE = 192 * 1024
OURS = [tracemalloc.Filter(True, f"*/{package}/*") for package in ("cometstream", "opentelemetry")]

# What unpacks or sends many megabytes takes seconds, and ends as others do.
HEAVY = ("100 MB line", "gzip bomb", "deflate bomb", "endless headers")
CELLS = [(row, way) for row in TABLE for way in row.by if way in ("stream", "complete", "fan_out")]


def told_of(row: Row, way: str) -> tuple[Recorded, Any]:
    async def main() -> tuple[Recorded, Any]:
        recorded = Recorded()
        async with scene(KINDS[row.fault], row, way, JUMPING, retry=CountedRetries()) as (_, session):
            recorded.instrument(session)
            told = await WAYS[way](session)
        return recorded, told

    return virtual_clock.run(main())


def check(row: Row, way: str) -> None:
    recorded, told = told_of(row, way)
    assert recorded.open == 0
    chats = [span for span in recorded.spans if span.name.startswith("chat")]
    ends = [span for span in recorded.spans if span.name == ("fan_out row" if way == "fan_out" else chats[0].name)]
    (span,) = ends
    about = span.attributes or {}
    outcome = told.outcome or ("complete" if told.error is None else None)
    if outcome is not None:
        assert about["cometstream.outcome"] == outcome
    assert about.get("error.type") == (None if told.error is None else told.error.__name__)
    measured = recorded.metrics["gen_ai.client.operation.duration"]
    assert sum(point.count for point in measured) == len(chats)
    last = chats[-1].attributes or {}
    assert last["cometstream.outcome"] in {point.attributes["cometstream.outcome"] for point in measured}
    tokens = [point for name, points in recorded.metrics.items() if "token" in name for point in points]
    assert not [point for point in tokens if not point.sum]


def each(cells: list[tuple[Row, str]]) -> pytest.MarkDecorator:
    ids = [f"{row.fault}, {row.moment}, {way}" for row, way in cells]
    return pytest.mark.parametrize(("row", "way"), cells, ids=ids)


QUICK = [(row, way) for row, way in CELLS if row.fault not in HEAVY and "TLS" not in KINDS[row.fault].scene]
# One of each outcome and error, and every moment.
FEW = list({(row.error, row.outcome, row.moment, way): (row, way) for row, way in QUICK}.values())


@each(FEW)
def test_a_fault_has_a_span_with_its_outcome(row: Row, way: str) -> None:
    check(row, way)


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@each([cell for cell in CELLS if cell not in FEW])
@pytest.mark.filterwarnings(
    "ignore:unclosed transport <asyncio.sslproto:ResourceWarning"
)  # asyncio's, as in tests/faults
def test_each_fault_has_a_span_with_its_outcome(row: Row, way: str) -> None:
    check(row, way)


async def leave_early(session: CometSession, how: int) -> None:
    if how == 0:  # the task that reads is cancelled

        async def read() -> None:
            async with session.stream(**CHAT) as stream:
                await stream.until_done()

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif how == 1:  # the block is left after the first chunk
        async with session.stream(**CHAT) as stream:
            await stream.__anext__()
    elif how == 2:  # the stop button
        async with session.stream(**CHAT) as stream:
            await stream.aclose()
    else:  # it is cancelled while it waits for a chunk
        async with session.stream(**CHAT) as stream:
            await stream.__anext__()
            task = asyncio.ensure_future(stream.__anext__())  # type: ignore[arg-type] # it is a coroutine
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def held() -> int:
    snapshot = tracemalloc.take_snapshot().filter_traces(OURS)
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


async def test_streams_that_are_cancelled_leave_nothing() -> None:
    """COMETSTREAM_CANCELLED sets how many; 10,000 take a minute."""
    count = int(os.environ.get("COMETSTREAM_CANCELLED", "400"))
    recorded = Recorded(keep_spans=False)
    async with serving() as (server, session):
        server.always(Reply.sse(chunk({"content": "Hi"})).stall())
        recorded.instrument(session)

        async def many(times: int) -> None:
            for turn in range(times // 20):
                await asyncio.gather(*[leave_early(session, (turn + place) % 4) for place in range(20)])
                server.requests.clear()

        await many(200)
        gc.collect()
        tracemalloc.start()
        try:
            before = held()
            await many(count)
            await asyncio.sleep(0.05)
            gc.collect()
            grown = held() - before
        finally:
            tracemalloc.stop()
        assert recorded.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # One for those that had an answer, whose model is named, and one for those that had none.
    points = recorded.metrics["gen_ai.client.operation.duration"]
    assert {point.attributes["cometstream.outcome"] for point in points} == {"cancelled"}
    assert sum(point.count for point in points) == 200 + count
    assert grown < NOISE, grown
