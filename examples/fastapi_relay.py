"""A FastAPI endpoint that relays an answer to the browser as it comes, and stops paying when the browser leaves.

Run it, then: curl -N "http://127.0.0.1:8000/chat?prompt=Tell+me+about+comets"
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from cometstream import APIStatusError, ChatStream, CometSession


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with CometSession() as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(APIStatusError)
async def refused(request: Request, error: APIStatusError) -> JSONResponse:
    return JSONResponse({"error": error.message}, status_code=error.status)


async def answer(request: Request, prompt: str) -> AsyncIterator[ChatStream]:
    session: CometSession = request.app.state.session
    # Entering waits for the answer's head, so that a refusal still chooses the status; leaving closes the connection.
    async with session.stream(model="gpt-5.4", messages=[{"role": "user", "content": prompt}]) as stream:
        yield stream


@app.get("/chat")
async def chat(stream: Annotated[ChatStream, Depends(answer)]) -> StreamingResponse:
    return StreamingResponse(stream.relay(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
