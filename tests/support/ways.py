"""The two ways that a request is sent: by the library over a connection that served before, and by aiohttp."""

from __future__ import annotations

import pytest

from cometstream.transport import quirks


def as_if_aiohttp_were_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave to aiohttp what is known to be right for some versions of it only."""
    monkeypatch.setattr(quirks, "_KNOWN", False)


def needs_a_known_aiohttp() -> None:
    """Skip a test of what is done with a known version only."""
    if not quirks._KNOWN:
        pytest.skip("aiohttp is taken for an unknown version")


@pytest.fixture(params=["in one piece", "by aiohttp"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs both ways."""
    if request.param == "by aiohttp":
        as_if_aiohttp_were_unknown(monkeypatch)
    chosen: str = request.param
    return chosen
