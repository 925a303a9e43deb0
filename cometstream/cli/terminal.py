"""The terminal of a chat: lines that a person writes, Ctrl-C while an answer comes, and nothing typed into its midst."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import NestedCompleter, PathCompleter
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output

from cometstream.cli.process import leave

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from pathlib import Path
    from types import FrameType

    from prompt_toolkit.key_binding import KeyPressEvent

__all__ = ["Lines", "between_prompts", "on_interrupt", "stoppable"]


class Lines:
    """Reads what a person writes, with history, completion and several lines.

    Args:
        history: The file of what was written before; None keeps it for this chat only.
        commands: What can be completed, each with whether a file's name follows it.
    """

    def __init__(self, history: Path | None, commands: Iterable[tuple[str, bool]]) -> None:
        output = create_output(sys.stdout)
        if isinstance(output, Vt100_Output):
            # The terminal's answer to where the cursor is may come late, as if somebody had typed it.
            output.enable_cpr = False
        completer: dict[str, Any] = {
            name: PathCompleter(expanduser=True) if is_file else None for name, is_file in commands
        }
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory() if history is None else _History(str(history)),
            completer=NestedCompleter.from_nested_dict(completer),
            complete_while_typing=False,
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation=". ",
            output=output,
        )
        self._question: PromptSession[str] = PromptSession(output=output)

    async def read(self, default: str = "") -> str:
        """Return what is written next.

        Args:
            default: What stands there already, to be changed.
        Raises:
            KeyboardInterrupt: Ctrl-C.
            EOFError: Ctrl-D on an empty line, or the terminal is gone.
        """
        return await self._session.prompt_async("> ", default=default)

    async def ask(self, question: str) -> str:
        """Return the answer to a question.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            EOFError: Ctrl-D, or the terminal is gone.
        """
        return await self._question.prompt_async(question)


class _History(FileHistory):
    """A history that costs no more than itself where its file cannot be read or written."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            # What the terminal sent may not be UTF-8.
            super().store_string(string.encode("utf-8", "replace").decode())


def _keys() -> KeyBindings:
    """Return keys by which Enter sends; with Alt, or after a backslash, it begins another line."""
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    @keys.add("escape", "c-j", filter=has_focus(DEFAULT_BUFFER))  # what was typed before the prompt was there
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


@contextmanager
def on_interrupt(stop: Callable[[], object]) -> Iterator[None]:
    """Have Ctrl-C call a function in the loop, once, while the block runs. A third one ends the process, whatever holds it.

    `run_until_signal` has the loop woken by signals.
    """
    loop, presses = asyncio.get_running_loop(), 0

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            loop.call_soon_threadsafe(stop)
        elif presses > 2:
            leave(128 + number)

    former = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


async def stoppable(work: Coroutine[Any, Any, object]) -> None:
    """Do something that Ctrl-C ends, and nothing else with it."""
    task, stopped = asyncio.ensure_future(work), False

    def stop() -> None:
        nonlocal stopped
        stopped = task.cancel()

    try:
        with on_interrupt(stop):
            await task
    except asyncio.CancelledError:
        if not stopped:
            raise


@contextmanager
def between_prompts() -> Iterator[None]:
    """Let neither what is typed between two prompts show, nor a late Ctrl-C end the chat; the next prompt reads what was typed."""
    former = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with _unechoed():
            yield
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def _unechoed() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import termios

    stdin = sys.stdin.fileno()
    former = termios.tcgetattr(stdin)
    # Not line by line either: a Ctrl-D would get lost.
    quiet = [*former[:3], former[3] & ~(termios.ECHO | termios.ICANON), *former[4:]]
    termios.tcsetattr(stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(stdin, termios.TCSADRAIN, former)
