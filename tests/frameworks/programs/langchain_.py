from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent

from tests.frameworks.programs import MODEL, PROMPT, City, weather


class Program:
    def __init__(self, client: Any) -> None:
        self.model = ChatOpenAI(
            model=MODEL,
            api_key=client.api_key,
            base_url=str(client.base_url),
            http_async_client=client._client,
            max_retries=0,
            use_responses_api=False,
        )

    async def plain(self) -> str:
        return (await self.model.ainvoke(PROMPT)).content

    async def streamed(self) -> str:
        return "".join([chunk.content async for chunk in self.model.astream(PROMPT)])

    async def tools(self) -> str:
        agent = create_react_agent(self.model, [weather])
        result = await agent.ainvoke({"messages": [{"role": "user", "content": PROMPT}]})
        return result["messages"][-1].content

    async def structured(self) -> City:
        return await self.model.with_structured_output(City).ainvoke(PROMPT)


make = Program
