"""instructor over a CometSession: pip install cometstream instructor."""

import asyncio

import httpx2
import instructor
from openai import AsyncOpenAI
from pydantic import BaseModel

from cometstream.openai.transport import CometTransport

client = AsyncOpenAI(api_key="the session's", http_client=httpx2.AsyncClient(transport=CometTransport()))


class Comet(BaseModel):
    name: str


ask = instructor.from_openai(client).chat.completions.create
print(asyncio.run(ask(model="gpt-5.4", messages=[{"role": "user", "content": "A comet?"}], response_model=Comet)))
