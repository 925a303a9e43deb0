"""One turn: a question and its answer, which go into the history together, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from cometstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cometstream.stream import ChatStream

__all__ = ["Turn"]

T = TypeVar("T")


class Turn(Generic[T]):
    """A turn to enter with ``async with``, which gives its ``ChatStream``; made by ``Conversation.turn``.

    Args:
        stream: The answer, not entered yet.
        begin: Called before the stream is entered; raises where the turn cannot begin.
        end: Called with the stream once it was left, or could not be entered.
    """

    def __init__(self, stream: ChatStream[T], begin: Callable[[], None], end: Callable[[ChatStream[T]], None]) -> None:
        self._stream = stream
        self._begin = begin
        self._end = end
        self._entered = False

    async def __aenter__(self) -> ChatStream[T]:
        if self._entered:
            raise UsageError("this turn was entered before: call turn() again for another")
        self._begin()
        self._entered = True
        try:
            return await self._stream.__aenter__()
        except BaseException:
            self._end(self._stream)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._stream.__aexit__(exc_type, exc, traceback)
        finally:
            self._end(self._stream)
