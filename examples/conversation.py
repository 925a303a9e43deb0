"""Talk in turns: each answer goes into the history, a cut one does not, and the history is kept as JSON."""

import asyncio

from cometstream import CometError, CometSession, Conversation

MODEL = "gpt-5.4"
QUESTIONS = ["Write one sentence about comets.", "Say that again, shorter."]


def tokens(message: dict[str, object]) -> int:
    return len(str(message.get("content"))) // 4 + 4  # about; a tokeniser of your own counts exactly


async def main() -> None:
    chat = Conversation(system="You are brief.")
    async with CometSession() as session:
        for question in QUESTIONS:
            print(">", question)
            try:
                async with chat.turn(session, question, model=MODEL) as stream:
                    async for text in stream.text():
                        print(text, end="", flush=True)
            except CometError as error:  # the question is not in the history either: ask it again when you like
                print(f"\n{type(error).__name__}: {error}")
            print()
    chat.trim(8000, count=tokens)
    stored = chat.to_json()  # a text for your database
    print(len(Conversation.from_json(stored).messages), "messages kept")


asyncio.run(main())
