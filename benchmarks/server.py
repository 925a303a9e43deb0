"""The load server: a process of its own that writes prepared bytes, so that the client is what is measured.

``python -m benchmarks.server [CERTIFICATE]`` prints its port as JSON and serves until its standard input ends, so that it never
outlives the process that started it; then it prints how many answers it gave, and when it was first asked. Two calls are for
answers that are held: ``GET /held`` says how many wait half-way, ``GET /release`` lets them go on.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.answers import Answer
from benchmarks.limits import raise_open_files

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

# Dripping streams are spread over slots of this many seconds.
_SLOT = 0.001


@dataclass
class Stream:
    """One dripping answer: what is still to be written, the next piece last, and what is held back after that."""

    transport: asyncio.Transport
    rest: list[bytes]
    held: bytes


class Drip:
    """Writes one piece of every dripping answer in each period, on one timer for all of them.

    The streams are spread evenly over the period, as those of many users are: if all were written at once, a client would find
    all of them readable in one turn of its loop and every client would look cheap.

    Args:
        period_ms: Milliseconds between two pieces of a stream.
        finished: Called with each stream of which nothing is left to write.
    """

    def __init__(self, period_ms: int, finished: Callable[[Stream], None]) -> None:
        self._slots: list[list[Stream]] = [[] for _ in range(period_ms)]
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._next_slot = 0
        self._newest = 0
        self._due = 0.0
        self._streams = 0

    def add(self, stream: Stream) -> None:
        """Write the stream's first piece now and then one in each period."""
        stream.transport.write(stream.rest.pop())
        self._slots[self._newest % len(self._slots)].append(stream)
        self._newest += 1
        self._streams += 1
        if self._streams == 1:
            self._due = self._loop.time() + _SLOT
            self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        while self._due <= now:
            self._write(self._next_slot)
            self._next_slot = (self._next_slot + 1) % len(self._slots)
            self._due += _SLOT
        if self._streams:
            self._loop.call_at(self._due, self._tick)

    def _write(self, number: int) -> None:
        slot = self._slots[number]
        for stream in slot:
            stream.transport.write(stream.rest.pop())
        if not all(stream.rest for stream in slot):
            self._slots[number] = [stream for stream in slot if stream.rest]
            self._streams -= len(slot) - len(self._slots[number])
            for stream in slot:
                if not stream.rest:
                    self._finished(stream)


class Load:
    """What the connections share."""

    def __init__(self) -> None:
        self.answers = 0
        self.first = 0.0
        self.held: list[Stream] = []
        self._drips: dict[int, Drip] = {}
        self._loop = asyncio.get_running_loop()

    def send(self, transport: asyncio.Transport, answer: Answer) -> None:
        self.answers += 1
        if self.answers == 1:
            self.first = time.time()
        if answer.delay_ms:
            self._loop.call_later(answer.delay_ms / 1000, transport.write, answer.whole)
            return
        if not answer.gap_ms:
            transport.write(answer.whole)
            return
        # An answer that is held drips too: a client that reads half of it at once keeps that much in its variables and heap.
        writes = answer.writes
        end = len(writes) // 2 if answer.held else len(writes)
        if answer.gap_ms not in self._drips:
            self._drips[answer.gap_ms] = Drip(answer.gap_ms, self._hold)
        self._drips[answer.gap_ms].add(Stream(transport, writes[:end][::-1], b"".join(writes[end:])))

    def _hold(self, stream: Stream) -> None:
        if stream.held:
            self.held.append(stream)

    def release(self) -> None:
        held, self.held = self.held, []
        for stream in held:
            stream.transport.write(stream.held)


class Connection(asyncio.Protocol):
    """Reads requests, of which only the path counts."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(self._buffer, 0, end)
            end += 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            path = self._buffer[: self._buffer.find(b"\r\n")].split(b" ")[1]
            self._buffer = self._buffer[end:]
            self._serve(path.decode())

    def _serve(self, path: str) -> None:
        if path == "/held":
            self._say(len(self._load.held))
        elif path == "/release":
            self._load.release()
            self._say(True)
        else:
            self._load.send(self._transport, Answer.named(path.split("/")[1]))

    def _say(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._transport.close()


async def serve(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    load = Load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(load), "127.0.0.1", 0, ssl=context, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"answers": load.answers, "first": load.first}), flush=True)
    server.close()


if __name__ == "__main__":
    raise_open_files()
    # The server's garbage is its own affair: it holds prepared bytes and makes no cycles.
    gc.disable()
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
