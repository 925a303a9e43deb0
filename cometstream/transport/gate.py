"""The gate of ``pace``: holds arrivals back in the kernel, so that one read takes many events.

Two ways, and each transport gets the one that saves there. Pausing the transport takes it out of the event loop's poll, but a
TLS transport that is paused goes on reading ciphertext. ``SO_RCVLOWAT`` lets the kernel report the socket as readable only
once that much has come (or the end, or an error), under TLS too; Linux and macOS have it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

__all__ = ["ENOUGH", "Gate"]

# Bytes for which a read need not wait. Linux doubles this for the receive buffer it reserves; it stays well below the default of
# 128 KiB.
ENOUGH: Final = 32 * 1024

_HAS_LOWAT: Final = sys.platform in ("linux", "darwin") and hasattr(socket, "SO_RCVLOWAT")


class Gate:
    """Shuts and opens the arrivals of one connection.

    Args:
        transport: The connection's transport.
    """

    __slots__ = ("_lowat", "_transport", "is_shut")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._lowat = _HAS_LOWAT and transport.get_extra_info("sslcontext") is not None
        self.is_shut = False

    def shut(self) -> None:
        """Let arrivals gather in the kernel."""
        if not self._transport.is_closing():
            self.is_shut = True
            if self._lowat:
                self._lowat = self._set_lowat(ENOUGH)
            if not self._lowat:
                self._transport.pause_reading()

    def open(self) -> None:
        """Let arrivals in again: at once, where some wait."""
        if self.is_shut:
            self.is_shut = False
            if self._transport.is_closing():
                return
            if self._lowat:
                self._set_lowat(1)
            else:
                self._transport.resume_reading()

    def _set_lowat(self, size: int) -> bool:
        sock = self._transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        except (OSError, AttributeError):
            return False
        return True
