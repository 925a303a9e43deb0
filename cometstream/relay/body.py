"""A relay that is pulled: an async iterator of bytes, for frameworks without an adapter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from cometstream.relay.engine import servant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self, Unpack

    from cometstream.relay.options import RelayOptions

__all__ = ["Relay", "RelayHead", "relay"]


class RelayHead(NamedTuple):
    """The head of the response."""

    status: int
    headers: Mapping[str, str]


def relay(stream: Any, **options: Unpack[RelayOptions]) -> Relay:
    """Relay an answer to a browser, as SSE bytes.

    The stream is entered, read and closed by the relay: give it as ``session.stream(...)`` returns it. Nothing is sent before
    the first read, or ``head()``.

    Args:
        stream: A stream; or another source of the same events, such as a tool loop, for ``ui`` and ``ag-ui``.
        protocol: ``"raw"``, the default: upstream's events as they came. ``"ui"``: what ``useChat`` of Vercel's AI SDK reads.
            ``"ag-ui"``: the events of AG-UI 1.0.
        heartbeat: Seconds of silence after which a comment is sent, so that proxies keep the connection, from before the answer's
            head on. Until the first byte an error still chooses the status, and after this time there is a first byte.
            None for no comments.
        on_end: Called once with a ``RelayEnd`` on every path, also when the browser has left; it may be a coroutine function.
        smooth: Seconds over which bursts of text are spread, in ``ui`` and ``ag-ui``; see ``ChatStream.text``.
        by: What a smooth piece is: ``"word"`` or ``"grapheme"``.
        message_id: The message's id in ``ui`` and ``ag-ui``; None makes one up.
        thread_id: The thread's id in ``ag-ui``, as in the request.
        run_id: The run's id in ``ag-ui``, as in the request.
    Returns:
        An async iterator of bytes.
    Raises:
        ConfigurationError: An option cannot be used.
    """
    return Relay(stream, options)


class Relay:
    """SSE bytes for a browser: ``async for piece in relay(...)``. One reader, once.

    What goes wrong upstream is said in the bytes, and not raised. Leaving early, a read that is cancelled, and ``aclose()`` close
    the connection upstream.

    Args:
        stream: As ``relay`` takes it.
        options: As ``relay`` takes them.

    Raises:
        UsageError: While reading: the stream was left or relayed before.
    """

    def __init__(self, stream: Any, options: RelayOptions) -> None:
        self._servant = servant(stream, options)
        self._slot = _Slot()
        self._task: asyncio.Task[None] | None = None

    async def head(self) -> RelayHead:
        """Wait until the status is known, at most for one heartbeat, and return it with the headers.

        Raises:
            UsageError: The stream was left or relayed before.
        Cancellation:
            The connection upstream is closed.
        """
        await self._until(lambda: self._slot.head is not None)
        if self._slot.head is None:
            self._raise_failure()
            return RelayHead(200, {})
        return self._slot.head

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        slot = self._slot
        await self._until(lambda: slot.piece is not None)
        if slot.piece is None:
            self._raise_failure()
            raise StopAsyncIteration
        piece, slot.piece = slot.piece, None
        slot.changed()
        return piece

    async def aclose(self) -> None:
        """End the relay, and close the connection upstream.

        Cancellation:
            The relay ends all the same, a little later.
        """
        if self._task is not None and not self._task.done():
            self._slot.leave()
            self._task.cancel()
            await asyncio.wait({self._task})

    def __del__(self) -> None:
        # A server that drops its response does not always close what it read from.
        task = getattr(self, "_task", None)
        if task is None or task.done() or self._slot.gone:
            return
        if not task.get_loop().is_closed():
            self._slot.gone = True
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _until(self, condition: Any) -> None:
        """Wait until the condition holds, or the relay is over."""
        slot = self._slot
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._servant.serve(slot))
            self._task.add_done_callback(slot.changed)
        try:
            while not condition() and not self._task.done():
                await slot.change()
        except asyncio.CancelledError:
            slot.leave()
            self._task.cancel()
            raise

    def _raise_failure(self) -> None:
        """Raise what the relay failed with, which is no ending of the answer."""
        task = self._task
        if task is not None and not task.cancelled() and (error := task.exception()) is not None:
            raise error


class _Slot:
    """An outlet of one piece: the next is written once the reader took the last."""

    def __init__(self) -> None:
        self.gone = False
        self.head: RelayHead | None = None
        self.piece: bytes | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.head = RelayHead(status, headers)
        self.changed()

    async def write(self, data: bytes) -> None:
        while self.piece is not None and not self.gone:
            await self.change()
        if self.gone:
            # Not left to the task's cancellation alone: a client of a store may swallow that.
            raise ConnectionResetError("nobody reads this relay any more")
        self.piece = data
        self.changed()

    async def refuse(self, status: int, headers: Mapping[str, str], body: bytes, in_band: bytes) -> None:
        await self.start(status, headers)
        await self.write(body)

    def leave(self) -> None:
        """The reader has left."""
        self.gone = True
        self.changed()

    def changed(self, _: object = None) -> None:
        """Wake whoever waits for a change: the reader, or the relay."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future
