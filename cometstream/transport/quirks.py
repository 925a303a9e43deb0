"""Every workaround for aiohttp or asyncio.

Each says what it mends, for which versions that is known, and what happens on another version. ``tests/transport/test_quirks.py``
has a test for each that shows the plain library: it fails once the workaround is no longer needed. "Known for" means that it was
tried with aiohttp 3.14 and with CPython 3.10 to 3.14, unless it names others.
"""

from __future__ import annotations

import asyncio
import io
import math
import re
import select
import socket
import ssl
import sys
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from cometstream.transport.kept import PlainAnswer

__all__ = [
    "READ_BUFFER",
    "Connector",
    "KeptConnection",
    "KeptConnectionLost",
    "clear_exception",
    "client_timeout",
    "close_at_once",
    "forget_connection",
    "missing_package",
    "plain_connection",
    "receive_less",
    "request_body",
    "request_head",
    "take_fresh_connection",
    "watch_connection",
]

# In these versions of aiohttp only what was paused waits to be resumed.
_KNOWN: Final = aiohttp.__version__.startswith("3.14.")

# Below the 128 KiB from which glibc's malloc turns to the kernel, and still some 200 events.
_ROOM: Final = 64 * 1024

# RFC 8446, 5.1: what a record of TLS holds at most.
_RECORD: Final = 16 * 1024

# What a piece of a body takes beside its bytes: a server may send each byte as a piece.
_PIECE: Final = 48

# Bytes that aiohttp unpacks in one piece; a body holds twice as much for its reader before the connection is paused. aiohttp has
# one size for both, 256 KiB: three quarters of a megabyte are then unpacked in one turn of the event loop.
READ_BUFFER: Final = 64 * 1024

# The same for a body that is not compressed: what waits outside the process is lost when a server resets the connection.
_PLAIN_BUFFER: Final = 256 * 1024

# aiohttp warns of more bytes than this in one piece: they would be written without a turn for others.
_LARGE_BODY: Final = 2**20

# Networks forget a silent connection after 60 s or more. A peer that is gone is noticed after 120 s, the default of `content_idle`.
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 45, "TCP_KEEPALIVE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 5}

# RFC 9112, 2.2: a line may end with a bare LF, too, and empty lines may stand before a head.
_END_OF_HEAD: Final = re.compile(rb"\n(?:\r?\n)+")

# Bytes at the end of a read that may begin one.
_SHORT_OF_END: Final = 2

_PACKAGE_OF: Final = {"br": "brotli", "zstd": "backports.zstd"}

# Set while a request must not use a connection that was used before.
_FRESH: Final[ContextVar[bool]] = ContextVar("cometstream.transport.fresh", default=False)

# Transports of another process that nobody here may close.
_LEFT: Final[list[asyncio.BaseTransport]] = []


class KeptConnectionLost(aiohttp.ClientConnectionError):
    """A connection that had served before failed, and nothing of the answer had come."""


def receive_less(transport: asyncio.BaseTransport | None, room: memoryview | None = None) -> None:
    """Have a transport make no more room for what it receives than costs little.

    1. Mends: asyncio's transports on selectors make room for 256 KiB before each ``recv``, though a token brings 300 bytes. The C
       library takes so much room from the kernel each time, and gives it back (measured in benchmarks/README.md).
       Known for: CPython 3.10 to 3.14, in the transport's attribute ``max_size``. Elsewhere: a transport without the attribute
       (uvloop's, which keep their room) stays as it is.
    2. Mends: asyncio's TLS layer keeps a buffer of 256 KiB for each connection, though what it receives is copied on in the same
       turn, and makes room for as much before each read from the TLS object: 3 GB for 10,000 streams.
       Known for: CPython 3.11 to 3.14, in the attributes ``_ssl_buffer``, ``_ssl_buffer_view`` and ``max_size`` of its protocol.
       Elsewhere: a layer without them (uvloop's, CPython 3.10's) stays as it is, and so does one on a transport that receives while
       others run (Windows'), which has no ``max_size``.

    Args:
        transport: The connection's transport.
        room: For 2., what the connections of an event loop share; None gives a small one.
    """
    changed: Any = transport
    if getattr(changed, "max_size", 0) > _ROOM:
        changed.max_size = _ROOM
    tls: Any = getattr(changed, "_ssl_protocol", None)
    if getattr(tls, "max_size", 0) > _RECORD and hasattr(getattr(tls, "_transport", None), "max_size"):
        tls.max_size = _RECORD
        if hasattr(tls, "_ssl_buffer_view"):
            tls._ssl_buffer_view = memoryview(bytearray(_RECORD)) if room is None else room
            tls._ssl_buffer = tls._ssl_buffer_view.obj


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel send something over a silent connection.

    Mends: neither aiohttp nor asyncio asks for TCP keep-alive, so networks drop a connection while a model thinks.
    Known for: every version. The options' names differ: macOS says TCP_KEEPALIVE for TCP_KEEPIDLE.
    Elsewhere: a socket that does not know an option goes without it.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        pass  # no TCP socket


def request_body(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return what aiohttp is given as the body of a request; it may be used once.

    Mends: aiohttp writes bytes in one piece, without a turn for other tasks, and warns of it above 1 MiB.
    Known for: aiohttp 3.14.
    Elsewhere: a file is written in pieces by every version.
    """
    return body if body is None or len(body) <= _LARGE_BODY else io.BytesIO(body)


@lru_cache(maxsize=16)  # sessions have few; making one costs as much as sending the headers
def client_timeout(connect: float | None, queues: bool) -> aiohttp.ClientTimeout:
    """Return aiohttp's part in the clocks.

    Mends: aiohttp's own limits (``total=300``, and 30 s in ``sock_connect``) end an answer that is well; it rounds a timeout
        above 5 s up to a whole second; and its ``connect`` also counts the wait for a place in the pool.
    Known for: aiohttp 3.14.
    Elsewhere: the arguments are public since 3.11.

    Args:
        connect: Seconds to make a connection; None for no limit.
        queues: Whether a request may wait for a place in the pool.
    """
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if queues else connect,
        sock_connect=connect if queues else None,
        sock_read=None,
        ceil_threshold=math.inf,
    )


def request_head(host: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Return the head of a POST as aiohttp writes it, but for the length of its body and the empty line.

    Mends: aiohttp makes it again for each request.
    Known for: aiohttp 3.14. Elsewhere: nobody asks; see ``Connector.kept`` and ``Connector.fresh``.
    """
    added = [(name, value) for name, value in aiohttp.ClientRequest.DEFAULT_HEADERS.items() if name not in headers]
    lines = [f"{name}: {value}\r\n" for name, value in [("Host", host), *headers.items(), *added]]
    return f"POST {path} HTTP/1.1\r\n{''.join(lines)}".encode()


def missing_package(message: str) -> tuple[str, str] | None:
    """Return the encoding that aiohttp could not read for want of a package, and the package; None for another failure.

    Mends: aiohttp tells of it in the text of a general error only, and names packages that differ by version.
    Known for: aiohttp 3.14.
    Elsewhere: the failure is told in aiohttp's words.
    """
    for encoding, package in _PACKAGE_OF.items():
        if f"({encoding})" in message or message.endswith(encoding):
            return encoding, package
    return None


def clear_exception(content: aiohttp.StreamReader) -> None:
    """Take back what was raised in a body, so that the bytes which came before it can be read.

    Mends: aiohttp raises a body's exception before it hands over the bytes that came earlier.
    Known for: aiohttp 3.14.
    Elsewhere: as long as ``set_exception`` stores what it is given.
    """
    cleared: Any = content  # its annotation leaves out the None that takes an exception back
    cleared.set_exception(None)


def close_at_once(response: aiohttp.ClientResponse | PlainAnswer, transport: asyncio.Transport | None) -> None:
    """Close the connection of an answer now; one whose answer was read to its end is back in the pool already.

    Mends: under TLS asyncio's ``close()`` waits up to 30 s for the peer's goodbye, and a peer that stalls keeps the socket. A
        transport that the peer has closed is no longer the connection's, and still warns unless it is closed here.
    Known for: CPython 3.11 to 3.14, uvloop 0.21 and later.
    Elsewhere: ``abort()`` is public.

    Args:
        response: The answer.
        transport: The transport that the answer's connection had when its head came.
    """
    if response.connection is not None and transport is not None:
        transport.abort()
    response.close()


def forget_connection(response: aiohttp.ClientResponse | PlainAnswer) -> None:
    """Let go of an answer's connection, whose event loop is closed.

    Mends: aiohttp warns of a connection that was dropped, also of one that nobody can close any more.
    Known for: aiohttp 3.14, in ``Connection.__del__``.
    Elsewhere: it warns.
    """
    connection: Any = response.connection
    if connection is not None:
        connection._protocol = None


def plain_connection(response: aiohttp.ClientResponse) -> KeptConnection | None:
    """Take an answer's connection out of it, so that the rest can be forgotten; None where that cannot be done.

    Mends: aiohttp keeps with each open answer what was sent, its own objects and the session: 2 KB of the 20 KB of an open stream.
    Known for: aiohttp 3.14, in ``_connection``, ``_closed`` and ``_writer``, and ``_eof_callbacks`` of the body.
    Elsewhere: the answer stays as it is, and so does one whose request is still being written.
    """
    changed: Any = response
    if not _KNOWN or response.connection is None or changed._writer is not None:
        return None
    connection: KeptConnection = changed._connection
    changed._connection = None
    changed._closed = True
    changed.content._eof_callbacks.clear()
    return connection


def watch_connection(response: aiohttp.ClientResponse) -> None:
    """Fail the body when its connection is lost before its end; for a caller's own client, since `_Handler` does so itself.

    Mends: aiohttp's parser in C forgets a body whose chunked framing broke (a proxy that writes an error page into it). It closes
        the connection, and nobody wakes the reader.
    Known for: aiohttp 3.14 with its extensions.
    Elsewhere: a body that has failed or ended is left as it is.
    """
    protocol = response.connection.protocol if response.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is not None:
        response.content.on_eof(_Watch(response.content, closed).ended)


class _Watch:
    """Between a body and the end of its connection, until either comes."""

    __slots__ = ("_closed", "_content")

    def __init__(self, content: aiohttp.StreamReader, closed: asyncio.Future[None]) -> None:
        self._content = content
        self._closed = closed
        # The future is the connection's, and serves many streams: take back what is ours, and leave one that reads its result.
        closed.remove_done_callback(_read_result)
        closed.add_done_callback(_read_result)
        closed.add_done_callback(self.lost)

    def lost(self, _: asyncio.Future[None]) -> None:
        _fail(self._content)

    def ended(self) -> None:
        self._closed.remove_done_callback(self.lost)


def _fail(content: aiohttp.StreamReader) -> None:
    if not content.is_eof() and content.exception() is None:
        content.set_exception(aiohttp.ClientPayloadError("the connection was lost in the middle of the body"))


def _read_result(closed: asyncio.Future[None]) -> None:
    """Read the result: asyncio logs an exception that nobody does."""
    _ = closed.cancelled() or closed.exception()


class _Pieces(list[Any]):
    """In the place of a deque, which takes 600 bytes more, for what is a handful of pieces."""

    __slots__ = ()

    def popleft(self) -> Any:
        return self.pop(0)


class _Body(aiohttp.StreamReader):
    """A body that is not compressed, of a session's own connection; it takes the place of aiohttp's once its head is there.

    Mends: aiohttp keeps the ends of HTTP chunks, which nobody here asks for, piece by piece when it is fed and when it is read, and
        a read is two coroutines. That is a sixth of what a dripped token costs.
    Known for: aiohttp 3.14. Elsewhere: no body becomes one.
    """

    __slots__ = ()

    _protocol: _Handler

    @classmethod
    def adopt(cls, body: aiohttp.StreamReader) -> None:
        """Make aiohttp's body one of these."""
        if type(body) is aiohttp.StreamReader:
            body.__class__ = cls  # its parser has the body already, and the first bytes may be in it
            body._http_chunk_splits = None
            pieces: Any = _Pieces(body._buffer)
            body._buffer = pieces

    # Called for each HTTP chunk: to call this does nothing, and costs less than a function that does nothing.
    begin_http_chunk_receiving: Any = tuple
    end_http_chunk_receiving: Any = tuple

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        length = len(data)
        self._buffer.append(data)
        self._size += length + _PIECE
        self.total_bytes += length
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        if self._size > self._high_water:
            self._protocol.pause_reading()
        return False

    async def readany(self) -> bytes:
        if self._exception is not None:
            raise self._exception
        buffer = self._buffer
        while not buffer and not self._eof:
            if self._waiter is not None or self._protocol.transport is None:
                await self._wait("readany")  # which tells what is wrong
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        if len(buffer) != 1:
            return self._read_nowait(-1)
        # As nearly always: two calls less for each token that drips.
        data: bytes = buffer.pop()
        self._size = 0
        if self._protocol._is_held:
            self._protocol.resume_reading()
        return data

    def _read_nowait(self, n: int) -> bytes:
        if n != -1:
            return super()._read_nowait(n)
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        self._protocol.resume_reading()
        return data


# CPython 3.10's TLS transports warn of a connection that the peer closed, as if we had forgotten it.
_WARNS_OF_LOST: Final = sys.version_info < (3, 11)


class _Handler(ResponseHandler):
    """A connection of a session's own pool.

    1. Mends: aiohttp resumes the connection with every HTTP chunk that is read, and its parser with it, paused or not. Servers send
       each event as a chunk of its own. Here it is resumed where it was paused.
       Known for: aiohttp 3.14. Elsewhere: it is always resumed.
    2. Mends: while a compressed body is read, aiohttp unpacks more within each read, so that no read ever waits and no other task
       runs. Here it unpacks in a later turn of the event loop, and less in one turn.
       Known for: aiohttp 3.14. Elsewhere: as long as the parser tells of the compression.
    3. Mends: bytes behind an answer (a proxy's error page) that come in one read with its head make aiohttp's parser fail before it
       has handed over the answer. Here each head is parsed by itself, and what follows it then goes to a `_Body`, for less.
       Known for: aiohttp 3.14 with its extensions. Elsewhere: bytes may always come in two reads.
    4. Mends: the TLS layers of asyncio and uvloop go on reading while the reader is paused, and drop what they hold when the
       connection is lost; aiohttp's parser drops what it holds, too. Here the loss is told after all of it was handed over.
       Known for: CPython 3.11 to 3.14, uvloop 0.21 and later. Elsewhere: there is nothing left to read from the TLS object.
    5. Mends: aiohttp looks at nothing but ``is_closing()`` before it uses an idle connection again. Bytes that a server wrote after
       its answer are taken for the next answer, and a connection that has ended is used if the event loop was busy. Here a
       connection with anything to read is not used again.
       Known for: aiohttp 3.14. Elsewhere: without ``is_connected`` the connection is not looked at.
    6. Mends: aiohttp does not tell whether a request failed because a kept connection was dead. Here it raises
       ``KeptConnectionLost``.
       Known for: aiohttp 3.14. Elsewhere: without ``_drain_tail`` this and 3. are off, and it is a failure like any other.
    7. Mends: what ``watch_connection`` mends, at less cost.
    8. Mends: aiohttp makes some twenty objects and a task for each request, which cost as much as a short answer. Here `ask` writes
       what it is given, and hands over the head.
       Known for: aiohttp 3.14. Elsewhere: nobody calls it; see ``Connector.kept`` and ``Connector.fresh``.
    """

    # Not in the dict of each connection, which grows to 1.5 KB where it has more than 30 names.
    __slots__ = (
        "_asked",
        "_awaits_head",
        "_body",
        "_connected",
        "_heard",
        "_is_compressed",
        "_is_held",
        "_loss",
        "_poll",
        "_requests",
        "_room",
        "_will_resume",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, room: memoryview | None = None, connected: set[_Handler] | None = None
    ) -> None:
        super().__init__(loop)
        self._room = room
        self._connected = set() if connected is None else connected
        self._is_held = False  # the reader is slow, and has paused us
        self._will_resume = False  # in a later turn of the loop
        self._requests = 0
        self._awaits_head = False
        self._heard = b""  # the end of what has come of the head; empty before its first byte
        self._body: aiohttp.StreamReader | None = None
        self._is_compressed = False
        self._loss: list[BaseException | None] = []  # why the connection was lost, until it is told
        self._poll: Any = None
        self._asked: asyncio.Future[tuple[Any, aiohttp.StreamReader]] | None = None
        if _KNOWN:
            self._buffer: Any = _Pieces()  # of heads

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        receive_less(transport, self._room)
        keep_alive(transport)
        self._connected.add(self)
        super().connection_made(transport)

    def _drain_tail(self) -> None:
        """A request is about to be sent, and has its parser; to stand before a method without arguments costs less."""
        self._requests += 1
        self._awaits_head = True
        self._heard = b""
        super()._drain_tail()

    def ask(self, request: bytes) -> asyncio.Future[tuple[Any, aiohttp.StreamReader]]:
        """Send a request; what is returned waits for the head of its answer, and for the body."""
        assert self.transport is not None  # an idle connection was looked at
        self._asked = self._loop.create_future()
        self.set_response_params(read_until_eof=True, read_bufsize=READ_BUFFER)
        self.transport.write(request)
        return self._asked

    def data_received(self, data: bytes) -> None:
        if self._awaits_head and data:
            data = self._take_heads(data)
            if not data or self.exception() is not None:
                return
        # Also without data: aiohttp goes on with what it has when it resumes. `super()` costs twice as much, for each token.
        ResponseHandler.data_received(self, data)

    def _take_heads(self, data: bytes) -> bytes:
        """Parse each head that ends in these bytes by itself, the answer's and interim ones before it; return what is left."""
        heard = self._heard + data
        taken = len(self._heard)
        searched = 0
        while self._awaits_head and self.exception() is None:
            end = _END_OF_HEAD.search(heard, searched)
            if end is None:
                # Behind an interim head that is its end: something of the answer was heard.
                self._heard = heard[-_SHORT_OF_END:]
                break
            super().data_received(heard[taken : end.end()])
            taken = searched = end.end()
        return heard[taken:]

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The parser has made a head."""
        message, body = data
        self._body = body
        self._is_compressed = message.compression is not None
        if not self._is_compressed:
            body.set_read_chunk_size(_PLAIN_BUFFER)
            if _KNOWN:
                _Body.adopt(body)
        is_last = message.code >= 200 or message.code == 101
        if is_last:
            self._awaits_head = False
            self._heard = b""
        if self._asked is None:
            ResponseHandler.feed_data(self, data, size)
        elif is_last:
            asked, self._asked = self._asked, None
            if not asked.done():
                asked.set_result(data)

    def pause_reading(self) -> None:
        self._is_held = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if not self._is_held and _KNOWN:
            return
        if not (self._is_compressed and resume_parser):
            self._resume(resume_parser)
        elif not self._will_resume:
            self._will_resume = True
            self._loop.call_soon(self._resume_later)

    def _resume_later(self) -> None:
        self._will_resume = False
        if self.transport is not None and self._is_held:
            self._resume(True)

    def _resume(self, resume_parser: bool) -> None:
        self._is_held = False  # before: what is parsed now may be enough to pause it again
        super().resume_reading(resume_parser)
        if self._loss:
            self._take_rest()

    def eof_received(self) -> None:
        super().eof_received()
        self.force_close()  # under TLS the transport does not say so before its goodbye is sent

    def connection_lost(self, exc: BaseException | None) -> None:
        self._loss.append(exc)
        self._take_rest()

    def _take_rest(self) -> None:
        """Take what the TLS layer still holds, as far as the reader has room; then tell of the loss."""
        if self.transport is None:  # we have closed it: nobody wants the rest
            self._tell_loss()
            return
        held = self.transport.get_extra_info("ssl_object")
        while not self._is_held:
            data = b"" if held is None or self.exception() is not None else _decrypt(held)
            if not data:
                self._tell_loss()
                return
            self.data_received(data)

    def _tell_loss(self) -> None:
        if self._loss:
            transport: Any = self.transport
            super().connection_lost(self._loss.pop())
            self._connected.discard(self)
            if _WARNS_OF_LOST and hasattr(transport, "_ssl_protocol"):
                transport._closed = True  # its own abort() would touch the loop, which may be a parent process's
            if self._body is not None:
                _fail(self._body)
                self._body = None

    def close(self) -> None:
        super().close()
        self._tell_loss()

    def abort(self) -> None:
        super().abort()
        self._tell_loss()

    def set_exception(self, exc: BaseException, exc_cause: Any = None) -> None:
        is_unheard = self._awaits_head and not self._heard
        if is_unheard and self._requests > 1 and isinstance(exc, (aiohttp.ClientError, OSError)):
            exc = KeptConnectionLost(f"{type(exc).__name__}: {exc}")
        if self._asked is not None:
            asked, self._asked = self._asked, None
            if not asked.done():
                asked.set_exception(exc)
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)

    def is_connected(self) -> bool:
        """Whether the connection can carry another request; aiohttp asks this of idle ones."""
        transport = self.transport
        if transport is None or transport.is_closing() or self.should_close or self._loss:
            return False
        parser = self._parser
        try:
            if parser is not None and parser.feed_eof() is not None:
                return False  # it holds the beginning of an answer that nobody asked for
        except Exception:
            return False
        if self._poll is None:
            sock = transport.get_extra_info("socket")
            self._poll = _never if sock is None else _poll_of(sock.fileno())
        return not self._poll()


def _never() -> bool:
    return False


def _poll_of(fd: int) -> Any:
    """Return what tells whether a socket can be read."""
    if not hasattr(select, "poll"):  # Windows; its select() knows no highest number
        return lambda: select.select([fd], [], [], 0)[0]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return partial(poll.poll, 0)


def _decrypt(tls: ssl.SSLObject) -> bytes:
    try:
        return tls.read(_ROOM)
    except (ssl.SSLError, ValueError):  # nothing more, or not all of a record
        return b""


class KeptConnection(Protocol):
    """What aiohttp's connector hands out."""

    protocol: _Handler
    transport: asyncio.Transport | None

    def release(self) -> None:
        """Have it used again."""

    def close(self) -> None:
        """Close it."""


class _Destination:
    """What aiohttp's connector asks a request for where it connects to a server; see ``Connector.fresh``.

    Args:
        request: One of aiohttp's own to that server.
    """

    __slots__ = ("connection_key", "port", "server_hostname", "ssl", "url")

    proxy = None

    def __init__(self, request: Any) -> None:
        self.connection_key = request.connection_key
        self.port = request.port
        self.server_hostname = request.server_hostname
        self.ssl = request.ssl
        self.url = request.url

    def is_ssl(self) -> bool:
        is_tls: bool = self.connection_key.is_ssl
        return is_tls


class Connector(aiohttp.TCPConnector):
    """The connections of one session in one event loop; to be made in it.

    Mends: aiohttp has no way to ask for a connection that was not used before; see ``take_fresh_connection``.
    Known for: aiohttp 3.14. Elsewhere: another kept connection may be taken, and its failure is one like any other.

    Args:
        limit: Connections at a time; 0 for no limit.
        tls: What to trust; None for aiohttp's own context.

    Attributes:
        host: How aiohttp names the server; empty before the first request.
        opened: How many connections were opened.
    """

    def __init__(self, *, limit: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(limit=limit, ssl=True if tls is None else tls)
        self._room = memoryview(bytearray(_ROOM))
        self.host = ""
        self.opened = 0
        self._key: Any = None  # one, since all requests go to one server
        self._destination: Any = None
        self._connected: set[_Handler] = set()
        # aiohttp offers no public way. A version that knows no such attribute takes its own handler, and costs what it costs.
        factory: Any = self._make_handler
        self._factory = factory

    def _make_handler(self) -> _Handler:
        return _Handler(self._loop, self._room, self._connected)

    def _get(self, key: Any, traces: Any) -> Any:
        self._key = key
        return _nothing() if _FRESH.get() else super()._get(key, traces)

    async def _create_connection(self, req: Any, *args: Any, **options: Any) -> Any:
        """Count the connections, and learn from the first request how aiohttp names the server.

        Mends: aiohttp counts them by its traces only, which cost every request.
        Known for: aiohttp 3.14. Elsewhere: none may be counted.
        """
        if _KNOWN and not self.host and req.proxy is None:
            self._destination = _Destination(req)
            self.host = req.headers["Host"]
        made = await super()._create_connection(req, *args, **options)
        self.opened += 1
        return made

    async def fresh(self, timeout: aiohttp.ClientTimeout) -> KeptConnection | None:
        """Return a new connection to the server, to be asked by itself; None where there was no request, or aiohttp is not known.

        Mends: what ``_Handler`` says under 8.
        Known for: aiohttp 3.14, in ``connect``.
        Elsewhere: every request is aiohttp's own.

        Raises:
            ConnectionTimeoutError: It took longer than the timeout allows.
            Exception: What else aiohttp raises where it connects.
        """
        if self._destination is None:
            return None
        token = _FRESH.set(True)
        try:
            made: Any = await self.connect(self._destination, [], timeout)
        except asyncio.TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._destination.url}") from error
        finally:
            _FRESH.reset(token)
        return cast("KeptConnection", made)

    async def kept(self) -> KeptConnection | None:
        """Return a connection that served before, to be asked by itself; None where there is none, or aiohttp is not known.

        Mends: what ``_Handler`` says under 8.
        Known for: aiohttp 3.14, in ``_get``.
        Elsewhere: every request is aiohttp's own.
        """
        if not _KNOWN or not self.host:
            return None
        kept: KeptConnection | None = await self._get(self._key, [])
        return kept

    def drop(self) -> None:
        """Close every connection at once, in the loop's thread, and wait for none.

        Mends: ``close()`` makes a task that waits, which a loop that ends first reports as destroyed; a connector that still has
            connections when it is forgotten says so.
        Known for: aiohttp 3.14. Elsewhere: as aiohttp does it.
        """
        for handler in list(self._connected):
            if handler.transport is not None:
                handler.transport.abort()
        kept: Any = getattr(self, "_conns", {})
        kept.clear()

    def leave(self) -> None:
        """Let go of every connection without the event loop: it is closed, or belongs to the process that forked this one.

        Mends: asyncio's transports can be closed only in a loop that runs; dropped, each gives a ResourceWarning. Here their
            sockets are closed, and nothing is said to the peer or the kernel's list of sockets, which a fork shares.
        Known for: CPython 3.10 to 3.14. Elsewhere: they are left as they are. uvloop closes them with its loop, and warns itself.
        """
        for handler in list(self._connected):
            transport: Any = handler.transport
            if transport is None:
                continue
            tls = getattr(transport, "_ssl_protocol", None)
            if _WARNS_OF_LOST and tls is not None:
                transport._closed = True  # dropped, it would warn, and write its goodbye to a socket that is closed
            end = getattr(transport if tls is None else getattr(tls, "_transport", None), "_call_connection_lost", None)
            try:
                if end is not None:
                    end(None)
                elif not self._loop.is_closed():
                    _LEFT.append(transport)  # dropped, it would close what is its parent's
                if handler.transport is not None:
                    handler.connection_lost(None)
            except RuntimeError:
                handler.transport = None  # who would be told is in the loop that is closed


async def _nothing() -> None:
    return None


async def take_fresh_connection(request: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    """Await a request over a connection that was not used before."""
    token = _FRESH.set(True)
    try:
        return await request
    finally:
        _FRESH.reset(token)
