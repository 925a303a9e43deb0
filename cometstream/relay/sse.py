"""Server-sent events of JSON, and the headers that keep proxies from holding them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

__all__ = ["EVENT_STREAM", "event", "json_bytes", "with_id"]

EVENT_STREAM: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        # no-transform: a proxy that compresses holds events back until its block is full.
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx's
    }
)


def json_bytes(value: Any) -> bytes:
    """Return a value as JSON on one line: no text in it can end an event or begin another."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Halves of surrogate pairs, and numbers beyond 64 bits, which a model may write.
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def event(value: Any) -> bytes:
    """Return an event whose data is a value as JSON."""
    return b"data: " + json_bytes(value) + b"\n\n"


def with_id(one: bytes, number: int) -> bytes:
    """Return one event with an id of ours. The last id in an event is the one that counts."""
    return b"%bid: %d\n\n" % (one[:-1], number)
