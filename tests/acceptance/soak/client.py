"""The client of the soak: it keeps a number of streams open and notes how each of them ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import MESSAGES, MODEL
from cometstream import ChatStream, CometError, CometSession, RetryPolicy, Timeouts
from tests.acceptance.soak.kinds import HEADER, KINDS, Kind, Shape, kind_of, tokens_sent

__all__ = ["Client", "Sample", "Tally", "open_sockets", "resident"]

# Clocks that do not fire on a busy machine; the streams that wait for a clock set their own.
_PATIENT = Timeouts(connect=60, first_content=120, content_idle=120)
_STALL = 2.0  # and three times the gap between two tokens

# Seconds between two samples.
_EVERY = 1.0


@dataclass
class Tally:
    """What the client saw of one kind.

    Attributes:
        seen: How often each ending came, written as in ``Kind.seen``.
        attempts: Requests that it made.
        wrong: Streams that did not end as they must.
        examples: The first few of them, in words.
    """

    seen: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def streams(self) -> int:
        return sum(self.seen.values())


@dataclass(frozen=True)
class Sample:
    """One look at the process.

    Attributes:
        at: Seconds since the start.
        resident: Bytes of memory.
        open: Streams that are open.
        ended: Streams that have ended.
        chunks: Chunks read so far.
        lag: Seconds by which the event loop was late for this look.
        cpu: How much of the lag this process ran, at most; the rest of it the machine did other work.
    """

    at: float
    resident: int
    open: int
    ended: int
    chunks: int
    lag: float
    cpu: float


class Client:
    """Runs the streams.

    Args:
        origin: Where the server is.
        shape: What its answers are.
        streams: How many are open at a time.
    """

    def __init__(self, origin: str, shape: Shape, streams: int) -> None:
        self.tallies = {name: Tally() for name in KINDS}
        self.samples: list[Sample] = []
        self.open = self.ended = self.chunks = 0
        self.unended = 0
        self.cpu = 0.0
        self.tasks_left = self.sockets_left = 0
        self._origin = origin
        self._shape = shape
        self._streams = streams
        self._numbers = itertools.count(1)
        # Made once: the comparison must not cost the soak anything.
        self._texts = {name: shape.answer(kind).text for name, kind in KINDS.items()}

    async def run(self, seconds: float, ramp: float) -> None:
        """Open the streams, evenly within `ramp` seconds, replace each that ends for `seconds`, and wait for the last."""
        loop = asyncio.get_running_loop()
        sockets, tasks = open_sockets(), len(asyncio.all_tasks())
        self.began = loop.time()
        cpu = time.process_time()
        until = self.began + seconds
        sampler = loop.create_task(self._sample())
        retry = RetryPolicy(initial_delay=0.2)
        async with CometSession(api_key="sk-soak", base_url=self._origin, timeouts=_PATIENT, retry=retry) as session:
            workers = [
                loop.create_task(self._work(session, ramp * place / self._streams, until))
                for place in range(self._streams)
            ]
            _, unended = await asyncio.wait(workers, timeout=seconds + 2 * self._shape.seconds + 60)
            self.unended = len(unended)
            for worker in unended:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        self.cpu = (time.process_time() - cpu) / (loop.time() - self.began)
        sampler.cancel()
        await asyncio.wait([sampler])
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error
        # A transport closes its socket in a later turn of the loop.
        for _ in range(200):
            self.tasks_left, self.sockets_left = len(asyncio.all_tasks()) - tasks, open_sockets() - sockets
            if not self.tasks_left and not self.sockets_left:
                break
            await asyncio.sleep(0.01)

    async def _work(self, session: CometSession, delay: float, until: float) -> None:
        await asyncio.sleep(delay)
        while asyncio.get_running_loop().time() < until:
            number = next(self._numbers)
            kind = kind_of(number)
            self.open += 1
            try:
                await self._stream(session, number, kind)
            finally:
                self.open -= 1
            self.ended += 1

    async def _stream(self, session: CometSession, number: int, kind: Kind) -> None:
        options: dict[str, Any] = (
            {"timeouts": Timeouts(content_idle=_STALL + 3 / self._shape.rate)} if kind.end == "pings" else {}
        )
        headers = {HEADER: f"{number} {kind.name}"}
        stream = session.stream(model=MODEL, messages=MESSAGES, headers=headers, **options)
        error = "-"
        try:
            if kind.seen.endswith("CancelledError"):
                await self._cancelled(stream)
            else:
                await self._read(stream, leave_after=3 if kind.end == "never" else None)
        except CometError as caught:
            error = type(caught).__name__
        except asyncio.CancelledError:
            if kind.end != "never":
                raise  # the worker itself was cancelled
            error = "CancelledError"
        tally = self.tallies[kind.name]
        seen = f"{stream.outcome} {error}"
        tally.seen[seen] += 1
        tally.attempts += stream.metrics.attempts
        wrong = self._what_is_wrong(kind, seen, stream)
        if wrong:
            tally.wrong += 1
            if len(tally.examples) < 5:
                tally.examples.append(f"stream {number}: {', '.join(wrong)}")

    async def _read(self, stream: ChatStream, leave_after: int | None = None) -> None:
        read = 0
        async with stream:
            async for _ in stream:
                self.chunks += 1
                read += 1
                if read == leave_after:
                    return

    async def _cancelled(self, stream: ChatStream) -> None:
        """Cancel the task that reads when it waits for what comes after the second chunk."""
        second = asyncio.Event()

        async def read() -> None:
            read_so_far = 0
            async with stream:
                async for _ in stream:
                    self.chunks += 1
                    read_so_far += 1
                    if read_so_far == 2:
                        second.set()

        task = asyncio.get_running_loop().create_task(read())
        waiting = asyncio.get_running_loop().create_task(second.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        task.cancel()
        await task

    def _what_is_wrong(self, kind: Kind, seen: str, stream: ChatStream) -> list[str]:
        wrong = []
        if seen != kind.seen:
            wrong.append(f"it ended as {seen!r}")
        if stream.metrics.attempts != kind.attempts:
            wrong.append(f"it took {stream.metrics.attempts} requests")
        text, whole = stream.completion.content or "", self._texts[kind.name]
        answer = self._shape.answer(kind)
        sent = tokens_sent(kind, answer)
        if sent is None:
            # Its tokens come again and again until the client leaves.
            right = (whole * (len(text) // len(whole) + 1))[: len(text)]
        else:
            right = whole[: sent * answer.size]
        if text != right:
            wrong.append(f"its text is {text[:60]!r}, not {right[:60]!r}")
        return wrong

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, cpu = loop.time() + _EVERY, time.process_time()
            await asyncio.sleep(_EVERY)
            now = loop.time()
            lag = now - due
            ran = min(lag, time.process_time() - cpu)
            self.samples.append(Sample(now - self.began, resident(), self.open, self.ended, self.chunks, lag, ran))


def resident() -> int:
    """Return the bytes of memory that this process has resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor, closed by now
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count
