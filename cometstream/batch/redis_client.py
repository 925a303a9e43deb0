"""A connection to Redis for what workers share."""

from __future__ import annotations

from typing import Any

from cometstream.errors import CometError, ConfigurationError

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError, WatchError
except ImportError as error:
    raise ConfigurationError("a redis:// address needs the extra redis: pip install 'cometstream[redis]'") from error

__all__ = ["RedisError", "WatchError", "connect", "failed"]


def connect(address: str) -> Any:
    """Return a client, which connects when it is used.

    Raises:
        ConfigurationError: The address cannot be used.
    """
    try:
        return Redis.from_url(address, socket_timeout=5.0, socket_connect_timeout=5.0)
    except (ValueError, AttributeError, TypeError):
        raise ConfigurationError("the address of Redis must be like redis://host:6379/0") from None


def failed(what: str, error: Exception) -> CometError:
    """Return the error to raise where Redis fails; its own messages may hold the address, with the password."""
    return CometError(f"{what} in Redis cannot be used: {type(error).__name__}", retryable=True)
