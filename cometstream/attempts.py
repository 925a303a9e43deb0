"""The attempts of one request: retries, fallback models, and the one without what the library added."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import anyio

from cometstream.answer.typed_errors import is_unknown_model
from cometstream.errors import APITimeoutError, AuthenticationError, BadRequestError, CometError
from cometstream.transport.opening import OpeningClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cometstream.observe import Call
    from cometstream.policy import Clocks, RetryBudget, RetryPolicy
    from cometstream.request.chat import ChatRequest
    from cometstream.transport.exchange import Endpoint
    from cometstream.transport.incoming import Incoming

__all__ = ["Attempts"]


class Attempts:
    """Opens the attempts of one request, one after another.

    Args:
        endpoint: The route that they are sent to.
        request: What is sent; None sends a GET.
        clocks: The four clocks; ``connect``, ``first_content`` and ``total`` run here.
        retry: When to try again.
        budget: The failures of all requests of the session.
        fallback_models: Models to turn to, in order, once the one before is given up.
        call: What is told of the attempts.
        on_close: The session's own method: it has the session's end call something, and returns what takes that back.
    """

    __slots__ = (
        "_budget",
        "_call",
        "_cancelled",
        "_clocks",
        "_endpoint",
        "_fallbacks",
        "_on_close",
        "_request",
        "_retries",
        "_retry",
        "_scope",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        request: ChatRequest | None,
        *,
        clocks: Clocks,
        retry: RetryPolicy,
        budget: RetryBudget,
        fallback_models: Sequence[str] = (),
        call: Call,
        on_close: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self._endpoint = endpoint
        self._request = request
        self._clocks = clocks
        self._retry = retry
        # A caller that retries by itself, as a batch does, neither spends the budget nor needs it.
        self._budget = budget if retry.max_retries else None
        self._fallbacks = fallback_models
        self._on_close = on_close
        self._call = call
        self._retries = 0
        self._scope: OpeningClock | anyio.CancelScope | None = None  # the wait that is going on
        self._cancelled = False

    def cancel(self) -> None:
        """End the attempt that is being opened, and the wait for one."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def __call__(self, failure: CometError | None, total_due: float) -> Incoming | None:
        """Open the next attempt; see ``Connector``.

        Raises:
            CometError: The last attempt's failure, when no other attempt is left or the clock `total` leaves no time for one.
        Cancellation:
            Safe at any point; the connection is closed.
        """
        method, endpoint, call = "GET" if self._request is None else "POST", self._endpoint, self._call
        loop = asyncio.get_running_loop()
        while True:
            if failure is not None and not self._cancelled:
                await self._prepare(failure, total_due)
            if self._cancelled:
                return None
            clock = self._scope = OpeningClock(self._clocks, total_due, traced=endpoint.traced)
            payload = None if self._request is None else self._request.payload
            call.sends(loop.time(), payload)
            try:
                incoming = await endpoint.send(method, payload, clock, call.client_request_id, call.headers)
                if self._budget is not None:
                    self._budget.succeeded()
                call.is_answered(incoming, loop.time())
                return incoming
            except CometError as error:
                failure = error
            finally:
                self._scope = None

    async def document(self) -> Any:
        """Return the answer's JSON document, for routes that do not stream. A body that breaks off is an attempt that failed.

        Raises:
            CometError: As calling; ``ProtocolError`` for a body that is not JSON.
        """
        total = self._clocks.total
        total_due = float("inf") if total is None else asyncio.get_running_loop().time() + total
        failure: CometError | None = None
        while True:
            attempt = await self(failure, total_due)
            assert attempt is not None  # nobody else has this object, so nobody cancels it
            try:
                return await self._endpoint.read_document(attempt, self._clocks, total_due)
            except CometError as error:
                failure = error

    async def _prepare(self, failure: CometError, total_due: float) -> None:
        """Wait for the next attempt and change the request for it, or raise `failure` where no attempt is left."""
        if isinstance(failure, APITimeoutError) and failure.clock == "content_idle":
            raise failure  # the answer had begun, and one that has begun is not asked for again
        now = asyncio.get_running_loop().time()
        smaller = None if self._request is None else self._request.without_addition(failure)
        if smaller is not None:
            self._call.repeats(failure, now, "without_stream_options")
            self._request = smaller
            return
        may_retry, unknown = self._retry.allows(failure), is_unknown_model(failure)
        # The budget counts each failure, also one that is not retried.
        affordable = may_retry and self._budget is not None and self._budget.failed(self._retry)
        if affordable and self._retries < self._retry.max_retries:
            delay = self._retry.delay(self._retries + 1, failure, random.random())
            if delay is not None and now + delay < total_due:
                self._call.repeats(failure, now, "retry", wait=delay)
                await self._wait(delay)
                return
        # Another model mends neither a bad request nor a bad key.
        at_fault = isinstance(failure, (BadRequestError, AuthenticationError)) and not unknown
        if self._request is None or at_fault or not (may_retry or unknown) or not self._fallbacks:
            raise failure
        self._retries = 0
        model, *self._fallbacks = self._fallbacks
        self._call.repeats(failure, now, "fallback", model=model)
        self._request = self._request.with_model(model)

    async def _wait(self, delay: float) -> None:
        with anyio.CancelScope() as self._scope:
            forget = self._on_close(self._scope.cancel)
            try:
                await anyio.sleep(delay)
                self._retries += 1  # only now: a read that is cancelled during the wait may be repeated
            finally:
                self._scope = None
                forget()
