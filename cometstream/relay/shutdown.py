"""A server that is told to stop: open relays are ended in band after a time of grace."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError
from cometstream.policy import is_seconds
from cometstream.relay.engine import end_relays
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EndingRelays"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class EndingRelays:
    """Ends open relays when the process is told to stop: ``async with EndingRelays(grace=5):`` in an application's lifespan.

    A server waits for open responses before it runs the end of the lifespan, and an answer may take minutes. So this listens to
    SIGTERM and SIGINT itself, and passes them on to the server. From then on open answers have the time of grace to end; then each
    browser is told in band that its answer was cut. In a thread other than the main one there are no signals; there, the end of the
    block ends the relays.

    Args:
        grace: Seconds that open answers may still take.

    Raises:
        ConfigurationError: `grace` is not a time.
    """

    def __init__(self, grace: float = 5.0) -> None:
        if not is_seconds(grace):
            raise ConfigurationError(f"grace must be a number of seconds, 0 or more; got {shown(grace)}")
        self._grace = grace
        self._before: dict[int, Any] = {}
        self._ending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._told) for number in _SIGNALS}
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            # A handler that was not set from Python cannot be set again.
            if handler is not None and signal.getsignal(number) == self._told:
                signal.signal(number, handler)
        if self._ending is None:
            await end_relays(0.0)
        else:
            await asyncio.wait({self._ending})

    def _told(self, number: int, frame: Any) -> None:
        self._loop.call_soon_threadsafe(self._begin, number)
        before = self._before.get(number)
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)

    def _begin(self, number: int) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end(number))

    async def _end(self, number: int) -> None:
        await end_relays(self._grace)
        before = self._before.get(number)
        if before in (signal.SIG_DFL, signal.default_int_handler):
            # Nobody else was told: what would have ended the process does so now.
            signal.signal(number, before)
            os.kill(os.getpid(), number)
