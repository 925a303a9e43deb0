"""The event loops that applications run on, for tests whose promise must hold on each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

try:
    import uvloop
except ImportError:  # it is an extra, and there is none for Windows
    uvloop = None  # type: ignore[assignment] # a module, or None

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]


def _run_on(new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run:
    def run(main: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, and leave no task behind; what the loop's handler is told of fails the test."""
        loop = new_event_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        try:
            result = loop.run_until_complete(asyncio.wait_for(main, 60))
            left = asyncio.all_tasks(loop)
            assert not left, left
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        assert not told, told
        return result

    return run


on_each_loop = pytest.mark.parametrize(
    "run",
    [
        pytest.param(_run_on(asyncio.new_event_loop), id="asyncio"),
        pytest.param(
            _run_on(uvloop.new_event_loop if uvloop else asyncio.new_event_loop),
            id="uvloop",
            marks=pytest.mark.skipif(uvloop is None, reason="needs the extra uvloop"),
        ),
    ],
)


async def turns_until(condition: Callable[[], object]) -> None:
    """Let the loop turn until the condition holds; no time passes on a clock that jumps."""
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0)
