"""Every block of code of the documentation's site runs as it stands, and every page says what is true of the code."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conformance import catalogue
from support.cli_server import ServerThread
from support.documents import ROOT, Running, links

import cometstream

DOCS = ROOT / ".github" / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pages have lines for a POSIX shell")


@pytest.fixture(scope="module")
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@contextmanager
def logging_as_in_a_new_program() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page: str, thread: ServerThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    monkeypatch.chdir(tmp_path)
    # A page that does not close what it opens is a bad example: its warnings are errors, as in every test.
    with logging_as_in_a_new_program():
        Running(DOCS / page, tmp_path, dict(os.environ)).run()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    text = (DOCS / page).read_text()
    for link in links(text):
        assert (DOCS / page).parent.joinpath(link).exists(), link
    for link in re.findall(r"\]\(https://github\.com/cometstream/cometstream/(?:blob|tree)/main/([^)#]+)", text):
        assert (ROOT / link).exists(), link


def test_every_promise_names_its_tests() -> None:
    promises = re.split(r"^## \d\. ", (DOCS / "promises.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(promises) == 6
    for promise in promises:
        named = re.findall(r"`(tests/\S+\.py)::(\w+)`", promise)
        assert named, promise
        for path, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_every_kind_of_normalization_is_told_and_no_other() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "quirks.md").read_text(), re.MULTILINE))
    written = set()
    for room in ("answer", "views"):
        for path in (ROOT / "cometstream" / room).glob("*.py"):
            written.update(re.findall(r"\bnote\(\s*\"(\w+)\"", path.read_text()))
    assert written <= told
    counted = {kind for case in catalogue.load() for kind in case.cometstream.get("normalizations", {})}
    assert counted <= told
    source = "".join(path.read_text() for path in (ROOT / "cometstream").rglob("*.py"))
    for kind in told - written - counted - {"function_call_malformed"}:  # the last one's name is put together
        assert f'"{kind}"' in source, kind


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    names = {name.rpartition(".")[2] for name in shown}
    assert set(cometstream.__all__) - {"__version__"} <= names
    for name in shown:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
