"""The caller's function that hears of a batch's progress: whether it can be called."""

from __future__ import annotations

import inspect
from typing import Any

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

__all__ = ["check_on_progress", "not_callable"]


def check_on_progress(function: Any) -> None:
    """Check what a caller gave, as far as that can be told before it is called.

    Raises:
        ConfigurationError: It cannot be called.
    """
    if function is not None and not _takes_one(function):
        raise ConfigurationError(
            f"on_progress must be a function of one argument that is not async; got {shown(function)}"
        )


def not_callable(error: Exception) -> ConfigurationError | None:
    """Return what to raise where ``on_progress`` takes no progress; None where the error is its own."""
    own = error.__traceback__ is None or error.__traceback__.tb_next is not None
    if own or not isinstance(error, TypeError):
        return None
    told = ConfigurationError(f"on_progress cannot be called with a BatchProgress ({shown(error)})")
    told.__cause__ = error
    return told


def _takes_one(function: Any) -> bool:
    """Whether a function that is not async can be called with one argument, as far as that can be told."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        return False
    try:
        signature = inspect.signature(function)
    except Exception:  # some functions that are written in C have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
