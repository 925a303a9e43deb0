"""An aiohttp.web endpoint that relays an answer to the browser as it comes, and stops paying when the browser leaves.

Run it, then: curl -N "http://127.0.0.1:8000/chat?prompt=Tell+me+about+comets"
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web

from cometstream import CometSession
from cometstream.relay import end_relays
from cometstream.relay.aiohttp import relay_response

SESSION = web.AppKey("session", CometSession)


async def chat(request: web.Request) -> web.StreamResponse:
    messages = [{"role": "user", "content": request.query.get("prompt", "Hello!")}]
    return await relay_response(request, request.app[SESSION].stream(model="gpt-5.4", messages=messages))


async def session(app: web.Application) -> AsyncIterator[None]:
    async with CometSession() as app[SESSION]:
        yield


async def end_answers(app: web.Application) -> None:
    # After SIGTERM open answers have these seconds to end; then the browser is told in band that they were cut.
    await end_relays(grace=3.0)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.on_shutdown.append(end_answers)
    app.router.add_get("/chat", chat)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), print=None)
