"""LangChain and LangGraph over a CometSession: pip install 'cometstream[httpx]' langchain-openai langgraph."""

import asyncio
import os

import httpx
from langchain_openai import ChatOpenAI

from cometstream.openai.transport import CometTransport, SyncCometTransport

model = ChatOpenAI(
    model="gpt-5.4",
    base_url=os.environ.get("COMETAPI_BASE_URL", "https://api.cometapi.com/v1"),
    api_key=os.environ["COMETAPI_KEY"],
    http_client=httpx.Client(transport=SyncCometTransport()),
    http_async_client=httpx.AsyncClient(transport=CometTransport()),
    use_responses_api=False,
)
print(asyncio.run(model.ainvoke("Write one sentence about comets.")).content)
