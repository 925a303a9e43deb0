"""The options that every relay and every adapter takes, and their checks."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypedDict, get_args

from cometstream.errors import ConfigurationError
from cometstream.policy import is_seconds
from cometstream.readers import checked_smoother
from cometstream.relay.ag_ui import AgUiEncoder
from cometstream.relay.raw import RawEncoder
from cometstream.relay.ui import UiEncoder
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cometstream.relay.told import Told

__all__ = ["HEARTBEAT", "Encoder", "ProtocolName", "RelayOptions", "checked_heartbeat", "make_encoder"]

ProtocolName = Literal["raw", "ui", "ag-ui"]

HEARTBEAT: Final = 15.0
"""Seconds; the shortest limit for silence that proxies have by default is a minute, and some cut after 30 s."""


class RelayOptions(TypedDict, total=False):
    """What a relay can be told beside its stream; see ``relay``."""

    protocol: ProtocolName
    heartbeat: float | None
    on_end: Callable[[Any], Awaitable[None] | None] | None
    smooth: float | None
    by: Literal["word", "grapheme"]
    message_id: str | None
    thread_id: str | None
    run_id: str | None


class Encoder(Protocol):
    """Turns what a source gives into the bytes of one protocol."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        ...

    @property
    def refuses_in_text(self) -> bool:
        """Whether a refusal's body is text that the browser shows; else it is JSON."""
        ...

    def items(self) -> AsyncIterator[Any]:
        """Iterate what `encode` takes."""
        ...

    def encode(self, item: Any) -> bytes:
        """Return the bytes of one item; ``b""`` where it has none."""
        ...

    def finish(self) -> bytes:
        """Return the last bytes of an answer that is complete."""
        ...

    def fail(self, told: Told) -> bytes:
        """Return the last bytes of one that is not."""
        ...


_PROTOCOLS: Final[tuple[ProtocolName, ...]] = get_args(ProtocolName)
_IDS: Final = ("message_id", "thread_id", "run_id")


def make_encoder(source: Any, options: Mapping[str, Any]) -> tuple[float | None, Encoder]:
    """Return the heartbeat and the encoder that the options ask for.

    Raises:
        ConfigurationError: An option cannot be used.
    """
    for name in options:
        if name not in RelayOptions.__annotations__:
            raise ConfigurationError(f"{shown(name)} is not an option of a relay")
    on_end = options.get("on_end")
    if on_end is not None and not callable(on_end):
        raise ConfigurationError(f"on_end must be a function or None; got {shown(on_end)}")
    ids = {}
    for name in _IDS:
        value = options.get(name)
        if value is not None and not (isinstance(value, str) and value):
            raise ConfigurationError(f"{name} must be a text or None (one is made up); got {shown(value)}")
        ids[name] = value or secrets.token_urlsafe(12)
    heartbeat = checked_heartbeat(options.get("heartbeat", HEARTBEAT))
    protocol = options.get("protocol", "raw")
    if not isinstance(protocol, str) or protocol not in _PROTOCOLS:
        raise ConfigurationError(f"protocol must be one of {', '.join(map(repr, _PROTOCOLS))}; got {shown(protocol)}")
    readers = ("relay",) if protocol == "raw" else ("events", "__aiter__")
    if not any(callable(getattr(source, reader, None)) for reader in readers):
        raise ConfigurationError(
            f"a relay takes a stream, as session.stream(...) returns it, with a method {readers[0]}(); got {shown(source)}"
        )
    smoother = checked_smoother(options.get("smooth"), options.get("by", "word"))
    if protocol == "raw":
        if smoother is not None:
            raise ConfigurationError("smooth is for the protocols ui and ag-ui: raw passes events on as they came")
        return heartbeat, RawEncoder(source)
    if protocol == "ui":
        return heartbeat, UiEncoder(source, ids["message_id"], smoother)
    return heartbeat, AgUiEncoder(source, ids["message_id"], smoother, ids["thread_id"], ids["run_id"])


def checked_heartbeat(heartbeat: object) -> float | None:
    """Return a heartbeat that can be used.

    Raises:
        ConfigurationError: It is not a time above 0.
    """
    if heartbeat is None or (is_seconds(heartbeat) and heartbeat > 0):
        return heartbeat
    raise ConfigurationError(f"heartbeat must be a number of seconds above 0, or None for none; got {shown(heartbeat)}")
