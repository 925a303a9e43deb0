"""Runs one tool: async functions in the loop, plain ones in a worker thread; and writes its result as the model reads it."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import orjson

from cometstream.errors import ToolError
from cometstream.views.view import View

__all__ = ["ToolTimeoutError", "as_content", "error_content", "run_tool", "told_of"]


class ToolTimeoutError(TimeoutError):
    """A tool took longer than it may."""


class ToolCancelledItselfError(Exception):
    """A tool raised ``CancelledError`` though nobody had cancelled it."""


async def run_tool(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    timeout: float | None,
    threads: anyio.CapacityLimiter,
    is_cancelled: Callable[[], bool],
) -> Any:
    """Call a tool's function and return what it returns.

    A plain function cannot be stopped: where its time is over, or the run is left, its thread goes on and its result is dropped.

    Args:
        function: What to call.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        timeout: Seconds that it may take.
        threads: Where a plain function takes its thread from.
        is_cancelled: Whether the run has cancelled this call.
    Raises:
        ToolTimeoutError: It took longer.
        ToolCancelledItselfError: It raised ``CancelledError`` by itself.
        BaseException: What the function raised.
    Cancellation:
        An async function is cancelled; a plain one is left to its thread.
    """
    with anyio.CancelScope() as limit:
        if timeout is not None:
            limit.deadline = anyio.current_time() + timeout
        try:
            if _is_async(function):
                value = function(*args, **kwargs)
            else:
                value = await anyio.to_thread.run_sync(
                    partial(function, *args, **kwargs), abandon_on_cancel=True, limiter=threads
                )
            return await value if inspect.isawaitable(value) else value
        except asyncio.CancelledError as error:
            if limit.cancel_called or is_cancelled():
                raise
            raise ToolCancelledItselfError("the tool raised CancelledError, though nobody had cancelled it") from error
    raise ToolTimeoutError(f"the tool took longer than its timeout of {timeout:g} s")


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - asks whether it is async


def as_content(value: Any) -> str:
    """Return a tool's result as the model reads it: a text as it is, anything else as JSON.

    Raises:
        TypeError: JSON cannot hold it.
    """
    if isinstance(value, str):
        text = value
    elif hasattr(value, "model_dump_json") and not isinstance(value, type):
        text = value.model_dump_json()
    else:
        try:
            text = orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, RecursionError) as error:
            try:
                # It takes integers of any size.
                text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise TypeError(f"the tool returned what JSON cannot hold: {type(value).__name__} ({error})") from None
    if not isinstance(text, str):
        raise TypeError(f"the tool returned what JSON cannot hold: {type(value).__name__}")
    # A lone surrogate cannot be sent.
    return text.encode("utf-8", "replace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, View):
        return value.to_dict()
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, float) and math.isfinite(value):  # numpy's
        return float(value)
    raise TypeError(f"a value of type {type(value).__name__}")


def error_content(message: str) -> str:
    """Return what the model reads in place of a result."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()}).decode()


def told_of(error: BaseException) -> str:
    """Return what the model may know of a tool's exception: the words of a ``ToolError``, else only that it failed."""
    if isinstance(error, ToolError) and isinstance(error.message, str):
        return error_content(error.message)
    if isinstance(error, ToolTimeoutError):
        return error_content("the tool did not answer in time")
    return error_content("the tool failed")
