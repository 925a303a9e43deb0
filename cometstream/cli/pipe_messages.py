"""Messages between the processes of one batch: a length of four bytes, and a pickle. Both ends are this program."""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import Any, Final

__all__ = ["packed", "receive"]

_LENGTH: Final = struct.Struct("!I")


def packed(message: tuple[Any, ...]) -> bytes:
    """Return a message as bytes."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


async def receive(reader: asyncio.StreamReader) -> tuple[Any, ...] | None:
    """Return the next message; None if the other process has ended.

    Cancellation:
        The message may be lost; nothing more can be received.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        message: tuple[Any, ...] = pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None
    return message
