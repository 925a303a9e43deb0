"""Runs the cases: the server in this process, each client in a process of its own that is ended when its time is over."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.children import LITELLM_PYTHON, ROOT, ChildFailed
from benchmarks.conformance.judge import Seen, Verdict, judge
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.conformance import Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.testing.server import RecordedRequest

TIMEOUT = 2.0
"""Seconds that every client is given as its own timeout."""

LIMIT = 5.0
"""Seconds after the request at which a client hangs whose server never ends its answer."""

LIMIT_ENDED = 20.0
"""The same after the server's last byte where it does end: no slow machine may look like a hang."""

# A child must have imported its client by then; and no case may take longer, whatever the server does.
_START = 120.0
_LONGEST = 60.0

# Answers of 4 MB come back as one line.
_LINE = 64 * 1024 * 1024

# What would change how a client behaves.
_FOREIGN = ("PYTHON", "COMETAPI_", "OPENAI_", "LITELLM_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_")


@dataclass
class Column:
    """One client's verdicts, by the ids of the cases."""

    client: str
    versions: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)


class Child:
    """The process of one client; started again after it was ended."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._process: asyncio.subprocess.Process | None = None
        self.versions: dict[str, str] = {}

    async def __aenter__(self) -> Child:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end()

    async def start(self) -> None:
        python = str(LITELLM_PYTHON) if self._client.startswith("litellm") else sys.executable
        env = {key: value for key, value in os.environ.items() if not key.upper().startswith(_FOREIGN)}
        self._process = await asyncio.create_subprocess_exec(
            *(python, "-m", "benchmarks.conformance.child", self._client, str(TIMEOUT)),
            cwd=ROOT,
            # Without it litellm asks the internet for prices.
            env={**env, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_LINE,
            start_new_session=True,  # Ctrl-C is for this process, which ends the children
        )
        self.versions = (await asyncio.wait_for(self._answer(), _START))["versions"]

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"the process of {self._client} ended by itself")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def see(self, case: Case, server: SimulatedServer) -> Seen:
        """Ask for one case; a client that hangs is ended with its process."""
        if self._process is None:
            await self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        asked: asyncio.Future[RecordedRequest] = asyncio.get_running_loop().create_future()
        reply = case.reply

        def answered(request: RecordedRequest) -> Reply:
            if not asked.done():
                asked.set_result(request)
            return reply

        server.always(answered)
        job = {"base_url": server.base_url, "request": case.request}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        answer = asyncio.ensure_future(self._answer())
        time_over = asyncio.ensure_future(_time_over(case, asked))
        try:
            await asyncio.wait((answer, time_over), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return Seen.from_json(answer.result())
            await self.end()
            return Seen(hung=True)
        finally:
            answer.cancel()
            time_over.cancel()
            await asyncio.gather(answer, time_over, return_exceptions=True)

    async def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _time_over(case: Case, asked: asyncio.Future[RecordedRequest]) -> None:
    """Return when a client that has not ended hangs."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_served(case, asked), _LONGEST)
    await asyncio.sleep(LIMIT if _never_ends(case) else LIMIT_ENDED)


async def _served(case: Case, asked: asyncio.Future[RecordedRequest]) -> None:
    request = await asked
    if not _never_ends(case):
        await request.finished.wait()


def _never_ends(case: Case) -> bool:
    return case.ending in ("silence", "repeat")


async def run(client: str, cases: list[Case], advance: Callable[[], object]) -> Column:
    """Run all cases against one client, one after another.

    Raises:
        ChildFailed: The client's process ended by itself.
    """
    column = Column(client)
    async with SimulatedServer(api_key="sk-conformance") as server, Child(client) as child:
        for case in cases:
            seen = await child.see(case, server)
            column.verdicts[case.id] = judge(case.expect, case.choices, case.http.get("status", 200), seen)
            advance()
        column.versions = child.versions
    return column
