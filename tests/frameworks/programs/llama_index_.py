from __future__ import annotations

from typing import Any

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from tests.frameworks.programs import MODEL, PROMPT, City, weather


class Program:
    def __init__(self, client: Any) -> None:
        self.model = OpenAILike(
            model=MODEL,
            api_key=client.api_key,
            api_base=str(client.base_url),
            async_http_client=client._client,
            max_retries=0,
            is_chat_model=True,
            is_function_calling_model=True,
            should_use_structured_outputs=False,
        )

    async def plain(self) -> str:
        return (await self.model.achat([ChatMessage(content=PROMPT)])).message.content

    async def streamed(self) -> str:
        stream = await self.model.astream_chat([ChatMessage(content=PROMPT)])
        return "".join([part.delta or "" async for part in stream])

    async def tools(self) -> str:
        tool = FunctionTool.from_defaults(fn=weather)
        return (await self.model.apredict_and_call([tool], user_msg=PROMPT)).response

    async def structured(self) -> City:
        return await self.model.astructured_predict(City, PromptTemplate(PROMPT))


make = Program
