"""LlamaIndex over a CometSession: pip install 'cometstream[httpx]' llama-index-llms-openai-like."""

import asyncio
import os

import httpx
from llama_index.llms.openai_like import OpenAILike

from cometstream.openai.transport import CometTransport, SyncCometTransport

model = OpenAILike(
    model="gpt-5.4",
    api_base=os.environ.get("COMETAPI_BASE_URL", "https://api.cometapi.com/v1"),
    api_key=os.environ["COMETAPI_KEY"],
    http_client=httpx.Client(transport=SyncCometTransport()),
    async_http_client=httpx.AsyncClient(transport=CometTransport()),
    is_chat_model=True,
)
print(asyncio.run(model.acomplete("Write one sentence about comets.")))
