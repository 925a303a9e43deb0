"""``cometstream models``: what can be asked."""

from __future__ import annotations

import signal

import click

from cometstream.cli.connection import connection_options, open_session
from cometstream.cli.exit_codes import EPILOG
from cometstream.cli.process import Stdout, run_until_signal

__all__ = ["models"]


@click.command(epilog=EPILOG)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line: each model as the server describes it."
)
@connection_options
def models(*, as_json: bool, base_url: str | None, demo: bool) -> None:
    """Print the ids of the models that the endpoint serves, one a line."""
    stdout = Stdout(encoding="utf-8" if as_json else None)

    async def main() -> None:
        async with open_session(base_url=base_url, demo=demo) as session:
            for model in await session.models():
                stdout.write(f"{model.to_json() if as_json else model.id}\n")

    run_until_signal(main(), signal.SIGINT)
