"""Where answers are kept while they are written, so that several can read them, and again: the interface, and one in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Found", "MemoryStore", "Store"]


class Found(NamedTuple):
    """An answer that is kept."""

    id: str
    owner: str | None


class Store(Protocol):
    """Keeps entries of answers. One process writes an answer; any number may read it.

    Attributes:
        beats: Seconds after which a writer that has said nothing is taken for dead; None where writers live as long as the store.
    """

    beats: float | None

    def create(self, id: str, key: str, owner: str | None) -> Awaitable[None]:  # noqa: A002 - the field's name
        """Begin an answer. Its key leads to it until another answer has the same one."""
        ...

    def find(self, key: str) -> Awaitable[Found | None]:
        """Return the newest answer with a key; None where none is kept."""
        ...

    def append(self, id: str, entries: Sequence[bytes]) -> Awaitable[None]:  # noqa: A002
        """Add entries, which are numbered from 1 on."""
        ...

    def read(self, id: str, after: int, wait: float) -> Awaitable[Sequence[bytes] | None]:  # noqa: A002
        """Return the entries after a number, once there are any; none after `wait` seconds; None where the answer is not kept."""
        ...

    def beat(self, id: str) -> Awaitable[None]:  # noqa: A002
        """Say that the writer lives."""
        ...

    def lives(self, id: str) -> Awaitable[bool]:  # noqa: A002
        """Whether the writer has said so of late, or the answer is at its end."""
        ...

    def end(self, id: str, expires: float) -> Awaitable[None]:  # noqa: A002
        """Keep the answer for so many seconds; nothing is added any more."""
        ...

    def stop(self, id: str) -> Awaitable[None]:  # noqa: A002
        """Have the writer told that it shall stop, whichever process it is in."""
        ...

    def on_stop(self, id: str, call: Callable[[], None]) -> Callable[[], None]:  # noqa: A002
        """Call the writer back when it shall stop; return what takes that back."""
        ...

    def aclose(self) -> Awaitable[None]:
        """Let go of connections."""
        ...


@dataclass(eq=False)
class _Log:
    """One answer."""

    owner: str | None
    entries: list[bytes] = field(default_factory=list)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class MemoryStore:
    """Keeps answers in this process, for one event loop. Where several workers serve one user, take ``RedisStore``."""

    def __init__(self) -> None:
        self.beats: float | None = None
        self._logs: dict[str, _Log] = {}
        self._keys: dict[str, str] = {}
        self._stops: dict[str, Callable[[], None]] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    async def create(self, id: str, key: str, owner: str | None) -> None:  # noqa: A002
        """Begin an answer."""
        self._logs[id] = _Log(owner)
        self._keys[key] = id

    async def find(self, key: str) -> Found | None:
        """Return the newest answer with a key."""
        id_ = self._keys.get(key)
        return None if id_ is None else Found(id_, self._logs[id_].owner)

    async def append(self, id: str, entries: Sequence[bytes]) -> None:  # noqa: A002
        """Add entries."""
        log = self._logs[id]
        log.entries.extend(entries)
        log.wake()

    async def read(self, id: str, after: int, wait: float) -> Sequence[bytes] | None:  # noqa: A002
        """Return the entries after a number, once there are any."""
        log = self._logs.get(id)
        if log is None:
            return None
        if len(log.entries) <= after:
            future = asyncio.get_running_loop().create_future()
            log.waiting.append(future)
            await asyncio.wait({future}, timeout=wait)
        return log.entries[after:]

    async def beat(self, id: str) -> None:  # noqa: A002
        """Do nothing: the writer lives as long as the store."""

    async def lives(self, id: str) -> bool:  # noqa: A002
        """Return True: the writer lives as long as the store."""
        return True

    async def end(self, id: str, expires: float) -> None:  # noqa: A002
        """Keep the answer for so many seconds."""
        loop = asyncio.get_running_loop()

        def forget() -> None:
            self._timers.discard(timer)
            self._logs.pop(id).wake()
            for key in [key for key, of in self._keys.items() if of == id]:
                del self._keys[key]

        timer = loop.call_later(expires, forget)
        self._timers.add(timer)

    async def stop(self, id: str) -> None:  # noqa: A002
        """Tell the writer."""
        call = self._stops.get(id)
        if call is not None:
            call()

    def on_stop(self, id: str, call: Callable[[], None]) -> Callable[[], None]:  # noqa: A002
        """Call the writer back when it shall stop."""
        self._stops[id] = call
        return lambda: self._stops.pop(id, None) and None

    async def aclose(self) -> None:
        """Forget everything."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._logs.clear()
        self._keys.clear()
