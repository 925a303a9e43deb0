"""The protocol ``raw``: upstream's own events, passed on as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cometstream.relay.sse import EVENT_STREAM, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cometstream.relay.told import Told

__all__ = ["RawEncoder"]


class RawEncoder:
    """Passes a stream's events on; only the ending is said anew.

    Args:
        stream: A ``ChatStream``.
    """

    headers: Mapping[str, str] = EVENT_STREAM
    refuses_in_text: bool = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._begun = False

    def items(self) -> AsyncIterator[bytes]:
        """Iterate what `encode` takes."""
        pieces: AsyncIterator[bytes] = self._stream.relay()
        return pieces

    def encode(self, item: bytes) -> bytes:
        """Return the bytes of one item."""
        if self._stream.outcome is not None:
            return b""  # the stream's own words about its end
        if not self._begun:
            # A keep-alive is no reason to give up the choice of a status; what came together with it is.
            while item.startswith(b":"):
                item = item.partition(b"\n\n")[2]
            self._begun = item != b""
        return item

    def finish(self) -> bytes:
        """Return the last bytes of an answer that is complete."""
        return b"data: [DONE]\n\n"

    def fail(self, told: Told) -> bytes:
        """Return the last bytes of one that is not."""
        return event(told.body())
