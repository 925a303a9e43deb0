"""The table of faults, over real sockets: every cell holds, and no cell is forgotten."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys

import pytest
from support import virtual_clock
from support.loops import Run, on_each_loop

from faults.kinds import KINDS
from faults.table import ALL, MOMENTS, NEVER, TABLE, Row
from faults.ways import WAYS, Seen, look, look_at_a_retry, shown
from faults.wire import CHUNKS, TEXT

# Seconds of the shortest clocks: where the clock jumps, where it is the real one, and where none has to run out.
JUMPING, REAL, AMPLE = 20.0, 0.3, 3.0

# Cells that wait for a real clock do so together, so many at a time.
TOGETHER = 16

TOO_MUCH = ("endless headers", "100 MB line", "gzip bomb", "deflate bomb")
MB = 2**20

CELLS = [(row, way) for row in TABLE for way in row.by]


def each(cells: list[tuple[Row, str]]) -> pytest.MarkDecorator:
    # asyncio before 3.11 leaves the transport of a connection unclosed whose records do not decrypt.
    unclosed = pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
    params = [
        pytest.param(
            row,
            way,
            id=f"{row.fault}, {row.moment}, {way}",
            marks=[unclosed] if row.fault == "TLS bad record" and sys.version_info < (3, 11) else [],
        )
        for row, way in cells
    ]
    return pytest.mark.parametrize(("row", "way"), params)


@functools.cache
def is_uvloop(run: Run) -> bool:
    return not isinstance(run(_loop()), asyncio.BaseEventLoop)


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@functools.cache
def seen_together(run: Run) -> dict[tuple[Row, str], Seen | BaseException]:
    """All cells that wait for clocks, on a loop whose clock cannot be made to jump."""

    async def one(cell: tuple[Row, str], places: asyncio.Semaphore) -> Seen:
        async with places:
            return await look(*cell, REAL)

    async def main() -> dict[tuple[Row, str], Seen | BaseException]:
        cells = [cell for cell in CELLS if KINDS[cell[0].fault].timed]
        places = asyncio.Semaphore(TOGETHER)
        found = await asyncio.gather(*[one(cell, places) for cell in cells], return_exceptions=True)
        return dict(zip(cells, found, strict=True))

    return run(main())


@functools.cache
def seen(run: Run, row: Row, way: str) -> Seen:
    if not KINDS[row.fault].timed:
        return run(look(row, way, AMPLE, watch_memory=row.fault in TOO_MUCH))
    if not is_uvloop(run):
        return virtual_clock.run(look(row, way, JUMPING))
    found = seen_together(run)[row, way]
    if isinstance(found, BaseException) or found.row != shown(row, way, found.where):
        # Nothing holds a real clock back while the machine is busy with others: once more, alone and slower.
        found = run(look(row, way, 4 * REAL))
    return found


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@each(CELLS)
@on_each_loop
def test_each_fault_ends_as_the_table_says(run: Run, row: Row, way: str) -> None:
    found = seen(run, row, way)
    assert found.row == shown(row, way, found.where)
    # Whoever reads was handed all that came, before the error.
    assert found.text == (found.row.kept or "")
    if row.error is None:
        assert found.where is None
    elif way == "fan_out":
        assert found.where == "result"
    elif row.moment == "before headers" or way == "complete":
        assert found.where == "entering"
    else:
        assert found.where == ("in band" if way == "relay" else "reading")


REPEATED = [(row, way) for row, way in CELLS if row.tries > 1 and KINDS[row.fault].scene == "server"]


@pytest.mark.slow
@pytest.mark.no_cover  # three times as long otherwise
@each(REPEATED)
@on_each_loop
def test_a_fault_that_passes_is_not_noticed(run: Run, row: Row, way: str) -> None:
    timed = KINDS[row.fault].timed
    if timed and is_uvloop(run):
        pytest.skip("the retry is the same on each loop, and the clock is the real one here")
    if timed:
        told, attempts = virtual_clock.run(look_at_a_retry(row, way, JUMPING))
    else:
        told, attempts = run(look_at_a_retry(row, way, AMPLE))
    assert (told.error, told.outcome, told.text, told.kept) == (None, "complete", TEXT, TEXT)
    assert attempts == 2
    # Nor is what the first attempt had brought handed over.
    assert told.chunks == (0 if way == "complete" else CHUNKS)


@each([cell for cell in CELLS if cell[0].fault in TOO_MUCH])
@on_each_loop
def test_too_much_is_given_up_early_and_kept_out_of_memory(run: Run, row: Row, way: str) -> None:
    found = seen(run, row, way)
    assert found.memory < 64 * MB
    # After [DONE] it is time that bounds what is still read.
    assert found.sent < 48 * MB * row.tries or row.moment == "after [DONE]"


def test_every_cell_is_in_the_table_once_or_has_one_reason_not_to_be() -> None:
    stand = [(row.fault, row.moment, way) for row, way in CELLS]
    missing = [
        cell for never in NEVER for cell in itertools.product(never.faults, never.moments, never.by) if never.reason
    ]
    everything = list(itertools.product(KINDS, MOMENTS, ALL))
    assert sorted(stand + missing) == sorted(everything)
    assert sorted(WAYS) == sorted(ALL)
