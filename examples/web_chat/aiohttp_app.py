"""A chat page with aiohttp.web behind it: tools, approvals, a stop button, and answers that go on when the page is refreshed.

    python examples/web_chat/aiohttp_app.py --demo     # without a key, against a simulated model
    COMETAPI_KEY=... python examples/web_chat/aiohttp_app.py

Then open http://127.0.0.1:8000. ``fastapi_app.py`` is the same on FastAPI. The page is in ``page/``; ``useChat`` of Vercel's AI SDK
can take its place. Needs ``pip install 'cometstream[structured]'``.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from aiohttp import web

from cometstream import CometError, CometSession, resume_tools, run_tools, tool
from cometstream.relay import RelayEnd, ResumableRelays, end_relays, ui_request
from cometstream.relay.aiohttp import relay_response
from cometstream.tools import Denied

PAGE = Path(__file__).parent / "page"
SYSTEM = {"role": "system", "content": "You are a friendly guide to the night sky. Answer in Markdown."}

SESSION = web.AppKey("session", CometSession)
RELAYS = web.AppKey("relays", ResumableRelays)
# Runs that wait for the user, as JSON; with several workers a database keeps them.
PAUSED = web.AppKey("paused", dict[str, str])


@tool
async def get_weather(city: str) -> dict[str, object]:
    """Get the weather of tonight in a city.

    Args:
        city: The city's English name.
    """
    await asyncio.sleep(0.3)  # a request to a weather service would stand here
    return {"city": city, "sky": "clear", "degrees": 4}


@tool(approve=True)
async def order_telescope(model: str, euros: int) -> str:
    """Order a telescope for the user, who is asked first.

    Args:
        model: Which one.
        euros: Its price.
    """
    return f"{model} was ordered for {euros} euros"


TOOLS = [get_weather, order_telescope]


def open_session() -> AbstractAsyncContextManager[CometSession]:
    if "--demo" in sys.argv:
        from demo import demo_session

        return demo_session()
    return CometSession()  # key from COMETAPI_KEY


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    async with open_session() as app[SESSION], ResumableRelays() as app[RELAYS]:
        app[PAUSED] = {}
        yield


async def end_answers(app: web.Application) -> None:
    # After SIGTERM open answers have these seconds to end; then the browser is told in band that they were cut.
    await end_relays(grace=3.0)


async def page(request: web.Request) -> web.StreamResponse:
    # No other site may show the page in a frame, and have its user click "Allow" unseen.
    headers = {"Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-cache"}
    response = web.FileResponse(PAGE / "index.html", headers=headers)
    if "user" not in request.cookies:
        # Your login stands here.
        response.set_cookie("user", secrets.token_urlsafe(24), httponly=True, samesite="Strict", max_age=30_000_000)
    return response


async def chat(request: web.Request) -> web.StreamResponse:
    session, paused = request.app[SESSION], request.app[PAUSED]
    user = request.cookies.get("user")
    if not user:
        return web.Response(status=401, text="open the page first")
    try:
        asked = ui_request(await request.json())
        # The browser chose the chat's id: no user's id leads to another's chat.
        key = f"{user}/{asked.id}"
        if not asked.approvals:
            run = run_tools(session, model="gpt-5.4", messages=[SYSTEM, *asked.messages], tools=TOOLS)
        elif key in paused:
            # What runs is what the model asked for, as we have kept it, and not what the browser says.
            decisions = {one.id: one.approved or Denied() for one in asked.approvals}
            run = resume_tools(session, paused[key], tools=TOOLS, decisions=decisions)
        else:
            return web.Response(status=409, text="nothing waits for this decision any more")
    except (CometError, ValueError) as error:
        return web.Response(status=400, text=getattr(error, "public_message", "the body is not JSON"))

    def keep(end: RelayEnd) -> None:
        # It is called on every path, also when nobody reads: here you would write the bill, from end.completion.usage.
        if end.outcome == "paused":
            paused[key] = run.state()
        elif end.outcome == "complete":
            paused.pop(key, None)

    # Behind a decision the message goes on that asked for it.
    message_id = asked.message_id if asked.messages[-1]["role"] != "user" else None
    answer = await request.app[RELAYS].start(run, key=key, owner=user, message_id=message_id, on_end=keep)
    return await relay_response(request, answer)


async def resume(request: web.Request) -> web.StreamResponse:
    user = request.cookies.get("user")
    answer = await request.app[RELAYS].resume(f"{user}/{request.match_info['id']}", by=user)
    return web.Response(status=204) if answer is None else await relay_response(request, answer)


async def stop(request: web.Request) -> web.Response:
    user = request.cookies.get("user")
    stopped = await request.app[RELAYS].stop(f"{user}/{request.match_info['id']}", by=user)
    return web.Response(status=204 if stopped else 404)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(end_answers)
    app.router.add_get("/", page)
    app.router.add_post("/api/chat", chat)
    app.router.add_get("/api/chat/{id}/stream", resume)
    app.router.add_post("/api/chat/{id}/stop", stop)
    app.router.add_static("/", PAGE)
    return app


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    print(f"open http://127.0.0.1:{port}", flush=True)
    web.run_app(make_app(), host="127.0.0.1", port=port, print=None)
