"""pydantic-ai over a CometSession: pip install cometstream 'pydantic-ai-slim[openai]'."""

import asyncio

import httpx2
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from cometstream.openai.transport import CometTransport

# The session's address and key (COMETAPI_BASE_URL, COMETAPI_KEY) are used, as this client is given none of its own.
client = AsyncOpenAI(api_key="the session's", http_client=httpx2.AsyncClient(transport=CometTransport()))
agent = Agent(OpenAIChatModel("gpt-5.4", provider=OpenAIProvider(openai_client=client)))

print(asyncio.run(agent.run("Write one sentence about comets.")).output)
