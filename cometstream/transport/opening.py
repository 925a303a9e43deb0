"""The clocks that run while an attempt is opened, from its first byte sent to the head of the answer."""

from __future__ import annotations

import asyncio
import math
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import anyio

from cometstream.errors import APITimeoutError, CometError, UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from cometstream.policy import Clocks

__all__ = ["OpeningClock", "OpeningEnded", "opening_trace"]

# Not aiohttp's trace_request_ctx: what a request is given stays what a caller's own traces and mocks expect.
_RUNNING: Final[ContextVar[OpeningClock]] = ContextVar("cometstream.transport.opening")


class OpeningEnded(Exception):
    """A clock has fired, or `cancel` was called, while the head of an answer was awaited."""


class OpeningClock:
    """Bounds the opening of one attempt by ``first_content`` and ``total``, and the making of a connection by ``connect``.

    A clock that fires ends a ``with`` block of it, and the wait of which `awaits` was told; the error is then made by `error`.

    ``connect`` is aiohttp's own, where no request ever waits for a place in the pool, which that would count. Of a pool with a
    limit the clock is told, through `opening_trace`, what it is doing. In a caller's own client, where neither is known,
    ``first_content`` runs from the beginning and ``connect`` is left to ``sock_connect``, which counts neither the look-up of
    the name nor a proxy's answer.

    Args:
        clocks: Their lengths.
        total_due: When ``total`` runs out, on the event loop's clock.
        traced: Whether the pool tells what it is doing. What the context holds then, the connection's callbacks keep.

    Attributes:
        connect: Seconds to make a connection; None for no limit.
    """

    __slots__ = (
        "_began",
        "_clocks",
        "_dues",
        "_ended",
        "_head",
        "_is_cancelled",
        "_loop",
        "_scope",
        "_timer",
        "_token",
        "_traced",
        "connect",
    )

    def __init__(self, clocks: Clocks, total_due: float, *, traced: bool) -> None:
        self._clocks = clocks
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._dues = {"total": total_due}
        if clocks.first_content is not None:
            self._dues["first_content"] = self._began + clocks.first_content
        self._scope: anyio.CancelScope | None = None
        self._head: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = self._is_cancelled = False
        self.connect = clocks.connect
        self._traced = traced

    def cancel(self) -> None:
        """End the opening, as somebody wishes who no longer wants the answer."""
        self._is_cancelled = True
        self._end()

    def _end(self) -> None:
        self._ended = True  # also what would follow: a lost connection is replaced
        if self._scope is not None:
            self._scope.cancel()
        elif self._head is not None and not self._head.done():
            self._head.set_exception(OpeningEnded())

    def awaits(self, coming: asyncio.Future[Any]) -> None:
        """The head of an answer is awaited over a connection that there is, until `has_awaited` is called.

        If a clock fires, or `cancel` is called, the future fails with ``OpeningEnded``. A plain timer costs less than a scope.
        """
        self._head = coming
        due = min(self._dues.values())
        self._timer = None if due == math.inf else self._loop.call_at(due, self._end)

    def has_awaited(self) -> None:
        """The head is awaited no more."""
        self._head = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        if self._traced:
            self._token = _RUNNING.set(self)
        self._scope = _scope_class()(deadline=min(self._dues.values()))
        self._scope.__enter__()
        if self._ended:
            self._scope.cancel()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._traced:
            _RUNNING.reset(self._token)
        scope, self._scope = self._scope, None  # what follows may be a wait for the head
        assert scope is not None
        return scope.__exit__(exc_type, exc, traceback)

    @property
    def waited(self) -> float:
        """Seconds since the request had its place in the pool."""
        return self._loop.time() - self._began

    def queueing(self) -> None:
        """The wait for a place in the pool begins."""
        self._stop("first_content")

    def sending(self) -> None:
        """The request has its place."""
        self._began = self._loop.time()
        self._start("first_content", self._clocks.first_content)

    def connecting(self) -> None:
        """A connection is being made."""
        self._start("connect", self.connect)

    def connected(self) -> None:
        """The connection is made."""
        self._stop("connect")

    def error(self, base_url: str) -> CometError:
        """Return the error for the clock that has fired."""
        if self._is_cancelled:
            return UsageError("the stream was closed while its request was on its way")
        clock = min(self._dues, key=self._dues.__getitem__)
        what = "no connection to" if clock == "connect" else "no answer from"
        return APITimeoutError(
            f"{what} {base_url} within {getattr(self._clocks, clock):g} s (timeouts.{clock})", clock=clock
        )

    def _start(self, clock: str, length: float | None) -> None:
        scope = self._scope
        if scope is None or scope.cancel_called:
            return  # a clock has fired in this turn of the loop: `error` is to name that one
        self._dues[clock] = math.inf if length is None else self._loop.time() + length
        scope.deadline = min(self._dues.values())

    def _stop(self, clock: str) -> None:
        scope = self._scope
        if scope is None or scope.cancel_called:
            return
        self._dues.pop(clock, None)
        scope.deadline = min(self._dues.values())


@cache
def _scope_class() -> type[anyio.CancelScope]:
    """Return the class of asyncio's cancel scopes: ``anyio.CancelScope()`` looks for it each time, which is half of its cost."""
    return type(anyio.CancelScope())


def opening_trace() -> aiohttp.TraceConfig:
    """Return what makes an aiohttp session tell the ``OpeningClock`` that runs what it is doing."""

    async def queueing(*_: object) -> None:
        _RUNNING.get().queueing()

    async def sending(*_: object) -> None:
        _RUNNING.get().sending()

    async def connecting(*_: object) -> None:
        _RUNNING.get().connecting()

    async def connected(*_: object) -> None:
        _RUNNING.get().connected()

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(queueing)
    trace.on_connection_queued_end.append(sending)
    trace.on_connection_create_start.append(connecting)
    trace.on_connection_create_end.append(connected)
    return trace
