"""Events whose texts come smoothly: a burst in pieces, in the order of everything else."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import anyio

from cometstream.errors import CometError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self

    from cometstream.answer.smooth import Smoother

__all__ = ["SmoothedEvents"]

_TEXTS: Final = ("content.delta", "reasoning.delta")


class SmoothedEvents:
    """Iterates the events of another iterator, with texts of the first choice in pieces.

    Args:
        events: The events; a read of them that is cancelled may be repeated.
        smoother: Spreads the texts.
    """

    def __init__(self, events: AsyncIterator[Any], smoother: Smoother) -> None:
        self._events = events
        self._smoother = smoother
        self._kind = ""  # of the text that is held
        self._next: deque[tuple[float, Any]] = deque()  # what comes behind that text, and when it arrived
        self._ending: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        smoother = self._smoother
        while True:
            at, now = smoother.at, anyio.current_time()
            if at is None:
                if self._next:
                    arrived, event = self._next.popleft()
                    if not _is_text(event):
                        return event
                    self._hold(event, arrived)
                elif self._ending is not None:
                    raise self._ending
                else:
                    self._take(await self._events.__anext__())
            elif at <= now:
                return self._piece(smoother.take(now))
            elif isinstance(self._ending, CometError):
                return self._piece(smoother.rest())
            elif self._ending is not None:
                await anyio.sleep(at - now)
            else:
                # Events are read while pieces wait, so that it is known when they came.
                with anyio.move_on_after(at - now):
                    try:
                        self._take(await self._events.__anext__())
                    except (StopAsyncIteration, CometError) as ending:
                        self._ending = ending

    def _take(self, event: Any) -> None:
        now = anyio.current_time()
        if not self._next and _is_text(event) and (self._smoother.at is None or event.type == self._kind):
            self._hold(event, now)
        else:
            self._next.append((now, event))

    def _hold(self, event: Any, arrived: float) -> None:
        self._kind = event.type
        self._smoother.add(event.delta, arrived)

    def _piece(self, text: str) -> Any:
        return SimpleNamespace(type=self._kind, delta=text, choice_index=0)


def _is_text(event: Any) -> bool:
    return event.type in _TEXTS and not getattr(event, "choice_index", None)
