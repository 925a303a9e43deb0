"""Every kind of fault: what the server does once the answer has come as far as the moment says."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeAlias

from faults.server import Act, Connection
from faults.wire import BLOCK, END, ERROR, HTML, JSON_HEAD, SSE_HEAD, json_until, sse_until

__all__ = ["KINDS", "Kind", "Strike", "act"]


@dataclass(frozen=True)
class Strike:
    """One fault at one moment.

    Attributes:
        moment: As in the table.
        streamed: Whether an event stream was asked for; else one JSON document.
        pause: Seconds between two writes of a server that is slow.
    """

    moment: str
    streamed: bool
    pause: float


Do: TypeAlias = Callable[[Connection, Strike], Awaitable[bool]]
Send: TypeAlias = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        do: What the server does; None where there is no server to do it.
        scene: Where the session is sent: to the server, over TLS, through a proxy, or where nobody is.
        on_connect: Whether it happens to a new connection, before a request.
        timed: Whether a clock, or the drain after [DONE], has to run out.
        encoding: The body's Content-Encoding.
        replaces: Whether the whole body is another one, so that nothing of the good one stands before it.
    """

    do: Do | None
    scene: Literal["server", "TLS", "untrusted TLS", "proxy", "no proxy", "nobody", "no name"] = "server"
    on_connect: bool = False
    timed: bool = False
    encoding: Literal["gzip", "deflate"] | None = None
    replaces: bool = False


def act(kind: Kind, strike: Strike) -> Act:
    """Return what a server does that strikes with this kind of fault."""

    async def run(connection: Connection) -> bool:
        assert kind.do is not None
        if not kind.on_connect and strike.moment != "before headers":
            head, until = (SSE_HEAD, sse_until) if strike.streamed else (JSON_HEAD, json_until)
            if kind.replaces and strike.moment == "before content":
                body = b""
            else:
                body = until(strike.moment)
            if kind.encoding is not None:
                head = head.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {kind.encoding}\r\n\r\n".encode())
                body = _compressed(body, kind.encoding)
            await connection.send(head)
            if body:
                await connection.send_chunk(body)
            await connection.until_read()
        return await kind.do(connection, strike)

    return run


# The connection ends.


async def reset(connection: Connection, strike: Strike) -> bool:
    await connection.until_read()
    connection.reset()
    return False


async def half_close(connection: Connection, strike: Strike) -> bool:
    connection.half_close()
    return False


async def cut(connection: Connection, strike: Strike) -> bool:
    connection.close()
    return False


async def end_early(connection: Connection, strike: Strike) -> bool:
    await connection.send(END)
    return True


async def break_framing(connection: Connection, strike: Strike) -> bool:
    await connection.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    return False


# It is slow, or does not end.


async def stall(connection: Connection, strike: Strike) -> bool:
    return False


async def drip(connection: Connection, strike: Strike) -> bool:
    """Bytes of a head, an event or a document, one after another, which never becomes whole."""
    await _forever(connection, _sender(connection, strike), strike.pause, _bytes_of(_beginning(strike)))
    return False


async def comments(connection: Connection, strike: Strike) -> bool:
    """Signs of life: comments in an event stream, white space in and around a JSON document."""
    await _forever(connection, connection.send_chunk, strike.pause, _again(b": PING\n\n" if strike.streamed else b"\n"))
    return False


async def reasoning(connection: Connection, strike: Strike) -> bool:
    event = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n'
    await _forever(connection, connection.send_chunk, strike.pause, _again(event))
    return False


async def interim_heads(connection: Connection, strike: Strike) -> bool:
    await _forever(connection, connection.send, strike.pause, _again(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))
    return False


async def headers(connection: Connection, strike: Strike) -> bool:
    """Header lines without an end; once there is a body, they are its trailers."""
    await connection.send(b"HTTP/1.1 200 OK\r\n" if strike.moment == "before headers" else b"0\r\n")
    await _forever(
        connection, connection.send, 0.0, _again(b"".join(b"X-%d: %b\r\n" % (at, b"a" * 1000) for at in range(50)))
    )
    return False


async def long_line(connection: Connection, strike: Strike) -> bool:
    """100 MB without a line break."""
    send = _sender(connection, strike)
    await send(_beginning(strike) + BLOCK)
    for _ in range(99):
        await send(BLOCK)
    return False


async def bomb(connection: Connection, strike: Strike) -> bool:
    """1 GB in 1 MB, without a line break."""
    coder = zlib.compressobj(wbits=-15)
    await connection.send_chunk(coder.compress(_beginning(strike)) + coder.flush(zlib.Z_FULL_FLUSH))
    block = coder.compress(BLOCK) + coder.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it: may be repeated
    for _ in range(16):
        await connection.send_chunk(block * 64)
    return False


# It says something else.


async def garbage(connection: Connection, strike: Strike) -> bool:
    if strike.moment == "before headers":
        await connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")
    elif strike.streamed:
        await connection.send_chunk(b'data: \xff\xfe{"half\n\n')
    else:
        await connection.send_chunk(b"\xff\xfe\x00]}")
        await connection.send(END)
        return True
    return False


async def error_frame(connection: Connection, strike: Strike) -> bool:
    if strike.streamed:
        await connection.send_chunk(b"data: " + ERROR + b"\n\n")
        return False
    await connection.send_chunk(ERROR)
    await connection.send(END)
    return True


async def html(connection: Connection, strike: Strike) -> bool:
    await connection.send_chunk(HTML)
    await connection.send(END)
    return True


def status(code: int, *headers: str, body: bytes = b'{"error":{"message":"no"}}') -> Kind:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Unassigned"
    lines = (f"HTTP/1.1 {code} {phrase}", *headers, f"Content-Length: {len(body)}", "", "")
    answer = "\r\n".join(lines).encode() + body

    async def do(connection: Connection, strike: Strike) -> bool:
        await connection.send(answer)
        return True

    return Kind(do)


# TLS and proxies: `connection` has spoken no HTTP yet.


async def say_plain(connection: Connection, strike: Strike) -> bool:
    await connection.receive_raw()
    await connection.send_raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    connection.half_close()
    await connection.until_gone()
    return False


async def shake_hands(connection: Connection, strike: Strike) -> bool:
    await connection.handshake()
    await connection.until_gone()
    return False


async def hear_hello(connection: Connection, strike: Strike) -> bool:
    await connection.receive_raw()
    await connection.until_gone()
    return False


async def hear_hello_and_reset(connection: Connection, strike: Strike) -> bool:
    await connection.receive_raw()
    connection.reset()
    return False


async def hear_hello_and_cut(connection: Connection, strike: Strike) -> bool:
    await connection.receive_raw()
    connection.half_close()
    await connection.until_gone()
    return False


async def bad_record(connection: Connection, strike: Strike) -> bool:
    await connection.send_raw(b"\x17\x03\x03\x00\x20" + b"\xee" * 32)
    return False


def refuse_tunnel(code: int) -> Do:
    async def do(connection: Connection, strike: Strike) -> bool:
        await connection.receive_raw()
        await connection.send(f"HTTP/1.1 {code} Not you\r\nContent-Length: 0\r\n\r\n".encode())
        await connection.until_gone()
        return False

    return do


async def _forever(connection: Connection, send: Send, pause: float, pieces: Iterator[bytes]) -> None:
    """Send until the client leaves, which is looked for between two pieces."""
    for piece in pieces:
        await send(piece)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(connection.receive_raw(), pause)


def _bytes_of(start: bytes) -> Iterator[bytes]:
    for byte in start:
        yield bytes([byte])
    yield from _again(b"a")


def _again(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def _sender(connection: Connection, strike: Strike) -> Send:
    return connection.send if strike.moment == "before headers" else connection.send_chunk


def _beginning(strike: Strike) -> bytes:
    """What a text that does not end begins with; in half a document it stands already."""
    if strike.moment == "before headers":
        return b"HTTP/1.1 200 OK\r\nX-Long: "
    if strike.streamed:
        return b'data: {"choices":[{"index":0,"delta":{"content":"'
    return b'{"choices":[{"index":0,"message":{"content":"' if strike.moment == "before content" else b""


def _compressed(body: bytes, encoding: str) -> bytes:
    coder = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return coder.compress(body) + coder.flush(zlib.Z_FULL_FLUSH)


KINDS: dict[str, Kind] = {
    "refused": Kind(None, scene="nobody"),
    "DNS failure": Kind(None, scene="no name"),
    "reset": Kind(reset),
    "cut": Kind(cut),
    "half-close": Kind(half_close),
    "early end": Kind(end_early),
    "broken framing": Kind(break_framing),
    "stall": Kind(stall, timed=True),
    "slow drip": Kind(drip, timed=True),
    "endless comments": Kind(comments, timed=True),
    "endless reasoning": Kind(reasoning, timed=True),
    "endless 103": Kind(interim_heads, timed=True),
    "endless headers": Kind(headers),
    "100 MB line": Kind(long_line),
    "gzip bomb": Kind(bomb, encoding="gzip"),
    "deflate bomb": Kind(bomb, encoding="deflate"),
    "garbage": Kind(garbage),
    "error frame": Kind(error_frame),
    "200 HTML": Kind(html, replaces=True),
    "302": status(302, "Location: https://elsewhere.invalid/v1"),
    "307": status(307, "Location: https://elsewhere.invalid/v1"),
    **{
        str(code): status(code)
        for code in (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
    },
    "500 by request": status(500, body=b'{"error":{"code":"invalid_request","message":"no"}}'),
    "429 quota": status(429, body=b'{"error":{"code":"insufficient_quota","message":"no"}}'),
    "bad certificate": Kind(shake_hands, scene="untrusted TLS", on_connect=True),
    "TLS to plain port": Kind(say_plain, scene="untrusted TLS", on_connect=True),
    "TLS reset": Kind(hear_hello_and_reset, scene="untrusted TLS", on_connect=True),
    "TLS cut": Kind(hear_hello_and_cut, scene="untrusted TLS", on_connect=True),
    "TLS stall": Kind(hear_hello, scene="untrusted TLS", on_connect=True, timed=True),
    "TLS bad record": Kind(bad_record, scene="TLS"),
    "proxy refused": Kind(None, scene="no proxy"),
    "proxy reset": Kind(hear_hello_and_reset, scene="proxy", on_connect=True),
    "proxy stall": Kind(hear_hello, scene="proxy", on_connect=True, timed=True),
    "proxy 407": Kind(refuse_tunnel(407), scene="proxy", on_connect=True),
    "proxy 502": Kind(refuse_tunnel(502), scene="proxy", on_connect=True),
}
