"""What happens to a call, told to whoever wants to know: the log and the listeners, such as hooks.

The one seam of telemetry. Each call has a ``Call``, which its attempts and its stream tell what happens: entering, each attempt's
head or failure and what follows it, the first content, the end. Nothing of it runs for a token.

A line of the log names a call by its client request id and the gateway's. It gives as reason an error's class, status, code and
clock, never its message, which may quote the prompt. Contents are logged by the logger ``cometstream.content`` alone.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from cometstream.answer.error_body import is_unknown_model
from cometstream.errors import AuthenticationError, PermissionDeniedError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cometstream.answer.states import Outcome
    from cometstream.errors import CometError
    from cometstream.failed import FailedAttempt, Followed
    from cometstream.transport.incoming import Incoming
    from cometstream.views.completion import ChatCompletion

__all__ = ["CONTENT", "LOG", "Call", "Listener"]

LOG: Final = logging.getLogger("cometstream")

CONTENT: Final = logging.getLogger("cometstream.content")

# A name that a server or a caller gave stands in a line as it is if it is one word; anything longer may be a message.
_WORD: Final = re.compile(r"[\w.:/@+-]{1,100}", re.ASCII)


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

    def ended(self, call: Call, outcome: Outcome) -> None:
        """The call is over, in whatever way."""
        ...


class Call:
    """One call, as it is told of.

    Args:
        client_request_id: The id that all attempts of the call share.
        model: The model that is asked; None where the route takes none.
        listeners: What hears of it beside the log.
        redact: Takes secrets of the request out of what a server named.

    Attributes:
        client_request_id: As given.
        model: The model that is asked now: a fallback's, once that is turned to.
        model_asked: The model that was asked first.
        request_id: The gateway's id of the last attempt that was answered; None if it sent none.
        attempts: Attempts made so far.
        failures: Those that failed, in their order.
        began: When the stream was entered, on the event loop's clock.
        head_at: When the head of the last answer came; None before.
    """

    __slots__ = (
        "_attempt_began",
        "_listeners",
        "_redact",
        "attempts",
        "began",
        "client_request_id",
        "failures",
        "head_at",
        "model",
        "model_asked",
        "request_id",
    )

    def __init__(
        self,
        client_request_id: str,
        model: Any = None,
        listeners: Sequence[Listener] = (),
        redact: Callable[[str], str] = str,
    ) -> None:
        self.client_request_id = client_request_id
        self.model = self.model_asked = model if isinstance(model, str) else None
        self.request_id: str | None = None
        self.attempts = 0
        self.failures: tuple[FailedAttempt, ...] = ()
        self.began: float | None = None
        self.head_at: float | None = None
        self._attempt_began = 0.0
        self._listeners = listeners
        self._redact = redact

    def __repr__(self) -> str:
        return f"<Call {self.client_request_id}>"

    def starts(self, now: float) -> None:
        """The stream is entered."""
        self.began = now
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("call %s begins: model %s", self._name, self._word(self.model))
        for listener in self._listeners:
            listener.started(self)

    def sends(self, now: float) -> None:
        """An attempt is sent."""
        self.attempts += 1
        self.request_id = None
        self._attempt_began = now

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
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("call %s: first content after %.3f s", self._name, now - (self.began or 0.0))
        for listener in self._listeners:
            listener.content_began(self)

    def ends(self, outcome: Outcome, error: CometError | None, now: float, completion: Callable[[], Any]) -> None:
        """The call is over.

        Args:
            outcome: How its answer ended.
            error: Why it did not end well.
            now: The time.
            completion: Gives what came of the answer.
        """
        level = logging.DEBUG
        if error is not None:
            self._fails(error, now, "end")
            level = logging.WARNING if _needs_mending(error) else logging.INFO
        if LOG.isEnabledFor(level):
            LOG.log(level, "call %s", self._ending(outcome, error, now, completion()))
        for listener in self._listeners:
            listener.ended(self, outcome)

    def _ending(self, outcome: Outcome, error: CometError | None, now: float, completion: ChatCompletion[Any]) -> str:
        parts = [f"{self._name} ended: {outcome} after {now - (self.began or 0.0):.3f} s", f"attempts {self.attempts}"]
        if error is not None:
            parts.append(self.failures[-1].reason)
        answered = completion.model
        parts.append(f"model {self._word(answered or self.model)}")
        reasons = [self._word(choice.finish_reason) for choice in completion.choices if choice.finish_reason]
        if reasons:
            parts.append(f"finish_reason {' '.join(reasons)}")
        usage = completion.usage
        parts.append("usage unknown" if usage is None else f"tokens {usage.prompt_tokens}+{usage.completion_tokens}")
        if completion.normalizations:
            parts.append("normalized " + " ".join(f"{kind}={n}" for kind, n in completion.normalizations.items()))
        return "; ".join(parts)

    def _fails(
        self, error: CometError, now: float, followed_by: Followed, wait: float = 0.0, model: str | None = None
    ) -> FailedAttempt:
        from cometstream.failed import FailedAttempt  # calls that do not fail do not wait for the import

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

    def _word(self, name: object) -> str:
        """Return what a line may show of a name."""
        text = self._redact(str(name))
        return text if _WORD.fullmatch(text) else "(not a word)"

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


def _needs_mending(error: CometError) -> bool:
    """Whether somebody must act: the key, the quota or the model's name is wrong, and stays so until somebody mends it."""
    if isinstance(error, (AuthenticationError, PermissionDeniedError)) or is_unknown_model(error):
        return True
    return getattr(error, "status", None) == 402 or (isinstance(error, RateLimitError) and not error.retryable)
