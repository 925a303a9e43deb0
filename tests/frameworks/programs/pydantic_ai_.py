from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.frameworks.programs import MODEL, PROMPT, City, weather


class Program:
    def __init__(self, client: Any) -> None:
        self.model = OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client))

    async def plain(self) -> str:
        return (await Agent(self.model).run(PROMPT)).output

    async def streamed(self) -> str:
        async with Agent(self.model).run_stream(PROMPT) as result:
            return "".join([text async for text in result.stream_text(delta=True)])

    async def tools(self) -> str:
        return (await Agent(self.model, tools=[weather]).run(PROMPT)).output

    async def structured(self) -> City:
        return (await Agent(self.model, output_type=City, retries=0).run(PROMPT)).output


make = Program
