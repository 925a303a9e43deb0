"""Let a model call tools of yours. Each call starts as soon as its arguments are whole, while the answer still streams.

Run it with ``--demo`` to see it against the simulated server, without a key. Needs ``pip install 'cometstream[structured]'``.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timezone

from cometstream import CometSession, ToolError, run_tools, tool
from cometstream.testing import SimulatedServer


@tool
async def get_weather(city: str, unit: str = "celsius") -> dict[str, object]:
    """Get the current weather in a city.

    Args:
        city: The city's English name.
        unit: celsius or fahrenheit.
    """
    await asyncio.sleep(0.1)  # a request to a weather service would stand here
    if city == "Atlantis":
        raise ToolError("there is no city of that name")  # the model is told exactly this, and may try another
    return {"city": city, "sky": "clear", "degrees": 4, "unit": unit}


@tool
def tell_time() -> str:
    """Get the current time in UTC."""  # a plain function runs in a worker thread
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


async def main() -> None:
    messages = [{"role": "user", "content": "What is the weather in Boston, and what time is it there?"}]
    async with open_session() as session:
        async with run_tools(session, model="gpt-5.4", messages=messages, tools=[get_weather, tell_time]) as run:
            async for event in run:
                if event.type == "content.delta":
                    print(event.delta, end="", flush=True)
                elif event.type == "tool.started":
                    print(f"[{event.call.name} {event.call.arguments} starts{' early' if event.early else ''}]")
                elif event.type == "tool.result":
                    print(f"[{event.call.name}: {event.content}]")
                elif event.type == "tool.failed":
                    print(f"[{event.call.name} failed: {event.error!r}]")
        print()
        print(run.outcome, "after", run.rounds, "rounds,", run.usage)
        # run.messages is the whole conversation: append what the user says next, and run again.
        print([message["role"] for message in run.messages])


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer() as server:
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


asyncio.run(main())
