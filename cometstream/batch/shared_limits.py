"""Limits that several workers share: the address of what they agree on, and the task that keeps one batch in touch with it."""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from cometstream.batch.ledger import is_redis, new_worker, store_address
from cometstream.batch.shared_models import SOON, SharedModels
from cometstream.batch.shared_state import Report, SharedState
from cometstream.errors import CometError, ConfigurationError
from cometstream.observe import LOG
from cometstream.request.describe import shown
from cometstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.batch.shared_state import Reply

__all__ = ["LimitStore", "SharedLimits", "Sharing", "checked_shared_limits"]

_T = TypeVar("_T")

# Seconds between two tries where the others are not reached, and the seconds that the first contact may take.
_AGAIN: Final = 1.0
_PATIENCE: Final = 10.0


class LimitStore(Protocol):
    """Where the state lies that all workers share."""

    async def open(self) -> None:
        """Make ready what `update` needs.

        Raises:
            ConfigurationError: It cannot be used.
            CometError: It is not reached.
        """
        ...

    async def update(self, change: Callable[[bytes | None, float], tuple[bytes, _T]]) -> _T:
        """Change the state in one step.

        Args:
            change: Is given the state (None if there is none) and the seconds on the clock of all workers; returns the new state
                and what is returned. It may be called again if another worker was faster.

        Raises:
            CometError: The store is not reached.
        """
        ...

    async def close(self) -> None:
        """Release everything; errors are not told."""
        ...


class SharedLimits:
    """Limits on which workers agree: ``fan_out(session, rows, rpm=600, shared_limits=SharedLimits("limits.db"))``.

    All batches with the same address and name count as one: for ``rpm`` and ``tpm`` (where these are the same), for the rates that
    a server tells or enforces, and for ``max_cost`` and ``max_tokens_total``. What was spent stays written down: another job takes
    another name, or a new file.

    Args:
        address: A file, which SQLite makes if there is none, for all processes of one machine; or ``redis://host:6379/0``, for many
            machines, with the extra ``redis``.
        name: Of the job, among those that share the address.
        workers: How many there are, if that is known: their share as long as the address was never reached. None: the batch fails
            if it is not reached at first. Later, workers go on with a fair share of what they know.

    Raises:
        ConfigurationError: One of these cannot be used.
    """

    __slots__ = ("address", "name", "workers")

    def __init__(self, address: str | os.PathLike[str], *, name: str = "default", workers: int | None = None) -> None:
        self.address = store_address("the shared limits", address)
        if not isinstance(name, str) or not name or not name.isprintable():
            raise ConfigurationError(f"name must be a text that is not empty; got {shown(name)}")
        self.name = name
        if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
            raise ConfigurationError(f"workers must be a whole number of 1 or more, or None; got {shown(workers)}")
        self.workers = workers

    def __repr__(self) -> str:
        address = "redis://..." if is_redis(self.address) else self.address
        return f"SharedLimits({address!r}, name={self.name!r})"

    def store(self) -> LimitStore:
        """Return where the state lies.

        Raises:
            ConfigurationError: The extra that it needs is not installed, or the address cannot be used.
        """
        # Workers of other versions learn in another way.
        name = f"{self.name} {__version__}"
        if is_redis(self.address):
            from cometstream.batch.limits_redis import RedisLimits

            return RedisLimits(self.address, name)
        from cometstream.batch.limits_sqlite import SqliteLimits

        return SqliteLimits(self.address, name)


def checked_shared_limits(shared: Any) -> SharedLimits | None:
    """Return a caller's shared limits; an address stands for ``SharedLimits`` there.

    Raises:
        ConfigurationError: It is neither.
    """
    if shared is None or isinstance(shared, SharedLimits):
        return shared
    if not isinstance(shared, (str, os.PathLike)):
        raise ConfigurationError(
            f"shared_limits must be SharedLimits, a file's name or a redis:// address; got {shown(shared)}"
        )
    return SharedLimits(shared)


class Sharing:
    """One batch in touch with the other workers.

    Args:
        shared: What they share.

    Attributes:
        models: What the batch's limits ask.
        task: Ends when the store is closed; None before `start`.
    """

    def __init__(self, shared: SharedLimits) -> None:
        self.models = SharedModels(shared.workers or 1, self._want)
        self.task: asyncio.Task[None] | None = None
        self._known = shared.workers is not None
        self._store = shared.store()
        self._worker = new_worker()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._wanted = False
        self._ending = False
        self._opened = self._reached = False
        self._began = self._loop.time()

    def start(
        self,
        spent: Callable[[], tuple[float, int, int]],
        changed: Callable[[], object],
        failed: Callable[[Exception], object],
    ) -> None:
        """Begin.

        Args:
            spent: Returns money and tokens that this batch has spent, and how many more requests it could run.
            changed: Called if more may be sent.
            failed: Called if the store cannot be used.
        """
        self.task = self._loop.create_task(self._run(spent, changed, failed))

    def end(self) -> None:
        """Tell the others that this batch has ended."""
        self._ending = True
        self._wake.set()

    def room(self, most: float, *, money: bool) -> float:
        """Return what this batch may have spent in all, if all workers together may spend `most`."""
        return most if most == math.inf else self.models.room(most, money=money)

    def _want(self) -> None:
        self._wanted = True
        self._wake.set()

    async def _run(
        self,
        spent: Callable[[], tuple[float, int, int]],
        changed: Callable[[], object],
        failed: Callable[[Exception], object],
    ) -> None:
        try:
            while not self._ending:
                await self._exchange(spent())
                changed()
                await self._rest()
            if self._reached:
                await self._leave(spent())
        except Exception as error:  # the reader must not wait for ever
            failed(error)
        finally:
            await self._store.close()

    async def _exchange(self, spent: tuple[float, int, int]) -> None:
        report = self.models.report(self._loop.time(), *spent)
        self._wanted = False
        try:
            if not self._opened:
                await self._store.open()
                self._opened = True
            reply = await self._store.update(lambda state, now: _exchanged(state, now, self._worker, report))
        except CometError as error:
            self.models.lost(report, self._loop.time(), alone=self._reached or self._known)
            if not self._may_go_on(error):
                raise
            return
        self._reached = True
        self.models.take(reply, self._loop.time())

    def _may_go_on(self, error: CometError) -> bool:
        """Whether the batch goes on without the others for now."""
        now = self._loop.time()
        self.models.due = now + _AGAIN
        if self._reached or self._known:
            LOG.warning("%s; going on with a fair share of the limits", error)
            return error.retryable
        LOG.warning("%s; trying again", error)
        return error.retryable and now - self._began < _PATIENCE

    async def _rest(self) -> None:
        """Wait until the next exchange is due, or is wanted."""
        last = self._loop.time()
        while not self._ending:
            now = self._loop.time()
            due = min(self.models.due, last + SOON) if self._wanted else self.models.due
            if now >= due:
                return
            self._wake.clear()
            timer = self._loop.call_at(due, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _leave(self, spent: tuple[float, int, int]) -> None:
        report = self.models.report(self._loop.time(), *spent)
        try:
            await self._store.update(lambda state, now: _left(state, now, self._worker, report))
        except CometError:
            pass  # the others find out


def _exchanged(state: bytes | None, now: float, worker: str, report: Report) -> tuple[bytes, Reply]:
    shared = SharedState.read(state, now)
    try:
        reply = shared.exchange(worker, report, now)
    except Exception:  # of a state that somebody else has written
        shared = SharedState()
        reply = shared.exchange(worker, report, now)
    return shared.written(), reply


def _left(state: bytes | None, now: float, worker: str, report: Report) -> tuple[bytes, None]:
    written, _ = _exchanged(state, now, worker, report._replace(wants={}))
    shared = SharedState.read(written, now)
    shared.leave(worker)
    return shared.written(), None
