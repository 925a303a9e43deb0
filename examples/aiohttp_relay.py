"""An aiohttp.web endpoint that relays an answer to the browser as it comes, and stops paying when the browser leaves.

Run it, then: curl -N "http://127.0.0.1:8000/chat?prompt=Tell+me+about+comets"
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from cometstream import APIStatusError, CometSession

SESSION = web.AppKey("session", CometSession)


async def chat(request: web.Request) -> web.StreamResponse:
    messages = [{"role": "user", "content": request.query.get("prompt", "Hello!")}]
    try:
        async with request.app[SESSION].stream(model="gpt-5.4", messages=messages) as stream:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
            await response.prepare(request)
            async for piece in stream.relay():
                await response.write(piece)
            return response
    except APIStatusError as error:
        return web.json_response({"error": error.message}, status=error.status)


async def session(app: web.Application) -> AsyncIterator[None]:
    async with CometSession() as app[SESSION]:
        yield


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_get("/chat", chat)
    return app


if __name__ == "__main__":
    # handler_cancellation: a browser that leaves cancels the handler, which closes the stream.
    web.run_app(
        make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), handler_cancellation=True, print=None
    )
