"""From flags to a session with CometAPI, or with a simulated server that is started for it."""

from __future__ import annotations

import os
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from cometstream.cli.process import say
from cometstream.errors import CometError
from cometstream.policy import Clocks, Timeouts
from cometstream.request.providers import warn_parameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from cometstream.session import CometSession

__all__ = [
    "check_connection",
    "chosen_model",
    "clock_options",
    "connection_options",
    "continue_option",
    "cost_option",
    "given_timeouts",
    "keep_option",
    "load_prices",
    "model_option",
    "open_session",
    "retries_option",
    "token_limit",
]

_Command = TypeVar("_Command", bound="Callable[..., Any]")

# Tokens a second: fast enough to read, slow enough to see them arrive.
_DEMO_RATE: Final = 25.0

_DEFAULT_MODEL: Final = "gpt-5.4"

_CLOCKS: Final = {
    "connect": "to open a connection",
    "first_content": "until the first content",
    "content_idle": "from one content to the next",
}


def clock_options(*, total: str) -> Callable[[_Command], _Command]:
    """Add a flag for each of the four clocks; its value goes to ``given_timeouts``.

    Args:
        total: What the clock of that name bounds.
    """

    def add(command: _Command) -> _Command:
        for clock, purpose in reversed({**_CLOCKS, "total": total}.items()):
            seconds = getattr(Clocks, clock)  # its default
            default = "off" if seconds is None else f"{seconds:g}"
            command = click.option(
                f"--{clock.replace('_', '-')}-timeout",
                clock,
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                help=f"Time {purpose}; 0 is off.  [default: {default}]",
            )(command)
        return command

    return add


def given_timeouts(clocks: Mapping[str, float | None]) -> Timeouts:
    """Return the clocks that the flags set; the session sets the others."""
    return Timeouts(**{clock: seconds or None for clock, seconds in clocks.items() if seconds is not None})


def model_option(purpose: str, *, multiple: bool = False) -> Callable[[_Command], _Command]:
    """Add ``--model``.

    Args:
        purpose: What it is for.
        multiple: Whether it may be repeated; its value is a tuple then.
    """
    return click.option(
        "-m",
        "--model",
        envvar="COMETAPI_MODEL",
        show_envvar=True,
        multiple=multiple,
        default=[_DEFAULT_MODEL] if multiple else _DEFAULT_MODEL,
        show_default=True,
        metavar="ID",
        help=purpose,
    )


def chosen_model(context: click.Context, model: str, *, demo: bool, kept: str | None = None) -> str:
    """Return the model to ask: the flag's, else that of a conversation that goes on, else the environment's.

    The demo ignores the model of the environment.
    """
    source = context.get_parameter_source("model")
    if kept is not None and source is not click.core.ParameterSource.COMMANDLINE:
        return kept
    return _DEFAULT_MODEL if demo and source is click.core.ParameterSource.ENVIRONMENT else model


def continue_option(command: _Command) -> _Command:
    """Add ``--continue``."""
    return click.option(
        "-c",
        "--continue",
        "continue_",
        is_flag=True,
        help="Go on with the last conversation, and with its model unless --model names another.",
    )(command)


def keep_option(command: _Command) -> _Command:
    """Add ``--no-keep``."""
    return click.option("--no-keep", is_flag=True, help="Do not keep this conversation for -c.")(command)


def retries_option(purpose: str, *, default: int | None) -> Callable[[_Command], _Command]:
    """Add ``--retries``.

    Args:
        purpose: What the retries are for.
        default: How many there are without the flag.
    """
    return click.option(
        "--retries", type=click.IntRange(min=0), metavar="N", default=default, show_default=True, help=purpose
    )


def cost_option(command: _Command) -> _Command:
    """Add ``--cost``, after which the command calls ``load_prices``."""
    return click.option(
        "--cost", is_flag=True, help="Read the prices of the gateway's catalogue, and tell what the answers cost."
    )(command)


async def load_prices(session: CometSession) -> None:
    """Read the catalogue, so that answers have a cost; where it cannot be read, say so and go on."""
    try:
        await session.catalog(timeouts=Timeouts(connect=5, first_content=10, total=20), retry=None)
    except CometError as error:
        say(f"the prices cannot be read: {error}")


def token_limit(model: str) -> str:
    """Return the parameter that limits the answer's tokens: ``max_completion_tokens`` for models where the other is warned of."""
    warned: set[tuple[str, str]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warn_parameters({"model": model, "max_tokens": 1}, seen=warned)
    return "max_completion_tokens" if any(name == "max_tokens" for _, name in warned) else "max_tokens"


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


def check_connection(*, base_url: str | None, demo: bool) -> None:
    """Check the flags, and that there is a key.

    Raises:
        click.UsageError: There is no key, or the flags contradict each other.
    """
    if demo and base_url is not None:
        raise click.UsageError("--demo starts its own server: leave out --base-url")
    if not demo and "COMETAPI_KEY" not in os.environ:
        raise click.UsageError(
            "no API key: set the environment variable COMETAPI_KEY, or try --demo, which needs none; a .env file is not read, "
            "`set -a; . ./.env` in the shell does that"
        )


@asynccontextmanager
async def open_session(*, base_url: str | None, demo: bool, **options: Any) -> AsyncIterator[CometSession]:
    """Open the session that the flags describe.

    Args:
        base_url: The flag's value; None takes the environment's.
        demo: Whether to start a simulated server for the session.
        options: The session's further arguments.

    Raises:
        click.UsageError: There is no key, or the flags contradict each other.
        ConfigurationError: A value cannot be used.
    """
    check_connection(base_url=base_url, demo=demo)
    # Imported here, so that --help is fast.
    from cometstream.session import CometSession

    if not demo:
        async with CometSession(base_url=base_url, **options) as session:
            yield session
        return

    from cometstream.testing import SimulatedServer

    async with (
        SimulatedServer(token_rate=_DEMO_RATE) as server,
        CometSession(base_url=server.base_url, api_key=server.api_key, proxy=None, **options) as session,
    ):
        yield session
