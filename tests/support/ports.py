"""Ports for servers that cannot choose one themselves."""

from __future__ import annotations

import contextlib
import random
import socket

__all__ = ["free_port"]

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on now.

    It is below those that the system gives to outgoing connections and to servers that let it choose, so that nobody else gets it
    by chance before its server listens, nor while that one restarts.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
