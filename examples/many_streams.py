"""Run many streams at once through one session, a few at a time, and report each as it ends."""

import asyncio

from cometstream import CometError, CometSession

TOPICS = ["comets", "asteroids", "meteors", "planets", "moons", "stars", "galaxies", "nebulae"]
AT_A_TIME = 4


async def ask(session: CometSession, places: asyncio.Semaphore, topic: str) -> None:
    async with places:
        try:
            async with session.stream(
                model="gpt-5.4",
                messages=[{"role": "user", "content": f"Write one sentence about {topic}."}],
            ) as stream:
                completion = await stream.until_done()
        except CometError as error:
            print(f"{topic}: {type(error).__name__}: {error}")
        else:
            print(f"{topic}: {completion.content} ({stream.metrics.duration:.2f} s)")


async def main() -> None:
    places = asyncio.Semaphore(AT_A_TIME)
    async with CometSession() as session:
        await asyncio.gather(*(ask(session, places, topic) for topic in TOPICS))


asyncio.run(main())
