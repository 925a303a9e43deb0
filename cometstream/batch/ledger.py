"""Where finished rows are written down, so that no worker pays one twice: the address, and what a store must be able to do."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from cometstream.errors import ConfigurationError
from cometstream.policy import is_seconds
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ask", "Ledger", "LedgerStore", "Verdict", "checked_ledger", "is_redis", "new_worker", "store_address"]

# Seconds without a sign of life after which a worker counts as dead. An event loop may be blocked for some seconds.
_LEASE: Final = 10.0
_SHORTEST: Final = 0.5

Verdict: TypeAlias = Literal["free", "mine", "mine again", "busy"] | bytes  # fmt: skip
"""What a ledger says of a row. Bytes are its answer.

``free``: nobody has it. ``mine``: it was given to the worker that asked. ``mine again``: the same, and a worker that is gone had
it, so it may have been sent before. ``busy``: another worker that lives has it.
"""


@dataclass(frozen=True)
class Ask:
    """One question to a ledger, or one entry.

    Attributes:
        kind: ``find`` looks a row up; ``claim`` takes it, before it is sent; ``finish`` writes its answer; ``release`` gives it
            back.
        key: Of the row: a digest of its name and of what is sent.
        name: The row's name, for people who look into the ledger.
        answer: What ``finish`` writes.
    """

    kind: Literal["find", "claim", "finish", "release"]
    key: bytes
    name: str = ""
    answer: bytes = b""


class LedgerStore(Protocol):
    """An open ledger of one worker."""

    async def open(self) -> None:
        """Make ready what `apply` needs.

        Raises:
            ConfigurationError: It cannot be used.
            CometError: It is not reached.
        """
        ...

    async def apply(self, asks: Sequence[Ask], *, renew: bool) -> list[Verdict]:
        """Answer every question, in this order and in one step.

        Args:
            asks: The questions.
            renew: Say that this worker lives, for the time of a lease.

        Raises:
            CometError: The ledger cannot be reached; asking again may help.
        """
        ...

    async def close(self, *, leave: bool) -> None:
        """Release everything; errors are not told. With `leave`, the worker is gone for the others, too."""
        ...


class Ledger:
    """The finished rows of a job, on which its workers agree: ``fan_out(session, rows, ledger=Ledger("rows.db"))``.

    A row is known by its ``custom_id`` (by its place among the requests if it has none) and by what is sent: messages, model and
    parameters. The answers are kept as they are, so whoever may read the ledger may read them. A new file is its owner's alone.

    Args:
        address: A file, which SQLite makes if there is none, for all processes of one machine; or ``redis://host:6379/0``, for many
            machines, with the extra ``redis``. A file must not be on a network drive.
        lease: Seconds after which the rows of a worker that gives no sign of life are free for others; 0.5 or more.
        prefix: Begins every key in Redis.

    Raises:
        ConfigurationError: One of these cannot be used.
    """

    __slots__ = ("address", "lease", "prefix")

    def __init__(
        self, address: str | os.PathLike[str], *, lease: float = _LEASE, prefix: str = "cometstream:ledger:"
    ) -> None:
        self.address = store_address("the ledger", address)
        if not (is_seconds(lease) and lease >= _SHORTEST):
            raise ConfigurationError(f"lease must be a number of seconds, {_SHORTEST} or more; got {shown(lease)}")
        self.lease = lease
        if not isinstance(prefix, str) or not prefix:
            raise ConfigurationError(f"prefix must be a text that is not empty; got {shown(prefix)}")
        self.prefix = prefix

    def __repr__(self) -> str:
        # The address of a Redis may hold its password.
        return "Ledger('redis://...')" if is_redis(self.address) else f"Ledger({self.address!r})"

    def store(self) -> LedgerStore:
        """Return what a worker asks.

        Raises:
            ConfigurationError: The extra that it needs is not installed, or the address cannot be used.
        """
        # Only the one that is used is imported.
        if is_redis(self.address):
            from cometstream.batch.ledger_redis import RedisLedger

            return RedisLedger(self.address, prefix=self.prefix, worker=new_worker(), lease=self.lease)
        from cometstream.batch.ledger_sqlite import SqliteLedger

        return SqliteLedger(self.address, worker=new_worker(), lease=self.lease)


def checked_ledger(ledger: Any) -> Ledger | None:
    """Return a caller's ledger; an address stands for a ``Ledger`` there.

    Raises:
        ConfigurationError: It is neither.
    """
    if ledger is None or isinstance(ledger, Ledger):
        return ledger
    if not isinstance(ledger, (str, os.PathLike)):
        raise ConfigurationError(f"ledger must be a Ledger, a file's name or a redis:// address; got {shown(ledger)}")
    return Ledger(ledger)


def store_address(what: str, address: Any) -> str:
    """Return the address of a store: a file's path, or a URL of Redis.

    Raises:
        ConfigurationError: It is neither.
    """
    try:
        text = os.fspath(address)
        if not isinstance(text, str) or not text or "\0" in text:
            raise ValueError
        os.fsencode(text)
    except Exception:  # of a path of the caller's own
        raise ConfigurationError(
            f"the address of {what} must be a file's name or redis://host:6379/0; got {shown(address)}"
        ) from None
    scheme, found, _ = text.partition("://")
    if found and not is_redis(text):
        raise ConfigurationError(
            f"the address of {what} begins with {shown(scheme + found)}; use a file's name or redis://host:6379/0"
        )
    return text


def is_redis(address: str) -> bool:
    """Whether an address is one of Redis."""
    return address.startswith(("redis://", "rediss://", "unix://"))


def new_worker() -> str:
    """Return a name that no other worker has."""
    return uuid.uuid4().hex
