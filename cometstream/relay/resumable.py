"""Answers that outlive the browser's connection: written once into a store, read by whoever may, as often as they like.

::

    start(stream)    a task of this process relays the stream into the store, and goes on when every browser has left
    resume(key)      reads the store from its beginning, or after the event that the browser has; None where nothing is kept
    stop(key)        closes the request upstream, in whichever process it is, and keeps what came

A connection that breaks off is no stop: the first ends a reader, the second the answer.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import ConfigurationError
from cometstream.policy import is_seconds
from cometstream.relay.engine import Engine
from cometstream.relay.line import Line
from cometstream.relay.options import HEARTBEAT, checked_heartbeat, make_encoder
from cometstream.relay.sse import with_id
from cometstream.relay.store import MemoryStore
from cometstream.relay.told import LOG, Told, tell_crash
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from typing_extensions import Self, Unpack

    from cometstream.relay.line import Outlet
    from cometstream.relay.options import Encoder, ProtocolName, RelayOptions
    from cometstream.relay.store import Store

__all__ = ["ResumableRelays", "StoredAnswer"]

# What an entry of the store is, by its first byte.
_EVENT: Final = b"e"
_REFUSAL: Final = b"r"
_END: Final = b"."

_WRITER_GONE: Final = "the answer was cut off: ask again"

# Parts of a heartbeat: a writer's death must be told within one.
_ALIVE: Final = 0.6
_LOOK: Final = 0.2


class ResumableRelays:
    """Starts, resumes and stops answers that outlive a browser's connection.

    Make one for the application, and leave it with ``async with`` or ``aclose()``: answers that are still written then are ended.

    Args:
        store: Where answers are kept; None keeps them in this process's memory. See ``RedisStore`` for several processes.
        protocol: As ``relay`` takes it.
        heartbeat: As ``relay`` takes it. Within this time readers are told that the process which wrote their answer has died.
        expires: Seconds that an answer can be read after its end: as long as a phone may need to find another network.
        authorise: Called before each read and each stop with the key, the owner given to ``start``, and who asks; it may be a
            coroutine function. None lets the owner alone.

    Raises:
        ConfigurationError: An option cannot be used.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        protocol: ProtocolName = "ui",
        heartbeat: float = HEARTBEAT,
        expires: float = 60.0,
        authorise: Callable[[str, str | None, str | None], bool | Awaitable[bool]] | None = None,
    ) -> None:
        if not is_seconds(expires) or expires <= 0:
            raise ConfigurationError(f"expires must be a number of seconds above 0; got {shown(expires)}")
        checked = checked_heartbeat(heartbeat)
        if checked is None:
            raise ConfigurationError("heartbeat must be a number of seconds: readers notice a dead writer by it")
        if authorise is not None and not callable(authorise):
            raise ConfigurationError(f"authorise must be a function or None; got {shown(authorise)}")
        make_encoder(_NoSource(), {"protocol": protocol})  # refuses an unknown name
        self._store: Store = MemoryStore() if store is None else store
        self._store.beats = checked * _ALIVE if self._store.beats is not None else None
        self._protocol: ProtocolName = protocol
        self._heartbeat = checked
        self._expires = expires
        self._authorise = authorise
        self._writers: dict[asyncio.Task[None], Engine] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the answers that this process writes, in band, and let go of the store.

        Cancellation:
            Writers that are left end a little later.
        """
        await asyncio.gather(*[engine.end() for engine in list(self._writers.values())])
        if self._writers:
            await asyncio.wait(set(self._writers))
        await self._store.aclose()

    async def start(
        self, stream: Any, *, key: str | None = None, owner: str | None = None, **options: Unpack[RelayOptions]
    ) -> StoredAnswer:
        """Relay a stream into the store, from now to its end, and return a reader of it for this request.

        Args:
            stream: As ``relay`` takes it.
            key: Leads to the answer: a chat's id, as a browser may choose it. None takes the answer's own id, which cannot be
                guessed; browsers find it in the header ``X-Stream-Id``.
            owner: Who may read and stop it: a user's id. Needed with a key, unless there is an ``authorise``: keys can be guessed.
            **options: As ``relay`` takes them; protocol and heartbeat are those of this object.
        Returns:
            What an adapter answers the request with: ``RelayResponse(answer)``, ``relay_response(request, answer)``.
        Raises:
            ConfigurationError: An option cannot be used.
        Cancellation:
            Nothing was sent upstream.
        """
        for name, value in (("key", key), ("owner", owner)):
            if value is not None and not (isinstance(value, str) and value):
                raise ConfigurationError(f"{name} must be a text or None; got {shown(value)}")
        if key is not None and owner is None and self._authorise is None:
            raise ConfigurationError("a key can be guessed: give an owner, or make ResumableRelays with authorise=")
        for name in ("protocol", "heartbeat"):
            if name in options:
                raise ConfigurationError(f"{name} is an option of ResumableRelays, for all its answers")
        engine = Engine(stream, {**options, "protocol": self._protocol, "heartbeat": None})
        id_ = secrets.token_urlsafe(24)
        await self._store.create(id_, key or id_, owner)
        task = asyncio.get_running_loop().create_task(self._write(engine, id_))
        self._writers[task] = engine
        task.add_done_callback(self._written)
        return self._reader(id_, 0)

    async def resume(self, key: str, *, by: str | None = None, last_event_id: str | None = None) -> StoredAnswer | None:
        """Return a reader of the newest answer with a key, while it is written and for a while after; None where none is kept.

        Args:
            key: As given to ``start``, or the answer's id.
            by: Who asks.
            last_event_id: The header ``Last-Event-ID``: for ``raw`` and ``ag-ui`` the answer goes on behind that event. ``ui`` is
                always read whole, as its client expects.
        Returns:
            A reader; None also where whoever asks may not read. Answer with 204 then.
        """
        found = await self._allowed(key, by)
        if found is None:
            return None
        after = last_event_id if self._protocol != "ui" else None
        # A browser may send anything.
        return self._reader(found, int(after) if after and after.isdecimal() and len(after) < 10 else 0)

    async def stop(self, key: str, *, by: str | None = None) -> bool:
        """Stop an answer: the request upstream is closed, in whichever process it is, and what came is kept.

        Args:
            key: As given to ``start``, or the answer's id.
            by: Who asks.
        Returns:
            Whether there was an answer that whoever asks may stop.
        """
        found = await self._allowed(key, by)
        if found is None:
            return False
        await self._store.stop(found)
        return True

    async def _allowed(self, key: str, by: str | None) -> str | None:
        """Return the id of the answer that a key leads to; None where there is none for whoever asks."""
        found = await self._store.find(key) if isinstance(key, str) and key else None
        if found is None:
            return None
        if self._authorise is None:
            # Who has the id of an answer without an owner has been given it.
            return found.id if found.owner == by else None
        allowed = self._authorise(key, found.owner, by)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        return found.id if allowed is True else None

    def _reader(self, id_: str, after: int) -> StoredAnswer:
        _, encoder = make_encoder(_NoSource(), {"protocol": self._protocol})
        return StoredAnswer(self._store, id_, after, encoder, self._heartbeat)

    async def _write(self, engine: Engine, id_: str) -> None:
        """Relay into the store, and say there that this process lives."""
        store = self._store
        outlet = _Entries(store, id_, numbered=self._protocol != "ui")
        forget = store.on_stop(id_, engine.stop)
        beating = None if store.beats is None else asyncio.ensure_future(self._beat(id_, store.beats / 3))
        try:
            await engine.serve(outlet)
        except Exception as error:
            told = tell_crash(error, None)
            if not outlet.started:
                _, encoder = make_encoder(_NoSource(), {"protocol": self._protocol})
                await outlet.refuse(told.status, {"Content-Type": "text/plain"}, told.text.encode(), encoder.fail(told))
        finally:
            forget()
            if beating is not None:
                beating.cancel()
            await asyncio.shield(self._close(id_))

    async def _close(self, id_: str) -> None:
        await self._store.append(id_, [_END])
        await self._store.end(id_, self._expires)

    async def _beat(self, id_: str, pause: float) -> None:
        while True:
            try:
                await self._store.beat(id_)
            except Exception as error:
                LOG.warning("the store of relays is not to be reached: %s", type(error).__name__)
            await asyncio.sleep(pause)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writers.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("the end of an answer could not be kept: %s", type(error).__name__, exc_info=error)


class StoredAnswer:
    """Reads one answer from a store, for one request. Give it to an adapter, or to ``relay``.

    Attributes:
        id: The answer's id, which cannot be guessed; browsers find it in the header ``X-Stream-Id``.
    """

    def __init__(self, store: Store, id_: str, after: int, encoder: Encoder, heartbeat: float) -> None:
        self.id = id_
        self._store = store
        self._after = after
        self._encoder = encoder
        self._heartbeat = heartbeat

    async def serve(self, outlet: Outlet) -> None:
        """Write the answer to a browser, as it comes.

        Cancellation:
            The answer goes on without this reader.
        """
        line = Line(outlet, {**self._encoder.headers, "X-Stream-Id": self.id}, self._heartbeat)
        try:
            await self._read(line)
        except Exception as error:
            if outlet.gone:
                return
            await self._fail(line, tell_crash(error, None))
        finally:
            await line.close()

    async def _read(self, line: Line) -> None:
        after, look = self._after, self._heartbeat * _LOOK
        while True:
            entries = await self._store.read(self.id, after, look)
            if entries is None or (not entries and not await self._store.lives(self.id)):
                await self._fail(line, Told(502, _WRITER_GONE, "StreamTruncatedError", "truncated"))
                return
            after += len(entries)
            events = b"".join([entry[1:] for entry in entries if entry.startswith(_EVENT)])
            if events:
                await line.write(events)
            for entry in entries:
                if entry.startswith(_REFUSAL):
                    await self._refuse(line, orjson.loads(entry[1:]))
            if entries and entries[-1] == _END:
                if not line.started:
                    await line.write(b"")  # the browser has all of it
                return

    async def _refuse(self, line: Line, refusal: dict[str, Any]) -> None:
        body, in_band = refusal["body"].encode(), refusal["in_band"].encode()
        await line.refuse(refusal["status"], refusal["headers"], body, in_band)

    async def _fail(self, line: Line, told: Told) -> None:
        try:
            await line.write(self._encoder.fail(told))
        except Exception:
            pass  # the browser has left


class _Entries:
    """An outlet that is a store: each event is one entry.

    Attributes:
        started: Something was kept.
    """

    gone = False

    def __init__(self, store: Store, id_: str, *, numbered: bool) -> None:
        self._store = store
        self._id = id_
        self._numbered = numbered
        self._count = 0
        self.started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep nothing: readers know the head."""
        self.started = True

    async def write(self, data: bytes) -> None:
        entries = []
        # No event has an empty line within.
        for one in data.split(b"\n\n")[:-1]:
            event = one + b"\n\n"
            self._count += 1
            entries.append(_EVENT + (with_id(event, self._count) if self._numbered else event))
        await self._store.append(self._id, entries)

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        self.started = True
        refusal = {"status": status, "headers": dict(headers), "body": body.decode(), "in_band": in_band.decode()}
        await self._store.append(self._id, [_REFUSAL + orjson.dumps(refusal)])


class _NoSource:
    """Stands for the source where only a protocol's framing is needed."""

    def relay(self) -> None:
        """Is not called."""

    def events(self) -> None:
        """Is not called."""
