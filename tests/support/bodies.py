"""The one place where a body is awaited, for tests that count or break its reads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import aiohttp
import pytest

from cometstream.transport.quirks import _Body

Read: TypeAlias = Callable[[aiohttp.StreamReader], Awaitable[bytes]]


def wrap_reads(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Read], Read]) -> None:
    """Replace ``readany`` of aiohttp's bodies and of ours by what is made of it."""
    ours = wrap(cast("Read", _Body.readany))
    monkeypatch.setattr(aiohttp.StreamReader, "readany", wrap(aiohttp.StreamReader.readany))
    monkeypatch.setattr(_Body, "readany", ours)
