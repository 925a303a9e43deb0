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

__all__ = ["chat", "needs_ai_sdk"]

VERSION = "7.0.173"
PROGRAM = Path(__file__).parent.parent / "relay" / "ai_sdk_client.mjs"


@functools.cache
def _installed() -> Path | str:
    """The folder that has the package; or why there is none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "needs node and npm"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "cometstream-tests" / f"ai-{VERSION}"
    if (folder / "node_modules" / "ai" / "package.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", f"ai@{VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return folder if done.returncode == 0 else f"npm could not install ai@{VERSION}: {done.stderr.strip()[-200:]}"


@pytest.fixture(scope="session")
def needs_ai_sdk() -> Path:
    """The folder of the client's package; skips where it cannot be had."""
    found = _installed()
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
