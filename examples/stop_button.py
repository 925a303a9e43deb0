"""Stop an answer from another task: the reader's loop ends quietly, and what came is kept."""

import asyncio

from cometstream import ChatStream, CometSession


async def stop_when(pressed: asyncio.Event, stream: ChatStream) -> None:
    await pressed.wait()
    await stream.aclose()


async def main() -> None:
    pressed = asyncio.Event()  # a real program sets it where its button is
    async with CometSession() as session:
        async with session.stream(
            model="gpt-5.4",
            messages=[{"role": "user", "content": "Tell me a long story about a comet."}],
        ) as stream:
            button = asyncio.create_task(stop_when(pressed, stream))
            async for text in stream.text():
                print(text, end="", flush=True)
                await asyncio.sleep(0.02)  # a display that takes its time
                if len(stream.completion.content or "") > 10:
                    pressed.set()
            await button
    print(f"\n{stream.outcome} after {len(stream.completion.content or '')} characters")


asyncio.run(main())
