"""What callers of a stream do: read it in one of the ways there are, break off, take their time, look at the clock."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from cometstream import CometError, RetryPolicy, Timeouts
from cometstream.errors import APITimeoutError
from cometstream.readers import RelayReader

from .network import Network, Watch

if TYPE_CHECKING:
    from cometstream import ChatCompletion, ChatStream, CometSession

    from .loop import SimulatedLoop

__all__ = ["LATE", "Call", "draw_timeouts"]

LATE = 0.05
"""Seconds that a clock may be late."""

_POLICIES = tuple(RetryPolicy(max_retries=retries) for retries in range(3))

_WAYS = ("chunks", "chunks", "chunks", "text", "events", "relay", "relay", "until_done", "complete")


def draw_timeouts(rng: Random) -> Timeouts | None:
    """Draw the clocks of a call; short ones, so that they matter."""
    if rng.random() < 0.1:
        return None
    return Timeouts(
        connect=rng.choice((None, 1.0, 10.0)),
        first_content=rng.choice((None, 0.3, 2.0, 20.0)),
        content_idle=rng.choice((None, 0.2, 2.0, 20.0)),
        total=rng.choice((None, None, None, 0.7, 5.0, 60.0)),
    )


class Call:
    """One stream and who reads it.

    Attributes:
        name: What the server knows it by.
        way: How it is read.
        n: Choices that are asked for.
        chunks: What was handed over, where that can be seen.
        texts: What ``text()`` gave.
        deltas: What ``events()`` told of each choice's content.
        in_band: What ``relay()`` gave, event by event.
        error: What was raised.
        left: It was broken off: by its reader, its task's cancellation or ``aclose``.
        ended: The reader came to the end.
        gave_up: A read was given up and begun again.
    """

    def __init__(self, name: str, rng: Random, loop: SimulatedLoop, network: Network, session: CometSession) -> None:
        self.name = name
        self.way = rng.choice(_WAYS)
        self.n = 2 if rng.random() < 0.2 else 1
        self.timeouts = draw_timeouts(rng)
        self.retries = rng.choice((0, 1, 2, 2))
        self.fallbacks = ["other"] if rng.random() < 0.15 else []
        self.returns = rng.random() < 0.2 and self.way != "complete"
        self.pace = rng.choice((0.05, 0.5)) if rng.random() < 0.15 else 0.0
        self.chunks: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.deltas: dict[int, str] = {}
        self.in_band: list[bytes] = []
        self.error: CometError | None = None
        self.left = False
        self.ended = False
        self.gave_up = False
        self.entered_at = math.inf
        self.completion: ChatCompletion | None = None
        self.stream: ChatStream | None = None
        self.starts_after = 0.0 if rng.random() < 0.6 else rng.random() * 3
        self._breaks_off = rng.choice((1, 2, 5)) if rng.random() < 0.12 else 0
        self._patience = rng.choice((0.001, 0.05, 0.5)) if rng.random() < 0.15 else 0.0
        self._slow = rng.choice((0.01, 3.0)) if rng.random() < 0.15 else 0.0
        self._turns_to_another_way = rng.choice((1, 3)) if rng.random() < 0.1 else 0
        self._started = False
        self._loop = loop
        self._network = network
        self._session = session
        given = self.timeouts or Timeouts(None, None, None, None)
        self._total = as_limit(given.total)
        self.watch = network.watches[name] = Watch(loop, as_limit(given.first_content), as_limit(given.content_idle))

    def __repr__(self) -> str:
        return self.name

    async def run(self) -> None:
        """Make the call and read what comes."""
        if self.starts_after:
            await asyncio.sleep(self.starts_after)
        options: dict[str, Any] = {
            "model": "m",
            "messages": [{"role": "user", "content": self.name}],
            "timeouts": self.timeouts,
            "retry": _POLICIES[self.retries],
            "fallback_models": self.fallbacks,
        }
        if self.n > 1:
            options["n"] = self.n
        self._network.log("begin", self, self.way, self.n, self.timeouts, self.retries)
        self.entered_at = self._loop.time()
        try:
            if self.way == "complete":
                self.completion = await self._wait(self._session.complete(**options))
                self.ended = True
                return
            if self.returns:
                options["on_incomplete"] = "return"
            if self.pace:
                options["pace"] = self.pace
            stream = self.stream = self._session.stream(**options)
            await self._wait(stream.__aenter__())
            try:
                await self._read(stream)
            finally:
                await stream.__aexit__(None, None, None)
        except CometError as error:
            self.error = error
            self.ended = True
        finally:
            self._network.log("end of", self, stream_outcome(self), type(self.error).__name__)

    async def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait in a call of the library, and compare the time it takes with the clocks."""
        began = self._loop.time()
        self.watch.call(True)
        try:
            return await coroutine
        finally:
            self.watch.call(False)
            self._look_at_clocks(began)

    def _look_at_clocks(self, began: float) -> None:
        watch, now = self.watch, self._loop.time()
        attempts = self._network.attempts.get(self.name)
        incoming = attempts[-1].incoming if attempts else None
        # Bytes of what is longer than one read are progress; and who does not see the chunks cannot tell them apart.
        sees = self.way in ("chunks", "relay")
        spent = watch.spent if sees and (incoming is None or not incoming.is_long) else watch.extended
        limit = watch.limit if sees else max(watch.limit, self.watch.content_idle)
        late = spent - limit - self._loop.jumped_since(watch.set_at)
        assert late <= LATE, f"{self}: a clock of {limit} s was {late:.3f} s late"
        if self._total < math.inf:
            due = max(began, self.entered_at + self._total)
            granted = 0.25 if incoming is not None and incoming.is_over else 0.0
            late = now - due - granted - self._loop.jumped_since(self.entered_at)
            assert late <= LATE, f"{self}: timeouts.total of {self._total} s was {late:.3f} s late"

    async def _read(self, stream: ChatStream) -> None:
        reader: Any = {
            "chunks": lambda: stream,
            "text": stream.text,
            "events": stream.events,
            "relay": stream.relay,
            "until_done": lambda: None,
        }[self.way]()
        count = 0
        while True:
            read = stream.until_done() if reader is None else anext_of(reader)
            if self._patience:
                # Waits that are given up and begun again lose nothing.
                read = asyncio.wait_for(read, self._patience)
            try:
                item = await self._wait(read)
            except StopAsyncIteration:
                self.ended = True
                return
            except CometError:
                raise
            except asyncio.TimeoutError:
                self._network.log("patience", self)
                self.gave_up = True
                self._patience *= 2
                continue
            if reader is None:
                self.ended = True
                return
            self._take(item)
            count += 1
            if count == self._breaks_off:
                self.left = True
                return
            if count == self._turns_to_another_way and not isinstance(reader, RelayReader):
                self._network.log("another way", self)
                self.way = "until_done"
                reader = None
            if self._slow:
                await asyncio.sleep(self._slow)

    def _take(self, item: Any) -> None:
        self._network.log("take", self)
        if self.way == "chunks":
            self.chunks.append(item.raw)
            self._saw(item.raw)
        elif self.way == "relay":
            for event in item.removesuffix(b"\n\n").split(b"\n\n"):
                self.in_band.append(event)
                if event.startswith(b"data: {"):
                    raw = orjson.loads(event[6:])
                    if "error" not in raw:
                        self.chunks.append(raw)
                        self._saw(raw)
        elif self.way == "text":
            self.texts.append(item)
            self._saw_content()
        elif item.type == "chunk":
            self.chunks.append(item.chunk.raw)
            self._saw_content()
        elif item.type == "content.delta":
            self.deltas[item.choice_index] = self.deltas.get(item.choice_index, "") + item.delta

    def _saw(self, raw: dict[str, Any]) -> None:
        for choice in raw["choices"]:
            delta = choice["delta"]
            has_content = delta.get("content") or delta.get("reasoning_content") or delta.get("tool_calls")
            if has_content or (not self._started and choice["finish_reason"] in ("stop", "length", "tool_calls")):
                self._saw_content()

    def _saw_content(self) -> None:
        self._started = True
        incoming = self._network.attempts[self.name][-1].incoming
        if incoming is not None and not incoming.closed and not incoming.is_over:
            self.watch.set(self.watch.content_idle)

    @property
    def clock(self) -> str | None:
        """The clock that ended it, as far as the caller was told."""
        if isinstance(self.error, APITimeoutError):
            return self.error.clock
        return "some" if self.in_band and b'"APITimeoutError"' in self.in_band[-1] else None


def anext_of(reader: Any) -> Coroutine[Any, Any, Any]:
    """Return the reader's next read."""
    read: Coroutine[Any, Any, Any] = reader.__anext__()
    return read


def as_limit(clock: Any) -> float:
    """Return a clock's length; infinity where it is off."""
    return math.inf if clock is None else float(clock)


def stream_outcome(call: Call) -> str | None:
    """Return the outcome that a call's stream tells of."""
    return None if call.stream is None else call.stream.outcome
