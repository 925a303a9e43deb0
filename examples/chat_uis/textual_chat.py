"""A chat as a Textual app; Escape stops an answer and keeps it.

pip install cometstream textual
python examples/chat_uis/textual_chat.py
"""

from __future__ import annotations

import asyncio
import os

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Footer, Input, Markdown, Static

from cometstream import ChatStream, CometError, CometSession, Conversation

MODEL = os.environ.get("COMETAPI_MODEL", "gpt-5.4")


class Chat(App[None]):
    BINDINGS = [("escape", "stop", "Stop the answer")]  # noqa: RUF012 - as Textual has it
    CSS = "Static { color: $accent; margin: 1 2 0 2; }"

    def __init__(self, session: CometSession) -> None:
        super().__init__()
        self.session = session
        self.conversation = Conversation(system="You are brief.")
        self.stream: ChatStream | None = None

    def compose(self) -> ComposeResult:
        yield VerticalScroll(id="talk")
        yield Input(placeholder="Ask something")
        yield Footer()

    async def on_mount(self) -> None:
        self.query_one(Input).focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() and self.stream is None:
            event.input.clear()
            self.run_worker(self.take_turn(event.value))

    async def take_turn(self, question: str) -> None:
        talk, answer = self.query_one("#talk", VerticalScroll), Markdown()
        await talk.mount(Static(question, markup=False), answer)
        talk.anchor()  # follow the answer down
        growing = Markdown.get_stream(answer)
        try:
            # A turn that was stopped keeps what had come; one that failed has an error to show.
            turn = self.conversation.turn(self.session, question, model=MODEL, unfinished="keep")
            async with turn as self.stream:
                async for text in self.stream.text():
                    await growing.write(text)
        except CometError as error:
            await talk.mount(Static(f"The answer broke off: {error}", markup=False))
        finally:
            self.stream = None
            await growing.stop()

    async def action_stop(self) -> None:
        if self.stream is not None:
            await self.stream.aclose()


async def main() -> None:
    async with CometSession() as session:
        await Chat(session).run_async()


if __name__ == "__main__":
    asyncio.run(main())
