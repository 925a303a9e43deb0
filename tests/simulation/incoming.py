"""The simulated body of an answer: fed by timers, read as aiohttp's ``StreamReader`` is."""

from __future__ import annotations

import math
from asyncio import Future, TimerHandle
from random import Random
from typing import TYPE_CHECKING, Literal, cast

import anyio
from multidict import CIMultiDict

from cometstream.transport.incoming import Interrupted

from .script import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.transport.gate import Gate

    from .network import Attempt, Network

__all__ = ["SimulatedIncoming"]

# As of the real one: what may follow [DONE].
_DRAIN = 0.25

# What the kernel gives at once through a gate that is shut.
_ENOUGH = 32 * 1024


class SimulatedIncoming:
    """Stands in for ``cometstream.transport.incoming.Incoming``: reads as from aiohttp's StreamReader, fed by timers.

    Attributes:
        fed: Bytes that reached the process.
        taken: Those of them that the caller has looked at.
        end: The body came to its own end, and the process knows.
        reset: The connection was cut, and the process knows.
        overtaken: It was cut in the turn in which a clock had woken the reader, who may never hear of it.
        closed: ``close`` was called.
    """

    def __init__(self, network: Network, attempt: Attempt, rng: Random, waited: float) -> None:
        assert attempt.script is not None
        self.status = 200
        self.headers: Mapping[str, str] = CIMultiDict({"x-request-id": repr(attempt)})
        self.request_id: str | None = repr(attempt)
        self.waited = waited
        self.fed = self.taken = 0
        self.end: Literal["eof"] | None = None
        self.reset = False
        self.overtaken = False
        self.closed = False
        self.closed_at = math.inf
        self.interrupted = False
        self.is_document = attempt.script.document
        self.is_long = attempt.script.document or any(len(frame.data) > 4096 for frame in attempt.script.frames)
        self._network = network
        self._loop = network.loop
        self._attempt = attempt
        self._script = attempt.script
        self._buffer: list[bytes] = []
        self._exception: Exception | None = None
        self._waiter: Future[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._gate: SimulatedGate | None = None
        self._kernel: list[bytes] = []
        self._kernel_end: Literal["eof", "reset"] | None = None
        self._timer: TimerHandle | None = None
        self._plan = _deliveries(self._script, rng)
        network.open[self] = None
        self._deliver()

    async def read(self) -> bytes:
        if self._exception is not None:
            raise self._exception
        while not self._buffer and self.end is None:
            if self._exception_is_final():
                raise RuntimeError("Connection closed.")
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        return self._taken()

    def at_hand(self) -> bytes | None:
        return self._taken() if self.end is not None and self._exception is None else None

    def interrupt(self) -> None:
        self.interrupted = True
        self._network.log("interrupt", self._attempt)
        self._fail(Interrupted())

    def rescue(self) -> bytes:
        self._exception = None
        return self._taken()

    def gate(self) -> Gate | None:
        self._gate = SimulatedGate(self)
        return cast("Gate", self._gate)

    async def drain(self) -> None:
        try:
            with anyio.move_on_after(_DRAIN) as self._scope:
                while await self.read():
                    pass
        except Exception:
            pass
        finally:
            self._scope = None

    def forget(self) -> None:
        """Nothing to let go of: there is no connection."""

    def close(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
        if self.closed:
            return
        self.closed = True
        self.closed_at = self._loop.time()
        self._network.log("close", self._attempt, self.fed, self.end)
        self._network.open.pop(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._attempt.watch is not None:
            self._attempt.watch.set(math.inf)
        # As aiohttp does with a body that has not come to its end.
        if self.end is None:
            self._fail(ConnectionError("simulated: the connection was closed"))

    @property
    def bytes(self) -> int:
        return self.fed

    def feed_end(self, end: Literal["eof", "reset"]) -> None:
        """The body ends, by itself or because the session is closed."""
        if self.end is not None or self._exception_is_final():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._network.log("end", self._attempt, end)
        self._watch_stop()
        if end == "eof":
            self.end = end
            self._wake()
        else:
            self.reset = True
            self.overtaken = isinstance(self._exception, Interrupted)
            self._fail(ConnectionResetError("simulated: connection reset by peer"))

    def _exception_is_final(self) -> bool:
        return self.reset or self.closed

    def _taken(self) -> bytes:
        data = b"".join(self._buffer)
        self._buffer.clear()
        self.taken += len(data)
        return data

    def _deliver(self) -> None:
        """Let arrive what is due, and set the timer for the next piece."""
        self._timer = None
        plan = self._plan
        while plan:
            delay, piece = plan[-1]
            if delay:
                plan[-1] = 0.0, piece
                self._timer = self._loop.call_later(delay, self._deliver)
                return
            plan.pop()
            if isinstance(piece, bytes):
                self._arrives(piece)
            else:
                self._arrives_end(piece)
                return

    def _arrives(self, piece: bytes) -> None:
        if self._kernel or (self._gate is not None and self._gate.is_shut):
            self._kernel.append(piece)
            if sum(map(len, self._kernel)) >= _ENOUGH:
                self._through()
        else:
            self._feed(piece)

    def _arrives_end(self, end: Literal["eof", "reset"]) -> None:
        if self._kernel or (self._gate is not None and self._gate.is_shut):
            self._kernel_end = end
        else:
            self.feed_end(end)

    def let_through(self) -> None:
        """The gate was opened: what the kernel has comes in the next turn."""
        if self._kernel or self._kernel_end:
            self._loop.call_soon(self._through)

    def _through(self) -> None:
        pieces, self._kernel = self._kernel, []
        end, self._kernel_end = self._kernel_end, None
        for piece in pieces:
            self._feed(piece)
        if end is not None:
            self.feed_end(end)

    def _feed(self, piece: bytes) -> None:
        if self.closed or self.reset:
            return
        self.fed += len(piece)
        self._network.log("bytes", self._attempt, self.fed)
        self._buffer.append(piece)
        stops_at = self._script.stops_at
        if stops_at is not None and self.fed >= stops_at > self.fed - len(piece) and not self._script.document:
            self._watch_stop()
        elif self._attempt.watch is not None:
            if self._script.document:
                self._attempt.watch.set(self._attempt.watch.content_idle)  # ``first_content`` runs until it begins
            else:
                self._attempt.watch.extend()
        self._wake()

    def _watch_stop(self) -> None:
        """The answer is over as soon as the caller looks, but for what is granted to the server to end its response."""
        watch = self._attempt.watch
        if watch is not None:
            watch.set(_DRAIN)

    @property
    def is_over(self) -> bool:
        """Whether what ends the answer has reached the process."""
        stops_at = self._script.stops_at
        return self.end is not None or self.reset or (stops_at is not None and self.fed >= stops_at)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._exception = error
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


class SimulatedGate:
    """Stands in for ``cometstream.transport.gate.Gate``."""

    def __init__(self, incoming: SimulatedIncoming) -> None:
        self.is_shut = False
        self._incoming = incoming

    def shut(self) -> None:
        self.is_shut = True

    def open(self) -> None:
        if self.is_shut:
            self.is_shut = False
            self._incoming.let_through()


def _deliveries(script: Script, rng: Random) -> list[tuple[float, bytes | Literal["eof", "reset"]]]:
    """Draw how the network cuts, joins and delays a body; the last piece first."""
    body, draw = script.body, rng.random
    style = draw()
    if style < 0.25:
        cuts = []
    elif style < 0.6:
        cuts = [start for start in script.starts if 0 < start < len(body)]
    else:
        cuts = sorted({rng.randrange(len(body) + 1) for _ in range(rng.choice((1, 3, 8)))})
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    # A stalled server ends at last: a caller without clocks would wait for ever.
    stall = draw() < 0.06
    slow = draw() < 0.3
    plan: list[tuple[float, bytes | Literal["eof", "reset"]]] = []
    arrivals: list[bytes | Literal["eof", "reset"]] = [*pieces, script.end]
    stalls_before = rng.randrange(len(pieces) + 1) if stall else -1
    for index, piece in enumerate(arrivals):
        if index == stalls_before:
            delay = 5000.0
        elif draw() < 0.4:
            delay = 0.0  # it is joined with the one before
        elif slow and draw() < 0.15:
            delay = draw() * 25
        else:
            delay = draw() * 0.3
        if piece:
            plan.append((delay, piece))
    plan.reverse()
    return plan
