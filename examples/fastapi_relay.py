"""A FastAPI endpoint that relays an answer to the browser as it comes, and stops paying when the browser leaves.

Run it, then: curl -N "http://127.0.0.1:8000/chat?prompt=Tell+me+about+comets"
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request

from cometstream import CometSession
from cometstream.relay import EndingRelays
from cometstream.relay.starlette import RelayResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # After SIGTERM open answers have these seconds to end; then the browser is told in band that they were cut.
    async with CometSession() as session, EndingRelays(grace=3.0):
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/chat")
async def chat(request: Request, prompt: str) -> RelayResponse:
    session: CometSession = request.app.state.session
    return RelayResponse(session.stream(model="gpt-5.4", messages=[{"role": "user", "content": prompt}]))


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
