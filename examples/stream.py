"""Print an answer token by token, then how it ended and what it cost."""

import asyncio

from cometstream import CometSession


async def main() -> None:
    async with CometSession() as session:  # the key comes from COMETAPI_KEY
        async with session.stream(
            model="gpt-5.4",
            messages=[{"role": "user", "content": "Write one sentence about comets."}],
        ) as stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", flush=True)
        print()
        usage = stream.completion.usage
        print(stream.outcome, stream.completion.finish_reason, f"{usage.total_tokens} tokens" if usage else "no usage")


asyncio.run(main())
