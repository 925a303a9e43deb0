"""Every block of code of the documentation's site runs as it stands, and every page says what is true of the code."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli_server import ServerThread
from support.documents import ROOT, Running, links

import cometstream
from cometstream import CometSession
from cometstream.request.params import OtherChatParams
from cometstream.testing.conformance import load

DOCS = ROOT / ".github" / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pages have lines for a POSIX shell")


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def environment(thread: ServerThread, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """What a reader's programs have: a key, and the commands of this Python; in an empty folder."""
    monkeypatch.setenv("COMETAPI_KEY", thread.server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", thread.server.base_url)
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.chdir(tmp_path)
    return dict(os.environ)


def reference() -> dict[str, Any]:
    """Return what the reference shows, by the names under which it does."""
    shown: dict[str, Any] = {}
    for path in sorted((DOCS / "reference").glob("*.md")):
        for name in re.findall(r"^::: ([\w.]+)$", path.read_text(), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            shown[name] = getattr(importlib.import_module(module), attribute)
    return shown


def examples() -> Iterator[tuple[str, str]]:
    """Yield the examples in the docstrings that the reference shows."""
    for shown in reference().values():
        members = [member for _, member in inspect.getmembers(shown)] if inspect.isclass(shown) else []
        for documented in (shown, *members):
            example = re.search(
                r"^Example:\n {4}\S.*\n\n((?: {8}.*\n|\n)+)", inspect.getdoc(documented) or "", re.MULTILINE
            )
            if example is not None:
                yield documented.__qualname__, textwrap.dedent(example[1])


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
def test_every_block_runs(page: str, environment: dict[str, str], tmp_path: Path) -> None:
    if page == "how-to/frameworks.md":
        pytest.importorskip("httpx2")
    # A page that does not close what it opens is a bad example: its warnings are errors, as in every test.
    with logging_as_in_a_new_program():
        Running(DOCS / page, tmp_path, environment).run()


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
    counted = {kind for case in load() for kind in case.cometstream.get("normalizations", {})}
    assert counted <= told
    source = "".join(path.read_text() for path in (ROOT / "cometstream").rglob("*.py"))
    for kind in told - written - counted - {"function_call_malformed"}:  # the last one's name is put together
        assert f'"{kind}"' in source, kind


def test_every_public_name_is_in_the_reference() -> None:
    assert set(cometstream.__all__) - {"__version__"} <= {name.rpartition(".")[2] for name in reference()}


# What stands before an example in the program that its reader has.
BEFORE = """
from typing import Literal
from cometstream import CometSession, run_tools, tool
from cometstream.tools import mcp_tools
messages = [{"role": "user", "content": "Hi"}]
my_tool = tool(lambda: None, name="my_tool", parameters={"type": "object", "properties": {}})
session = CometSession()
"""


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_every_example_of_a_docstring_runs(
    name: str, example: str, environment: dict[str, str], tmp_path: Path
) -> None:
    if name == "mcp_tools":
        pytest.importorskip("mcp_server_time")
    page = tmp_path / f"{name}.md"
    page.write_text(f"```python\n{BEFORE}\n{example}\n\nawait session.aclose()\n```\n")
    Running(page, tmp_path, environment).run()


def test_the_help_of_stream_has_an_example_and_names_every_parameter() -> None:
    shown = inspect.getdoc(CometSession.stream) or ""
    assert "session.stream(" in dict(examples())["CometSession.stream"]
    told = set(re.findall(r"``(\w+)``", shown.partition("**params:")[2].partition("Returns:")[0]))
    assert {*OtherChatParams.__annotations__, "include_usage"} == told
