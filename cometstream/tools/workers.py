"""Runs the calls of a run side by side, in a task group that the caller never sees.

The group lives in a task of its own: so no scope of it lies around the caller's code, none of its exception groups reaches
the caller, and the run may be left from any task.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any, Final

import anyio

from cometstream.late import late_import

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

__all__ = ["Workers", "without_group"]

# Seconds that tools may take to tidy up when they are cancelled.
_PATIENCE: Final = 10.0


def without_group(error: BaseException) -> BaseException:
    """Return the first error of an exception group, at whatever depth; any other error as it is."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]  # type: ignore[attr-defined] # of a group, which Python 3.10 has no name for
    return error


class Workers:
    """The tasks of a run.

    Attributes:
        running: How many there are.
        stopping: They are being cancelled, all of them.
    """

    def __init__(self) -> None:
        self.running = 0
        self.stopping = False
        self._group: TaskGroup | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Make the group.

        Cancellation:
            Safe; `stop` ends what was begun.
        """
        with late_import:
            anyio.CancelScope()  # loads what `stop` needs, too
        ready = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.create_task(self._supervise(ready))
        await asyncio.wait({ready, self._supervisor}, return_when=asyncio.FIRST_COMPLETED)

    async def _supervise(self, ready: asyncio.Future[None]) -> None:
        try:
            async with anyio.create_task_group() as self._group:
                if not ready.done():
                    ready.set_result(None)
                await anyio.sleep_forever()
        except BaseException as error:
            raise without_group(error) from None

    def spawn(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task; it must not raise."""
        assert self._group is not None  # opened before
        self.running += 1
        self._group.start_soon(self._work, work, *args)

    async def _work(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            await work(*args)
        finally:
            self.running -= 1
            self.wake()

    def wake(self) -> None:
        """End a `wait`."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self, *also: asyncio.Future[Any]) -> None:
        """Wait until `wake` is called, a task ends, or one of the futures is done.

        Raises:
            BaseException: What ended the group: an interrupt, as a rule.
        Cancellation:
            Safe; the tasks go on.
        """
        supervisor = self._supervisor
        assert supervisor is not None  # opened before
        wake = self._wake = asyncio.get_running_loop().create_future()
        await asyncio.wait({wake, supervisor, *also}, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.done() and not self.stopping:
            supervisor.result()

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended, for some seconds at most.

        Cancellation:
            The tasks are cancelled all the same.
        """
        self.stopping = True
        supervisor = self._supervisor
        if supervisor is None:
            return
        if self._group is not None:
            self._group.cancel_scope.cancel()
        else:
            supervisor.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({supervisor}, timeout=_PATIENCE)
        self.wake()
        if not supervisor.done():
            warnings.warn(
                f"{self.running} tools go on, though they were cancelled {_PATIENCE:g} s ago: "
                "a tool must not swallow CancelledError",
                RuntimeWarning,
                stacklevel=3,
            )
        elif not supervisor.cancelled():
            supervisor.exception()  # what it died of was told by `wait`, or is of no use any more
