"""Rows of an engine (Ray Data, Daft, Spark): a batch in a thread of its own, which takes rows and gives columns.

An engine calls from event loops and threads of its own, in batches of its own size. So the session and the one ``fan_out`` of a
worker run in a thread beside it, and rows of all calls are under way together.
"""

from __future__ import annotations

import asyncio
import copy
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.batch.deliveries import Deliveries, Ended
from cometstream.batch.fan_out import fan_out
from cometstream.batch.ledger import checked_ledger, is_redis
from cometstream.batch.shared_limits import checked_shared_limits
from cometstream.errors import ConfigurationError, UsageError
from cometstream.request.describe import shown
from cometstream.session import CometSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from cometstream.batch.result import BatchResult

__all__ = ["COLUMNS", "EngineRows", "Given", "check_options", "checked_columns"]

COLUMNS: Final = {
    "content": str,
    "error": str,
    "finish_reason": str,
    "completion": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "from_ledger": bool,
}
"""What is told of each row. ``error`` is null for a whole answer; ``completion`` is the answer as JSON, also what came of one that
broke off."""

# Stands for the workers' key while options are checked; nothing is sent.
_NO_KEY: Final = "the-workers-have-the-key"

_NOT_SENT: Final = "not sent: the batch was ended, by max_cost, max_tokens_total or the end of its worker"


class Given:
    """Which columns make a request.

    Args:
        prompt: The column with what is asked; used where ``messages`` and ``request`` are None.
        messages: The column with the messages, as a list or as JSON.
        request: The column with a whole request, as a dict or as JSON.
        id: The column that names the row, for the ledger.

    Raises:
        ConfigurationError: They are not names.
    """

    def __init__(
        self,
        prompt: str = "prompt",
        messages: str | None = None,
        request: str | None = None,
        id: str | None = None,  # noqa: A002 - the column's own name
    ) -> None:
        for name, value in (("prompt", prompt), ("messages", messages), ("request", request), ("id", id)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ConfigurationError(f"{name} must be the name of a column; got {shown(value)}")
        self._prompt = prompt
        self._messages = messages
        self._request = request
        self._id = id

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        source = self._request or self._messages or self._prompt
        return [source] if self._id is None else [source, self._id]

    def request(self, row: Mapping[str, Any]) -> Any:
        """Return the request of a row; if its values make none, what is returned is refused with a reason."""
        request: dict[str, Any]
        if self._request is not None:
            whole = _decoded(row.get(self._request))
            if not isinstance(whole, Mapping):
                return whole
            request = dict(whole)
        elif self._messages is not None:
            request = {"messages": _decoded(row.get(self._messages))}
        else:
            request = {"messages": [{"role": "user", "content": _plain(row.get(self._prompt))}]}
        if self._id is not None:
            name = _plain(row.get(self._id))
            request["custom_id"] = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
        return request


class EngineRows:
    """The batch of one worker of an engine.

    Args:
        given: Which columns make a request.
        session: What its ``CometSession`` is made with.
        options: Of ``fan_out``.

    Raises:
        CometError: One of them cannot be used.
    """

    def __init__(self, given: Given, *, session: Mapping[str, Any] | None, options: Mapping[str, Any]) -> None:
        self._given = given
        self._session = _checked(given, session or {}, options)
        self._options = options
        self._lock = threading.RLock()  # closed by the garbage collector, in whatever thread it runs
        self._waiting: deque[tuple[Any, Future[dict[str, Any]]]] = deque()
        self._running: dict[int, Future[dict[str, Any]]] = {}
        self._ended: Exception | None = None
        self._deliveries_of_last: Deliveries | None = None
        self._loop = asyncio.new_event_loop()
        self._arrived = asyncio.Event()
        self._main_task = self._loop.create_task(self._main())
        self._thread = threading.Thread(target=self._run, name="cometstream-rows", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Mapping[str, Any]]) -> list[Future[dict[str, Any]]]:
        """Give rows to the batch; each future gets a value for each of ``COLUMNS``.

        Raises:
            Exception: What ended the batch.
        """
        futures: list[Future[dict[str, Any]]] = [Future() for _ in rows]
        with self._lock:
            if self._ended is not None:
                raise self._ended
            # Waking a thread costs as much as a tenth of a row; rows that wait already have woken it.
            sleeps = not self._waiting
            self._waiting.extend(zip(map(self._given.request, rows), futures, strict=True))
            if sleeps:
                self._loop.call_soon_threadsafe(self._arrived.set)
        return futures

    async def complete(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Give rows to the batch, and return what became of them, in their order."""
        futures = self.submit(rows)
        ended = Ended(len(futures), self._deliveries(asyncio.get_running_loop()))
        for future in futures:
            future.add_done_callback(ended.one)
        try:
            await ended.all
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]

    def _deliveries(self, loop: asyncio.AbstractEventLoop) -> Deliveries:
        with self._lock:
            if self._deliveries_of_last is None or self._deliveries_of_last.loop is not loop:
                self._deliveries_of_last = Deliveries(loop)
            return self._deliveries_of_last

    def close(self) -> None:
        """End the batch, with all requests under way."""
        if sys.is_finalizing():
            return  # the thread has stopped for good, and what it had goes with the process
        with self._lock:
            if self._ended is None:
                self._ended = UsageError("this batch was closed")
                self._loop.call_soon_threadsafe(self._main_task.cancel)
        # The garbage collector may run in that thread, too.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        ending: Exception | None = None
        try:
            self._loop.run_until_complete(self._main_task)
        except asyncio.CancelledError:
            pass  # it was closed
        except Exception as error:
            ending = error
        with self._lock:
            if ending is not None:
                self._ended = ending
            # Who waits may have left; what is under way cannot be left.
            waiting = [future for _, future in self._waiting if future.set_running_or_notify_cancel()]
            left = [*self._running.values(), *waiting]
            self._waiting.clear()
        for future in left:
            if ending is None:
                future.set_result(_columns(None, _NOT_SENT))
            else:
                future.set_exception(ending)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _main(self) -> None:
        requests = self._requests()
        async with self._session as session:
            async with fan_out(session, requests, **self._options) as batch:
                async for result in batch:
                    self._running.pop(result.index).set_result(_told(result))
            await requests.aclose()
            # The batch came to its end before its time: no more rows are sent.
            while True:
                self._arrived.clear()
                while self._waiting:
                    _, future = self._waiting.popleft()
                    if future.set_running_or_notify_cancel():
                        future.set_result(_columns(None, _NOT_SENT))
                await self._arrived.wait()

    async def _requests(self) -> AsyncGenerator[Any, None]:
        index = 0
        while True:
            self._arrived.clear()
            while self._waiting:
                request, future = self._waiting.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self._running[index] = future
                index += 1
                yield request
            await self._arrived.wait()


def check_options(given: Given, *, session: Mapping[str, Any] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Say what is wrong with the options where the program is written: its workers may be elsewhere, and have the key.

    Returns:
        The options for the workers. Files are named from the program's folder: each worker may have a folder of its own, and would
        keep a ledger and limits of its own there.

    Raises:
        CometError: One of them cannot be used.
    """
    _checked(given, {"api_key": _NO_KEY, **(session or {})}, options)
    moved = dict(options)
    for name, checked in (("ledger", checked_ledger), ("shared_limits", checked_shared_limits)):
        store: Any = checked(options.get(name))
        if store is not None and not is_redis(store.address):
            moved[name] = copy.copy(store)
            moved[name].address = os.path.abspath(store.address)
    return moved


def checked_columns(columns: Sequence[str], given: Given, prefix: str) -> None:
    """Check that a table has what is asked for, and not what is told.

    Raises:
        ConfigurationError: A column is missing, or there is one already.
    """
    missing = [name for name in given.columns if name not in columns]
    if missing:
        raise ConfigurationError(f"there is no column {missing[0]!r}; the columns are {', '.join(map(str, columns))}")
    taken = [prefix + name for name in COLUMNS if prefix + name in columns]
    if taken:
        raise ConfigurationError(f"there is a column {taken[0]!r} already: choose another beginning with prefix=")


def _checked(given: Given, session: Mapping[str, Any], options: Mapping[str, Any]) -> CometSession:
    """Return a worker's session; nothing is opened.

    Raises:
        CometError: An option cannot be used.
    """
    if options.get("ledger") is not None and len(given.columns) < 2:
        raise ConfigurationError("a ledger knows rows by their names: name the column that has them with id=")
    for name in ("ordered", "on_progress"):
        if name in options:
            raise ConfigurationError(f"{name}: is not an option here, where results are columns")
    try:
        made = CometSession(**session)
    except TypeError as error:
        raise ConfigurationError(f"session: {error}") from None
    fan_out(made, [], **options)
    return made


def _told(result: BatchResult) -> dict[str, Any]:
    error: str | None = None
    if result.outcome == "cancelled" and result.error is None:
        error = _NOT_SENT
    elif result.outcome != "complete":
        error = f"{type(result.error).__name__}: {result.error}"
    return _columns(result, error)


def _columns(result: BatchResult | None, error: str | None) -> dict[str, Any]:
    told: dict[str, Any] = dict.fromkeys(COLUMNS)
    told["error"] = error
    told["from_ledger"] = result is not None and result.from_ledger
    completion = None if result is None else result.completion
    if completion is not None:
        told["completion"] = orjson.dumps(completion.to_dict()).decode()
        if error is None:
            told["content"] = completion.content
            told["finish_reason"] = completion.finish_reason
        usage = completion.usage
        if usage is not None:
            told["prompt_tokens"], told["completion_tokens"] = usage.prompt_tokens, usage.completion_tokens
    return told


def _decoded(value: Any) -> Any:
    """Return a list or dict that a column has as such, or as JSON."""
    if isinstance(value, (str, bytes)):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a value of a table as plain Python. What a table adds to a dict is left out: nulls for the names that others have."""
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
