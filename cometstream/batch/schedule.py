"""Which row of a batch starts next: first attempts and retries, model by model. No I/O; the time is passed in."""

from __future__ import annotations

import errno
import heapq
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cometstream.errors import (
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    ProtocolError,
    StreamUnterminatedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.errors import CometError
    from cometstream.metrics import StreamMetrics
    from cometstream.policy import RetryPolicy
    from cometstream.steps import Step
    from cometstream.stream import ChatStream

__all__ = ["Row", "Schedule", "is_nobody_there", "is_out_of_files", "may_be_mended", "retry_delay"]


class Row:
    """One request on its way through the batch.

    Attributes:
        index: Its place among the requests.
        custom_id: The caller's own name for it.
        request: The request as the caller gave it.
        params: What is sent: the request over the batch's defaults.
        model: The model whose limits apply.
        tokens: How many tokens it is expected to take.
        attempts: Attempts made.
        charged: The attempts that count against the retries.
        error: The error of the last attempt.
        hedges: Requests beside those attempts.
        repairs: How often it was asked again what its answer should have been.
        step: The row, as listeners hear of it; None before its first attempt.
        unterminated: An attempt ended without a finish_reason.
        key: What a ledger knows the row by; empty if there is no ledger.
        claimed: The ledger has given the row to this batch.
        stream: The first attempt's, ready to be entered; None once it is sent.
        metrics: Those of the last attempt, with the attempts and failures of all; None where there was no attempt.
    """

    __slots__ = (
        "attempts",
        "charged",
        "claimed",
        "custom_id",
        "error",
        "hedges",
        "index",
        "key",
        "metrics",
        "model",
        "params",
        "repairs",
        "request",
        "step",
        "stream",
        "tokens",
        "unterminated",
    )

    def __init__(self, index: int, custom_id: str | None, request: Any) -> None:
        self.index = index
        self.custom_id = custom_id
        self.request = request
        self.params: dict[str, Any] = {}
        self.model = ""
        self.tokens = 0
        self.attempts = 0
        self.charged = 0
        self.hedges = 0
        self.error: CometError | None = None
        self.repairs = 0
        self.unterminated = False
        self.step: Step | None = None
        self.key = b""
        self.claimed = False
        self.stream: ChatStream | None = None
        self.metrics: StreamMetrics | None = None

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self.attempts + self.hedges

    def measured(self, metrics: StreamMetrics | None) -> None:
        """Take the metrics of an attempt."""
        before = self.metrics
        if metrics is None or before is None:
            self.metrics = metrics or before
            return
        made = before.attempts
        failures = [replace(failed, number=made + failed.number) for failed in metrics.failures]
        self.metrics = replace(metrics, attempts=made + metrics.attempts, failures=(*before.failures, *failures))

    def waits(self, seconds: float) -> None:
        """The attempt failed, and another one follows."""
        metrics = self.metrics
        failed = None if metrics is None else metrics.error
        if metrics is None or failed is None:
            return
        failed = replace(failed, followed_by="retry", wait=seconds, next_model=metrics.model)
        self.metrics = replace(metrics, failures=(*metrics.failures[:-1], failed))


class _Queue:
    """The rows of one model that wait for its limits; first attempts and retries take turns, so that neither starves."""

    __slots__ = ("first", "retries", "retry_next")

    def __init__(self) -> None:
        self.first: deque[Row] = deque()
        self.retries: deque[Row] = deque()
        self.retry_next = False

    def _next(self) -> deque[Row]:
        return self.retries if self.retries and (self.retry_next or not self.first) else self.first

    def head(self) -> Row:
        return self._next()[0]

    def pop(self) -> Row:
        rows = self._next()
        self.retry_next = rows is self.first
        return rows.popleft()

    def __bool__(self) -> bool:
        return bool(self.first or self.retries)


class Schedule:
    """The rows that wait.

    Args:
        wait: Seconds until a request to a model, of so many tokens, may start at the earliest; 0.0 is now.
    """

    def __init__(self, wait: Callable[[str, int, float], float]) -> None:
        self._wait = wait
        self._queues: dict[str, _Queue] = {}
        self._backing_off: list[tuple[float, int, Row]] = []  # a heap, by the time at which each may try again
        self._models: set[str] = set()  # two at the most: whether there is more than one
        self._first = 0

    def __len__(self) -> int:
        return len(self._backing_off) + sum(len(queue.first) + len(queue.retries) for queue in self._queues.values())

    def add(self, row: Row) -> None:
        """Add a row that was never sent."""
        self._first += 1
        if len(self._models) < 2:
            self._models.add(row.model)
        self._queue(row.model).first.append(row)

    def add_retry(self, row: Row, due: float) -> None:
        """Add a row that may be sent again from `due` on."""
        heapq.heappush(self._backing_off, (due, row.index, row))

    def may_look_ahead(self, rows: int) -> bool:
        """Whether to pull another row: no row waits for its first attempt, or a row for another model may not have to wait.

        Args:
            rows: How many may wait then.
        """
        return not self._first or (len(self._models) > 1 and self._first < rows)

    def has_waiting(self, model: str) -> bool:
        """Whether rows for a model wait for its limits."""
        return model in self._queues

    def next(self, now: float) -> Row | None:
        """Remove and return a row that may start now; None if there is no such row."""
        backing_off = self._backing_off
        while backing_off and backing_off[0][0] <= now:
            row = heapq.heappop(backing_off)[2]
            self._queue(row.model).retries.append(row)
        for model, queue in self._queues.items():
            row = queue.head()
            if self._wait(model, row.tokens, now) <= 0:
                queue.pop()
                if not row.attempts:
                    self._first -= 1
                if not queue:
                    del self._queues[model]
                return row
        return None

    def due(self, now: float) -> float:
        """Return the earliest time at which a row may start; infinity if no row waits."""
        due = self._backing_off[0][0] if self._backing_off else math.inf
        for model, queue in self._queues.items():
            due = min(due, now + self._wait(model, queue.head().tokens, now))
        return due

    def clear(self) -> list[Row]:
        """Forget every row, and return them."""
        rows = [row for queue in self._queues.values() for row in (*queue.first, *queue.retries)]
        rows += [row for _, _, row in self._backing_off]
        self._queues, self._backing_off, self._first = {}, [], 0
        return rows

    def _queue(self, model: str) -> _Queue:
        return self._queues.setdefault(model, _Queue())


def retry_delay(row: Row, error: CometError, policy: RetryPolicy, jitter: float) -> float | None:
    """Return the seconds after which to send a row again; None if that cannot help, or if no retries are left.

    The caller has not seen the content of an answer that broke off, so the request may be sent again.

    Args:
        row: The row. It is marked if the answer had no finish_reason.
        error: The error of its last attempt.
        policy: How often, and how long to wait.
        jitter: A random number from 0 to 1.
    """
    if row.charged > policy.max_retries:
        return None
    if isinstance(error, StreamUnterminatedError):
        # Once: some honest providers never send a finish_reason.
        if row.unterminated:
            return None
        row.unterminated = True
    elif not may_be_mended(error, policy):
        return None
    return policy.delay(row.attempts, error, jitter)


def may_be_mended(error: CometError, policy: RetryPolicy) -> bool:
    """Whether an equal request may fare better than one that died of this error."""
    return (
        isinstance(error, (ProtocolError, StreamUnterminatedError))
        or is_out_of_files(error)  # the batch itself has too much open; by then it has less
        or policy.allows(error)
    )


def is_out_of_files(error: CometError) -> bool:
    """Whether the process could open no more connections, so that nothing was sent."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def is_nobody_there(error: CometError) -> bool:
    """Whether the request reached no server: there was no connection, or only a proxy in front of it answered."""
    if isinstance(error, APITimeoutError):
        return error.clock == "connect"
    return error.retryable and isinstance(error, (APIConnectionError, InternalServerError))
