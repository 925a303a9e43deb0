"""The open body of an answer: read, interrupt, drain, close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import anyio
from multidict import CIMultiDict

from cometstream.transport.gate import Gate
from cometstream.transport.quirks import clear_exception, close_at_once, forget_connection, receive_less

if TYPE_CHECKING:
    import builtins
    from collections.abc import Awaitable, Mapping

    import aiohttp

    from cometstream.answer.typed_errors import ErrorContext
    from cometstream.errors import CometError
    from cometstream.transport.kept import PlainAnswer

__all__ = ["Connector", "HTTPIncoming", "Incoming", "Interrupted", "request_id_of"]

# Names under which gateways send their request id.
_REQUEST_ID_HEADERS: Final = ("x-cometapi-request-id", "x-request-id", "x-oneapi-request-id", "request-id")

# What a server may take after [DONE] to end its response, so that the connection can be used again.
_DRAIN: Final = 0.25

_MAX_DRAINED: Final = 64 * 1024


class Interrupted(Exception):
    """Wakes the reader: a clock is due."""


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the gateway's id of a request from the answer's headers."""
    for name in _REQUEST_ID_HEADERS:
        if name in headers:
            return headers[name]
    return None


def _redacted(headers: Mapping[str, str], context: ErrorContext) -> CIMultiDict[str]:
    """Return the answer's headers without secrets of the request that the server sent back."""
    if not context.secrets_may_be_in("\n".join(headers.values())):
        return CIMultiDict(headers)
    return CIMultiDict([(name, context.redact(value)) for name, value in headers.items()])


class Incoming(Protocol):
    """One answered request and its body, wherever it comes from: a connection, a recording, a simulation."""

    def read(self) -> Awaitable[bytes]:
        """Wait for bytes and return them; ``b""`` is the end. After an exception `rescue` has the bytes that came before it."""
        ...

    @property
    def status(self) -> int:
        """The answer's status."""
        ...

    @property
    def waited(self) -> float:
        """Seconds from sending the request to its head."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, case-insensitive, without secrets of the request that the server sent back."""
        ...

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the request."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes of body received so far."""
        ...

    def at_hand(self) -> builtins.bytes | None:
        """Return what is left of a body that is here to its end; None where it must be waited for, or was cut."""
        ...

    def interrupt(self) -> None:
        """Have the read that waits raise ``Interrupted``."""
        ...

    def rescue(self) -> builtins.bytes:
        """Return the bytes that came before the exception which a read raised, and let reads go on."""
        ...

    def gate(self) -> Gate | None:
        """Return what holds arrivals back; None where nothing can."""
        ...

    async def drain(self) -> None:
        """Give the server a moment to end its response, so that the connection is used again.

        Cancellation:
            Safe; the connection is then not used again.
        """
        ...

    def forget(self) -> None:
        """Let go of the connection, whose event loop is closed: nobody can close it any more."""
        ...

    def close(self) -> None:
        """Close the connection at once; a read that waits raises."""
        ...


class _Read(Protocol):
    """A function that is kept in a slot, which type checkers would take for a method without ``self``."""

    def __call__(self) -> Awaitable[bytes]: ...


class HTTPIncoming:
    """An ``Incoming`` over a connection.

    Args:
        response: The open answer.
        context: What must not be shown of its headers.
        waited: Seconds from sending the request to its head.

    Attributes:
        response: As given.
    """

    __slots__ = (
        "_content",
        "_context",
        "_scope",
        "_transport",
        "read",
        "response",
        "status",
        "waited",
    )

    def __init__(self, response: aiohttp.ClientResponse | PlainAnswer, context: ErrorContext, waited: float) -> None:
        self.response = response
        self._context = context
        self._content = response.content
        self._scope: anyio.CancelScope | None = None  # the wait for the response's end, for close() to cut short
        self._transport = response.connection.transport if response.connection is not None else None
        receive_less(self._transport)
        self.read: _Read = response.content.readany
        self.status = response.status
        self.waited = waited

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, case-insensitive, without secrets of the request that the server sent back."""
        return _redacted(self.response.headers, self._context)

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the request."""
        told = request_id_of(self.response.headers)
        return told and self._context.redact(told)

    def at_hand(self) -> builtins.bytes | None:
        """Return what is left of a body that is here to its end; None where it must be waited for, or was cut."""
        content = self._content
        return content.read_nowait() if content.is_eof() and content.exception() is None else None

    def interrupt(self) -> None:
        """Have the read that waits raise ``Interrupted``."""
        self._content.set_exception(Interrupted())

    def rescue(self) -> bytes:
        """Return the bytes that came before the exception which a read raised, and let reads go on."""
        clear_exception(self._content)
        return self._content.read_nowait()

    def gate(self) -> Gate | None:
        """Return what holds arrivals back; None where the connection is not known."""
        return None if self._transport is None else Gate(self._transport)

    async def drain(self) -> None:
        """Give the server a moment to end its response, so that the connection is used again.

        Cancellation:
            Safe; the connection is then not used again.
        """
        if self.response.connection is None:
            return
        left = _MAX_DRAINED
        try:
            with anyio.move_on_after(_DRAIN) as self._scope:
                # Reads that always find bytes would never let the time run out.
                while self.response.connection is not None and left > 0 and (data := await self._content.readany()):
                    left -= len(data)
        except Exception:
            pass  # the answer is whole; only the connection is not to be used again
        finally:
            self._scope = None

    def forget(self) -> None:
        """Let go of the connection, whose event loop is closed: nobody can close it any more."""
        forget_connection(self.response)

    def close(self) -> None:
        """Close the connection at once; one whose answer was read to its end is back in the pool already."""
        if self._scope is not None:
            self._scope.cancel()
        close_at_once(self.response, self._transport)

    @property
    def bytes(self) -> int:
        """Bytes of body received so far."""
        return self._content.total_bytes


class Connector(Protocol):
    """What opens the next attempt of one request."""

    async def __call__(self, failure: CometError | None, total_due: float) -> Incoming | None:
        """Open the next attempt; None where it was cancelled by `cancel`.

        Args:
            failure: What the last attempt died of; None for the first. It is raised again where there is no attempt left.
            total_due: When the clock `total` runs out, on the event loop's clock.
        """
        ...

    def cancel(self) -> None:
        """End the attempt that is being opened, and the wait for one."""
        ...
