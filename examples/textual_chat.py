"""A chat in the terminal with Textual: Markdown as it comes, Esc stops the answer, and a failed turn stays out of the history.

    python examples/textual_chat.py            # or --demo, against the simulated server, without a key

Needs ``pip install textual``.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Input, Markdown, Static
from textual.worker import Worker

from cometstream import CometError, CometSession, Conversation
from cometstream.testing import SimulatedServer


class Chat(App[None]):
    """The screen."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "stop", "Stop the answer")]
    CSS = """
    .question { margin: 1 0 0 8; padding: 0 1; background: $panel; }
    .note { margin: 0 2; color: $warning; }
    """

    def __init__(self, session: CometSession) -> None:
        super().__init__()
        self.session = session
        self.talk = Conversation(system="You are a friendly guide to the night sky. Answer in Markdown.")
        self.answering: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """Lay out the screen."""
        yield VerticalScroll()
        yield Input(placeholder="Ask about the night sky")
        yield Footer()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask, unless an answer is still coming."""
        if event.value.strip() and (self.answering is None or self.answering.is_finished):
            self.answering = self.answer(event.value)
            event.input.clear()

    def action_stop(self) -> None:
        """Stop the answer."""
        if self.answering is not None:
            self.answering.cancel()  # whatever it waits for: the connection upstream is closed at once

    @work
    async def answer(self, question: str) -> None:
        """Show the answer as it comes."""
        screen = self.query_one(VerticalScroll)
        screen.anchor()  # the end stays in view, unless the reader scrolls up
        shown, note = Markdown(), Static(classes="note", markup=False)
        await screen.mount(Static(question, classes="question", markup=False), shown, note)
        writer = Markdown.get_stream(shown)
        try:
            async with self.talk.turn(self.session, question, model="gpt-5.4") as stream:
                async for text in stream.text():
                    await writer.write(text)
        except CometError as error:  # what came stays on the screen; the history is as it was before the question
            note.update(str(error))
        except asyncio.CancelledError:
            note.update("You stopped this answer.")
        finally:
            await writer.stop()


async def main() -> None:
    async with open_session() as session:
        await Chat(session).run_async()


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator[CometSession]:
    if "--demo" in sys.argv:
        async with SimulatedServer(token_rate=30) as server:
            async with CometSession(api_key=server.api_key, base_url=server.base_url) as session:
                yield session
    else:
        async with CometSession() as session:  # key from COMETAPI_KEY
            yield session


if __name__ == "__main__":
    asyncio.run(main())
