from __future__ import annotations

from typing import Any

import instructor

from tests.frameworks.programs import MODEL, PROMPT, City, weather

MESSAGES: Any = [{"role": "user", "content": PROMPT}]


class Program:
    def __init__(self, client: Any) -> None:
        self.client = instructor.from_openai(client)

    async def plain(self) -> str:
        completion = await self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=None, max_retries=0
        )
        return completion.choices[0].message.content

    async def streamed(self) -> str:
        stream = await self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=None, stream=True, max_retries=0
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def tools(self) -> str:
        tool = {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
        first = await self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=None, tools=[tool], max_retries=0
        )
        message = first.choices[0].message
        call = message.tool_calls[0]
        answered = [
            *MESSAGES,
            message.model_dump(),
            {"role": "tool", "tool_call_id": call.id, "content": weather("Oslo")},
        ]
        second = await self.client.chat.completions.create(
            model=MODEL, messages=answered, response_model=None, tools=[tool], max_retries=0
        )
        return second.choices[0].message.content

    async def structured(self) -> City:
        return await self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, response_model=City, max_retries=0
        )


make = Program
