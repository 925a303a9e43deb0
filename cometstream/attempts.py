"""The attempts of one request: retries, fallback models, and the one without ``stream_options``."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import anyio

from cometstream.answer.error_body import is_unknown_model
from cometstream.errors import APIStatusError, AuthenticationError, BadRequestError, CometError
from cometstream.request.encode import encode_body
from cometstream.transport.incoming import Incoming
from cometstream.transport.opening import OpeningClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cometstream.policy import Clocks, RetryPolicy
    from cometstream.transport.exchange import Endpoint

__all__ = ["Attempts"]


class Attempts:
    """Opens the attempts of one request, one after another.

    Args:
        endpoint: Where to.
        body: The request, as it is encoded; its ``model`` changes with the fallbacks. None sends a GET.
        clocks: The four clocks; ``connect`` and ``first_content`` run here, ``total`` too.
        retry: When to try again.
        fallback_models: Models to turn to once the one before is given up.
        added_usage: ``stream_options`` is ours, so a server that refuses it is asked once more without.
        on_close: The session's own: has its end call something, and returns what takes that back.

    Attributes:
        made: Attempts made so far.
    """

    __slots__ = (
        "_added_usage",
        "_body",
        "_cancelled",
        "_clocks",
        "_endpoint",
        "_fallbacks",
        "_method",
        "_on_close",
        "_payload",
        "_retries",
        "_retry",
        "_scope",
        "made",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        body: dict[str, Any] | None,
        *,
        clocks: Clocks,
        retry: RetryPolicy,
        fallback_models: Sequence[str] = (),
        added_usage: bool = False,
        on_close: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self.made = 0
        self._endpoint = endpoint
        self._body = body or {}
        self._method = "GET" if body is None else "POST"
        self._payload = None if body is None else _encoded(body)
        self._clocks = clocks
        self._retry = retry
        self._fallbacks = list(fallback_models)
        self._added_usage = added_usage
        self._on_close = on_close
        self._retries = 0
        self._scope: anyio.CancelScope | None = None  # the wait that is going on
        self._cancelled = False

    def cancel(self) -> None:
        """End the attempt that is being opened, and the wait for one."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def __call__(self, failure: CometError | None, total_due: float) -> Incoming | None:
        """Open the next attempt; see ``Connector``.

        Raises:
            CometError: The last attempt's failure, when no other is left or the clock `total` leaves no time for it.
        Cancellation:
            Safe at any point; the connection is closed.
        """
        while True:
            if failure is not None:
                await self._prepare(failure, total_due)
            if self._cancelled:
                return None
            clock = OpeningClock(self._clocks, total_due, traced=self._endpoint.traced)
            self._scope = clock.scope
            self.made += 1
            try:
                with clock:
                    response = await self._endpoint.send(self._method, self._payload, clock)
                    return Incoming(response, clock.waited)
                if not self._cancelled:
                    failure = clock.error(self._endpoint.context.base_url)
            except CometError as error:
                failure = error
            finally:
                self._scope = None

    async def document(self) -> Any:
        """Return the answer's JSON document, for routes that do not stream; a body that breaks off is an attempt that failed.

        Raises:
            CometError: As calling; ``ProtocolError`` for a body that is no JSON.
        """
        total = self._clocks.total
        total_due = float("inf") if total is None else asyncio.get_running_loop().time() + total
        failure: CometError | None = None
        while True:
            attempt = await self(failure, total_due)
            assert attempt is not None  # nobody else has it, to cancel it
            try:
                return await self._endpoint.read_document(attempt.response, self._clocks, total_due)
            except CometError as error:
                failure = error

    async def _prepare(self, failure: CometError, total_due: float) -> None:
        """Wait for the next attempt and change the request for it, or raise `failure` where none is left."""
        if self._refuses_usage(failure):
            self._added_usage = False
            self._body = {key: value for key, value in self._body.items() if key != "stream_options"}
            self._payload = _encoded(self._body)
            return
        may_retry, unknown = self._retry.allows(failure), is_unknown_model(failure)
        if may_retry and self._retries < self._retry.max_retries:
            delay = self._retry.delay(self._retries + 1, failure, random.random())
            if delay is not None and asyncio.get_running_loop().time() + delay < total_due:
                with anyio.CancelScope() as self._scope:
                    forget = self._on_close(self._scope.cancel)
                    try:
                        await anyio.sleep(delay)
                        self._retries += 1  # only now: a read that was cancelled meanwhile may be repeated
                    finally:
                        self._scope = None
                        forget()
                return
        # Another model does not mend a request at fault, nor a key.
        at_fault = isinstance(failure, (BadRequestError, AuthenticationError)) and not unknown
        if at_fault or not (may_retry or unknown) or not self._fallbacks:
            raise failure
        self._retries = 0
        self._body = {**self._body, "model": self._fallbacks.pop(0)}
        self._payload = _encoded(self._body)

    def _refuses_usage(self, failure: CometError) -> bool:
        return (
            self._added_usage
            and isinstance(failure, APIStatusError)
            and failure.status == 400
            and ("stream_options" in failure.message or failure.param == "stream_options")
        )


def _encoded(body: dict[str, Any]) -> bytes:
    """Return the body as JSON. What orjson returns keeps the buffer that it was written to, which is larger by far."""
    return bytes(memoryview(encode_body(body)))
