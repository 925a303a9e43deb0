"""What a session's connections are: a pool for each event loop that runs it, or the caller's own client."""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aiohttp

from cometstream.errors import ConfigurationError, UsageError
from cometstream.request.describe import shown
from cometstream.transport.intercept import Interceptors
from cometstream.transport.opening import opening_trace
from cometstream.transport.quirks import Connector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from typing import TypeAlias

    from cometstream.transport.intercept import Interceptor

__all__ = ["Client", "Pool", "running_loop"]

# What a caller brings as the argument `client`.
Client: TypeAlias = aiohttp.ClientSession


class Pool:
    """The connections of one session.

    An event loop's pool is made when a request in that loop needs it, and is closed with the loop. After a fork the child makes
    pools of its own; those of the parent are let go without a word to their servers.

    Args:
        max_connections: Connections open at a time in one event loop; None for no limit.
        client: The caller's own client, which is never closed here.
        secure: Whether the server is reached over TLS.
        tls: What checks its certificate; None for what the environment or the system trusts.

    Attributes:
        is_ours: Whether the connections are ours, not the caller's.
        queues: Whether a request may wait for a place in the pool.
        traced: Whether the pool tells its `opening_trace` what it is doing.
        interceptors: What may stand between the session's requests and the network.
        of_all_sessions: The same for sessions that have none of their own.
    """

    of_all_sessions: Final = Interceptors()

    def __init__(
        self, max_connections: int | None, client: Client | None, *, secure: bool, tls: ssl.SSLContext | None = None
    ) -> None:
        self._clients: dict[asyncio.AbstractEventLoop, _LoopClient] = {}
        if max_connections is not None and (
            not isinstance(max_connections, int) or isinstance(max_connections, bool) or max_connections < 1
        ):
            raise ConfigurationError(
                f"max_connections must be a whole number of 1 or more, or None (no limit); got {shown(max_connections)}"
            )
        if client is not None and not isinstance(client, aiohttp.ClientSession):
            raise ConfigurationError(f"client must be an aiohttp.ClientSession or None; got {type(client).__name__}")
        self.is_ours = client is None
        self.traced = client is None and max_connections is not None
        self.queues = client is not None or max_connections is not None
        self.interceptors = Interceptors()
        self._limit = max_connections or 0
        self._callers = client
        self._secure = secure
        self._tls = tls
        self._process = os.getpid()
        self._parents_loops: list[asyncio.AbstractEventLoop] = []
        self._on_close: dict[object, tuple[Callable[[], None], asyncio.AbstractEventLoop | None]] = {}
        self._closed = False

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a CometSession cannot be pickled, since it holds open connections and your key: make one in each process"
        )

    def __del__(self) -> None:
        is_left = not all(client.ended for client in self._clients.values())
        if is_left and self._process == os.getpid():
            warnings.warn(
                "unclosed CometSession: use `async with`, or end it with `await session.aclose()`",
                ResourceWarning,
                stacklevel=2,
            )
            self.close_soon()

    @property
    def interceptor(self) -> Interceptor | None:
        """What stands between the session's requests and the network; None for nothing."""
        return self.interceptors.latest or self.of_all_sessions.latest

    def client(self) -> Client:
        """Return the client for the event loop that runs.

        Raises:
            UsageError: The session or the caller's own client is closed, or the loop is that of the process which forked this one.
        """
        if self._closed:
            raise UsageError("this session is closed: make another CometSession")
        if self._callers is not None:
            if self._callers.closed:
                raise UsageError("the aiohttp session given as client= is closed")
            return self._callers
        loop = running_loop()
        if self._process != os.getpid():
            self._forked()
        client = self._clients.get(loop)
        return self._make(loop) if client is None or client.ended else client.http

    @property
    def opened(self) -> int | None:
        """How many connections were opened in the event loop that runs; None where they are not ours."""
        if not self.is_ours:
            return None
        client = self._clients.get(running_loop())
        return 0 if client is None else client.opened

    def on_close(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have the pool's end call a function first, in the event loop that runs now; return what takes that back."""
        key = object()
        self._on_close[key] = callback, _loop_if_any()

        def forget() -> None:
            self._on_close.pop(key, None)

        return forget

    def _call_back(self) -> None:
        """Do what was asked for with `on_close`. What another loop's tasks wait for must not be touched from here."""
        running = _loop_if_any()
        while self._on_close:
            _, (callback, loop) = self._on_close.popitem()
            if loop is None or loop is running:
                callback()
                continue
            try:
                loop.call_soon_threadsafe(callback)
            except RuntimeError:  # the loop is closed, and its tasks with it
                pass

    async def aclose(self) -> None:
        """Close every connection, also those of other event loops; a second call does nothing.

        Cancellation:
            The connections are closed all the same.
        """
        self._closed = True
        if self._process != os.getpid():
            self._forked()
        running = running_loop()
        self._call_back()
        mine = self._clients.pop(running, None)
        for loop, client in self._taken():
            client.close_from_elsewhere(loop)
        if mine is not None:
            await mine.close()

    def close_soon(self) -> None:
        """Have every event loop close its own connections when it runs next; a second call does nothing."""
        self._closed = True
        if self._process != os.getpid():
            self._forked()
        self._call_back()
        for loop, client in self._taken():
            client.drop(loop)

    def _make(self, loop: asyncio.AbstractEventLoop) -> Client:
        if loop in self._parents_loops:
            raise UsageError(
                "this event loop belongs to the process that forked this one: run a new one, such as with asyncio.run()"
            )
        for other, client in list(self._clients.items()):
            if other.is_closed():
                del self._clients[other]
                client.leave()
        made = self._clients[loop] = _LoopClient(
            self._limit,
            _environments_tls() if self._tls is None and self._secure else self._tls,
            traced=self.traced,
        )
        return made.http

    def _forked(self) -> None:
        """This process is a child: let go of what is its parent's."""
        self._process = os.getpid()
        self._on_close.clear()
        for loop, client in self._taken():
            self._parents_loops.append(loop)
            client.leave()

    def _taken(self) -> list[tuple[asyncio.AbstractEventLoop, _LoopClient]]:
        clients, self._clients = self._clients, {}
        return list(clients.items())


class _LoopClient:
    """The client of one event loop; to be made in it."""

    def __init__(self, limit: int, tls: ssl.SSLContext | None, *, traced: bool) -> None:
        self._connector = Connector(limit=limit, tls=tls)
        self.http = aiohttp.ClientSession(
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=[opening_trace()] if traced else [],
        )
        self.ended: list[bool] = []  # holds something once the client is closed
        # The loop closes its asynchronous generators before itself, as `asyncio.run()` does, and this one closes the client.
        self._end = _closed_with_its_loop(self.http, self.ended)
        _run_at_once(self._end.__anext__())

    @property
    def opened(self) -> int:
        return self._connector.opened

    async def close(self) -> None:
        self.ended.append(True)
        try:
            await self.http.close()
        finally:
            _run_at_once(self._end.aclose())

    def close_from_elsewhere(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close it in its own loop, when that runs next."""

        def close_soon() -> None:
            _CLOSING.add(task := loop.create_task(self.close()))
            task.add_done_callback(_CLOSING.discard)

        try:
            loop.call_soon_threadsafe(close_soon)
        except RuntimeError:  # the loop is closed
            self.leave()

    def drop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close it without waiting: at once in its loop's thread, or where its loop stands still."""
        if loop.is_closed():
            self.leave()
        elif loop.is_running() and loop is not _loop_if_any():
            loop.call_soon_threadsafe(self._drop)
        else:
            self._drop()

    def _drop(self) -> None:
        self.ended.append(True)
        self._connector.drop()
        self.http.detach()
        _run_at_once(self._end.aclose())

    def leave(self) -> None:
        """Let go of it without its loop."""
        self._connector.leave()
        _run_at_once(self._end.aclose())


async def _closed_with_its_loop(client: Client, ended: list[bool]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        ended.append(True)
        await client.close()


# The loop holds its tasks weakly.
_CLOSING: set[asyncio.Task[None]] = set()


def _run_at_once(step: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine that has nothing to wait for."""
    try:
        step.send(None)
    except (StopIteration, RuntimeError):  # RuntimeError: the loop that ends runs it already
        pass


def _loop_if_any() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that runs this.

    Raises:
        UsageError: It is not asyncio's.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "no asyncio event loop runs here: cometstream needs one, as asyncio.run() or anyio's backend of that name start; "
            "it does not run on trio"
        ) from None


def _environments_tls() -> ssl.SSLContext | None:
    """Return what trusts the authorities that the environment names now: aiohttp has looked when it was imported."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return _trusting(file, folder) if file or folder else None


@lru_cache(maxsize=4)
def _trusting(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()  # reads both variables
    context.set_alpn_protocols(("http/1.1",))
    return context
