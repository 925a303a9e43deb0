"""A batch over several processes, with the face of a ``FanOut``: rows go to the worker that has room, results come back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cometstream.batch import BatchProgress
from cometstream.cli.pipe_messages import packed, receive
from cometstream.cli.process import say
from cometstream.errors import CometError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from typing_extensions import Self

    from cometstream.batch import BatchResult

__all__ = ["Processes"]

# Rows that a worker has beside twice as many as it can send at a time.
_AHEAD: Final = 32
# Deaths of workers after which the batch ends: something kills them all.
_DEATHS: Final = 20
# Seconds that a worker has to end.
_PATIENCE: Final = 5.0


@dataclass(eq=False)
class _Worker:
    """One process.

    Attributes:
        process: The process.
        pending: Its rows without a result, by their numbers.
        sent: Rows that it was sent.
        progress: What it told last.
        ended: It takes no more rows.
    """

    process: asyncio.subprocess.Process
    pending: dict[int, dict[str, Any]] = field(default_factory=dict)
    sent: int = 0
    progress: BatchProgress | None = None
    ended: bool = False

    @property
    def room(self) -> int:
        """How many more rows it may have."""
        places = 16 if self.progress is None else self.progress.concurrency
        return 0 if self.ended else _AHEAD + 2 * places - len(self.pending)

    def give(self, request: dict[str, Any]) -> None:
        """Send it a row."""
        self.pending[self.sent] = request
        self.sent += 1
        self.tell("row", request)

    def tell(self, *message: Any) -> None:
        """Send it a message; one that has ended hears nothing."""
        stdin = self.process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(packed(message))


class Processes:
    """A running batch of several worker processes; see ``FanOut``.

    Args:
        requests: The rows.
        count: Processes.
        base_url: Of the workers' sessions.
        cost: Whether they read the catalogue's prices.
        options: Of ``fan_out``. Caps of money and tokens are for all together.
    """

    def __init__(
        self,
        requests: AsyncIterator[dict[str, Any]],
        *,
        count: int,
        base_url: str | None,
        cost: bool,
        options: Mapping[str, Any],
    ) -> None:
        self._requests = requests
        self._count = count
        self._base_url = base_url
        self._cost = cost
        self._options = dict(options)
        if isinstance(self._options["concurrency"], int):
            self._options["concurrency"] = max(1, self._options["concurrency"] // count)
        hedge = self._options.get("hedge")
        if hedge is not None and hedge.max_cost is not None:
            self._options["hedge"] = replace(hedge, max_cost=hedge.max_cost / count)
        self._folder = tempfile.TemporaryDirectory(prefix="cometstream-")
        if self._options.get("shared_limits") is None:
            self._options["shared_limits"] = str(Path(self._folder.name, "limits.db"))
        self._workers: list[_Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[BatchResult | None] = asyncio.Queue()
        self._changes: list[asyncio.Event] = []
        self._gone: list[BatchProgress] = []
        self._deaths = self._twice = 0
        self._done = self._failed = 0
        self._all_sent = self._draining = self._closed = False
        self._failure: CometError | None = None
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            await self._start()
        self._do(self._hand_out())
        self._do(self._end_when_done())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        """Return the next result.

        Raises:
            CometError: What ended a worker's batch.
        """
        result = await self._results.get()
        if result is None:
            if self._failure is not None:
                raise self._failure
            raise StopAsyncIteration
        return result

    def drain(self) -> None:
        """Start no more rows. Requests under way come to their end."""
        if not self._draining:
            self._draining = True
            for worker in self._workers:
                worker.tell("drain")
            self._changed()

    async def aclose(self) -> None:
        """End every process, with all requests under way."""
        self._closed = True
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        for worker in self._workers:
            with suppress(ProcessLookupError):
                worker.process.kill()
        if tasks:
            await asyncio.wait(tasks)
        for worker in self._workers:
            await worker.process.wait()
        self._results.put_nowait(None)
        self._folder.cleanup()

    @property
    def progress(self) -> BatchProgress:
        """How far the batch has come, over all workers."""
        told = [worker.progress for worker in self._workers if worker.progress is not None]
        every = [*told, *self._gone]

        def total(name: str, of: list[BatchProgress]) -> Any:
            return sum(getattr(progress, name) for progress in of)

        costs = [progress.cost for progress in every if progress.cost is not None]
        reasons = {progress.concurrency_reason: None for progress in told}
        return BatchProgress(
            done=self._done,
            failed=self._failed,
            running=total("running", told),
            waiting=total("waiting", told),
            retries=total("retries", every),
            prompt_tokens=total("prompt_tokens", every),
            completion_tokens=total("completion_tokens", every),
            cost=sum(costs) if costs else None,
            concurrency=total("concurrency", told),
            concurrency_reason=", ".join(reasons),
            elapsed=self._loop.time() - self._began,
            total=None,
            trouble=next((progress.trouble for progress in told if progress.trouble is not None), None),
            from_ledger=total("from_ledger", every),
            maybe_paid_twice=self._twice + total("maybe_paid_twice", every),
            hedged=total("hedged", every),
            hedges_won=total("hedges_won", every),
        )

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cometstream.cli.batch_worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = _Worker(process)
        self._workers.append(worker)
        worker.tell(self._base_url, self._cost, self._options)
        if self._draining:
            worker.tell("drain")
        self._do(self._hear(worker))
        return worker

    async def _hear(self, worker: _Worker) -> None:
        """Take what a worker tells, until it ends; another one takes its place if it died."""
        assert worker.process.stdout is not None
        while (message := await receive(worker.process.stdout)) is not None:
            if message[0] == "result":
                self._take(worker, message[1])
            else:
                worker.progress = message[1]
            if message[0] == "ended":
                worker.ended = True
                worker.pending.clear()  # rows that came too late for it are left
                if message[2] is not None and self._failure is None:
                    self._failure = message[2]
                if not self._all_sent or self._failure is not None:
                    self.drain()  # what ended one, as the money, ends all
            self._changed()
        if not worker.ended and not self._closed:
            await self._died(worker)

    async def _died(self, worker: _Worker) -> None:
        worker.ended = True
        self._workers.remove(worker)
        self._deaths += 1
        if worker.progress is not None:
            self._gone.append(replace(worker.progress, running=0, waiting=0))
            if self._options.get("ledger") is None:
                self._twice += min(worker.progress.running, len(worker.pending))
        code = await worker.process.wait()
        say(f"a worker process ended with code {code}; its {len(worker.pending):,} rows are sent again")
        if self._deaths >= _DEATHS:
            self._failure = CometError(f"{self._deaths} worker processes have ended, the last one with code {code}")
            self.drain()
        other = await self._start()
        for request in worker.pending.values():
            other.give(request)
        self._changed()

    def _take(self, worker: _Worker, result: BatchResult) -> None:
        del worker.pending[result.index]
        self._done += result.outcome == "complete"
        self._failed += result.outcome not in ("complete", "cancelled")
        self._results.put_nowait(result)

    async def _hand_out(self) -> None:
        """Give each row to the worker with the most room."""
        async for request in self._requests:
            worker = await self._with_room()
            if worker is None:
                return
            worker.give(request)
        self._all_sent = True
        self._changed()

    async def _with_room(self) -> _Worker | None:
        """Return the worker with the most room, once one has some; None if no more rows are sent."""
        while not self._draining:
            worker = max(self._workers, key=lambda worker: worker.room, default=None)
            if worker is not None and worker.room > 0:
                return worker
            await self._change()
        return None

    async def _end_when_done(self) -> None:
        """Let the workers end when every row has its result."""
        while not (self._all_sent or self._draining) or any(worker.pending for worker in self._workers):
            await self._change()
        self._all_sent = True
        for worker in self._workers:
            worker.tell("end")
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._all_ended(), _PATIENCE)
        self._results.put_nowait(None)

    async def _all_ended(self) -> None:
        while not all(worker.ended for worker in self._workers):
            await self._change()

    async def _change(self) -> None:
        """Wait until a worker has told something."""
        change = asyncio.Event()
        self._changes.append(change)
        await change.wait()

    def _changed(self) -> None:
        for change in self._changes:
            change.set()
        self._changes.clear()
