"""What ``x-ratelimit-*`` headers announce: how much is left, and when there is more."""

from __future__ import annotations

import email.utils
import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Allowance", "read_requests", "read_tokens", "seconds_until"]

# A Go duration, as OpenAI and Groq write it: "1s", "6m0s", "17ms", "2m59.56s", "1h0m0s".
_NUMBER: Final = r"(\d+(?:\.\d*)?)"
_DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in ("d", "h", "m", "s", "ms")))
_UNITS: Final = (86400.0, 3600.0, 60.0, 1.0, 0.001)

# Larger numbers are Unix times in seconds or milliseconds (OpenRouter), since no reset is 30 years away.
_UNIX_SECONDS: Final = 1e9
_UNIX_MILLISECONDS: Final = 1e12


class Allowance(NamedTuple):
    """What is left of one limit.

    Attributes:
        limit: How many there are if none is used; None if that is not told.
        remaining: What may still be used before the reset.
        reset: Seconds until it is full again.
    """

    limit: float | None
    remaining: float
    reset: float


def read_requests(headers: Mapping[str, str]) -> Allowance | None:
    """Return how many requests are left; None if the headers do not say, or make no sense.

    Source:
        OpenAI and Groq write the names with ``-requests``, OpenRouter those without, Azure often ``-1``, or no reset at all.
    """
    remaining = headers.get("x-ratelimit-remaining-requests")
    if remaining is not None:
        return _read(
            headers, remaining, headers.get("x-ratelimit-limit-requests"), headers.get("x-ratelimit-reset-requests")
        )
    remaining = headers.get("x-ratelimit-remaining")
    if remaining is not None:
        return _read(headers, remaining, headers.get("x-ratelimit-limit"), headers.get("x-ratelimit-reset"))
    return None


def read_tokens(headers: Mapping[str, str]) -> Allowance | None:
    """Return how many tokens are left; None if the headers do not say, or make no sense."""
    remaining = headers.get("x-ratelimit-remaining-tokens")
    if remaining is None:
        return None
    return _read(headers, remaining, headers.get("x-ratelimit-limit-tokens"), headers.get("x-ratelimit-reset-tokens"))


def _read(headers: Mapping[str, str], remaining: str, limit: str | None, reset: str | None) -> Allowance | None:
    left = _number(remaining)
    wait = None if reset is None else seconds_until(reset, headers.get("date"))
    if left is None or wait is None:
        return None
    most = None if limit is None else _number(limit)
    if most is not None and (most <= 0 or most < left):
        most = None
    return Allowance(most, left, wait)


def seconds_until(reset: str, date: str | None) -> float | None:
    """Return the seconds until a reset; None if it is not a time.

    Args:
        reset: A duration (``"6m0s"``), seconds, a Unix time in seconds or milliseconds, an ISO or an HTTP date.
        date: The answer's ``Date``: absolute times are told by the server's clock, and so is this.
    """
    reset = reset.strip()
    number = _number(reset)
    if number is not None and number < _UNIX_SECONDS:
        return number
    if number is None:
        parts = _DURATION.fullmatch(reset)
        if parts is not None and reset:
            return sum(float(value) * unit for value, unit in zip(parts.groups(), _UNITS, strict=True) if value)
        number = _timestamp(reset)
    elif number >= _UNIX_MILLISECONDS:
        number /= 1000
    server_now = None if date is None else _timestamp(date)
    return None if number is None or server_now is None else max(0.0, number - server_now)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _timestamp(text: str) -> float | None:
    try:
        # Python 3.10 does not know the Z.
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
