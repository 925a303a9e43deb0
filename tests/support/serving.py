"""A simulated server and a session that talks to it, as the tests of the session need them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cometstream import ChatCompletion, CometError, CometSession
from cometstream.testing import Reply, SimulatedServer
from cometstream.testing.server import Script

CHAT: Any = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "a prompt that nobody else may read"}]}

KEY = "sk-never-to-be-shown-0123456789"


@contextlib.asynccontextmanager
async def serving(*replies: Script, **options: Any) -> AsyncIterator[tuple[SimulatedServer, CometSession]]:
    """A server with these scripted replies, and a session with these options."""
    async with SimulatedServer(api_key=KEY) as server:
        server.script(*replies)
        async with CometSession(**{"api_key": KEY, "base_url": server.base_url, **options}) as session:
            yield server, session


async def ask(session: CometSession, **options: Any) -> ChatCompletion:
    """Stream one answer to its end."""
    async with session.stream(**{**CHAT, **options}) as stream:
        return await stream.until_done()


async def failure(session: CometSession, **options: Any) -> CometError:
    """The error that a stream ends with."""
    try:
        completion = await ask(session, **options)
    except CometError as error:
        return error
    raise AssertionError(f"no error, but {completion}")


async def failure_of(*replies: Reply, **options: Any) -> CometError:
    """The error that a session without retries ends with after these replies."""
    async with serving(*replies, **{"retry": None, **options}) as (_, session):
        return await failure(session)
