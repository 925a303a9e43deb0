"""``cometstream chat``: a conversation in the terminal."""

from __future__ import annotations

import signal
import sys
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cometstream.cli.attachments import attachment, images_in, only_image
from cometstream.cli.connection import (
    check_connection,
    chosen_model,
    clock_options,
    connection_options,
    continue_option,
    given_timeouts,
    keep_option,
    model_option,
    open_session,
    retries_option,
)
from cometstream.cli.exit_codes import EPILOG
from cometstream.cli.kept import continued, private_file, touch
from cometstream.cli.process import OutputFailed, Stdout, is_terminal, run_until_signal, say
from cometstream.cli.words import described
from cometstream.errors import CometError
from cometstream.policy import RetryPolicy

if TYPE_CHECKING:
    from cometstream.cli.chat_state import Chat
    from cometstream.cli.kept import Kept
    from cometstream.cli.terminal import Lines
    from cometstream.session import CometSession

__all__ = ["chat"]

# The signals that end a program in a terminal; a system may not have all of them.
_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@click.command(epilog=EPILOG)
@model_option("The model, as `cometstream models` names it.")
@click.option("-s", "--system", metavar="TEXT", help="Instructions for the model.")
@continue_option
@keep_option
@click.option(
    "--tools",
    multiple=True,
    metavar="FILE.py",
    help="Run this Python file, and let the model call its @tool functions.",
)
@click.option(
    "--mcp",
    multiple=True,
    metavar="COMMAND|URL",
    help="Let the model call the tools of an MCP server; you are asked before each call.",
)
@clock_options(total="for each answer, retries included")
@retries_option("Further attempts, made only before the first content.", default=RetryPolicy.max_retries)
@connection_options
@click.pass_context
def chat(
    context: click.Context,
    /,
    *,
    model: str,
    system: str | None,
    continue_: bool,
    no_keep: bool,
    tools: tuple[str, ...],
    mcp: tuple[str, ...],
    retries: int,
    base_url: str | None,
    demo: bool,
    **clocks: float | None,
) -> None:
    """Talk with a model in the terminal; /help lists what can be done.

    The conversation is kept in a file of yours after each answer, so that -c and `cometstream ask -c` can go on with it.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
        raise click.UsageError("chat needs a terminal; `cometstream ask` works without one", context)
    if find_spec("prompt_toolkit") is None:
        raise click.ClickException("the chat needs prompt_toolkit: pip install 'cometstream[cli]'")
    check_connection(base_url=base_url, demo=demo)
    kept = continued(demo=demo) if continue_ else None
    model = chosen_model(context, model, demo=demo, kept=None if kept is None else kept.model)
    timeouts = given_timeouts(clocks)

    from cometstream.cli.terminal import between_prompts  # prompt_toolkit: --help does not wait for it

    async def main() -> None:
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session(base_url=base_url, demo=demo, timeouts=timeouts))
            talk, lines = await _opened(
                stack,
                session,
                kept,
                tools,
                mcp,
                model=model,
                system=system,
                retries=retries,
                keep=not no_keep,
                demo=demo,
            )
            with between_prompts():
                talk.tell(f"{talk.model}; /help lists the commands, Ctrl-D ends")
                await _talk(talk, lines)

    try:
        run_until_signal(main(), *_SIGNALS)
    except OSError as error:  # the terminal is gone
        raise OutputFailed(error) from None


async def _opened(
    stack: AsyncExitStack,
    session: CometSession,
    kept: Kept | None,
    files: tuple[str, ...],
    servers: tuple[str, ...],
    *,
    system: str | None,
    demo: bool,
    **options: Any,
) -> tuple[Chat, Lines]:
    """Return the chat that the flags describe, and what reads its lines."""
    from rich.console import Console

    from cometstream.cli.chat_commands import COMMANDS
    from cometstream.cli.chat_state import Chat
    from cometstream.cli.chat_tools import Asking, opened_tools
    from cometstream.cli.terminal import Lines
    from cometstream.conversation import Conversation

    Stdout()  # sets how characters are written that the terminal does not know
    lines = Lines(_history(demo=demo), [(name, command.takes_file) for name, command in COMMANDS.items()])
    asking = Asking(lines)
    tools = await opened_tools(stack, files, servers, asking)
    conversation = Conversation() if kept is None else kept.conversation
    if system is not None:
        conversation.system = system
    console = Console(file=sys.stdout, highlight=False, emoji=False)
    chat = Chat(
        console=console,
        session=session,
        conversation=conversation,
        tools=tools,
        asking=asking,
        demo=demo,
        **options,
    )
    return chat, lines


async def _talk(chat: Chat, lines: Lines) -> None:
    """Read what the user writes, and answer it, until the user leaves."""
    from cometstream.cli.chat_commands import run_command
    from cometstream.cli.terminal import stoppable

    unsent = ""
    while True:
        try:
            written, unsent = (await lines.read(unsent)).strip(), ""
        except KeyboardInterrupt:
            chat.tell("Ctrl-D ends the chat")
            continue
        except EOFError:
            return
        try:
            if image := only_image(written):
                chat.attach(image, attachment(image))
            elif written.startswith("/") and not written.startswith("//"):
                await stoppable(run_command(chat, written))
            elif written:
                unsent = written  # a message with an image that cannot be read is there to be changed
                text = written.removeprefix("/") if written.startswith("//") else written
                parts = [attachment(name) for name in images_in(text)]
                unsent = ""
                await chat.send(text, parts)
        except EOFError:
            return
        except CometError as error:
            say(described(error))
        except OSError as error:
            if error.filename is None:
                raise
            say(f"{error.filename}: {error.strerror}")


def _history(*, demo: bool) -> Path | None:
    try:
        return touch(private_file("history", demo=demo))
    except (OSError, RuntimeError):
        return None
