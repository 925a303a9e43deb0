"""litellm over a CometSession: pip install cometstream litellm."""

import asyncio

import httpx2
import litellm
from openai import AsyncOpenAI

from cometstream.openai.transport import CometTransport

client = AsyncOpenAI(api_key="the session's", http_client=httpx2.AsyncClient(transport=CometTransport()))
ask = {"client": client, "messages": [{"role": "user", "content": "Write one sentence about comets."}]}


async def main() -> None:
    async for chunk in await litellm.acompletion("openai/gpt-5.4", stream=True, **ask):
        print(chunk.choices[0].delta.content or "", end="", flush=True)


asyncio.run(main())
