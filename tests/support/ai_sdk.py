"""The AI SDK's own chat client, npm's ``ai``, run by node over answers that a relay wrote."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

__all__ = ["chat", "needs_ai_sdk", "needs_react"]

VERSION = "7.0.173"
REACT_VERSION = "4.0.177"  # takes that version of ai
PROGRAM = Path(__file__).parent.parent / "relay" / "ai_sdk_client.mjs"


@functools.cache
def _installed(name: str, *packages: str) -> Path | str:
    """The folder that has these packages of npm; or why there is none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "needs node and npm"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "cometstream-tests" / name
    done = folder / "installed"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", *packages]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if result.returncode != 0:
        return f"npm could not install {' '.join(packages)}: {result.stderr.strip()[-200:]}"
    done.touch()
    return folder


@pytest.fixture(scope="session")
def needs_ai_sdk() -> Path:
    """The folder of the client's package; skips where it cannot be had."""
    found = _installed(f"ai-{VERSION}", f"ai@{VERSION}")
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def needs_react() -> Path:
    """The folder of React, of the SDK's hooks for it, and of a bundler; skips where they cannot be had."""
    packages = (f"ai@{VERSION}", f"@ai-sdk/react@{REACT_VERSION}", "react@19.3.1", "react-dom@19.3.1", "esbuild@0.28.2")
    found = _installed(f"react-{REACT_VERSION}", *packages)
    if isinstance(found, str):
        pytest.skip(found)
    return found


async def chat(folder: Path, jobs: list[dict[str, Any]]) -> list[Any]:
    """Run the jobs one after another; see ``ai_sdk_client.mjs``."""
    process = await asyncio.create_subprocess_exec(
        "node", str(PROGRAM), str(folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    out, _ = await asyncio.wait_for(process.communicate(orjson.dumps(jobs)), 120)
    assert process.returncode == 0
    results = [orjson.loads(line) for line in out.splitlines()]
    assert len(results) == len(jobs)
    return results
