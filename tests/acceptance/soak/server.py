"""The server of the soak: a process of its own on bare asyncio. It does what each request's header says, and counts what it did.

``python -m tests.acceptance.soak.server TOKENS RATE`` prints its port as JSON and serves until its standard input ends. Then it
prints for each kind: streams, requests, answers that it ended itself, and clients that left before the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
from collections.abc import Iterator
from itertools import chain, repeat

from benchmarks.limits import raise_open_files
from tests.acceptance.soak.kinds import HEADER, KINDS, PING, Kind, Shape, tokens_sent

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb"\r\n" + HEADER.encode() + rb": *(\d+) ([^\r]*)", re.IGNORECASE)

_ERROR = b'data: {"error":{"code":502,"message":"the provider went away"}}\n\n'
_DONE = b"data: [DONE]\n\n"

# Where the HTTP answer is over with its last piece.
_LAST_PIECE_ENDS = ("whole", "refuse_429", "refuse_503", "error_frame", "done_only")

# Seconds between two comments of a stream that is silent otherwise.
_PING_GAP = 0.5


def _refusal(status: str, header: str = "") -> bytes:
    body = b'{"error":{"message":"later","type":"comet_api_error","code":""}}'
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{header}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_REFUSALS = {
    "refuse_429": _refusal("429 Too Many Requests", "retry-after-ms: 200\r\n"),
    "refuse_503": _refusal("503 Service Unavailable"),
}


def _in_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Counts:
    """What the server did, by kind."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.open = 0
        self.by_kind = {name: {"streams": 0, "requests": 0, "ended": 0, "left": 0} for name in KINDS}
        self.refused: set[int] = set()
        self.pieces = {name: list(self._pieces(kind)) for name, kind in KINDS.items()}

    def _pieces(self, kind: Kind) -> Iterator[bytes]:
        answer = self.shape.answer(kind)
        sent = tokens_sent(kind, answer)
        yield from answer.writes[: 1 + answer.chunks if sent is None else 1 + sent]
        if kind.end in ("whole", *_REFUSALS):
            yield answer.writes[-1]
        elif kind.end == "error_frame":
            yield _in_chunk(_ERROR) + b"0\r\n\r\n"
        elif kind.end == "done_only":
            yield _in_chunk(_DONE) + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Serves one request after another; each answer writes its pieces on a timer of its own."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._kind: Kind | None = None
        self._rest: Iterator[bytes] = iter(())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._counts.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._counts.open -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._kind is not None:
            self._counts.by_kind[self._kind.name]["left"] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end + 2)
            stream = _STREAM.search(self._buffer, 0, end + 2)
            end += 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            self._buffer = self._buffer[end:]
            if stream is None:
                self._transport.abort()
                return
            self._serve(int(stream[1]), KINDS[stream[2].decode()])

    def _serve(self, number: int, kind: Kind) -> None:
        counts = self._counts.by_kind[kind.name]
        counts["requests"] += 1
        refusal = _REFUSALS.get(kind.end)
        if refusal is not None and number not in self._counts.refused:
            self._counts.refused.add(number)
            self._transport.write(refusal)
            return
        self._counts.refused.discard(number)
        counts["streams"] += 1
        pieces = self._counts.pieces[kind.name]
        self._kind = kind
        if kind.end == "pings":
            self._rest = chain(pieces, repeat(PING))
        elif kind.end == "never":
            self._rest = chain(pieces, *repeat(pieces[1:], 1000))
        else:
            self._rest = iter(pieces)
        self._next()

    def _next(self) -> None:
        assert self._kind is not None
        piece = next(self._rest, None)
        if piece is None:
            self._end(self._kind)
            return
        self._transport.write(piece)
        if self._kind.end in _LAST_PIECE_ENDS and piece is self._counts.pieces[self._kind.name][-1]:
            # The client may send its next request over this connection from now on.
            self._end(self._kind)
            return
        gap = _PING_GAP if piece is PING else self._kind.slow / self._counts.shape.rate
        self._timer = asyncio.get_running_loop().call_later(gap, self._next)

    def _end(self, kind: Kind) -> None:
        self._counts.by_kind[kind.name]["ended"] += 1
        self._kind = self._timer = None
        if kind.end == "fin":
            self._transport.close()
        elif kind.end == "rst":
            # With a linger time of zero, closing sends RST.
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()


async def serve(shape: Shape) -> None:
    counts = Counts(shape)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    until = loop.time() + 5
    while counts.open and loop.time() < until:  # noqa: ASYNC110 - connections set no event
        await asyncio.sleep(0.05)
    print(json.dumps({"open": counts.open, "kinds": counts.by_kind}), flush=True)
    server.close()


if __name__ == "__main__":
    raise_open_files()
    asyncio.run(serve(Shape(int(sys.argv[1]), float(sys.argv[2]))))
