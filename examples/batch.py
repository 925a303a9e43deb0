"""Ask the same question about many things at once, and print each answer as it is done."""

import asyncio

from cometstream import CometSession, fan_out

TOPICS = ["comets", "asteroids", "meteors", "planets", "moons", "stars", "galaxies", "nebulae"]


def requests():
    for topic in TOPICS:
        question = {"role": "user", "content": f"Write one sentence about {topic}."}
        yield {"custom_id": topic, "messages": [question]}


async def main() -> None:
    async with CometSession() as session:
        async with fan_out(session, requests(), model="gpt-5.4", concurrency=4) as batch:
            async for result in batch:
                if result.completion and not result.error:
                    print(f"{result.custom_id}: {result.completion.content}")
                else:
                    print(f"{result.custom_id}: {result.outcome} after {result.attempts} attempts: {result.error}")
        progress = batch.progress
        print(f"{progress.done} done, {progress.failed} failed, {progress.completion_tokens} tokens written")


asyncio.run(main())
