"""openai-agents over a CometSession: pip install cometstream openai-agents."""

import asyncio

import httpx2
from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from cometstream.openai.transport import CometTransport

# The session's address and key (COMETAPI_BASE_URL, COMETAPI_KEY) are used, as this client is given none of its own.
client = AsyncOpenAI(api_key="the session's", http_client=httpx2.AsyncClient(transport=CometTransport()))
set_tracing_disabled(True)  # it would go to OpenAI, with the key
agent = Agent(name="comet", model=OpenAIChatCompletionsModel("gpt-5.4", openai_client=client))

print(asyncio.run(Runner.run(agent, "Write one sentence about comets.")).final_output)
