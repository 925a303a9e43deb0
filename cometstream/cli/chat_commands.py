"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cometstream.cli.attachments import attachment
from cometstream.cli.kept import load, save
from cometstream.cli.process import say
from cometstream.errors import CometError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cometstream.cli.chat_state import Chat

__all__ = ["COMMANDS", "Command", "run_command"]

# Models that `/model` lists; there are hundreds.
_LISTED: Final = 50


class Command(NamedTuple):
    """One command."""

    run: Callable[[Chat, str], Awaitable[None]]
    argument: str
    purpose: str
    takes_file: bool = False


async def _help(chat: Chat, _: str) -> None:
    rows = [(f"{name} {command.argument}".strip(), command.purpose) for name, command in COMMANDS.items()]
    width = max(len(usage) for usage, _ in rows)
    chat.tell("\n".join(f"{usage:<{width}}  {purpose}" for usage, purpose in rows))
    chat.tell(
        "Enter sends; Alt-Enter, or a backslash before Enter, begins another line. "
        "Ctrl-C stops an answer and keeps it, Ctrl-D ends.\n"
        "@comet.png in a message sends that image. // at the beginning of a message sends a slash.",
    )


async def _model(chat: Chat, argument: str) -> None:
    if argument:
        if not argument.isprintable() or " " in argument:
            raise ConfigurationError("a model's id is one word; /model lists them")
        chat.model = argument
        chat.tell(f"the model is {chat.model}")
        return
    chat.tell(f"the model is {chat.model}; /model ID takes another one")
    ids = sorted(model.id for model in await chat.session.models())
    more = f" … and {len(ids) - _LISTED} more (cometstream models)" if len(ids) > _LISTED else ""
    chat.tell(", ".join(ids[:_LISTED]) + more)


async def _system(chat: Chat, argument: str) -> None:
    if argument:
        chat.conversation.system = None if argument == "-" else argument
    system = chat.conversation.system
    chat.tell("there are no instructions; /system TEXT gives some" if system is None else f"instructions: {system}")


async def _clear(chat: Chat, _: str) -> None:
    chat.clear()
    chat.tell("a new conversation; model and instructions stay")


async def _save(chat: Chat, argument: str) -> None:
    path = _path(argument, "/save")
    if path.exists():
        try:
            load(path)
        except CometError:
            raise ConfigurationError(
                f"{path} is not a conversation, and is left as it is: choose another name"
            ) from None
    save(path, chat.conversation, chat.model)
    chat.tell(f"{len(chat.conversation.messages)} messages saved in {path}")


async def _load(chat: Chat, argument: str) -> None:
    path = _path(argument, "/load")
    kept = load(path)
    chat.begin(kept.conversation)
    chat.model = kept.model or chat.model
    chat.tell(f"{len(kept.conversation.messages)} messages, the model is {chat.model}")


async def _attach(chat: Chat, argument: str) -> None:
    if not argument:
        raise ConfigurationError("/attach needs a file: /attach comet.png")
    chat.attach(argument, attachment(argument))


async def _retry(chat: Chat, _: str) -> None:
    await chat.retry()


async def _usage(chat: Chat, _: str) -> None:
    chat.tell(str(chat.totals))


async def _tools(chat: Chat, argument: str) -> None:
    if argument not in ("", "on", "off"):
        raise ConfigurationError("/tools lists the tools; /tools off and /tools on switch them")
    if not chat.tools:
        chat.tell("there are no tools: start with `cometstream chat --tools FILE.py` or `--mcp 'COMMAND'`")
        return
    if argument:
        chat.tools_on = argument == "on"
    lines = [f"{tool.name}  {' '.join(tool.description.split())}".strip() for tool in chat.tools]
    chat.tell("\n".join([*lines, "the model may call these" if chat.tools_on else "switched off; /tools on"]))


async def _quit(chat: Chat, _: str) -> None:
    raise EOFError


def _path(argument: str, command: str) -> Path:
    if not argument:
        raise ConfigurationError(f"{command} needs a file: {command} comets.json")
    return Path(argument).expanduser()


COMMANDS: Final = {
    "/help": Command(_help, "", "this list"),
    "/model": Command(_model, "[ID]", "which model answers; with ID, take another one"),
    "/system": Command(_system, "[TEXT|-]", "the instructions; with TEXT, others; with -, none"),
    "/clear": Command(_clear, "", "begin a new conversation"),
    "/save": Command(_save, "FILE", "save the conversation as JSON", takes_file=True),
    "/load": Command(_load, "FILE", "go on with a saved conversation", takes_file=True),
    "/attach": Command(_attach, "FILE", "send an image, sound, a text or a PDF with the next message", takes_file=True),
    "/retry": Command(_retry, "", "answer the last question again, or ask again what failed"),
    "/usage": Command(_usage, "", "tokens and cost of this chat"),
    "/tools": Command(_tools, "[on|off]", "the tools that the model may call"),
    "/quit": Command(_quit, "", "end (as Ctrl-D does)"),
}
"""All commands by their names."""


async def run_command(chat: Chat, line: str) -> None:
    """Run a line that begins with a slash; what is wrong with it is told.

    Raises:
        EOFError: The chat ends.
    """
    name, _, argument = line.partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        say(f"there is no command {name}; /help lists them, and // at the beginning sends a slash")
        return
    await command.run(chat, argument.strip())
