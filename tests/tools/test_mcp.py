"""Tools of MCP servers: one from a package of others, and one over streamable HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from support.odd_values import each, only_ours
from support.ports import free_port
from support.serving import serving
from support.tool_calls import ASK, answer, call, results, told

from cometstream import APIConnectionError, ConfigurationError, UsageError
from cometstream.testing import Reply
from cometstream.tools import Tool, mcp_tools, run_tools

BYE = Reply.text("Bye.")

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("mcp") is None, reason="mcp is not installed: pip install 'cometstream[mcp]'"
    ),
    # Of the client's own dependencies.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

needs_time_server = pytest.mark.skipif(
    importlib.util.find_spec("mcp_server_time") is None, reason="mcp-server-time is not installed"
)

TIME = [sys.executable, "-m", "mcp_server_time", "--local-timezone", "UTC"]

SERVER = """
import os, sys
from mcp.server import MCPServer
from mcp.types import ImageContent, ToolAnnotations

server = MCPServer("comets")
said = []

@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def tail(length: int) -> str:
    return "~" * length

@server.tool(name="note.down", annotations=ToolAnnotations(read_only_hint=False))
def note(text: str) -> dict[str, int]:
    said.append(text)
    return {"count": len(said)}

@server.tool()
def picture() -> ImageContent:
    return ImageContent(type="image", data="AA==", mime_type="image/png")

@server.tool()
def broken() -> str:
    raise ValueError("no comet today")

@server.tool()
def key() -> str:
    return os.environ.get("COMETAPI_KEY", "none") + os.environ.get("MINE", "")

@server.tool()
def die() -> str:
    os._exit(1)

if sys.argv[1:]:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run()
"""

STDIO = [sys.executable, "-c", SERVER]


@needs_time_server
async def test_the_tools_of_a_server_that_others_wrote_run_in_a_run() -> None:
    conversion = '{"source_timezone":"UTC","time":"12:00","target_timezone":"Asia/Tokyo"}'
    nowhere = '{"timezone":"Mars"}'
    async with serving(answer(call(0, "convert_time", conversion), call(1, "get_current_time", nowhere)), BYE) as (
        server,
        session,
    ):
        async with mcp_tools(TIME) as tools:
            assert {tool.name for tool in tools} == {"convert_time", "get_current_time"}
            assert all(tool.eager and not tool.strict for tool in tools)
            run = run_tools(session, **ASK, tools=tools)
            events = await told(run)
        assert orjson.loads(results(run)["call_0"])["target"]["datetime"].endswith("21:00:00+09:00")
        assert "Invalid timezone" in results(run)["call_1"]
        assert [event.early for event in events if event.type == "tool.started"] == [True, True]
        assert server.requests[0].json["tools"][0]["function"]["parameters"]["type"] == "object"


async def use_all(tools: list[Tool[..., Any]]) -> None:
    by_name = {tool.name: tool for tool in tools}
    assert set(by_name) == {"tail", "note_down", "picture", "broken", "key", "die"}
    assert [by_name[name].eager for name in ("tail", "note_down", "picture")] == [True, False, False]
    calls = [
        call(0, "tail", '{"length":3}'),
        call(1, "note_down", '{"text":"x"}'),
        call(2, "picture"),
        call(3, "broken"),
        call(4, "tail", '{"length":"x"}'),
    ]
    async with serving(answer(*calls), BYE) as (_, session):
        run = run_tools(session, **ASK, tools=tools)
        await told(run)
    contents = list(results(run).values())
    assert contents[0] == "~~~"
    assert orjson.loads(contents[1]) == {"count": 1}
    assert contents[2] == "[image: image/png]"
    assert "executing tool broken" in contents[3]
    assert "length: 'x' is not of type 'integer'" in contents[4]
    assert run.outcome == "complete"


async def test_a_server_over_stdio_gives_its_tools_and_does_not_see_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMETAPI_KEY", "sk-secret")
    async with mcp_tools(STDIO, env={"MINE": "!"}) as tools:
        await use_all(tools)
        (key,) = (tool for tool in tools if tool.name == "key")
        assert await key() == "none!"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *STDIO, str(port), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    break
            except OSError:
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()


async def test_a_server_over_streamable_http_gives_its_tools(url: str) -> None:
    async with mcp_tools(url) as tools:
        await use_all(tools)


@pytest.mark.slow
async def test_a_server_that_dies_fails_its_call_and_not_the_run() -> None:
    async with mcp_tools(STDIO, prefix="comets_") as tools:
        async with serving(answer(call(0, "comets_die"), call(1, "ring")), BYE) as (_, session):
            run = run_tools(session, **ASK, tools=[*tools, Tool("ring", lambda: "rang")])
            await told(run)
    assert results(run) == {"call_0": '{"error":"the tool failed"}', "call_1": "rang"}
    assert run.outcome == "complete"


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (["a-program-that-is-nowhere"], "could not be reached or started"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "could not be reached or started"),
        ("http://127.0.0.1:9/mcp", "could not be reached or started"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "did not list its tools within 1 s"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_one_clear_error(server: Any, problem: str) -> None:
    with pytest.raises(APIConnectionError, match=problem) as raised:
        async with mcp_tools(server, connect_timeout=1 if "sleep" in str(server) else 30):
            raise AssertionError("it gave tools")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
async def test_an_error_in_the_block_is_raised_as_it_is() -> None:
    servers = mcp_tools(STDIO)
    with pytest.raises(ZeroDivisionError):
        async with servers:
            raise ZeroDivisionError
    with pytest.raises(UsageError, match="entered before"):
        await servers.__aenter__()


def test_options_that_cannot_be_used_are_refused() -> None:
    for server in ("time", "ftp://a", [], [7], {}, None, 3, b"x"):
        with pytest.raises(ConfigurationError, match="server must be"):
            mcp_tools(server)
    with pytest.raises(ConfigurationError, match="env is for a server over stdio"):
        mcp_tools("http://localhost/mcp", env={})
    with pytest.raises(ConfigurationError, match="env must map"):
        mcp_tools(["x"], env={"a": 7})  # type: ignore[dict-item]
    for options in each("server", "env", "prefix", "eager", "approve", "timeout", "connect_timeout"):
        with only_ours():
            mcp_tools(**{"server": ["x"], **options})


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cometstream\[mcp\]'"):
        mcp_tools(STDIO)
