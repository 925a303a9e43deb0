"""Web servers between a model and its browsers. What is measured is the server; the browsers are another process."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from benchmarks.answers import MESSAGES, MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from typing_extensions import Self


class BytePump:
    """aiohttp to aiohttp, by hand: every read is a write."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    async def __aenter__(self) -> Self:
        await self.open_client()
        await self.serve()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()
        await self.close_client()

    async def open_client(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        self.client = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))

    async def close_client(self) -> None:
        await self.client.close()

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_get("/chat", self.chat)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, backlog=4096).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        await self.runner.cleanup()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = {"model": MODEL, "messages": MESSAGES, "stream": True}
        async with self.client.post(f"{self.base_url}/chat/completions", json=body) as upstream:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            )
            await response.prepare(request)
            async for data in upstream.content.iter_any():
                await response.write(data)
            return response

    async def read(self) -> tuple[str | None, int | None]:
        (read,) = [read async for read in self.read_all(1, 1)]
        return read

    async def read_all(self, rows: int, concurrency: int) -> AsyncIterator[tuple[str | None, int | None]]:
        command = [sys.executable, "-m", "benchmarks.browsers", str(self.port), str(rows)]
        browsers = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=2**24)
        out, _ = await browsers.communicate()
        found = json.loads(out)
        if found["ended"] != rows or len(found["texts"]) != 1:
            raise ValueError(f"{found['ended']} of {rows} answers ended well, with {len(found['texts'])} texts")
        for _ in range(rows):
            yield found["texts"][0], None


class RelayRaw(BytePump):
    """Ours behind aiohttp.web, upstream's events as they came."""

    protocol: Any = "raw"

    async def open_client(self) -> None:
        from cometstream import CometSession

        self.session = CometSession(api_key="sk-benchmark", base_url=self.base_url)

    async def close_client(self) -> None:
        await self.session.aclose()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        from cometstream.relay.aiohttp import relay_response

        return await relay_response(
            request, self.session.stream(model=MODEL, messages=MESSAGES), protocol=self.protocol
        )


class RelayUi(RelayRaw):
    """Ours behind aiohttp.web, in the AI SDK's protocol."""

    protocol = "ui"


class RelayFastAPI(RelayRaw):
    """Ours behind FastAPI and uvicorn, upstream's events as they came."""

    async def serve(self) -> None:
        import uvicorn
        from fastapi import FastAPI

        app = FastAPI()
        app.get("/chat")(self.endpoint())
        config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", loop="none", backlog=4096)
        self.server = uvicorn.Server(config)
        self.serving = asyncio.create_task(self.server.serve())
        while not self.server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.serving

    def endpoint(self) -> Any:
        from cometstream.relay.starlette import RelayResponse

        async def chat() -> RelayResponse:
            return RelayResponse(self.session.stream(model=MODEL, messages=MESSAGES), protocol=self.protocol)

        return chat


class ReencodingFastAPI(RelayFastAPI):
    """What most write: openai's client behind FastAPI, each chunk parsed and written again."""

    async def open_client(self) -> None:
        import openai

        self.openai = openai.AsyncOpenAI(api_key="sk-benchmark", base_url=self.base_url)

    async def close_client(self) -> None:
        await self.openai.close()

    def endpoint(self) -> Any:
        from fastapi.responses import StreamingResponse

        async def events() -> AsyncIterator[str]:
            stream = await self.openai.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            async for chunk in stream:
                yield f"data: {chunk.model_dump_json()}\n\n"
            yield "data: [DONE]\n\n"

        async def chat() -> StreamingResponse:
            return StreamingResponse(events(), media_type="text/event-stream")

        chat.__annotations__["return"] = StreamingResponse
        return chat
