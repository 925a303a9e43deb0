from __future__ import annotations

from typing import Any

import litellm

from tests.frameworks.programs import MODEL, PROMPT, City, weather

MESSAGES: Any = [{"role": "user", "content": PROMPT}]


class Program:
    def __init__(self, client: Any) -> None:
        self.client = client

    async def ask(self, **options: Any) -> Any:
        asked = {"messages": MESSAGES, "max_retries": 0, "api_key": self.client.api_key, **options}
        return await litellm.acompletion(
            f"openai/{MODEL}", client=self.client, base_url=str(self.client.base_url), **asked
        )

    async def plain(self) -> str:
        return (await self.ask()).choices[0].message.content

    async def streamed(self) -> str:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in await self.ask(stream=True)])

    async def tools(self) -> str:
        tool = {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
        message = (await self.ask(tools=[tool])).choices[0].message
        answered = [
            *MESSAGES,
            message.model_dump(),
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": weather("Oslo")},
        ]
        return (await self.ask(tools=[tool], messages=answered)).choices[0].message.content

    async def structured(self) -> City:
        completion = await self.ask(response_format=City)
        return City.model_validate_json(completion.choices[0].message.content)


make = Program
