"""A session serves whichever event loop runs it, and leaves nothing behind in one that is gone."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from support.loops import Run, on_each_loop, uvloop
from support.raw_server import answer, raw_server
from support.serving import KEY, ask, serving
from support.tls import CERTIFICATE

from cometstream import CometSession, UsageError

TESTS = Path(__file__).parents[1]


class Elsewhere:
    """A server in a loop and thread of its own, which lives through the loops of a test."""

    def __init__(self, *, tls: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.connections = 0
        self._ready = threading.Event()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve(tls)))
        self._thread.start()
        self._ready.wait(10)

    async def _serve(self, tls: bool) -> None:
        async def answering(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(answer(str(number)))
            return True

        async with raw_server(answering, tls=tls) as self.server:
            self._ready.set()
            await self._done.wait()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self.loop.close()


@pytest.fixture(params=[pytest.param(False, id="tcp"), pytest.param(True, id="tls")])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    server = Elsewhere(tls=request.param)
    yield server
    server.stop()


def test_one_session_serves_loops_one_after_another(elsewhere: Elsewhere) -> None:
    session = CometSession(api_key=KEY, base_url=elsewhere.server.base_url)

    async def main() -> None:
        await ask(session)
        await ask(session)

    for _ in range(3):
        asyncio.run(main())
    assert elsewhere.server.connections == 3
    gc.collect()  # the filter makes an error of a ResourceWarning: each loop has closed what was its own


def test_a_loop_that_was_closed_without_care_leaves_no_warning(elsewhere: Elsewhere) -> None:
    session = CometSession(api_key=KEY, base_url=elsewhere.server.base_url)

    async def main() -> None:
        await asyncio.gather(*(ask(session) for _ in range(3)))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(main())
            loop.close()
        asyncio.run(main())
        asyncio.run(session.aclose())
        loop = None  # the name holds the last one
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_one_session_serves_loops_of_several_threads(elsewhere: Elsewhere) -> None:
    session = CometSession(api_key=KEY, base_url=elsewhere.server.base_url)
    failed: list[BaseException] = []

    async def main() -> None:
        for _ in range(5):
            await asyncio.gather(*(ask(session) for _ in range(3)))

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    asyncio.run(session.aclose())


def test_closing_a_session_closes_its_connections_in_another_loop(elsewhere: Elsewhere) -> None:
    session = CometSession(api_key=KEY, base_url=elsewhere.server.base_url)
    asked, closed = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        await ask(session)
        asked.set()
        while not closed.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        with pytest.raises(UsageError, match="closed"):
            await ask(session)
        assert len(asyncio.all_tasks()) == 1

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(10)
    asyncio.run(session.aclose())
    closed.set()
    thread.join()
    assert failed == []


FORK = """
import asyncio, os, sys, warnings
warnings.simplefilter("error")
from support.raw_server import answer, raw_server
from support.serving import ask
from cometstream import CometSession

new_loop = asyncio.new_event_loop
if sys.argv[2] == "uvloop":
    import uvloop
    new_loop = uvloop.new_event_loop

session = CometSession(api_key="k" * 20, base_url=sys.argv[1], retry=None)

async def told():
    try:
        return (await ask(session)).content
    except Exception as error:
        return f"{type(error).__name__}: {error}"

loop = new_loop()
loop.run_until_complete(told())
child = os.fork()
if not child:
    own = new_loop()
    print("child:", own.run_until_complete(told()), flush=True)
    own.run_until_complete(own.shutdown_asyncgens())
    print("the parent's loop:", loop.run_until_complete(told()), flush=True)
    sys.exit(0)
os.waitpid(child, 0)
print("parent:", loop.run_until_complete(told()), flush=True)
loop.run_until_complete(session.aclose())
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
@pytest.mark.parametrize(
    "loop",
    ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(uvloop is None, reason="needs the extra uvloop"))],
)
def test_a_child_that_was_forked_has_connections_of_its_own(elsewhere: Elsewhere, loop: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, elsewhere.server.base_url, loop],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "child: 2", done.stderr
    assert lines[1].startswith(
        "the parent's loop: UsageError: this event loop belongs to the process that forked this one"
    )
    assert lines[2] == "parent: 3"
    assert elsewhere.server.requests == [1, 2, 1]  # the parent's connection is still good
    for left in ("transport", "onnector", "family=2"):  # of the script's own loops asyncio may tell
        assert left not in done.stderr


@on_each_loop
def test_a_session_that_nobody_closed_warns_once(run: Run) -> None:
    async def main() -> None:
        async with serving() as (server, _):
            session = CometSession(api_key=KEY, base_url=server.base_url)
            await asyncio.gather(*(ask(session) for _ in range(3)))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del session
                gc.collect()
                await server.until_unconnected()
            assert [str(warning.message) for warning in caught] == [
                "unclosed CometSession: use `async with`, or end it with `await session.aclose()`"
            ]

    run(main())


def test_a_session_is_not_pickled() -> None:
    session = CometSession(api_key=KEY)
    for refuse in (pickle.dumps, copy.deepcopy):
        with pytest.raises(UsageError, match=r"cannot be pickled.*make one in each process") as caught:
            refuse(session)
        assert KEY not in str(caught.value)


def test_closing_a_session_ends_in_its_own_loop_what_waits_in_another_one() -> None:
    """A cancel scope is not to be touched from another thread: the loop may miss it, and wait for ever."""
    session = CometSession(api_key=KEY, base_url="http://127.0.0.1:1/v1", retry=None)
    waiting, threads = threading.Event(), []

    async def main() -> None:
        ended = asyncio.Event()

        def end() -> None:
            threads.append(threading.get_ident())
            ended.set()

        session.on_close(end)
        forget = session.on_close(lambda: threads.append(0))
        forget()
        waiting.set()
        await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    waiting.wait()

    async def close() -> None:
        session.on_close(lambda: threads.append(-1))
        await session.aclose()
        assert threads[:1] == [-1]

    asyncio.run(close())
    thread.join(10)
    assert threads == [-1, thread.ident]


def test_what_waited_in_a_loop_that_is_closed_is_not_called() -> None:
    session = CometSession(api_key=KEY, base_url="http://127.0.0.1:1/v1", retry=None)
    called: list[str] = []

    async def main() -> None:
        session.on_close(lambda: called.append("in the loop that is closed"))

    asyncio.run(main())
    session.on_close(lambda: called.append("without a loop"))
    asyncio.run(session.aclose())
    assert called == ["without a loop"]


async def test_the_kernel_keeps_silent_connections_alive() -> None:
    async with serving() as (_, session):
        async with session.stream(model="gpt-5.4", messages=[{"role": "user", "content": "x"}]) as stream:
            client = session._pool.client()
            assert client.connector is not None
            (handler,) = client.connector._connected  # type: ignore[attr-defined] # aiohttp knows it as a connector alone
            sock = handler.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_KEEPIDLE"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 45
            await stream.until_done()


async def test_a_certificate_authority_may_be_named_after_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answering(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer("over TLS"))
        return True

    async with raw_server(answering, tls=True) as server:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        async with CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session:
            with pytest.raises(ConnectionError, match=r"not trusted .* set SSL_CERT_FILE"):
                await ask(session)
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with CometSession(api_key=KEY, base_url=server.base_url, retry=None) as session:
            assert (await ask(session)).content == "over TLS"


async def test_connections_are_counted_where_they_are_ours() -> None:
    async with serving() as (server, session):
        assert session.connections_opened == 0
        await ask(session)
        await asyncio.gather(ask(session), ask(session), ask(session))
        assert 1 <= server.connections_seen <= 3
        assert session.connections_opened == server.connections_seen
    async with aiohttp.ClientSession() as client, CometSession(api_key=KEY, client=client) as session:
        assert session.connections_opened is None


def test_each_loop_counts_its_own_connections(elsewhere: Elsewhere) -> None:
    session = CometSession(api_key=KEY, base_url=elsewhere.server.base_url)

    async def opened() -> int | None:
        await ask(session)
        return session.connections_opened

    assert [asyncio.run(opened()) for _ in range(2)] == [1, 1]
    session.close_soon()
