"""Watch a tool call arrive in fragments, run the tool once the call is whole, and send its result back."""

import asyncio
import json
from typing import Any

from cometstream import ChatCompletionMessage, CometSession

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def get_weather(city: str) -> str:
    return json.dumps({"city": city, "sky": "clear", "celsius": 4})


async def main() -> None:
    messages: list[dict[str, Any] | ChatCompletionMessage] = [
        {"role": "user", "content": "What is the weather in Boston? Use the tool."}
    ]
    async with CometSession() as session:
        async with session.stream(model="gpt-5.4", messages=messages, tools=TOOLS) as stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    for fragment in choice.delta.tool_calls or []:
                        if fragment.function:
                            piece = fragment.function.name or fragment.function.arguments or ""
                            print(piece, end="", flush=True)
        print()

        message = stream.completion.message
        assert message is not None
        messages.append(message)  # goes back as it came, signatures and ids included
        for call in stream.completion.tool_calls:
            arguments = call.parse()  # raises where the call was cut or is no JSON: such a call must not run
            messages.append({"role": "tool", "tool_call_id": call.id, "content": get_weather(**arguments)})

        async with session.stream(model="gpt-5.4", messages=messages, tools=TOOLS) as stream:
            async for text in stream.text():
                print(text, end="", flush=True)
        print()


asyncio.run(main())
