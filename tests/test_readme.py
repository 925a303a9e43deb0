"""What the README shows runs as it stands."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import ROOT, blocks, commands, links
from support.pytest_plugin import run_with_plugin

import cometstream
from cometstream.testing import CometServer, SimulatedServer

README = (ROOT / "README.md").read_text()
BLOCKS = [block.code for block in blocks(README) if block.language == "python"]
TESTS = [code for code in BLOCKS if re.search(r"^(async )?def test_", code, re.MULTILINE)]
PROGRAMS = [code for code in BLOCKS if "asyncio.run(" in code and code not in TESTS]

pytest_plugins = ["pytester"]


async def test_the_first_program_prints_an_answer_and_its_end() -> None:
    assert len(PROGRAMS) == 1
    async with SimulatedServer() as server:
        keys = {"COMETAPI_KEY": server.api_key, "COMETAPI_BASE_URL": server.base_url}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAMS[0], env={**os.environ, **keys}, stdout=-1, stderr=-1
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, "")
    assert "A comet is a small world" in out.decode()
    assert "\ncomplete CompletionUsage(" in out.decode()


@pytest.mark.parametrize("block", TESTS)
def test_the_tests_that_it_shows_pass(block: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )
    pytester.makepyfile(test_shown=block)
    # A cassette is recorded of the simulated server, and then replayed.
    if "comet_cassette" in block:
        with CometServer() as server, monkeypatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            assert run_with_plugin(pytester, monkeypatch, "--comet-record").ret == 0
    assert run_with_plugin(pytester, monkeypatch).ret == 0


def test_every_name_that_the_readme_takes_from_the_package_is_there() -> None:
    for names in re.findall(r"^from cometstream import (.+)$", README, re.MULTILINE):
        for name in names.split(", "):
            assert hasattr(cometstream, name)
    for name in re.findall(r"except (\w+) as error", README):
        assert issubclass(getattr(cometstream, name), cometstream.CometError)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    assert links(README)
    for link in links(README):
        assert (ROOT / link).exists(), link


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## [{cometstream.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("command", sorted(commands(README)))
def test_every_command_that_the_readme_names_is_there(command: str) -> None:
    program = shutil.which("cometstream", path=str(Path(sys.executable).parent))
    assert program is not None
    shown = subprocess.run([program, command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert f"cometstream {command}" in shown.stdout
