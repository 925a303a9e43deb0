"""What happens to a call, told to whoever wants to know: the log and the listeners, such as hooks.

The one seam of telemetry. Each call has a ``Call``, which its attempts and its stream tell what happens: entering, each attempt's
head or failure and what follows it, the first content, the end. Nothing of it runs for a token.

A line of the log names a call by its client request id and the gateway's. It gives as reason an error's class, status, code and
clock, never its message, which may quote the prompt. Contents are logged by the logger ``cometstream.content`` alone.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from cometstream.answer.typed_errors import is_unknown_model
from cometstream.config import checked_headers
from cometstream.errors import AuthenticationError, PermissionDeniedError, RateLimitError
from cometstream.metrics import Gaps, StreamMetrics
from cometstream.views.cost import output_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cometstream.answer.machine import Answer
    from cometstream.answer.states import Outcome
    from cometstream.errors import CometError
    from cometstream.failed import FailedAttempt, Followed
    from cometstream.transport.incoming import Incoming
    from cometstream.views.completion import ChatCompletion

__all__ = ["CONTENT", "LOG", "Call", "Listener", "settle"]

LOG: Final = logging.getLogger("cometstream")

CONTENT: Final = logging.getLogger("cometstream.content")

# A name that a server or a caller gave stands in a line as it is if it is one word; anything longer may be a message.
_WORD: Final = r"(?a)[\w.:/@+-]{1,100}"


# Seconds that leaving a stream, or closing its session, waits for what listeners have under way.
_GRACE: Final = 1.0


class Listener(Protocol):
    """What hears of calls. Its methods do not raise and do not wait."""

    def started(self, call: Call) -> None:
        """A stream is being entered."""
        ...

    def answered(self, call: Call) -> None:
        """The head of an answer came."""
        ...

    def repeated(self, call: Call, failed: FailedAttempt) -> None:
        """An attempt failed, and another one follows."""
        ...

    def content_began(self, call: Call) -> None:
        """The first content came."""
        ...

    def ended(self, call: Call, metrics: StreamMetrics) -> None:
        """The call is over, in whatever way."""
        ...


class Measured(Protocol):
    """A stream that can tell of itself; it does so only when somebody listens."""

    @property
    def completion(self) -> ChatCompletion[Any]: ...
    @property
    def metrics(self) -> StreamMetrics: ...


class Call:
    """One call, as it is told of.

    Args:
        client_request_id: The id that all attempts of the call share.
        model: The model that is asked; None where the route takes none.
        listeners: What hears of it beside the log.
        redact: Takes secrets of the request out of what a server named.
        params: The request's body, before it was written as JSON; None where the route takes none.

    Attributes:
        client_request_id: As given.
        params: As given; ``{}`` where the route takes none. It is not changed by a fallback to another model.
        headers: What `add_headers` has added.
        completion: What came of the answer, for listeners; None before the end.
        redact: As given.
        model: The model that is asked now: a fallback's, once that is turned to.
        model_asked: The model that was asked first.
        request_id: The gateway's id of the last attempt that was answered; None if it sent none.
        attempts: Attempts made so far.
        failures: Those that failed, in their order.
        began: When the stream was entered, on the event loop's clock.
        head_at: When the head of the last answer came; None before.
        gaps: Those between reads from the first content on; None before.
        under_way: A listener's task that leaving the stream waits for, but not for long; None where there is none.
    """

    __slots__ = (
        "_attempt_began",
        "_listeners",
        "attempts",
        "began",
        "client_request_id",
        "completion",
        "failures",
        "gaps",
        "head_at",
        "headers",
        "model",
        "model_asked",
        "params",
        "redact",
        "request_id",
        "under_way",
    )

    def __init__(
        self,
        client_request_id: str,
        model: Any = None,
        listeners: Sequence[Listener] = (),
        redact: Callable[[str], str] = str,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.client_request_id = client_request_id
        self.params: Mapping[str, Any] = {} if params is None else params
        self.headers: dict[str, str] = {}
        self.completion: ChatCompletion[Any] | None = None
        self.model = self.model_asked = model if isinstance(model, str) else None
        self.request_id: str | None = None
        self.attempts = 0
        self.failures: tuple[FailedAttempt, ...] = ()
        self.began: float | None = None
        self.head_at: float | None = None
        self.gaps: Gaps | None = None
        self.under_way: asyncio.Task[None] | None = None
        self._attempt_began = 0.0
        self._listeners = listeners
        self.redact = redact

    def __repr__(self) -> str:
        return f"<Call {self.client_request_id}>"

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Send more headers with each attempt from now on, such as ``traceparent``. Those that the caller gave are kept.

        Raises:
            ConfigurationError: They cannot be sent; none of them is.
        """
        self.headers.update(checked_headers(headers))

    def starts(self, now: float) -> None:
        """The stream is entered."""
        self.began = now
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("call %s begins: model %s", self._name, self._word(self.model))
        for listener in self._listeners:
            listener.started(self)

    def sends(self, now: float, payload: bytes | None) -> None:
        """An attempt is sent.

        Args:
            now: The time.
            payload: The request's body, if it has one.
        """
        self.attempts += 1
        self.request_id = None
        self._attempt_began = now
        if payload is not None and _contents_are_asked_for():
            self._log_content("sends", payload)

    def is_answered(self, incoming: Incoming, now: float) -> None:
        """The head of the attempt's answer came."""
        self.head_at = now
        is_told = LOG.isEnabledFor(logging.DEBUG)
        if is_told or self._listeners:
            self.request_id = incoming.request_id
        if is_told:
            seconds = now - self._attempt_began
            LOG.debug(
                "call %s: attempt %d: status %d after %.3f s", self._name, self.attempts, incoming.status, seconds
            )
        for listener in self._listeners:
            listener.answered(self)

    def repeats(
        self, error: CometError, now: float, followed_by: Followed, *, wait: float = 0.0, model: Any = None
    ) -> None:
        """The attempt failed, and another one follows.

        Args:
            error: What it died of.
            now: The time.
            followed_by: What the next one is.
            wait: Seconds until it is sent.
            model: The model that it asks, where that is another.
        """
        next_model = model if isinstance(model, str) else self.model
        failed = self._fails(error, now, followed_by, wait, next_model)
        level = logging.WARNING if _needs_mending(error) else logging.INFO
        if LOG.isEnabledFor(level):
            LOG.log(
                level,
                "call %s: attempt %d failed after %.3f s: %s; %s",
                self._name,
                failed.number,
                failed.seconds,
                failed.reason,
                _NEXT[followed_by].format(number=failed.number + 1, wait=wait, model=self._word(next_model)),
            )
        for listener in self._listeners:
            listener.repeated(self, failed)
        self.model = next_model

    def content_begins(self, now: float) -> None:
        """The first content came."""
        self.gaps = Gaps(now)
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("call %s: first content after %.3f s", self._name, now - (self.began or 0.0))
        for listener in self._listeners:
            listener.content_began(self)

    def ends(self, stream: Measured, outcome: Outcome, error: CometError | None, now: float) -> None:
        """The call is over.

        Args:
            stream: Gives its metrics, and what came of the answer.
            outcome: How the answer ended.
            error: Why it did not end well.
            now: The time.
        """
        level = logging.DEBUG
        if error is not None and outcome not in ("complete", "cancelled"):
            self._fails(error, now, "end")
            level = logging.WARNING if _needs_mending(error) else logging.INFO
        if _contents_are_asked_for():
            self._log_content("received", stream.completion.to_json().encode())
        is_told = LOG.isEnabledFor(level)
        if not (is_told or self._listeners):
            return
        metrics = stream.metrics
        if is_told:
            LOG.log(level, "call %s ended: %s", self._name, self._ending(metrics, stream.completion))
        if self._listeners:
            self.completion = stream.completion
        for listener in self._listeners:
            listener.ended(self, metrics)

    def measure(
        self,
        answer: Answer | None,
        incoming: Incoming | None,
        completion: ChatCompletion[Any],
        outcome: Outcome | None,
        until: float | None,
    ) -> StreamMetrics:
        """Return what the call cost, and how fast it was.

        Args:
            answer: What the last attempt's body says; None before there is one.
            incoming: That body.
            completion: What came of the answer.
            outcome: How it ended; None while it runs.
            until: When the stream ended, or now; None where it was not entered.
        """
        began, gaps, usage, cost = self.began, self.gaps, completion.usage, completion.cost
        first = None if answer is None else answer.first_content
        flowed = 0.0 if gaps is None or first is None else gaps.last - first
        if flowed <= 0.0:
            gaps = None  # all came at once
        return StreamMetrics(
            request_id=None if incoming is None else incoming.request_id,
            attempts=self.attempts,
            time_to_first_content=None if first is None or began is None else first - began,
            duration=0.0 if until is None or began is None else until - began,
            chunks=0 if answer is None else answer.chunks,
            bytes=0 if incoming is None else incoming.bytes,
            usage=usage,
            cost=cost,
            cost_source="unknown" if cost is None else completion.cost_source,
            outcome=outcome,
            client_request_id=self.client_request_id,
            model=self.model_asked,
            model_answered=completion.model,
            failures=self.failures,
            fallbacks=tuple(
                failed.next_model
                for failed in self.failures
                if failed.followed_by == "fallback" and failed.next_model is not None
            )
            if self.failures
            else (),
            finish_reasons=tuple(choice.finish_reason for choice in completion.choices if choice.finish_reason),
            usage_source="unknown" if usage is None else "reported",
            time_to_first_byte=None if self.head_at is None or began is None else self.head_at - began,
            gap_p50=None if gaps is None else gaps.percentile(0.5),
            gap_p95=None if gaps is None else gaps.percentile(0.95),
            gap_max=None if gaps is None or not gaps.longest else gaps.longest,
            tokens_per_second=None if usage is None or gaps is None else output_tokens(usage) / flowed,
        )

    def _ending(self, metrics: StreamMetrics, completion: ChatCompletion[Any]) -> str:
        parts = [f"{metrics.outcome} after {metrics.duration:.3f} s", f"attempts {metrics.attempts}"]
        if metrics.error is not None:
            parts.append(metrics.error.reason)
        parts.append(f"model {self._word(metrics.model_answered or self.model)}")
        if metrics.finish_reasons:
            parts.append("finish_reason " + " ".join(map(self._word, metrics.finish_reasons)))
        usage = metrics.usage
        parts.append("usage unknown" if usage is None else f"tokens {usage.prompt_tokens}+{usage.completion_tokens}")
        if completion.normalizations:
            parts.append("normalized " + " ".join(f"{kind}={n}" for kind, n in completion.normalizations.items()))
        return "; ".join(parts)

    def _fails(
        self, error: CometError, now: float, followed_by: Followed, wait: float = 0.0, model: str | None = None
    ) -> FailedAttempt:
        from cometstream.failed import FailedAttempt  # imported by the session

        status = getattr(error, "status", None)
        failed = FailedAttempt(
            self.client_request_id,
            self.attempts,
            self.model,
            type(error).__name__,
            status if isinstance(status, int) else None,
            None if error.code is None else self._word(error.code),
            getattr(error, "clock", None),
            error.request_id,
            now - self._attempt_began,
            followed_by,
            wait,
            model,
        )
        # A read that was cancelled while it waited for the next attempt waits again.
        kept = self.failures[:-1] if self.failures and self.failures[-1].number == failed.number else self.failures
        self.failures = (*kept, failed)
        self.request_id = error.request_id or self.request_id
        return failed

    def _log_content(self, verb: str, content: bytes) -> None:
        # A header's secret that stands in the prompt, too, is none of the log's.
        CONTENT.debug("call %s %s %s", self._name, verb, self.redact(content.decode("utf-8", "replace")))

    def _word(self, name: object) -> str:
        """Return what a line may show of a name."""
        text = self.redact(str(name))
        return text if re.fullmatch(_WORD, text) else "(not a word)"

    @property
    def _name(self) -> str:
        """How lines name the call."""
        name = self._word(self.client_request_id)
        return name if self.request_id is None else f"{name} (gateway {self._word(self.request_id)})"


_NEXT: Final[dict[str, str]] = {
    "retry": "attempt {number} follows in {wait:.3f} s",
    "fallback": "attempt {number} asks the next model, {model}",
    "without_stream_options": "attempt {number} is sent without stream_options",
}


def _contents_are_asked_for() -> bool:
    """Whether the logger of contents was itself set to DEBUG: what it inherits from those above it was not meant for it."""
    return 0 < CONTENT.level <= logging.DEBUG and CONTENT.isEnabledFor(logging.DEBUG)


def _needs_mending(error: CometError) -> bool:
    """Whether somebody must act: the key, the quota or the model's name is wrong, and stays so until somebody mends it."""
    if isinstance(error, (AuthenticationError, PermissionDeniedError)) or is_unknown_model(error):
        return True
    return getattr(error, "status", None) == 402 or (isinstance(error, RateLimitError) and not error.retryable)


async def settle(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Give what listeners have under way a moment to end.

    Cancellation:
        Safe; the tasks go on.
    """
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    awaited = [task for task in tasks if task is not running and task.get_loop() is loop]
    if awaited:
        await asyncio.wait(awaited, timeout=_GRACE)
