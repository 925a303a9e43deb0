"""From flags to a session with CometAPI, or with a simulated server that is started for it."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cometstream.session import CometSession

__all__ = ["connection_options", "open_session"]

_Command = TypeVar("_Command", bound="Callable[..., Any]")

# Tokens a second: fast enough to read, slow enough to see them arrive.
_DEMO_RATE: Final = 25.0


def connection_options(command: _Command) -> _Command:
    """Add ``--base-url`` and ``--demo``, the arguments of ``open_session``."""
    command = click.option(
        "--demo",
        is_flag=True,
        help="Start a simulated CometAPI server in this process and talk to it; needs no key and ignores COMETAPI_*.",
    )(command)
    return click.option(
        "--base-url", metavar="URL", help="Where the routes are.  [env var: COMETAPI_BASE_URL; default: CometAPI's]"
    )(command)


@asynccontextmanager
async def open_session(*, base_url: str | None, demo: bool, **options: Any) -> AsyncIterator[CometSession]:
    """Open the session that the flags ask for.

    Args:
        base_url: The flag's value; None takes the environment's.
        demo: Whether to start a simulated server for the session.
        options: The session's further arguments.

    Raises:
        click.UsageError: There is no key, or the flags contradict each other.
        ConfigurationError: A value cannot be used.
    """
    # Here, so that --help does not wait for them.
    from cometstream.session import CometSession

    if not demo:
        if "COMETAPI_KEY" not in os.environ:
            raise click.UsageError(
                "no API key: set the environment variable COMETAPI_KEY, or try --demo, which needs none"
            )
        async with CometSession(base_url=base_url, **options) as session:
            yield session
        return
    if base_url is not None:
        raise click.UsageError("--demo starts its own server: leave out --base-url")

    import aiohttp

    from cometstream.testing import SimulatedServer

    async with (
        SimulatedServer(token_rate=_DEMO_RATE) as server,
        aiohttp.ClientSession() as client,  # of our own, since the session's would send loopback traffic to HTTP_PROXY
        CometSession(base_url=server.base_url, api_key=server.api_key, client=client, **options) as session,
    ):
        yield session
