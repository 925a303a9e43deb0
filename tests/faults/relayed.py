"""The table's faults through a relay: what a browser is sent for each."""

from __future__ import annotations

import asyncio

from support import virtual_clock
from support.relaying import relayed

from cometstream.relay import RelayHead
from faults.kinds import KINDS
from faults.table import TABLE, Row
from faults.ways import CountedRetries, scene

__all__ = ["ROWS", "relayed_fault"]

ROWS = [row for row in TABLE if "relay" in row.by]

# Seconds of the shortest clocks, on a clock that jumps.
_UNIT = 20.0


def relayed_fault(row: Row, protocol: str) -> tuple[RelayHead, bytes]:
    """Relay the answer of one row; return the head and the body."""

    async def main() -> tuple[RelayHead, bytes]:
        async with scene(KINDS[row.fault], row, "relay", _UNIT, retry=CountedRetries()) as (_, session):
            return await relayed(session, protocol, heartbeat=None)

    if KINDS[row.fault].timed:
        return virtual_clock.run(main())
    return asyncio.run(main())
