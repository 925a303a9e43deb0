"""A ledger in Redis, for workers on many machines: a hash a row, and a key that expires for each worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cometstream.batch.redis_client import RedisError, connect, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cometstream.batch.ledger import Ask, Verdict

__all__ = ["RedisLedger"]

# KEYS: the row. ARGV: what is asked, the worker, the beginning of the workers' keys, the row's name, the answer.
_ANSWER: Final = """
local kind, worker = ARGV[1], ARGV[2]
if kind == 'finish' then
  redis.call('HSETNX', KEYS[1], 'answer', ARGV[5])
  return 'mine'
end
local known = redis.call('HMGET', KEYS[1], 'answer', 'worker')
if kind == 'release' then
  if not known[1] and known[2] == worker then redis.call('DEL', KEYS[1]) end
  return 'free'
end
if known[1] then return {known[1]} end
local other = known[2] and known[2] ~= worker
if other and redis.call('EXISTS', ARGV[3] .. known[2]) == 1 then return 'busy' end
if kind == 'find' then return 'free' end
redis.call('HSET', KEYS[1], 'worker', worker, 'name', ARGV[4])
return other and 'mine again' or 'mine'
"""


class RedisLedger:
    """A ledger in Redis; see ``LedgerStore``.

    Args:
        address: The server, as ``redis://user:password@host:6379/0``.
        prefix: Begins every key.
        worker: Who asks.
        lease: Seconds for which a sign of life holds.

    Raises:
        ConfigurationError: The address cannot be used, or the extra ``redis`` is not installed.
    """

    def __init__(self, address: str, *, prefix: str, worker: str, lease: float) -> None:
        self._redis = connect(address)
        self._prefix = prefix
        self._worker = worker
        self._lease_ms = int(lease * 1000)

    async def open(self) -> None:
        """Reach the server."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise failed("the ledger", error) from None

    async def apply(self, asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
        """Answer every question, in one round trip."""
        workers = f"{self._prefix}worker:"
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                if renew:
                    pipe.set(workers + self._worker, 1, px=self._lease_ms)
                for ask in asks:
                    key = f"{self._prefix}row:{ask.key.hex()}"
                    pipe.eval(_ANSWER, 1, key, ask.kind, self._worker, workers, ask.name, ask.answer)
                answers = await pipe.execute()
        except (RedisError, OSError) as error:
            raise failed("the ledger", error) from None
        return [_verdict(answer) for answer in answers[len(answers) - len(asks) :]]

    async def close(self, *, leave: bool) -> None:
        """Let go of the connection."""
        try:
            if leave:
                await self._redis.delete(f"{self._prefix}worker:{self._worker}")
            await self._redis.aclose()
        except (RedisError, OSError):
            pass  # the lease runs out by itself


def _verdict(answer: Any) -> Verdict:
    if isinstance(answer, list):
        return bytes(answer[0])
    verdict: Any = answer.decode()
    return verdict  # type: ignore[no-any-return]  # one of the script's own words
