"""Functions of the caller's own that hear of calls: ``Hooks``, and what runs them."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import anyio

from cometstream.errors import ConfigurationError
from cometstream.observe import LOG
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cometstream.failed import FailedAttempt
    from cometstream.metrics import StreamMetrics
    from cometstream.observe import Call

__all__ = ["HookRunner", "Hooks"]

# Seconds that a hook may await. It holds nobody back so long, it has a task of its own.
_LONGEST: Final = 10.0


@dataclass(frozen=True)
class Hooks:
    """Functions that are called when something happens to a call. They may be ``async``.

    A function that is not async runs at once, and holds the stream back for as long as it runs. What an async one awaits never
    does: it runs beside the stream, those of one call one after the other, each for 10 s at most. Leaving the stream's block waits
    up to 1 s for those that are not done. An error in a hook is logged, and never reaches the call.

    Attributes:
        on_start: Called with the ``Call`` when a stream is entered: ``client_request_id``, ``model``.
        on_retry: Called with the ``FailedAttempt`` when another attempt follows, before the wait for it: ``reason``, ``wait``,
            ``followed_by``, ``next_model``.
        on_first_content: Called with the ``Call`` when the first content came.
        on_end: Called with the ``StreamMetrics`` when the call is over, in whatever way; once for each that was started.

    Raises:
        ConfigurationError: One of them cannot be called.
    """

    on_start: Callable[[Call], object] | None = None
    on_retry: Callable[[FailedAttempt], object] | None = None
    on_first_content: Callable[[Call], object] | None = None
    on_end: Callable[[StreamMetrics], object] | None = None

    def __post_init__(self) -> None:
        for hook in fields(self):
            value = getattr(self, hook.name)
            if value is not None and not callable(value):
                raise ConfigurationError(
                    f"hooks.{hook.name} must be a function of one argument, or None; got {shown(value)}"
                )


class HookRunner:
    """Calls hooks, as a listener, and runs what they await beside the stream.

    Args:
        hooks: The functions.
        tasks: The session's: holds what is under way.

    Raises:
        ConfigurationError: They are not ``Hooks``.
    """

    def __init__(self, hooks: Any, tasks: set[asyncio.Task[None]]) -> None:
        if not isinstance(hooks, Hooks):
            raise ConfigurationError(
                f"hooks must be Hooks(...), such as Hooks(on_end=print), or None; got {shown(hooks)}"
            )
        self._hooks = hooks
        self._tasks = tasks

    def started(self, call: Call) -> None:
        """Call ``on_start``."""
        self._run("on_start", self._hooks.on_start, call, call)

    def answered(self, call: Call) -> None:
        """No hook is about heads."""

    def repeated(self, call: Call, failed: FailedAttempt) -> None:
        """Call ``on_retry``."""
        self._run("on_retry", self._hooks.on_retry, call, failed)

    def content_began(self, call: Call) -> None:
        """Call ``on_first_content``."""
        self._run("on_first_content", self._hooks.on_first_content, call, call)

    def ended(self, call: Call, metrics: StreamMetrics) -> None:
        """Call ``on_end``."""
        self._run("on_end", self._hooks.on_end, call, metrics)

    def _run(self, name: str, hook: Callable[[Any], object] | None, call: Call, told: object) -> None:
        if hook is None:
            return
        try:
            waited = hook(told)
            if not inspect.isawaitable(waited):
                return
            task = asyncio.get_running_loop().create_task(_finish(name, waited, call.under_way))
        except (Exception, asyncio.CancelledError) as error:
            _log(name, error)
            return
        call.under_way = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if inspect.iscoroutine(waited):
            # A task that is cancelled early never begins it.
            task.add_done_callback(lambda _: waited.close())


async def _finish(name: str, waited: Awaitable[object], before: asyncio.Task[None] | None) -> None:
    """Await what a hook returned, once what the one before returned is done."""
    try:
        if before is not None:
            await asyncio.wait([before])
        with anyio.move_on_after(_LONGEST) as scope:
            await waited
        if scope.cancelled_caught:
            LOG.warning("the hook %s was ended: it awaited something for more than %g s", name, _LONGEST)
    except Exception as error:
        _log(name, error)


def _log(name: str, error: BaseException) -> None:
    LOG.warning("the hook %s raised %s", name, type(error).__name__, exc_info=error)
