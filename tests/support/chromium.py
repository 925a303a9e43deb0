"""A real browser without a window: Debian's Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

__all__ = ["Page", "Tabs", "chromium", "tabs"]

# Seconds that a page may take for anything; a machine that runs the whole suite is slow.
PATIENCE = 30.0

KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), " ": (32, " ")}


@functools.cache
def _program() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a browser that runs; skips where there is none."""
    program = _program()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium, or its path in CHROMIUM")
    profile = tmp_path_factory.mktemp("chromium")
    options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"]
    options += ["--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen([program, *options, "about:blank"], stdout=log, stderr=log)
    try:
        told = profile / "DevToolsActivePort"
        until = time.monotonic() + PATIENCE
        while not (told.exists() and told.read_text().count("\n")):
            if process.poll() is not None or time.monotonic() > until:
                pytest.skip(f"Chromium does not start here: {(profile / 'log').read_text()[-300:]}")
            time.sleep(0.05)
        port, path = told.read_text().split("\n")[:2]
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Page:
    """One tab.

    Attributes:
        errors: What the page's scripts have raised, and what the browser has complained of.
    """

    def __init__(self, browser: Tabs, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target
        self.errors: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol."""
        return await self._browser.call(method, self._session, **params)

    async def open(self, url: str) -> None:
        """Go to an address, and wait until the page has loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def refresh(self) -> None:
        """Press the browser's button."""
        await self.run("window.isBefore = true")
        await self.call("Page.reload")
        await self.until("document.readyState === 'complete' && !window.isBefore")

    async def run(self, script: str) -> Any:
        """Evaluate an expression, which may be a promise, and return its value."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            # A page that is being loaded has no context for a moment.
            with contextlib.suppress(AssertionError, ConnectionError):
                if await self.run(f"Boolean({script})"):
                    return
            await asyncio.sleep(0.02)
        shown = await self.run("document.body.innerText")
        raise AssertionError(f"never came true: {script}\nthe page shows:\n{shown}\nerrors: {self.errors}")

    async def until_shown(self, text: str) -> None:
        """Wait until the page shows a text."""
        await self.until(f"document.body.innerText.includes({json.dumps(text)})")

    async def click(self, text: str) -> None:
        """Click the button with this text, where a mouse would."""
        button = f"[...document.querySelectorAll('button')].find(one => one.textContent === {json.dumps(text)})"
        place = "(one => { one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
        place += " return [box.x + box.width / 2, box.y + box.height / 2]; })"
        await self.until(f"{button}?.offsetParent")
        x, y = await self.run(f"{place}({button})")
        for type_ in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=type_, x=x, y=y, button="left", clickCount=1)

    async def write(self, text: str) -> None:
        """Type a text where the focus is."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key."""
        code, text = KEYS[key]
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        typed = {"text": text} if text else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **named, **typed)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be a screen of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """Return what is shown, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


class Tabs:
    """The tabs of one user: they share cookies and storage with one another, and with nobody else."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}
        self._count = 0
        self._context = ""

    async def begin(self) -> None:
        """Become a new user."""
        self._context = (await self.call("Target.createBrowserContext"))["browserContextId"]

    async def end(self) -> None:
        """Close all tabs."""
        await self.call("Target.disposeBrowserContext", browserContextId=self._context)

    async def open(self, url: str) -> Page:
        """Open a tab."""
        opened = await self.call("Target.createTarget", url="about:blank", browserContextId=self._context)
        attached = await self.call("Target.attachToTarget", targetId=opened["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"], opened["targetId"])
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        # Pages behind another one draw, too.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.open(url)
        return page

    async def call(self, method: str, session: str = "", **params: Any) -> Any:
        """Call a method of the protocol."""
        self._count += 1
        number = self._count
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json({**message, "sessionId": session} if session else message)
        return await asyncio.wait_for(future, PATIENCE)

    async def listen(self) -> None:
        """Read what the browser says."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                future = self._waiting.pop(told["id"])
                if not future.done():
                    if "error" in told:
                        future.set_exception(ConnectionError(told["error"]["message"]))
                    else:
                        future.set_result(told["result"])
                continue
            page, params = self._pages.get(told.get("sessionId", "")), told.get("params", {})
            if page is None:
                continue
            if told["method"] == "Runtime.exceptionThrown":
                page.errors.append(json.dumps(params["exceptionDetails"])[:500])
            elif told["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                page.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@pytest.fixture
async def tabs(chromium: str) -> AsyncIterator[Tabs]:
    """A new user's browser."""
    async with aiohttp.ClientSession() as client, client.ws_connect(chromium, max_msg_size=0) as socket:
        browser = Tabs(socket)
        listening = asyncio.create_task(browser.listen())
        try:
            await browser.begin()
            yield browser
            await browser.end()
        finally:
            listening.cancel()
