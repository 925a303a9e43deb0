"""A chat as it goes on: its conversation, what waits to be sent, and what it has cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cometstream.cli.attachments import said
from cometstream.cli.chat_turn import Answering
from cometstream.cli.connection import load_prices
from cometstream.cli.kept import keep_last
from cometstream.cli.process import printable, say
from cometstream.views.cost import output_tokens

if TYPE_CHECKING:
    from rich.console import Console

    from cometstream.cli.chat_tools import Asking
    from cometstream.cli.chat_turn import Figures
    from cometstream.conversation import Conversation
    from cometstream.session import CometSession
    from cometstream.tools import Tool

__all__ = ["Chat", "Totals"]


@dataclass
class Totals:
    """What a chat has cost so far."""

    turns: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    without_tokens: int = 0
    without_cost: int = 0

    def add(self, figures: Figures) -> None:
        """Count one turn."""
        self.turns += 1
        if figures.usage is None:
            self.without_tokens += 1
        else:
            self.tokens_in += figures.usage.prompt_tokens
            self.tokens_out += output_tokens(figures.usage)
        if figures.cost is None:
            self.without_cost += 1
        else:
            self.cost += figures.cost

    def __str__(self) -> str:
        text = f"{self.turns} answers: {self.tokens_in} tokens in, {self.tokens_out} out"
        if self.without_tokens:
            text += f" ({self.without_tokens} not counted: the server told nothing)"
        text += f"; ${self.cost:.6f}"
        if self.without_cost:
            text += f" ({self.without_cost} not counted: nobody says what they cost)"
        return text


@dataclass
class Chat:
    """One chat.

    Args:
        console: The terminal.
        session: What sends the requests.
        conversation: What was said before.
        model: The model that answers.
        retries: Further attempts before the first content.
        tools: What the model may call.
        asking: Asks before a call is run.
        keep: Whether the conversation is kept for ``-c``.
        demo: Whether the server is simulated.
    """

    console: Console
    session: CometSession
    conversation: Conversation
    model: str
    retries: int
    tools: list[Tool[..., Any]]
    asking: Asking
    keep: bool
    demo: bool
    tools_on: bool = True
    totals: Totals = field(default_factory=Totals)
    attached: list[Any] = field(default_factory=list)
    prices_read: bool = False
    failed: Any = None  # the question that had no answer

    def begin(self, conversation: Conversation) -> None:
        """Take another conversation."""
        self.conversation = conversation
        self.attached.clear()
        self.failed = None

    def clear(self) -> None:
        """Begin a new conversation; the instructions stay."""
        self.begin(type(self.conversation)(system=self.conversation.system))

    def attach(self, name: str, part: Any) -> None:
        """Send a part with the next message."""
        self.attached.append(part)
        self.tell(f"{name} goes with the next message")

    def tell(self, text: str) -> None:
        """Show a text of ours, or of a server's, as it is."""
        # The terminal wraps it, so that a path can be copied.
        self.console.print(Text(printable(text), style="dim"), soft_wrap=True)

    async def send(self, text: str, parts: list[Any]) -> None:
        """Send a message, with what was attached before."""
        question = said(text, [*self.attached, *parts])
        self.attached.clear()
        await self._take(self.conversation, question)

    async def retry(self) -> None:
        """Ask again what failed; or have the last question answered anew, in the place of its answer."""
        if self.failed is not None:
            await self._take(self.conversation, self.failed)
            return
        messages = self.conversation.messages
        asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
        if not asked:
            say("there is no question to answer again")
            return
        # The answer so far stays where the new one fails.
        await self._take(self.conversation.fork(asked[-1]), messages[asked[-1]])

    async def _take(self, conversation: Conversation, question: Any) -> None:
        length = len(conversation.messages)
        self.failed = question
        tools = self.tools if self.tools_on else []
        turn = Answering(self.console, self.session, self.model, self.retries, tools, self.asking, self._read_prices)
        figures = await turn.take(conversation, question)
        if len(conversation.messages) > length:
            self.failed = None
            self.conversation = conversation
            if self.keep:
                keep_last(conversation, self.model, demo=self.demo)
        if figures is not None:
            self.totals.add(figures)
            self.tell(f"[{figures}]")
        if self.failed is not None:
            self.tell("the conversation is as it was before; /retry asks again")

    async def _read_prices(self) -> None:
        if not self.prices_read:
            self.prices_read = True
            await load_prices(self.session)
