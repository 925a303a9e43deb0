"""The simulated network: an ``Endpoint`` whose answers are scripts, and all that is known of each attempt."""

from __future__ import annotations

import math
from asyncio import CancelledError, sleep
from random import Random
from typing import TYPE_CHECKING, Any, cast

import orjson
from multidict import CIMultiDict

from cometstream import APIConnectionError, APITimeoutError, UsageError
from cometstream.answer.error_body import ErrorBody

from .incoming import SimulatedIncoming
from .script import Script, draw_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cometstream.answer.typed_errors import ErrorContext
    from cometstream.transport.incoming import Incoming
    from cometstream.transport.opening import OpeningClock

    from .loop import SimulatedLoop

__all__ = ["Attempt", "Network", "Watch"]


class Watch:
    """What a caller waited for since the last content, to be compared with the clocks. Only time inside its calls counts.

    Args:
        loop: The event loop.
        first_content: How long that clock runs.
        content_idle: How long that one does.

    Attributes:
        limit: Seconds that the clock which runs now allows.
        spent: Seconds waited since it was set, inside calls.
        extended: As `spent`, since the last bytes of what is longer than one read.
        set_at: When it was set.
    """

    __slots__ = ("_loop", "_since", "content_idle", "extended", "first_content", "in_call", "limit", "set_at", "spent")

    def __init__(self, loop: SimulatedLoop, first_content: float, content_idle: float) -> None:
        self._loop = loop
        self.content_idle = content_idle
        self.first_content = first_content
        self._since = loop.time()
        self.in_call = False
        self.limit = math.inf
        self.spent = self.extended = 0.0
        self.set_at = self._since

    def look(self) -> None:
        now = self._loop.time()
        if self.in_call:
            self.spent += now - self._since
            self.extended += now - self._since
        self._since = now

    def set(self, limit: float) -> None:
        self.look()
        self.limit = limit
        self.spent = self.extended = 0.0
        self.set_at = self._since

    def extend(self) -> None:
        self.look()
        self.extended = 0.0

    def call(self, begins: bool) -> None:
        self.look()
        self.in_call = begins


class Attempt:
    """One request as the server saw it.

    Attributes:
        name: Whose it is: the text of its message.
        number: From 0, among those of that name.
        cancelled: Its opening was: by a clock, or by the caller who gave up a read.
        script: The answer; None where there was none with status 200.
        incoming: Its body, once the head has come.
    """

    __slots__ = ("cancelled", "incoming", "model", "n", "name", "number", "script", "sent_at", "watch")

    def __init__(self, name: str, number: int, model: str, n: int, sent_at: float, watch: Watch | None) -> None:
        self.name = name
        self.number = number
        self.model = model
        self.n = n
        self.sent_at = sent_at
        self.watch = watch
        self.cancelled = False
        self.script: Script | None = None
        self.incoming: SimulatedIncoming | None = None

    def __repr__(self) -> str:
        return f"{self.name}/{self.number}"


class Network:
    """All that happens between the callers and the server.

    Attributes:
        attempts: Every request that was sent, by the name of who sent it.
        watches: What callers wait for, by their names.
        closed: The session was closed: nothing is sent any more.
    """

    def __init__(self, loop: SimulatedLoop, seed: str, log: Callable[..., None], *, traced: bool) -> None:
        self.loop = loop
        self.log = log
        self.traced = traced
        self.closed = False
        self.attempts: dict[str, list[Attempt]] = {}
        self.watches: dict[str, Watch] = {}
        self.open: dict[SimulatedIncoming, None] = {}
        self._seed = seed

    def endpoint(self, pool: object, url: str, *, context: ErrorContext, **_: object) -> SimulatedEndpoint:
        """Make what a session takes for one of its endpoints."""
        return SimulatedEndpoint(self, context)

    def close(self) -> None:
        """Close all connections, as a pool that is closed does."""
        self.closed = True
        for incoming in list(self.open):
            incoming.feed_end("reset")

    def script(self, attempt: Attempt, params: dict[str, Any], rng: Random) -> Script:
        """Draw what the server answers to an attempt."""
        return draw_script(rng, repr(attempt), attempt.n, streamed=params.get("stream") is True)

    def attempt(self, body: bytes) -> tuple[Attempt, dict[str, Any], Random]:
        """Note a request; what becomes of it depends on its name and number alone, not on when it is sent."""
        params = orjson.loads(body)
        name = params["messages"][0]["content"]
        known = self.attempts.setdefault(name, [])
        attempt = Attempt(
            name, len(known), params["model"], params.get("n", 1), self.loop.time(), self.watches.get(name)
        )
        known.append(attempt)
        return attempt, params, Random(f"{self._seed}/{attempt}")


class SimulatedEndpoint:
    """Stands in for ``cometstream.transport.exchange.Endpoint``."""

    def __init__(self, network: Network, context: ErrorContext) -> None:
        self.traced = network.traced
        self.headers = CIMultiDict[str]()
        self.context = context
        self.redact = context.redact
        self._network = network

    async def send(
        self, method: str, body: bytes, clock: OpeningClock, client_request_id: str, added: Mapping[str, str]
    ) -> Incoming:
        with clock:
            return await self._send(body, clock)
        raise clock.error("simulated")

    async def _send(self, body: bytes, clock: OpeningClock) -> Incoming:
        network = self._network
        if network.closed:
            raise UsageError("the session is closed")
        attempt, params, rng = network.attempt(body)
        network.log("send", attempt)
        watch = attempt.watch
        opened = False
        try:
            if self.traced and rng.random() < 0.3:
                clock.queueing()
                await sleep(rng.random() * 3)
                clock.sending()
            if watch is not None:
                watch.set(watch.first_content)
            await self._connect(clock, rng)
            await self._head(attempt, rng)
            if network.closed:
                raise UsageError("the session was closed while a request was on its way")
            attempt.script = network.script(attempt, params, rng)
            attempt.incoming = SimulatedIncoming(network, attempt, rng, clock.waited)
            network.log("head", attempt, "document" if attempt.script.document else "stream", len(attempt.script.body))
            opened = True
            return cast("Incoming", attempt.incoming)
        except CancelledError:
            attempt.cancelled = True
            raise
        finally:
            if not opened:
                network.log("no answer", attempt)
                if watch is not None:
                    watch.set(math.inf)

    async def _connect(self, clock: OpeningClock, rng: Random) -> None:
        kind = rng.random()
        if kind < 0.5:
            return  # a connection that was kept
        takes = rng.random() * 0.2 if kind < 0.95 else rng.random() * 20
        if self.traced:
            clock.connecting()
            await sleep(takes)
            clock.connected()
        elif clock.connect is not None and takes > clock.connect:
            await sleep(clock.connect)
            raise APITimeoutError("simulated: no connection", clock="connect")
        else:
            await sleep(takes)
        if rng.random() < 0.06:
            raise APIConnectionError("simulated: connection refused")

    async def _head(self, attempt: Attempt, rng: Random) -> None:
        kind = rng.random()
        if kind < 0.7:
            await sleep(rng.random() * 0.5)
        elif kind < 0.8:
            await sleep(rng.random() * 15)
        elif kind < 0.805:
            await sleep(2000)
        kind = rng.random()
        if kind < 0.03:
            raise APIConnectionError("simulated: the connection was reset before the head")
        if kind < 0.13:
            status = rng.choice((429, 429, 500, 503, 400, 401, 404))
            wish = rng.choice((None, None, 0.0, 0.3, 2.0, 90.0)) if status in (429, 503) else None
            headers = CIMultiDict[str]() if wish is None else CIMultiDict({"Retry-After": str(wish)})
            raise self.context.status_error(status, ErrorBody("simulated"), headers=headers, retry_after=wish)
