"""Where a process has no file left to import from, what was asked for is refused as an error of ours, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cometstream import UsageError
from cometstream.late import late_import

# The head of each program: what a server answers, and a function that takes all files.
_HEAD = r"""
import asyncio, os, resource
from dataclasses import dataclass
import orjson
from cometstream import APIConnectionError, CometSession, InvalidRequestError, UsageError

CHUNKS = [
    {"choices": [{"index": 0, "delta": {"content": '{"n": 7}'}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

def no_file_is_left():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass

async def answer(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in CHUNKS) + b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()
"""

# The programs' function: what an answer needs is imported once there is a session, and nothing else.
_MAIN = r"""
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, CometSession(api_key="sk-of-nobody", base_url=url, retry=None) as session:
"""


def run(body: str) -> str:
    """Run some lines within a session, in a process of its own, and return what they printed."""
    return run_alone(
        _MAIN + "\n".join(" " * 8 + line for line in body.strip().splitlines()) + "\n\nasyncio.run(main())"
    )


def run_alone(program: str) -> str:
    """Run a program in a process of its own, and return what it printed."""
    program = f"{_HEAD}\n{program}\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_session_that_cannot_be_made_says_why() -> None:
    told = run_alone(
        """
no_file_is_left()
try:
    CometSession(api_key="sk-of-nobody")
except UsageError as error:
    print(error)
"""
    )
    assert "Too many open files" in told


def test_the_first_failure_of_a_process_needs_no_file_to_be_told() -> None:
    told = run(
        """
no_file_is_left()
try:
    await session.complete(**ASKED, retry=0)
except APIConnectionError as error:
    print(error)
"""
    )
    assert "no file descriptor is left" in told


@pytest.mark.parametrize("reader", ["events()", "text(smooth=0.1)", "partials()"])
def test_a_reader_that_cannot_be_imported_leaves_the_answer_to_others(reader: str) -> None:
    told = run(
        f"""
async with session.stream(**ASKED, response_format={{"type": "json_object"}}) as stream:
    no_file_is_left()
    try:
        async for _ in stream.{reader}:
            pass
    except UsageError as error:
        print(error)
    print((await stream.until_done()).content, stream.outcome)
"""
    )
    assert "Too many open files" in told
    assert "ulimit -n" in told
    assert told.endswith('{"n": 7} complete\n')


@pytest.mark.parametrize(
    "call",
    [
        "session.models()",
        "session.step('run')",
        "session.catalog()",
        "session.balance()",
        "session.complete(**ASKED, response_format=dict[str, int])",
        "session.complete(**ASKED, hooks=object())",
    ],
)
def test_what_is_refused_before_it_is_sent_says_why(call: str) -> None:
    told = run(f"no_file_is_left()\ntry:\n    await {call}\nexcept UsageError as error:\n    print(error)")
    assert "Too many open files" in told


@pytest.mark.parametrize(
    ("made", "call"),
    [
        ("from cometstream import tool", "tool(main)"),
        ("from cometstream import tool", "tool(main, parameters={})"),
        (
            "from cometstream import tool\nfrom pydantic import BaseModel\nclass No(BaseModel): pass",
            "tool(main, parameters=No, description='d')",
        ),
        ("from cometstream import Tool", 'Tool("t", main, description="d", parameters={"type": "object"})'),
        ("from cometstream import tool\nimport cometstream.tools.signature", "tool(main)"),
        ("from cometstream import Schema", "Schema(dict[str, int])"),
        ("from cometstream.batch import fan_out", "fan_out(session, [ASKED], response_format=dict[str, int])"),
    ],
)
def test_what_is_made_without_a_file_says_why(made: str, call: str) -> None:
    told = run(f"{made}\nno_file_is_left()\ntry:\n    {call}\nexcept UsageError as error:\n    print(error)")
    assert "Too many open files" in told


def test_a_batch_whose_row_needs_what_cannot_be_loaded_says_why() -> None:
    told = run(
        """
from cometstream.batch import fan_out
no_file_is_left()
try:
    async for _ in fan_out(session, [{**ASKED, "response_format": dict[str, int]}]):
        pass
except UsageError as error:
    print(error)
"""
    )
    assert "Too many open files" in told


@pytest.mark.parametrize("before", ["", "await session.complete(**ASKED)"])
def test_other_batches_need_nothing_more_and_runs_with_tools_what_a_request_has_loaded(before: str) -> None:
    told = run(
        f"""
from cometstream import CometError, Tool, run_tools
from cometstream.batch import fan_out
tool = Tool("t", print, description="d", parameters={{"type": "object"}})
{before}
no_file_is_left()
async for result in fan_out(session, [ASKED], retry=None):
    print(result.error)
try:
    async with run_tools(session, tools=[tool], **ASKED) as tools:
        await tools.until_done()
except CometError as error:
    print(error)
"""
    )
    unloaded = told.count("needs a module that cannot be loaded")  # of anyio, in whose newer versions modules load late
    assert unloaded <= (0 if before else 1)
    assert told.count("no file descriptor is left for another connection") == 2 - unloaded


def test_a_misspelt_parameter_is_told_without_a_guess() -> None:
    told = run(
        """
no_file_is_left()
try:
    await session.complete(**ASKED, temprature=1)
except InvalidRequestError as error:
    print(error)
"""
    )
    assert "temprature: is not a parameter of this endpoint; a provider's own" in told


@pytest.mark.parametrize(
    "read", ["(await stream.until_done()).parsed", "[value async for value in stream.partials()][-1]"]
)
def test_an_answer_that_was_asked_for_is_read_into_its_type(read: str) -> None:
    told = run(
        f"""
@dataclass
class Count:
    n: int

async with session.stream(**ASKED, response_format=Count) as stream:
    import cometstream.partials
    no_file_is_left()
    value = {read}
    print(type(value).__name__, value.n)
"""
    )
    assert told == "Count 7\n"


def test_no_other_error_is_changed() -> None:
    with pytest.raises(ImportError), late_import:
        raise ImportError("no such module")
    with pytest.raises(UsageError, match="it is gone"), late_import:
        raise OSError("it is gone")
