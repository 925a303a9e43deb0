"""Clocks and retries as plain data and arithmetic: no I/O, the time is passed in.

"Retryable" has one owner, the error: see ``RetryPolicy``.
"""

from __future__ import annotations

import email.utils
import math
import sys
from dataclasses import fields, replace
from datetime import timezone
from typing import TYPE_CHECKING, Final, TypeGuard

from cometstream.answer.typed_errors import RETRYABLE_STATUSES
from cometstream.errors import APIStatusError, CometError, ConfigurationError
from cometstream.frozen import dataclass
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["NOT_GIVEN", "Clocks", "NotGiven", "RetryBudget", "RetryPolicy", "Timeouts", "is_seconds", "retry_after"]

# What a success gives back of what a failure takes. gRFC A6 has 0.1 as its example, for services that nearly never fail; gateways
# with many channels refuse 5 % as a matter of course, and a flaky one a quarter: none of that is an outage.
_TOKEN_RATIO: Final = 0.5


class NotGiven:
    """The type of ``NOT_GIVEN``: take the session's value. None cannot say so, it turns something off."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __reduce__(self) -> str:
        return "NOT_GIVEN"  # a copy is the same one: settings that were copied or pickled are equal to theirs


NOT_GIVEN: Final = NotGiven()


@dataclass(frozen=True, init=False)
class Timeouts:
    """The four clocks of a stream, in seconds. None turns a clock off; a clock that is not given is the session's.

    Attributes:
        connect: To open a connection: name, TCP, proxy and TLS, without the wait for a free place in the pool. For each attempt.
        first_content: From sending the request to the first content; only waiting counts, not the caller's own work. For each
            attempt.
        content_idle: From one content to the next. It runs only while the caller waits in a read; keep-alives do not reset it.
        total: The whole call, with its retries and their waits.
    """

    connect: float | NotGiven | None = NOT_GIVEN
    first_content: float | NotGiven | None = NOT_GIVEN
    content_idle: float | NotGiven | None = NOT_GIVEN
    total: float | NotGiven | None = NOT_GIVEN

    def __init__(
        self,
        connect: float | NotGiven | None = NOT_GIVEN,
        first_content: float | NotGiven | None = NOT_GIVEN,
        content_idle: float | NotGiven | None = NOT_GIVEN,
        total: float | NotGiven | None = NOT_GIVEN,
    ) -> None:
        self.__dict__.update(connect=connect, first_content=first_content, content_idle=content_idle, total=total)
        self.__post_init__()

    def __post_init__(self) -> None:
        for clock in fields(self):
            value = getattr(self, clock.name)
            if value is None or isinstance(value, NotGiven):
                continue
            if not is_seconds(value) or value == 0:
                raise ConfigurationError(
                    f"timeouts.{clock.name} must be seconds, more than 0, or None (no limit); got {shown(value)}"
                )

    def over(self, base: Clocks) -> Clocks:
        """Return `base`, changed by the clocks that are given here."""
        given = {clock.name: getattr(self, clock.name) for clock in fields(self)}
        return replace(base, **{name: value for name, value in given.items() if not isinstance(value, NotGiven)})


@dataclass(frozen=True, init=False)
class Clocks:
    """``Timeouts`` in which every clock has a value: seconds, or None (no limit). The defaults are the library's."""

    connect: float | None = 10.0
    first_content: float | None = 300.0
    content_idle: float | None = 120.0
    total: float | None = None

    def __init__(
        self,
        connect: float | None = 10.0,
        first_content: float | None = 300.0,
        content_idle: float | None = 120.0,
        total: float | None = None,
    ) -> None:
        self.__dict__.update(connect=connect, first_content=first_content, content_idle=content_idle, total=total)

    def with_(self, timeouts: Timeouts | NotGiven | None) -> Clocks:
        """Return these clocks, changed by a caller's ``timeouts``; None turns all of them off."""
        if timeouts is None:
            return Clocks(None, None, None, None)
        if isinstance(timeouts, NotGiven):
            return self
        if not isinstance(timeouts, Timeouts):
            raise ConfigurationError(
                f"timeouts must be Timeouts(...), such as Timeouts(total=60), or None (no limits); got {shown(timeouts)}"
            )
        return timeouts.over(self)


@dataclass(frozen=True, init=False)
class RetryPolicy:
    """When to send a request again, and how long to wait before.

    Whether an error may be retried has one owner: the error. Its ``retryable`` is set where it is made, by whoever knows what the
    server said. A policy only consults it, and has its own word on HTTP statuses: ``statuses``.

    Attributes:
        max_retries: Attempts after the first; for each model, where fallbacks are given.
        initial_delay: The longest first wait in seconds; each further wait may be twice as long.
        max_delay: The longest wait in seconds, if the server asks for no wait.
        max_retry_after: The longest ``Retry-After`` in seconds that is obeyed; where the server asks for more, the error is raised
            at once.
        statuses: HTTP statuses to retry. A status that you add is always retried, one that you take out never is; for all others
            the error's own ``retryable`` decides.
        budget: Failures at which nothing is retried any more, counted over all requests of the session that have retries, so that
            a server which is down gets each request once and not three times. An answer takes half a failure back: retries go on
            while less than a third of the attempts fails. None for no limit.

    Source:
        Waits: full jitter, as in AWS's "Exponential Backoff And Jitter": drawn evenly from zero to the bound. Budget: gRFC A6,
        "Throttling Retry Attempts and Hedged RPCs", with maxTokens = 2 * budget and tokenRatio = 0.5.
    """

    max_retries: int = 2
    initial_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0
    statuses: frozenset[int] = RETRYABLE_STATUSES
    budget: int | None = 50

    def __init__(
        self,
        max_retries: int = 2,
        initial_delay: float = 0.5,
        max_delay: float = 8.0,
        max_retry_after: float = 60.0,
        statuses: Collection[int] = RETRYABLE_STATUSES,
        budget: int | None = 50,
    ) -> None:
        self.__dict__.update(
            max_retries=max_retries,
            initial_delay=initial_delay,
            max_delay=max_delay,
            max_retry_after=max_retry_after,
            statuses=statuses,
            budget=budget,
        )
        self.__post_init__()

    def __post_init__(self) -> None:
        if not _is_count(self.max_retries, 0):
            raise ConfigurationError(
                f"retry.max_retries must be a whole number of 0 or more; got {shown(self.max_retries)}"
            )
        for name in ("initial_delay", "max_delay", "max_retry_after"):
            value = getattr(self, name)
            if not is_seconds(value):
                raise ConfigurationError(f"retry.{name} must be seconds, 0 or more; got {shown(value)}")
        if not isinstance(self.statuses, (set, frozenset, list, tuple, range)) or not all(
            _is_count(status, 100) for status in self.statuses
        ):
            raise ConfigurationError(f"retry.statuses must be a set of HTTP statuses; got {shown(self.statuses)}")
        object.__setattr__(self, "statuses", frozenset(self.statuses))
        if self.budget is not None and not _is_count(self.budget, 1):
            raise ConfigurationError(
                f"retry.budget must be a whole number of 1 or more, or None (no limit); got {shown(self.budget)}"
            )

    @classmethod
    def of(cls, value: RetryPolicy | int | None, base: RetryPolicy | None = None) -> RetryPolicy:
        """Return the policy for a caller's ``retry``: a policy, a number of retries, or None for no retries.

        Args:
            value: What the caller gave.
            base: The policy that a number of retries changes; None for the defaults.
        """
        if isinstance(value, RetryPolicy):
            return value
        if value is None:
            return _NO_RETRIES
        if not _is_count(value, 0):
            raise ConfigurationError(
                f"retry must be a RetryPolicy, a number of retries (0 or more) or None (no retries); got {shown(value)}"
            )
        return cls(max_retries=value) if base is None else replace(base, max_retries=value)

    def allows(self, error: CometError) -> bool:
        """Whether another attempt may succeed after this error."""
        if isinstance(error, APIStatusError):
            listed = error.status in self.statuses
            if listed != (error.status in RETRYABLE_STATUSES):
                return listed
        return error.retryable

    def delay(self, retry: int, error: CometError, jitter: float) -> float | None:
        """Return the seconds to wait before a retry; None where the server asks for a longer wait than is obeyed.

        ``Retry-After`` is the shortest wait. The policy's own backoff comes on top of it, and where that is short a quarter of
        what was asked, so that clients which are refused together do not come back together.

        Args:
            retry: Which retry, from 1.
            error: The last attempt's error; its ``retry_after`` is obeyed.
            jitter: A random number from 0 to 1.
        """
        asked = (isinstance(error, APIStatusError) and error.retry_after) or 0.0
        if asked > self.max_retry_after:
            return None
        return asked + max(self.backoff(retry, jitter), asked / 4 * jitter)

    def backoff(self, retry: int, jitter: float) -> float:
        """Return the seconds to wait before a retry where the server asks for no wait."""
        return min(self.max_delay, self.initial_delay * 2.0 ** min(retry - 1, 60)) * jitter


class RetryBudget:
    """Counts the failures of a session's requests against the ``budget`` of their policies.

    Source:
        gRFC A6: a token for each failure, a part of one back for each success, no retries below half of the tokens. Counted here
        are the tokens that are missing, so that policies with different budgets can share the count.
    """

    __slots__ = ("_missing",)

    def __init__(self) -> None:
        self._missing = 0.0

    def succeeded(self) -> None:
        """An attempt was answered."""
        self._missing = max(0.0, self._missing - _TOKEN_RATIO)

    def failed(self, policy: RetryPolicy) -> bool:
        """An attempt failed that the policy would retry. Return whether the budget allows it."""
        if policy.budget is None:
            return True
        self._missing = min(self._missing + 1.0, max(self._missing, 2.0 * policy.budget))
        return self._missing < policy.budget


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asks to wait, in ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date).

    Args:
        headers: The answer's headers, case-insensitive.
        now: Unix time in seconds, for the date form.

    Returns:
        Seconds, 0 for a date that is past; None where the server asks for no wait, or for one that cannot be read.

    Source:
        RFC 9110, 10.2.3; ``retry-after-ms`` is OpenAI's and Azure's.
    """
    milliseconds = _float(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _float(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        # RFC 9110: a date without a zone, as the obsolete forms have it, is GMT too.
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, date.timestamp() - now)


def _float(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number >= 0 else None


def is_seconds(value: object) -> TypeGuard[float]:
    """Whether `value` is a time: a finite number of 0 or more."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return 0 <= value <= sys.float_info.max  # a longer integer cannot be added to a clock


def _is_count(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


# Rows of a batch are sent with it, and to check a policy costs as much as to check a request.
_NO_RETRIES: Final = RetryPolicy(max_retries=0)
