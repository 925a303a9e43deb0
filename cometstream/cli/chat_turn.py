"""One turn of a chat in the terminal: the answer as it comes, what its tools do, and what it cost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cometstream.cli.growing import Growing
from cometstream.cli.kept import stopped
from cometstream.cli.printers import tell_unseen
from cometstream.cli.process import one_line, say
from cometstream.cli.terminal import on_interrupt
from cometstream.cli.waiting import Waiting
from cometstream.cli.words import described
from cometstream.errors import CometError
from cometstream.tools import ToolRun, run_tools
from cometstream.views.cost import output_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rich.console import Console

    from cometstream.cli.chat_tools import Asking
    from cometstream.conversation import Conversation
    from cometstream.session import CometSession
    from cometstream.tools import Tool
    from cometstream.tools.events import RunEvent
    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.completion import ChatCompletion

__all__ = ["Answering", "Figures"]

# Characters of a call's arguments, or of its result, that are shown.
_SHOWN: Final = 160


class Figures(NamedTuple):
    """What a turn cost; None where nobody says. Times in seconds."""

    usage: CompletionUsage | None = None
    cost: float | None = None
    first: float | None = None  # until the first content
    streamed: float | None = None  # from the first content to the end, of an answer without calls
    stopped: bool = False

    def __str__(self) -> str:
        parts = ["stopped"] * self.stopped
        usage = self.usage
        if usage is None:
            parts.append("tokens unknown")
        else:
            parts.append(f"{usage.prompt_tokens} tokens in, {output_tokens(usage)} out")
        parts.append("cost unknown" if self.cost is None else f"${self.cost:.6f}")
        if self.first is not None:
            parts.append(f"first after {self.first:.2f} s")
        if usage is not None and self.streamed:
            parts.append(f"{output_tokens(usage) / self.streamed:.0f} tokens/s")
        return ", ".join(parts)


class Answering:
    """Takes one turn. A turn that fails leaves the conversation as it was; one that is stopped leaves what had come.

    Args:
        console: Where the answer is shown.
        session: The session that sends the request.
        model: The model.
        retries: Further attempts before the first content.
        tools: What the model may call.
        asking: Asks before a call is run.
        read_prices: Called after an answer whose cost the server did not tell.
    """

    def __init__(
        self,
        console: Console,
        session: CometSession,
        model: str,
        retries: int,
        tools: Sequence[Tool[..., Any]],
        asking: Asking,
        read_prices: Callable[[], Awaitable[None]],
    ) -> None:
        self._console = console
        self._session = session
        self._model = model
        self._tools = tools
        self._asked_for = {tool.name for tool in tools if tool.approve is not False}  # the question shows their calls
        self._asking = asking
        self._read_prices = read_prices
        self._growing = Growing(console)
        self._waiting = Waiting(model, show_reasoning=True)
        self._retry = self._waiting.policy(retries)
        self._first: float | None = None
        self._stopping = False
        self._task: asyncio.Task[Figures] | None = None

    async def take(self, conversation: Conversation, question: Any) -> Figures | None:
        """Show the answer to a question. Return what it cost; None where there is none, which is told."""
        task = self._task = asyncio.ensure_future(self._answered(conversation, question))
        try:
            with on_interrupt(self.stop), self._asking.during(self):
                return await task
        except CometError as error:
            say(described(error))
            return None

    def stop(self) -> None:
        """End the answer, and keep what came of it."""
        assert self._task is not None
        self._stopping = True
        self._task.cancel()

    def pause(self) -> None:
        """Show for good what came, so that something else can be shown."""
        self._waiting.end()
        self._growing.settle()

    async def _answered(self, conversation: Conversation, question: Any) -> Figures:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = self._with_tools if self._tools else self._without_tools
        try:
            async with self._waiting:
                answered = await answer(conversation, question)
        finally:
            self.pause()
        ended = loop.time()
        if answered is not None and answered.usage is not None and answered.cost is None:
            try:
                await self._read_prices()
            except asyncio.CancelledError:
                if not self._stopping:
                    raise
        figures = Figures(stopped=self._stopping)
        if answered is not None:
            figures = figures._replace(usage=answered.usage, cost=answered.cost)
        if self._first is not None:
            streamed = None if isinstance(answered, ToolRun) and answered.rounds > 1 else ended - self._first
            figures = figures._replace(first=self._first - began, streamed=streamed)
        return figures

    async def _without_tools(self, conversation: Conversation, question: Any) -> ChatCompletion | None:
        stream = None
        try:
            async with conversation.turn(self._session, question, model=self._model, retry=self._retry) as stream:
                async for event in stream.events():
                    self._show(event)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        if stream is None:
            return None
        completion = stream.completion
        said = stopped(completion)
        if stream.outcome != "complete" and said is not None:
            conversation.add(question, said)
        self.pause()
        tell_unseen(completion)
        return completion

    async def _with_tools(self, conversation: Conversation, question: Any) -> ToolRun:
        messages = [*conversation.messages_for(self._model), question]
        run = run_tools(
            self._session, model=self._model, messages=messages, tools=self._tools, max_rounds=20, retry=self._retry
        )
        try:
            async with run:
                async for event in run:
                    self._show(event)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        taken = run.messages
        if self._stopping:
            said = None if run.completion is None else stopped(run.completion)
            if said is not None and all(
                said["content"] != message.get("content") for message in taken[len(messages) :]
            ):
                taken.append(said)
        if len(taken) > len(messages):
            conversation.messages = taken
        self.pause()
        if run.completion is not None:
            tell_unseen(run.completion)
        if run.outcome == "max_rounds":
            say(f"the model still called tools after {run.rounds} answers: say how it should go on")
        return run

    def _show(self, event: RunEvent) -> None:
        if event.type in ("content.delta", "reasoning.delta", "refusal.delta"):
            if self._first is None:
                self._first = asyncio.get_running_loop().time()
            self._waiting.end()
        if event.type == "content.delta" and event.choice_index == 0:
            self._growing.add("text", event.delta)
        elif event.type == "reasoning.delta" and event.choice_index == 0:
            self._growing.add("reasoning", event.delta)
        elif event.type == "tool.started" and event.call.name not in self._asked_for:
            self._note(f"{event.call.name} {event.call.text}")
        elif event.type == "tool.result":
            self._note(f"{event.call.name} gave {event.content}")
        elif event.type == "tool.failed":
            self._note(f"{event.call.name} failed: {event.error}")
        elif event.type == "tool.cancelled":
            self._note(f"{event.call.name} was cancelled")

    def _note(self, text: str) -> None:
        self.pause()
        line = one_line(text)
        self._console.print(
            f"[{line if len(line) <= _SHOWN else line[:_SHOWN] + '…'}]", style="dim", markup=False, highlight=False
        )
