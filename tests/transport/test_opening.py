from __future__ import annotations

import asyncio
import math

from cometstream import APITimeoutError
from cometstream.policy import Clocks
from cometstream.transport.opening import OpeningClock


async def test_a_clock_that_has_fired_is_the_one_that_is_named_whatever_comes_in_the_same_turn() -> None:
    """A connection that is made in the very turn in which `connect` runs out, and no other clock that could be named."""
    clock = OpeningClock(Clocks(connect=1.0, first_content=None), math.inf, traced=True)
    with clock:
        clock.connecting()
        assert clock._scope is not None
        clock._scope.cancel()  # as its timer does
        clock.connected()
        clock.sending()
        await asyncio.sleep(0)
    error = clock.error("https://api.cometapi.com/v1")
    assert isinstance(error, APITimeoutError)
    assert error.clock == "connect"
