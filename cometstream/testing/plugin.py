"""The pytest plugin: the fixtures ``comet_server`` and ``comet_cassette``, ``--comet-record``, and the argument ``comet_case``.

An installed copy of this file has the name ``pytest_cometstream`` and stands outside the package. So a run of pytest that uses none
of it does not wait for cometstream's import, and one that measures coverage sees the package imported from its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from cometstream.testing import CometServer, Recording, Replaying

_MARK = "comet_cassette"

# Characters of a test's name that a file's has.
_LONGEST = 120

# Replays send nothing, but a session wants a key. And what is not replayed, as in another process, leads nowhere.
_NO_KEY = "sk-replayed-nothing-is-sent"
_NO_URL = "https://replayed.invalid/v1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option to record."""
    parser.getgroup("cometstream").addoption(
        "--comet-record",
        action="store_true",
        help="let tests that use comet_cassette talk to CometAPI (COMETAPI_KEY), and record it anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark, for runs that know their marks."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(path=None, *, realtime=False, hash_contents=False, without_headers=()): "
        "where the fixture of this name has its cassette, beside the test's file, and how it records and replays",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has the argument ``comet_case`` with each of ``cometstream.testing.conformance.CASES``."""
    if "comet_case" in metafunc.fixturenames:
        from cometstream.testing.conformance import CASES

        metafunc.parametrize("comet_case", CASES, ids=str)


@pytest.fixture
def comet_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CometServer]:
    """A simulated CometAPI, which COMETAPI_KEY and COMETAPI_BASE_URL name: script it, run your app, look at its requests.

    Retries in this process wait as long as the server asks, and no longer.
    """
    from cometstream.testing import CometServer

    _without_backoff(monkeypatch)
    with CometServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def comet_cassette(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording | Replaying]:
    """Replay the test's cassette to every session; with ``--comet-record``, record it.

    It stands in ``cassettes/`` beside the test's file, below the file's name and with the test's. A request that was not recorded
    fails the test, also where the app hides the error.
    """
    from cometstream.testing import recording, replaying

    path, options = _asked_for(request.node)
    if request.config.getoption("--comet-record"):
        if not os.environ.get("COMETAPI_KEY"):
            pytest.fail("--comet-record talks to CometAPI: set COMETAPI_KEY", pytrace=False)
        options.pop("realtime", None)
        with recording(None, path, **options) as recorded:
            yield recorded
        return
    if not path.exists():
        pytest.fail(f"there is no cassette {path}: record it with --comet-record and COMETAPI_KEY set", pytrace=False)
    if not os.environ.get("COMETAPI_KEY"):
        monkeypatch.setenv("COMETAPI_KEY", _NO_KEY)
    monkeypatch.setenv("COMETAPI_BASE_URL", _NO_URL)
    realtime = options.get("realtime", False)
    if not realtime:
        _without_backoff(monkeypatch)
    with replaying(None, path, realtime=realtime) as replayed:
        yield replayed
    if replayed.problems:
        pytest.fail(replayed.problems[0], pytrace=False)


def _without_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    from cometstream.policy import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "backoff", lambda *_: 0.0)


def _asked_for(node: pytest.Item) -> tuple[Path, dict[str, Any]]:
    """Return where a test's cassette is, and the options of its mark."""
    mark = node.get_closest_marker(_MARK)
    args, options = (mark.args, dict(mark.kwargs)) if mark is not None else ((), {})
    unknown = {*options} - {"path", "realtime", "hash_contents", "without_headers"}
    if len(args) > 1 or unknown or (args and "path" in options):
        pytest.fail(f"the mark {_MARK} takes a path, realtime, hash_contents and without_headers", pytrace=False)
    named = options.pop("path", None) or (args[0] if args else None)
    folder = node.path.parent
    if named is not None:
        return folder / named, options
    return folder / "cassettes" / node.path.stem / f"{_name(node.nodeid)}.cassette", options


def _name(nodeid: str) -> str:
    """Return a test's name for a file; tests that differ get names that do."""
    named, _, given = nodeid.partition("::")[2].partition("[")
    name = named.replace("::", ".") + (f"-{quote(given[:-1], safe='')}" if given else "")
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{sha256(name.encode()).hexdigest()[:12]}"
