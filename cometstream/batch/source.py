"""The requests of a batch, pulled one at a time, and only when one can be started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError, UsageError
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["NOTHING", "Source", "check_requests"]

NOTHING: Final = object()
"""What `Source.pull` returns if there is no request now."""


def check_requests(requests: Any) -> None:
    """Refuse requests that are neither a list nor an iterator.

    Raises:
        ConfigurationError: They are neither.
    """
    if isinstance(requests, (str, bytes, Mapping)) or not isinstance(requests, (Iterable, AsyncIterable)):
        raise ConfigurationError(
            f"requests: {type(requests).__name__} is not a list of requests; "
            "use a list, an iterator or an async iterator of dicts"
        )


class Source:
    """Pulls from a list, an iterator or an async iterator.

    Args:
        requests: The requests.
        arrived: Called when an async iterator has given the request that was asked for, or has ended.

    Raises:
        ConfigurationError: The requests cannot be read.

    Attributes:
        ended: No request is left.
        failure: What the iterator raised in place of its next request.
        task: The task that pulls from an async iterator; None if there is no such task.
        total: How many requests there are; None if that is not known.
    """

    __slots__ = (
        "_arrived",
        "_asked",
        "_asking",
        "_came",
        "_cancelled",
        "_is_sequence",
        "_iterator",
        "ended",
        "failure",
        "task",
        "total",
    )

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any], arrived: Callable[[], None]) -> None:
        self.ended = False
        self.failure: Exception | None = None
        self._arrived = arrived
        self._asked = asyncio.Event()
        self._asking = False  # one at a time: `_came` never holds two, nor the last one once `ended`
        self._came: list[Any] = []
        self._cancelled = False
        self.task: asyncio.Task[None] | None = None
        self._is_sequence = isinstance(requests, Sequence)
        self._iterator: Iterator[Any] | AsyncIterator[Any]
        try:
            self.total = len(requests) if isinstance(requests, Sized) else None
            self._iterator = iter(requests) if isinstance(requests, Iterable) else aiter(requests)
        except Exception as error:
            raise _unreadable(error) from error

    def pull(self, *, ask: bool) -> Any:
        """Return the next request, or ``NOTHING`` if there is none yet: an async iterator calls `arrived` when it has one.

        Args:
            ask: Whether to ask for a request. If not, only a request that was asked for before is returned.
        """
        if self._came:
            return self._came.pop()
        if self.ended or not ask:
            return NOTHING
        if isinstance(self._iterator, AsyncIterable):
            if self.task is None:
                self.task = asyncio.create_task(self._pull_when_asked(self._iterator))
            if not self._asking:
                self._asking = True
                self._asked.set()
            return NOTHING
        try:
            return next(self._iterator)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.ended = True
            self.failure = error
            if self._is_sequence:  # an iterator's error is the caller's own, and stays as it is
                self.failure = _unreadable(error)
                self.failure.__cause__ = error
        return NOTHING

    async def _pull_when_asked(self, iterator: AsyncIterator[Any]) -> None:
        """Take one request each time `pull` asks. One task for all of them: one each would cost more than the row's start."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                self._came.append(await anext(iterator))
                self._asking = False
                self._arrived()
        except StopAsyncIteration:
            pass
        except Exception as error:
            self.failure = error
        except asyncio.CancelledError:
            if self._cancelled:
                raise
            # What the iterator waited for was cancelled, or this task by a loop that is shut down.
            self.failure = UsageError("the iterator of the requests was cancelled")
        finally:
            self.ended = True
            self._arrived()

    def cancel(self) -> None:
        """Pull no more; a request that an async iterator is making is given up."""
        self.ended = self._cancelled = True
        if self.task is not None:
            self.task.cancel()


def _unreadable(error: Exception) -> ConfigurationError:
    return ConfigurationError(f"requests: cannot be read ({shown(error)})")
