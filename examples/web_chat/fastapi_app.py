"""A chat page with FastAPI behind it: tools, approvals, a stop button, and answers that go on when the page is refreshed.

    python examples/web_chat/fastapi_app.py --demo     # without a key, against a simulated model
    COMETAPI_KEY=... python examples/web_chat/fastapi_app.py

Then open http://127.0.0.1:8000. ``aiohttp_app.py`` is the same on aiohttp.web. The page is in ``page/``; ``useChat`` of Vercel's AI
SDK can take its place. Needs ``pip install 'cometstream[structured]' fastapi uvicorn``.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles

from cometstream import CometError, CometSession, resume_tools, run_tools, tool
from cometstream.relay import EndingRelays, RelayEnd, ResumableRelays, ui_request
from cometstream.relay.starlette import RelayResponse
from cometstream.tools import Denied

PAGE = Path(__file__).parent / "page"
SYSTEM = {"role": "system", "content": "You are a friendly guide to the night sky. Answer in Markdown."}


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


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # After SIGTERM open answers have these seconds to end; then the browser is told in band that they were cut.
    async with open_session() as session, ResumableRelays() as relays, EndingRelays(grace=3.0):
        app.state.session, app.state.relays = session, relays
        app.state.paused = {}  # runs that wait for the user, as JSON; with several workers a database keeps them
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def page(request: Request) -> Response:
    # No other site may show the page in a frame, and have its user click "Allow" unseen.
    headers = {"Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-cache"}
    response = FileResponse(PAGE / "index.html", headers=headers)
    if "user" not in request.cookies:
        # Your login stands here.
        response.set_cookie("user", secrets.token_urlsafe(24), httponly=True, samesite="strict", max_age=30_000_000)
    return response


@app.post("/api/chat")
async def chat(request: Request) -> Response:
    session: CometSession = request.app.state.session
    relays: ResumableRelays = request.app.state.relays
    paused: dict[str, str] = request.app.state.paused
    user = request.cookies.get("user")
    if not user:
        return PlainTextResponse("open the page first", 401)
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
            return PlainTextResponse("nothing waits for this decision any more", 409)
    except (CometError, ValueError) as error:
        return PlainTextResponse(getattr(error, "public_message", "the body is not JSON"), 400)

    def keep(end: RelayEnd) -> None:
        # It is called on every path, also when nobody reads: here you would write the bill, from end.completion.usage.
        if end.outcome == "paused":
            paused[key] = run.state()
        elif end.outcome == "complete":
            paused.pop(key, None)

    # Behind a decision the message goes on that asked for it.
    message_id = asked.message_id if asked.messages[-1]["role"] != "user" else None
    answer = await relays.start(run, key=key, owner=user, message_id=message_id, on_end=keep)
    return RelayResponse(answer)


@app.get("/api/chat/{chat_id}/stream")
async def resume(request: Request, chat_id: str) -> Response:
    user = request.cookies.get("user")
    answer = await request.app.state.relays.resume(f"{user}/{chat_id}", by=user)
    return Response(status_code=204) if answer is None else RelayResponse(answer)


@app.post("/api/chat/{chat_id}/stop")
async def stop(request: Request, chat_id: str) -> Response:
    user = request.cookies.get("user")
    return Response(status_code=204 if await request.app.state.relays.stop(f"{user}/{chat_id}", by=user) else 404)


app.mount("/", StaticFiles(directory=PAGE))

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    print(f"open http://127.0.0.1:{port}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
