"""Answers a session's requests from a cassette, without a network: ``replaying(session, path)``."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from cometstream import errors
from cometstream.errors import APIConnectionError, CometError, ConfigurationError
from cometstream.request.describe import shown
from cometstream.session import CometSession
from cometstream.testing.cassette import BASE_URL, Cassette, CassetteError, Exchange, Failure, parsed_body
from cometstream.testing.intercepting import Intercepting
from cometstream.testing.masking import Mask
from cometstream.testing.matching import differences, hashed
from cometstream.transport.incoming import Interrupted, request_id_of

if TYPE_CHECKING:
    import builtins

    from cometstream.transport.gate import Gate
    from cometstream.transport.incoming import Incoming
    from cometstream.transport.intercept import Outgoing

__all__ = ["Replaying", "replaying"]

# Differences that a message names; a request that is quite another has many.
_NAMED = 3


def replaying(session: CometSession | None, path: str | os.PathLike[str], *, realtime: bool = False) -> Replaying:
    """Answer a session's requests from a cassette, for ``with`` or ``async with``; nothing is sent.

    A request takes the first recorded exchange of the same method, route and body that none has taken before. Each read of the
    stream gives what one read gave when it was recorded.

    Args:
        session: The session; None for all sessions of this process.
        path: The file.
        realtime: Wait as long as the server took; else nothing waits.
    Raises:
        ConfigurationError: An argument cannot be used.
        CassetteError: The file cannot be read. Later, of a call: its request was not recorded; the message tells the difference.
    """
    return Replaying(session, path, realtime=realtime)


class Replaying(Intercepting):
    """What `replaying` returns; its arguments are told there.

    Attributes:
        problems: What did not fit the cassette so far, each in one line. An app may have hidden the error from its caller.
    """

    _what = "replay"

    def __init__(self, session: CometSession | None, path: str | os.PathLike[str], *, realtime: bool = False) -> None:
        super().__init__(session, path)
        if not isinstance(realtime, bool):
            raise ConfigurationError(f"realtime must be True or False; got {shown(realtime)}")
        self._realtime = realtime
        self._cassette = Cassette.load(self._path)
        self._left = list(enumerate(self._cassette.exchanges, 1))
        self._lock = threading.Lock()  # sessions of several threads may share a cassette
        self.problems: list[str] = []

    @property
    def unused(self) -> int:
        """How many recorded exchanges nobody has asked for yet."""
        return len(self._left)

    async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
        """Answer a request from the cassette; see ``Interceptor``."""
        number, exchange = self._take(request)
        await asyncio.sleep(exchange.waited if self._realtime else 0.0)
        if exchange.failure is not None:
            raise _error(exchange.failure, request.context.base_url)
        if exchange.status is None:
            raise self._problem(f"request {number} has no answer: the recorded reader left before it came")
        return _Replayed(exchange, self._realtime, lambda: self._reads_on(number))

    def _take(self, request: Outgoing) -> tuple[int, Exchange]:
        body = parsed_body(request.body)
        body = Mask(request.context.secrets).cover_json(hashed(body) if self._cassette.hashed else body)
        with self._lock:
            compared = [
                (self._differences(exchange, request, body), number, exchange) for number, exchange in self._left
            ]
            if not compared:
                count = len(self._cassette.exchanges)
                raise self._problem(f"it has {count} requests, and {request.method} {request.route} is one more")
            different, number, exchange = min(compared, key=lambda one: (len(one[0]), one[1]))
            if different:
                more = f"; and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
                raise self._problem(f"request {number} is another one: {'; '.join(different[:_NAMED])}{more}")
            self._left.remove((number, exchange))
            return number, exchange

    @staticmethod
    def _differences(exchange: Exchange, request: Outgoing, body: Any) -> list[str]:
        recorded, sent = f"{exchange.method} {exchange.route}", f"{request.method} {request.route}"
        route = [] if recorded == sent else [f"route: recorded {recorded}, sent {sent}"]
        return [*route, *differences(exchange.body, body)]

    def _reads_on(self, number: int) -> CassetteError:
        return self._problem(
            f"the answer to request {number} ends here: the recorded reader left, and this one reads on"
        )

    def _problem(self, what: str) -> CassetteError:
        message = f"the cassette {self._path} does not fit: {what}. Record it again if the change is meant"
        self.problems.append(message)
        return CassetteError(message)


class _Replayed:
    """An ``Incoming`` that gives what was recorded."""

    def __init__(self, exchange: Exchange, realtime: bool, reads_on: Callable[[], CassetteError]) -> None:
        assert exchange.status is not None
        self.status = exchange.status
        self.waited = exchange.waited if realtime else 0.0
        self.headers: Mapping[str, str] = CIMultiDict(exchange.headers)
        self.request_id = request_id_of(self.headers)
        self.bytes = 0
        self._exchange = exchange
        self._realtime = realtime
        self._reads_on = reads_on
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._position = 0
        self._exception: Exception | None = None
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> builtins.bytes:
        pieces, ending = self._exchange.pieces, self._exchange.ending
        assert ending is not None
        if self._position < len(pieces):
            piece = pieces[self._position]
            await self._wait_until(piece.at)
            self._position += 1
            self.bytes += len(piece.data)
            return piece.data
        await self._wait_until(ending.at)
        if ending.how == "cut":
            raise type(ending.error, (ConnectionError,), {})(ending.text)
        if ending.how == "left":
            raise self._reads_on()
        if ending.how == "silence":
            await self._wait(None)
        return b""

    async def _wait_until(self, at: float) -> None:
        # Others get their turn also where nothing waits: a stop button works.
        await self._wait(self._began + at if self._realtime else self._loop.time())

    async def _wait(self, due: float | None) -> None:
        """Wait until a time, or for ever; what wakes the reader before is raised."""
        if self._exception is not None:
            raise self._exception
        waiter = self._waiter = self._loop.create_future()
        timer = None if due is None else self._loop.call_at(due, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def at_hand(self) -> builtins.bytes | None:
        return None

    def interrupt(self) -> None:
        self._fail(Interrupted())

    def rescue(self) -> builtins.bytes:
        if not self._closed:
            self._exception = None
            return b""
        # What had come before the connection was closed, as when it was recorded.
        left = self._exchange.pieces[self._position :]
        self._position += len(left)
        data = b"".join(piece.data for piece in left)
        self.bytes += len(data)
        return data

    def gate(self) -> Gate | None:
        return None

    async def drain(self) -> None:
        """Nothing follows: the answer is whole."""

    def forget(self) -> None:
        """There is no connection to let go of."""

    def close(self) -> None:
        self._closed = True
        self._fail(ConnectionError("the replayed connection was closed"))

    def _fail(self, error: Exception) -> None:
        self._exception = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _error(failure: Failure, base_url: str) -> CometError:
    """Return the error that was raised."""
    named = getattr(errors, failure.error, None)
    cls = named if isinstance(named, type) and issubclass(named, CometError) else APIConnectionError
    message = failure.message.replace(BASE_URL, base_url)
    error = cls.__new__(cls, message)
    CometError.__init__(error, message, retryable=failure.retryable)
    if failure.clock is not None:
        vars(error)["clock"] = failure.clock
    return error
