"""The example's two backends, served in this process over a simulated server, or as a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from starlette.staticfiles import StaticFiles
from support.browsing import serving_asgi

from cometstream.testing import SimulatedServer

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FOLDER = EXAMPLES / "web_chat"
NAMES = ("fastapi_app.py", "aiohttp_app.py")


def load(name: str, folder: Path = FOLDER) -> Any:
    """Import a file of the examples."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name[:-3]}", folder / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.asynccontextmanager
async def serving(
    name: str, server: SimulatedServer, monkeypatch: pytest.MonkeyPatch, ledger: Path, *, page: Path | None = None
) -> AsyncIterator[str]:
    """Serve one backend, with another page if one is given; return its address."""
    monkeypatch.setenv("COMETAPI_KEY", server.api_key)
    monkeypatch.setenv("COMETAPI_BASE_URL", server.base_url)
    monkeypatch.setenv("COMETSTREAM_LEDGER", str(ledger))
    module = load(name)
    if page is not None:
        module.PAGE = page
        module.app.mount("/other", StaticFiles(directory=page))
        module.app.router.routes.insert(0, module.app.router.routes.pop())
    if name == "fastapi_app.py":
        async with serving_asgi(module.app, lifespan="on") as port:
            yield f"http://127.0.0.1:{port}"
        return
    runner = web.AppRunner(module.make_app(), shutdown_timeout=1.0, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def start(name: str, environment: Mapping[str, str], *arguments: str) -> asyncio.subprocess.Process:
    """Run a backend as a process, and wait until it listens on its PORT."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER / name), *arguments, env=dict(environment), stdout=-1, stderr=-1
    )
    async with aiohttp.ClientSession() as client:
        while process.returncode is None:
            try:
                async with client.get(f"http://127.0.0.1:{environment['PORT']}/") as answer:
                    assert answer.status == 200
                    return process
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    _, err = await process.communicate()
    raise AssertionError(f"the example ended before it listened: {err.decode()}")
