"""The tools of an MCP server as tools of a run, by the protocol's official client; needs the extra ``mcp``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio

from cometstream.errors import APIConnectionError, CometError, ConfigurationError, ToolError, UsageError
from cometstream.policy import NOT_GIVEN, NotGiven
from cometstream.request.describe import shown
from cometstream.tools.definition import Tool, checked_timeout
from cometstream.tools.workers import without_group

if TYPE_CHECKING:
    from types import TracebackType

    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as ServerTool

    from cometstream.tools.invocation import Approver

__all__ = ["McpTools", "mcp_tools"]

# Seconds that a server may take to start and to list its tools.
_CONNECT: Final = 30.0

# Seconds that the client gets to end a server; it takes four where the server does not listen.
_SHUTDOWN: Final = 15.0

_LONGEST_NAME: Final = 64

# A server that goes on listing its tools for ever.
_MOST_PAGES: Final = 100


class McpTools:
    """A connection to an MCP server: entered with ``async with``, it gives the server's tools. Made by ``mcp_tools``."""

    def __init__(self, server: Any, options: Mapping[str, Any], prefix: str, connect_timeout: float | None) -> None:
        self._server = server
        self._options = options
        self._prefix = prefix
        self._timeout = connect_timeout
        self._holder: asyncio.Task[None] | None = None
        self._left = asyncio.Event()

    async def __aenter__(self) -> list[Tool[..., Any]]:
        """Connect, and return the tools.

        Raises:
            APIConnectionError: The server could not be reached or started, or did not list its tools in time.
            ConfigurationError: A tool of the server cannot be used.
        Cancellation:
            Safe; the connection is closed.
        """
        if self._holder is not None:
            raise UsageError("this server was entered before: call mcp_tools() again for another connection")
        listed: asyncio.Future[list[Tool[..., Any]]] = asyncio.get_running_loop().create_future()
        self._holder = asyncio.create_task(self._hold(listed))
        either: set[asyncio.Future[Any]] = {listed, self._holder}
        try:
            await asyncio.wait(either, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self._holder.cancel()
            await self._leave()
            raise
        if listed.done():
            return listed.result()
        error = self._holder.exception() if self._holder.done() else None
        self._holder.cancel()
        await self._leave()
        if isinstance(error, CometError):
            raise error
        if error is None:
            raise APIConnectionError(f"the MCP server did not list its tools within {self._timeout:g} s")
        raise APIConnectionError(
            f"the MCP server could not be reached or started ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        ) from error

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        holder = self._holder
        assert holder is not None  # entered before
        self._left.set()
        if holder.done():
            return
        # The client itself waits some seconds, ends a server's process and then kills it: it must not be disturbed in that.
        with anyio.CancelScope(shield=True):
            done, _ = await asyncio.wait({holder}, timeout=_SHUTDOWN)
            if not done:
                holder.cancel()
                await asyncio.wait({holder})

    async def _hold(self, listed: asyncio.Future[list[Tool[..., Any]]]) -> None:
        """Keep the connection in a task of its own: its scopes and groups are none of the caller's."""
        import mcp

        try:
            async with mcp.Client(self._server) as client:
                tools = await self._list(client)
                if not listed.done():
                    listed.set_result(tools)
                await self._left.wait()
        except Exception as error:
            leaf = without_group(error)
            if not self._left.is_set() and not listed.done():
                raise leaf from None

    async def _list(self, client: Client) -> list[Tool[..., Any]]:
        tools: dict[str, Tool[..., Any]] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                made = self._tool(client, tool)
                if made.name in tools:
                    raise ConfigurationError(f"the MCP server has two tools that would be named {made.name!r}")
                tools[made.name] = made
            cursor = page.next_cursor
            if not cursor:
                break
        return list(tools.values())

    def _tool(self, client: Client, tool: ServerTool) -> Tool[..., Any]:
        async def call(**arguments: Any) -> str:
            return _content(await client.call_tool(tool.name, arguments))

        options = dict(self._options)
        if options["eager"] is None and options["approve"] is False:
            # The protocol's own word for what changes nothing. Whatever else may not be undone.
            options["eager"] = bool(tool.annotations is not None and tool.annotations.read_only_hint)
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self._prefix + tool.name)[:_LONGEST_NAME]
        return Tool(
            name, call, description=tool.description or "", parameters=tool.input_schema, strict=False, **options
        )


def _content(result: CallToolResult) -> str:
    """Return a result as the model reads it; what is no text is named.

    Raises:
        ToolError: The server says that the call failed.
    """
    parts = []
    for block in result.content:
        held = block.resource if block.type == "resource" else block
        text = getattr(held, "text", None)
        parts.append(f"[{block.type}: {getattr(held, 'mime_type', None) or 'not shown'}]" if text is None else text)
    text = "\n".join(parts)
    if result.is_error:
        raise ToolError(text or "the tool failed")
    if not parts and result.structured_content is not None:
        import orjson

        return orjson.dumps(result.structured_content).decode()
    return text


def mcp_tools(
    server: Any,
    *,
    env: Mapping[str, str] | None = None,
    prefix: str = "",
    eager: bool | None = None,
    approve: bool | Approver = False,
    timeout: float | NotGiven | None = NOT_GIVEN,
    connect_timeout: float | None = _CONNECT,
) -> McpTools:
    """Return an MCP server's tools, to be used as your own.

    Example:
        A server that was installed with ``pip install mcp-server-time``, beside a tool of your own:

            async with mcp_tools(["python", "-m", "mcp_server_time"]) as tools:
                async with run_tools(session, model="gpt-5.4", messages=messages, tools=[*tools, my_tool]) as run:
                    await run.until_done()

    Args:
        server: A command and its arguments as a list, for a server over stdio; a URL for one over streamable HTTP; or what
            ``mcp.Client`` takes.
        env: Environment variables of a server over stdio. It is given these and a few harmless ones (``PATH``, ``HOME``), not your
            keys.
        prefix: Stands before each tool's name, to tell the tools of several servers apart.
        eager: As for `Tool`. None starts early only what the server says changes nothing (its ``readOnlyHint``).
        approve: As for `Tool`, for all tools of the server.
        timeout: As for `Tool`.
        connect_timeout: Seconds that the server may take to start and to list its tools; None for no limit.
    Returns:
        A context manager that gives a list of tools. It must be open while they run.
    Raises:
        ConfigurationError: An option cannot be used, or the extra is not installed.
    """
    try:
        from mcp import StdioServerParameters
    except ImportError:
        raise ConfigurationError(
            "MCP servers are reached by their own client: pip install 'cometstream[mcp]'"
        ) from None
    if not isinstance(prefix, str):
        raise ConfigurationError(f"prefix must be a text; got {shown(prefix)}")
    limit = checked_timeout(connect_timeout, "connect_timeout")
    options = {"eager": eager, "approve": approve, "timeout": timeout}
    Tool("mcp", _content, **options)  # type: ignore[arg-type] # only to refuse what no tool would take
    if isinstance(server, (list, tuple)):
        if not server or not all(isinstance(word, str) and word for word in server):
            raise ConfigurationError(
                f"server must be a command and its arguments, a list of texts; got {shown(server)}"
            )
        try:
            given = None if env is None else dict(env)
            server = StdioServerParameters(command=server[0], args=list(server[1:]), env=given)
        except Exception as error:  # of pydantic's, or of a mapping of the caller's own
            raise ConfigurationError(
                f"env must map names to texts ({type(error).__name__}); got {shown(env)}"
            ) from None
    elif env is not None:
        raise ConfigurationError("env is for a server over stdio: a command and its arguments")
    elif isinstance(server, str):
        if not re.match(r"https?://[^/\s]", server):
            raise ConfigurationError(
                f"server must be an http or https URL, or a command as a list; got {shown(server)}"
            )
    elif isinstance(server, (Sequence, Mapping, int, float, type)) or server is None:
        raise ConfigurationError(
            f"server must be a command as a list, a URL, or what mcp.Client takes; got {shown(server)}"
        )
    return McpTools(server, options, prefix, _CONNECT if isinstance(limit, NotGiven) else limit)
