"""Clocks and retries as plain data and arithmetic: no I/O, the time is passed in."""

from __future__ import annotations

import email.utils
import math
from dataclasses import dataclass, fields, replace
from datetime import timezone
from typing import TYPE_CHECKING, Any, Final

from cometstream.answer.error_body import RETRYABLE_STATUSES
from cometstream.errors import APIStatusError, APITimeoutError, CometError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOT_GIVEN", "NotGiven", "RetryPolicy", "Timeouts", "retry_after"]


class NotGiven:
    """The type of ``NOT_GIVEN``, which stands for "the session's own": None already means "off"."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven()


@dataclass(frozen=True)
class Timeouts:
    """The four clocks of a stream, in seconds; None turns one off, and a call's ``NOT_GIVEN`` takes the session's.

    Attributes:
        connect: To open a connection: name, TCP, proxy and TLS; the wait for a free place in the pool is not in it. Per attempt.
        first_content: From sending the request to the first content; only waiting counts, not what the caller does. Per attempt.
        content_idle: From one content to the next; it runs only while the caller waits in a read. Keep-alives never reset it.
        total: Everything, retries and their waits included.
    """

    connect: float | NotGiven | None = NOT_GIVEN
    first_content: float | NotGiven | None = NOT_GIVEN
    content_idle: float | NotGiven | None = NOT_GIVEN
    total: float | NotGiven | None = NOT_GIVEN

    def __post_init__(self) -> None:
        for clock in fields(self):
            value = getattr(self, clock.name)
            if value is None or isinstance(value, NotGiven):
                continue
            if not _is_number(value) or not value > 0:
                raise ConfigurationError(
                    f"timeouts.{clock.name}: {value!r} is no time; use seconds above 0, or None to turn the clock off"
                )

    def over(self, base: Clocks) -> Clocks:
        """Return `base` with every clock that is given here."""
        given = {clock.name: getattr(self, clock.name) for clock in fields(self)}
        return Clocks(
            **{name: getattr(base, name) if isinstance(value, NotGiven) else value for name, value in given.items()}
        )


@dataclass(frozen=True)
class Clocks:
    """``Timeouts`` with nothing left open: seconds, or None for off. The defaults are the library's."""

    connect: float | None = 10.0
    first_content: float | None = 300.0
    content_idle: float | None = 120.0
    total: float | None = None

    def with_(self, timeouts: Timeouts | NotGiven | None) -> Clocks:
        """Return these clocks as a caller's ``timeouts`` changes them; None turns all off."""
        if timeouts is None:
            return Clocks(None, None, None, None)
        if isinstance(timeouts, NotGiven):
            return self
        if not isinstance(timeouts, Timeouts):
            raise ConfigurationError(
                f"timeouts: {timeouts!r} is no Timeouts; write Timeouts(total=60), or None for no clocks"
            )
        return timeouts.over(self)


@dataclass(frozen=True)
class RetryPolicy:
    """When to send a request again, and how long to wait before.

    Attributes:
        max_retries: Attempts beyond the first; for each model, where fallbacks are given.
        initial_delay: Seconds that the first wait may take; each further one may take twice as long.
        max_delay: Seconds that no wait exceeds.
        max_retry_after: Seconds of ``Retry-After`` that are obeyed; a longer wish raises at once.
        statuses: HTTP statuses that are worth another attempt.

    Source:
        Full jitter, as in AWS's "Exponential Backoff And Jitter": waits are drawn evenly from zero up to the bound.
    """

    max_retries: int = 2
    initial_delay: float = 0.5
    max_delay: float = 8.0
    max_retry_after: float = 60.0
    statuses: frozenset[int] = RETRYABLE_STATUSES

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool) or self.max_retries < 0:
            raise ConfigurationError(f"retry.max_retries: {self.max_retries!r} is no count; use 0 or more")
        for name in ("initial_delay", "max_delay", "max_retry_after"):
            value = getattr(self, name)
            if not _is_number(value) or value < 0:
                raise ConfigurationError(f"retry.{name}: {value!r} is no time; use seconds, 0 or more")

    @classmethod
    def of(cls, value: RetryPolicy | int | None, base: RetryPolicy | None = None) -> RetryPolicy:
        """Return the policy that a caller's ``retry`` stands for: a policy, a number of retries, or None for none.

        Args:
            value: What the caller gave.
            base: Where all but the number is from; None for the defaults.
        """
        if isinstance(value, RetryPolicy):
            return value
        if value is None:
            return cls(max_retries=0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(
                f"retry: {value!r} is none; use a RetryPolicy, a number of retries, or None for none"
            )
        return cls(max_retries=value) if base is None else replace(base, max_retries=value)

    def allows(self, error: CometError) -> bool:
        """Whether `error` is of a kind that another attempt may mend."""
        if isinstance(error, APITimeoutError):
            return error.clock in ("connect", "first_content")
        if isinstance(error, APIStatusError) and error.status not in RETRYABLE_STATUSES:
            return error.status in self.statuses
        return error.retryable and (not isinstance(error, APIStatusError) or error.status in self.statuses)

    def delay(self, retry: int, error: CometError, jitter: float) -> float | None:
        """Return the seconds to wait before a retry, or None where the server wants a longer wait than is obeyed.

        Args:
            retry: Which retry, from 1.
            error: What the last attempt died of; its ``retry_after`` is obeyed.
            jitter: A random number from 0 to 1.
        """
        wish = error.retry_after if isinstance(error, APIStatusError) else None
        if wish is not None:
            return wish if wish <= self.max_retry_after else None
        return self.backoff(retry, jitter)

    def backoff(self, retry: int, jitter: float) -> float:
        """Return the seconds to wait before a retry for which the server has no wish."""
        return min(self.max_delay, self.initial_delay * 2.0 ** min(retry - 1, 60)) * jitter


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date) asks to wait, None for no wish.

    Args:
        headers: The answer's headers, case-insensitive.
        now: Unix time in seconds, for the date form.

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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
