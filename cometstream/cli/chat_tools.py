"""The tools of a chat: from a Python file, from MCP servers; and the question before a call is run."""

from __future__ import annotations

import asyncio
import runpy
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cometstream.cli.process import one_line
from cometstream.errors import ConfigurationError
from cometstream.tools import Denied, Invocation, Tool, mcp_tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AsyncExitStack

    from cometstream.cli.chat_turn import Answering
    from cometstream.cli.terminal import Lines

__all__ = ["Asking", "opened_tools"]

# Characters of a call's arguments that are shown before it is allowed: more than anybody checks.
_SHOWN: Final = 2000


class Asking:
    """Asks the user before a call is run.

    Args:
        lines: Where the answer is read.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._always: set[str] = set()
        self._one_at_a_time = asyncio.Lock()
        self._turn: Answering | None = None

    @contextmanager
    def during(self, turn: Answering) -> Iterator[None]:
        """Stop this turn where the user would rather leave than answer."""
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None

    async def approve(self, call: Invocation) -> bool | Denied:
        """Return whether a call may be run."""
        turn = self._turn
        assert turn is not None  # tools run within turns
        async with self._one_at_a_time:
            if call.name in self._always:
                return True
            turn.pause()
            arguments = one_line(call.text)
            shown = arguments if len(arguments) <= _SHOWN else f"{arguments[:_SHOWN]}… ({len(arguments)} characters)"
            try:
                answer = (
                    (await self._lines.ask(f"run {one_line(call.name)} {shown}? [y]es, [n]o, [a]lways: "))
                    .strip()
                    .lower()
                )
            except (KeyboardInterrupt, EOFError):
                turn.stop()
                return Denied()
        if answer in ("a", "always"):
            self._always.add(call.name)
        return answer in ("y", "yes", "a", "always") or Denied()


async def opened_tools(
    stack: AsyncExitStack, files: Sequence[str], servers: Sequence[str], asking: Asking
) -> list[Tool[..., Any]]:
    """Return the tools of Python files and MCP servers; those of servers, and those that want it, ask before they run.

    Args:
        stack: What keeps the servers running.
        files: Python files, which are run, with functions made tools by ``@tool``.
        servers: Each a command line or a URL.
        asking: What asks.
    Raises:
        ConfigurationError: A file or a server cannot be used.
    """
    tools: list[Tool[..., Any]] = []
    for file in files:
        found = _tools_of(file)
        for tool in found:
            if tool.approve is True:
                tool.approve = asking.approve
        tools += found
    for server in servers:
        address = server if server.startswith(("http://", "https://")) else _command(server)
        tools += await stack.enter_async_context(mcp_tools(address, approve=asking.approve))
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two tools are called {name!r}: leave out one of them")
    return tools


def _tools_of(file: str) -> list[Tool[..., Any]]:
    try:
        found = runpy.run_path(file)
    except Exception as error:  # of the user's own code
        raise ConfigurationError(f"--tools {file}: cannot be run ({type(error).__name__}: {error})") from None
    tools = list({id(value): value for value in found.values() if isinstance(value, Tool)}.values())
    if not tools:
        raise ConfigurationError(f"--tools {file}: has no tools; put @tool before a function")
    return tools


def _command(line: str) -> list[str]:
    try:
        command = shlex.split(line)
    except ValueError as error:
        raise ConfigurationError(f"--mcp {line!r} is not a command line ({error})") from None
    if not command:
        raise ConfigurationError("--mcp needs a command or a URL")
    return command
