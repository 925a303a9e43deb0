"""Answers kept in Redis, for several processes: one Redis Stream an answer, and a channel that wakes its readers."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cometstream.errors import CometError, ConfigurationError
from cometstream.relay.store import Found
from cometstream.relay.told import LOG
from cometstream.request.describe import shown

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as error:
    raise ConfigurationError("RedisStore needs the extra redis: pip install 'cometstream[redis]'") from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from typing_extensions import ParamSpec

    _P = ParamSpec("_P")

__all__ = ["RedisStore"]

_T = TypeVar("_T")

# Seconds after which an answer is forgotten whose writer has died.
_ORPHANED: Final = 600

# Seconds between two tries to listen again where the connection was lost.
_AGAIN: Final = 0.5

# Seconds that a channel without a reader stays open: the next read comes at once as a rule.
_LINGER: Final = 5.0

# Seconds for Redis to confirm that it will tell of a channel; without that a reader looks from time to time.
_CONFIRM: Final = 1.0


def _told(method: Callable[_P, Awaitable[_T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Have a method raise an error of ours where Redis fails."""

    @functools.wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await method(*args, **kwargs)
        except (RedisError, OSError) as error:
            raise CometError(
                f"Redis, which keeps the answers, failed: {type(error).__name__}", retryable=True
            ) from error

    return call


class RedisStore:
    """Keeps answers in Redis, so that any process can read and stop what another one writes.

    Args:
        url: The server, as ``redis://user:password@host:port/0``; or a ``redis.asyncio.Redis`` of your own, which answers bytes
            and is never closed here.
        prefix: Begins every key and channel.

    Raises:
        ConfigurationError: The address cannot be used, or the extra ``redis`` is not installed.
    """

    def __init__(self, url: str | Redis, *, prefix: str = "cometstream:") -> None:
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a text; got {shown(prefix)}")
        self._is_mine = not isinstance(url, Redis)
        try:
            self._redis: Any = Redis.from_url(url) if self._is_mine else url  # type: ignore[arg-type]  # any other value raises
        except (ValueError, AttributeError, TypeError) as error:
            raise ConfigurationError("the address of Redis must be like redis://host:6379/0") from error
        self._prefix = prefix
        self.beats: float | None = 10.0
        self._counts: dict[str, int] = {}  # entries of the answers that this process writes
        self._stops: dict[str, Callable[[], None]] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._told: dict[str, asyncio.Future[None]] = {}  # channels, and whether Redis has confirmed them
        self._pubsub: Any = None
        self._listener: asyncio.Task[None] | None = None

    @_told
    async def create(self, id: str, key: str, owner: str | None) -> None:  # noqa: A002
        """Begin an answer."""
        about, leads = self._name("about", id), self._name("key", key)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(about, mapping={"key": key, "state": "open", **({"owner": owner} if owner else {})})
            pipe.set(leads, id, ex=_ORPHANED)
            pipe.expire(about, _ORPHANED)
            self._say_alive(pipe, id)
            await pipe.execute()
        self._counts[id] = 0
        await self._hear(self._name("stop", id))

    @_told
    async def find(self, key: str) -> Found | None:
        """Return the newest answer with a key."""
        id_ = await self._redis.get(self._name("key", key))
        if id_ is None:
            return None
        owner = await self._redis.hget(self._name("about", id_.decode()), "owner")
        return Found(id_.decode(), None if owner is None else owner.decode())

    @_told
    async def append(self, id: str, entries: Sequence[bytes]) -> None:  # noqa: A002
        """Add entries."""
        name = self._name("log", id)
        async with self._redis.pipeline(transaction=True) as pipe:
            for entry in entries:
                self._counts[id] += 1
                pipe.xadd(name, {"d": entry}, id=f"{self._counts[id]}-0")
            pipe.publish(name, b"")
            await pipe.execute()

    @_told
    async def read(self, id: str, after: int, wait: float) -> Sequence[bytes] | None:  # noqa: A002
        """Return the entries after a number, once there are any."""
        name = self._name("log", id)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(woken)
        try:
            await self._hear(name)
            entries = await self._entries(id, after)
            if entries is None or entries:
                return entries
            await asyncio.wait({woken}, timeout=wait)
            return await self._entries(id, after)
        finally:
            waiting.discard(woken)
            if not waiting:
                asyncio.get_running_loop().call_later(_LINGER, self._leave, name)

    @_told
    async def beat(self, id: str) -> None:  # noqa: A002
        """Say that the writer lives, and look whether it was to stop while nobody could tell it."""
        about = self._name("about", id)
        async with self._redis.pipeline(transaction=False) as pipe:
            self._say_alive(pipe, id)
            pipe.hmget(about, "state", "key")
            pipe.expire(about, _ORPHANED)
            pipe.expire(self._name("log", id), _ORPHANED)
            _, (state, key), *_ = await pipe.execute()
        if key is not None:
            await self._redis.expire(self._name("key", key.decode()), _ORPHANED)
        if state == b"stop":
            self._call_stop(id)

    @_told
    async def lives(self, id: str) -> bool:  # noqa: A002
        """Whether the writer has said so of late, or the answer is at its end."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.exists(self._name("lives", id))
            pipe.hget(self._name("about", id), "state")
            lives, state = await pipe.execute()
        return bool(lives) or state == b"ended"

    @_told
    async def end(self, id: str, expires: float) -> None:  # noqa: A002
        """Keep the answer for so many seconds."""
        about, left = self._name("about", id), max(1, int(expires * 1000))
        key = await self._redis.hget(about, "key")
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(about, "state", "ended")
            pipe.pexpire(about, left)
            pipe.pexpire(self._name("log", id), left)
            await pipe.execute()
        self._counts.pop(id, None)
        if key is not None:
            leads = self._name("key", key.decode())
            if await self._redis.get(leads) == id.encode():  # else another answer has it by now
                await self._redis.pexpire(leads, left)

    @_told
    async def stop(self, id: str) -> None:  # noqa: A002
        """Have the writer told that it shall stop."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(self._name("about", id), "state")
            pipe.publish(self._name("stop", id), b"")
            state, _ = await pipe.execute()
        if state == b"open":
            # For a writer that cannot be told just now, and looks with its next beat.
            await self._redis.hset(self._name("about", id), "state", "stop")

    def on_stop(self, id: str, call: Callable[[], None]) -> Callable[[], None]:  # noqa: A002
        """Call the writer back when it shall stop."""
        self._stops[id] = call

        def forget() -> None:
            self._stops.pop(id, None)
            self._leave(self._name("stop", id))

        return forget

    async def aclose(self) -> None:
        """Let go of the connections; what is kept stays until it expires."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
            await self._pubsub.aclose()
        if self._is_mine:
            await self._redis.aclose()

    def _name(self, kind: str, id_: str) -> str:
        return f"{self._prefix}{kind}:{id_}"

    def _say_alive(self, pipe: Any, id_: str) -> None:
        pipe.set(self._name("lives", id_), 1, px=max(1, int((self.beats or 10.0) * 1000)))

    async def _entries(self, id_: str, after: int) -> list[bytes] | None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xrange(self._name("log", id_), f"({after}-0", "+")
            pipe.exists(self._name("about", id_))
            entries, kept = await pipe.execute()
        return [fields[b"d"] for _, fields in entries] if kept else None

    def _call_stop(self, id_: str) -> None:
        call = self._stops.get(id_)
        if call is not None:
            call()

    async def _hear(self, channel: str) -> None:
        """Have Redis tell of a channel; return once it will."""
        told = self._told.get(channel)
        if told is None:
            told = self._told[channel] = asyncio.get_running_loop().create_future()
            if self._pubsub is None:
                self._pubsub = self._redis.pubsub()
                await self._pubsub.subscribe(channel)
                self._listener = asyncio.get_running_loop().create_task(self._listen())
            else:
                await self._pubsub.subscribe(channel)
        if not told.done():
            await asyncio.wait({told}, timeout=_CONFIRM)

    def _leave(self, channel: str) -> None:
        """Stop hearing a channel that nobody waits for."""
        if self._waiting.get(channel) or channel not in self._told or self._listener is None:
            return
        self._waiting.pop(channel, None)
        del self._told[channel]
        task = asyncio.ensure_future(self._pubsub.unsubscribe(channel))
        _LEAVING.add(task)
        task.add_done_callback(_left)

    async def _listen(self) -> None:
        """Wake readers and writers, as long as the store is open."""
        while True:
            try:
                # None where a connection was lost and made again, or the last channel was left.
                message = await self._pubsub.get_message(timeout=None) if self._pubsub.subscribed else None
                if message is None:
                    await asyncio.sleep(_AGAIN)
                    continue
                self._hears(message["type"], message["channel"].decode())
            except Exception as error:
                LOG.warning("the store of relays is not to be reached: %s", type(error).__name__)
                await asyncio.sleep(_AGAIN)

    def _hears(self, type_: str, channel: str) -> None:
        if type_ == "subscribe":
            told = self._told.get(channel)
            if told is not None and not told.done():
                told.set_result(None)
        elif type_ == "message":
            stop = self._name("stop", "")
            if channel.startswith(stop):
                self._call_stop(channel[len(stop) :])
            for woken in self._waiting.get(channel, ()):
                if not woken.done():
                    woken.set_result(None)


# Tasks that nobody waits for: an event loop keeps none alive.
_LEAVING: Final[set[asyncio.Future[None]]] = set()


def _left(task: asyncio.Future[None]) -> None:
    _LEAVING.discard(task)
    if not task.cancelled():
        task.exception()  # a lost connection tells of no channel any more
