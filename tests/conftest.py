from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.ways import as_if_aiohttp_were_unknown

# No deadline: a shared machine may stop for any time. The same examples each time: a test that fails is seen to fail again.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=3000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

_READ_BY_SESSIONS = ("COMETAPI_KEY", "COMETAPI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _unknown_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """With COMETSTREAM_TESTS=unknown-aiohttp the suite runs as with a version of aiohttp that the library does not know."""
    if os.environ.get("COMETSTREAM_TESTS") == "unknown-aiohttp":
        as_if_aiohttp_were_unknown(monkeypatch)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the key and the proxies of whoever runs the tests out of them."""
    for name in _READ_BY_SESSIONS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True, scope="session")
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the command line's conversations out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield
