"""Tells on a terminal that ``ask`` or ``chat`` waits, and what for, until there is something to read."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.text import Text

from cometstream.cli.printers import Stderr
from cometstream.cli.process import one_line
from cometstream.cli.words import in_cli_words
from cometstream.policy import RetryPolicy

if TYPE_CHECKING:
    from rich.status import Status
    from typing_extensions import Self

    from cometstream.errors import CometError
    from cometstream.views.chunks import ChatCompletionChunk

__all__ = ["Waiting"]

# Seconds after which a person begins to wonder, and between two looks at the clock.
_PATIENCE: Final = 1.0
_TICK: Final = 0.25


class Waiting:
    """A line on stderr that counts the seconds, where stderr is a terminal. Enter it with ``async with`` around the answer.

    Args:
        model: Whose answer it is.
        show_reasoning: Whether the reasoning itself is shown, so that nothing else need be.
    """

    def __init__(self, model: str, *, show_reasoning: bool) -> None:
        self._what = f"waiting for {one_line(model)}"
        self._why = ""
        self._began = 0.0
        self._thinks = f"{one_line(model)} is reasoning"
        self._show_reasoning = show_reasoning
        self._due: float | None = None  # when the next attempt begins, on the loop's clock
        self._console = Stderr()
        self._status: Status | None = None
        self._task: asyncio.Task[None] | None = None

    def policy(self, retries: int) -> RetryPolicy:
        """Return a policy of so many retries that has each of them told on the line."""
        return _Told(max_retries=retries, told=self._retry)

    async def __aenter__(self) -> Self:
        if self._console.is_terminal:
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            self._task = loop.create_task(self._tick())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.end()

    def chunk(self, chunk: ChatCompletionChunk) -> None:
        """End the line where a chunk is shown; say so where it is reasoning that is not."""
        for choice in chunk.choices:
            if choice.delta.reasoning and not self._show_reasoning:
                self._what, self._due = self._thinks, None
            elif choice.delta.content or choice.delta.reasoning or choice.finish_reason:
                self.end()

    def end(self) -> None:
        """Take the line away."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _retry(self, error: CometError, delay: float) -> None:
        self._due = asyncio.get_running_loop().time() + delay
        self._why = one_line(in_cli_words(str(error)))
        if self._task is not None:
            self._draw()  # at once: it may be a long wait, and somebody may want to end it

    async def _tick(self) -> None:
        await asyncio.sleep(_PATIENCE)
        while True:
            self._draw()
            await asyncio.sleep(_TICK)

    def _draw(self) -> None:
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        # A text, since rich reads brackets in a string as styles, and a server's words may have some.
        self._status.update(Text(self._line(), style="dim", no_wrap=True, overflow="ellipsis"))

    def _line(self) -> str:
        now = asyncio.get_running_loop().time()
        waited = f"{now - self._began:.0f} s"
        if self._due is None:
            return f"{waited}, {self._what}"
        if now < self._due:
            return f"trying again in {math.ceil(self._due - now)} s: {self._why}"
        return f"{waited}, {self._what}, again after {self._why}"


@dataclass(frozen=True)
class _Told(RetryPolicy):
    """Retries that somebody is told of."""

    told: Callable[[CometError, float], None] = field(default=lambda _error, _delay: None, compare=False)

    def delay(self, retry: int, error: CometError, jitter: float) -> float | None:
        delay = super().delay(retry, error, jitter)
        if delay is not None:
            self.told(error, delay)
        return delay
