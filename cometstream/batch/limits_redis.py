"""Shared limits in Redis, for workers on many machines."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, TypeVar

from cometstream.batch.redis_client import RedisError, WatchError, connect, failed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RedisLimits"]

_T = TypeVar("_T")

# The longest pause in seconds before a change is tried again that another worker was faster with.
_PAUSE: Final = 0.02
# Seconds after which a state is forgotten that nobody uses. What was spent is in it.
_KEPT: Final = 30 * 86400


class RedisLimits:
    """Shared limits in Redis; see ``LimitStore``. The time is the server's, so that the machines' clocks may differ.

    Args:
        address: The server, as ``redis://user:password@host:6379/0``.
        name: Of the job.

    Raises:
        ConfigurationError: The address cannot be used, or the extra ``redis`` is not installed.
    """

    def __init__(self, address: str, name: str) -> None:
        self._redis = connect(address)
        self._key = f"cometstream:limits:{name}"

    async def open(self) -> None:
        """Reach the server."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise failed("the state of shared limits", error) from None

    async def update(self, change: Callable[[bytes | None, float], tuple[bytes, _T]]) -> _T:
        """Change the state, again if another worker was faster."""
        try:
            while True:
                async with self._redis.pipeline(transaction=True) as pipe:
                    await pipe.watch(self._key)
                    state = await pipe.get(self._key)
                    seconds, micros = await pipe.time()
                    changed, result = change(state, seconds + micros / 1e6)
                    pipe.multi()
                    pipe.set(self._key, changed, ex=_KEPT)
                    try:
                        await pipe.execute()
                    except WatchError:
                        pass
                    else:
                        return result
                await asyncio.sleep(random.uniform(0.0, _PAUSE))
        except (RedisError, OSError) as error:
            raise failed("the state of shared limits", error) from None

    async def close(self) -> None:
        """Let go of the connection."""
        try:
            await self._redis.aclose()
        except (RedisError, OSError):
            pass  # it is gone already
