"""Records what a session sends and what comes back, as the stream reads it: ``recording(session, path)``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from cometstream.errors import CometError, ConfigurationError
from cometstream.request.describe import shown
from cometstream.session import CometSession
from cometstream.testing.cassette import BASE_URL, Cassette, Ending, Exchange, Failure, Piece, parsed_body
from cometstream.testing.intercepting import Intercepting
from cometstream.testing.masking import UNSTORED_HEADERS, Mask
from cometstream.testing.matching import hashed
from cometstream.transport.incoming import Interrupted

if TYPE_CHECKING:
    import builtins

    from cometstream.transport.gate import Gate
    from cometstream.transport.incoming import Incoming
    from cometstream.transport.intercept import Outgoing

__all__ = ["Recording", "recording"]


def recording(
    session: CometSession | None,
    path: str | os.PathLike[str],
    *,
    hash_contents: bool = False,
    without_headers: Iterable[str] = (),
) -> Recording:
    """Record a session's exchanges into a cassette, for ``with`` or ``async with``; the file is written at the block's end.

    The key and the session's other secrets are never stored, wherever they stand; of a request only its route and body are.

    Args:
        session: The session; None for all sessions of this process.
        path: The file to write.
        hash_contents: Store hashes of the requests' texts. The answers are stored as they came.
        without_headers: Headers of answers that are not stored, beside cookies and those of authentication.
    Raises:
        ConfigurationError: An argument cannot be used.
    """
    return Recording(session, path, hash_contents=hash_contents, without_headers=without_headers)


class Recording(Intercepting):
    """What `recording` returns; its arguments are told there.

    Attributes:
        cassette: What was recorded so far, with its secrets.
    """

    _what = "recording"

    def __init__(
        self,
        session: CometSession | None,
        path: str | os.PathLike[str],
        *,
        hash_contents: bool = False,
        without_headers: Iterable[str] = (),
    ) -> None:
        super().__init__(session, path)
        if not isinstance(hash_contents, bool):
            raise ConfigurationError(f"hash_contents must be True or False; got {shown(hash_contents)}")
        self.cassette = Cassette(hashed=hash_contents)
        self._unstored = UNSTORED_HEADERS | _header_names(without_headers)
        self._secrets: set[str] = set()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._masked().save(self._path)

    async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
        """Send a request on, and note what comes of it; see ``Interceptor``."""
        self._secrets.update(request.context.secrets)
        body = parsed_body(request.body)
        exchange = Exchange(request.method, request.route, hashed(body) if self.cassette.hashed else body)
        self.cassette.exchanges.append(exchange)
        time = asyncio.get_running_loop().time
        began = time()
        try:
            incoming = await send()
        except CometError as error:
            clock = getattr(error, "clock", None)
            message = error.message.replace(request.context.base_url, BASE_URL)
            exchange.failure = Failure(type(error).__name__, message, error.retryable, clock)
            exchange.waited = time() - began
            raise
        exchange.waited = incoming.waited
        exchange.status = incoming.status
        exchange.headers = [
            (name, value) for name, value in incoming.headers.items() if name.lower() not in self._unstored
        ]
        return _Noted(incoming, exchange)

    def _masked(self) -> Cassette:
        """Return what may be stored."""
        mask = Mask(self._secrets)
        return Cassette([_masked(exchange, mask) for exchange in self.cassette.exchanges], self.cassette.hashed)


class _Noted:
    """An ``Incoming`` that passes on another one's bytes, and notes them."""

    def __init__(self, incoming: Incoming, exchange: Exchange) -> None:
        self._incoming = incoming
        self._exchange = exchange
        self._time = asyncio.get_running_loop().time
        self._began = self._time()
        self._waits = False
        self.status, self.waited = incoming.status, incoming.waited
        self.headers, self.request_id = incoming.headers, incoming.request_id

    @property
    def bytes(self) -> int:
        return self._incoming.bytes

    async def read(self) -> builtins.bytes:
        self._waits = True
        ending = self._exchange.ending
        if ending is not None and ending.how == "left":
            # The clock `total` closed the connection between two reads: for the reader, nothing came any more.
            self._exchange.ending = replace(ending, how="silence")
        try:
            data = await self._incoming.read()
        except Interrupted:
            raise  # a clock is due, and the reader leaves while it waits; or goes on reading
        except Exception as error:
            self._ends("cut", error)
            raise
        self._waits = False
        self._note(data)
        if not data:
            self._ends("end")
        return data

    def at_hand(self) -> builtins.bytes | None:
        data = self._incoming.at_hand()
        if data is not None:
            self._note(data)
            self._ends("end")
        return data

    def interrupt(self) -> None:
        self._incoming.interrupt()

    def rescue(self) -> builtins.bytes:
        data = self._incoming.rescue()
        self._note(data)
        return data

    def gate(self) -> Gate | None:
        return self._incoming.gate()

    async def drain(self) -> None:
        try:
            await self._incoming.drain()
        finally:
            self._ends("end")  # the answer is whole; what came of the connection makes no difference to it

    def forget(self) -> None:
        self._incoming.forget()

    def close(self) -> None:
        self._ends("silence" if self._waits else "left")
        self._incoming.close()

    def _note(self, data: builtins.bytes) -> None:
        if data:
            self._exchange.pieces.append(Piece(self._time() - self._began, data))

    def _ends(self, how: str, error: Exception | None = None) -> None:
        if self._exchange.ending is None:
            name, text = ("", "") if error is None else (type(error).__name__, " ".join(str(error).split()))
            self._exchange.ending = Ending(self._time() - self._began, how, name, text)


def _header_names(names: Iterable[str]) -> set[str]:
    wrong = ConfigurationError(f"without_headers must be a list of header names; got {shown(names)}")
    if isinstance(names, (str, bytes)):
        raise wrong
    try:
        listed = list(names)
    except Exception:  # of the caller's own object
        raise wrong from None
    if not all(isinstance(name, str) for name in listed):
        raise wrong
    return {name.lower() for name in listed}


def _masked(exchange: Exchange, mask: Mask) -> Exchange:
    failure, ending = exchange.failure, exchange.ending
    covered = mask.cover_pieces([piece.data for piece in exchange.pieces])
    return Exchange(
        exchange.method,
        mask.cover_text(exchange.route),
        mask.cover_json(exchange.body),
        exchange.waited,
        exchange.status,
        [(name, mask.cover_text(value)) for name, value in exchange.headers],
        [Piece(piece.at, data) for piece, data in zip(exchange.pieces, covered, strict=True)],
        ending and Ending(ending.at, ending.how, ending.error, mask.cover_text(ending.text)),
        failure and Failure(failure.error, mask.cover_text(failure.message), failure.retryable, failure.clock),
    )
