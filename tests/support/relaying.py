"""What a relay is given and gives, as the tests of relays need them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cometstream import ChatCompletion, CometError, CometSession
from cometstream.relay import RelayHead, relay
from support.serving import CHAT

__all__ = ["FakeSource", "event", "relayed"]


async def relayed(session: CometSession, protocol: str = "raw", **options: Any) -> tuple[RelayHead, bytes]:
    """Relay one answer to its end; return the head and the body."""
    body = relay(session.stream(**CHAT), protocol=protocol, **options)  # type: ignore[arg-type]
    head = await body.head()
    return head, b"".join([piece async for piece in body])


def event(type_: str, **fields: Any) -> Any:
    """An event as a tool loop might send it: nothing but a type and fields."""
    return SimpleNamespace(type=type_, **fields)


class FakeSource:
    """A source that is no stream: it has a stream's face, and gives these events."""

    def __init__(self, *events: Any, completion: dict[str, Any] | None = None, error: Exception | None = None) -> None:
        self.completion = ChatCompletion(
            completion or {"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]}
        )
        self.outcome: str | None = None
        self.error: CometError | None = None
        self.closed = False
        self._events = events
        self._raises = error

    async def __aenter__(self) -> FakeSource:
        return self

    async def aclose(self) -> None:
        self.closed = True
        self.outcome = self.outcome or "cancelled"

    async def events(self) -> Any:
        for one in self._events:
            yield one
        if self._raises is not None:
            self.outcome = "error"
            raise self._raises
        self.outcome = "complete"
