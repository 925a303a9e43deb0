"""``cometstream models`` and ``cometstream balance``: what can be asked, what it costs, and what is left to pay for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import click
import orjson

from cometstream.cli.connection import connection_options, open_session
from cometstream.cli.exit_codes import EPILOG
from cometstream.cli.process import Stdout, run_until_signal

if TYPE_CHECKING:
    from cometstream.catalog import Catalog, CatalogModel

__all__ = ["balance", "models"]


@click.command(epilog=EPILOG)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line: each model as the server describes it."
)
@click.option(
    "--prices", is_flag=True, help="Print the catalogue: prices of a million tokens in US dollars, context and routes."
)
@connection_options
def models(*, as_json: bool, prices: bool, base_url: str | None, demo: bool) -> None:
    """Print the ids of the models that the endpoint serves, one a line."""
    stdout = Stdout(encoding="utf-8" if as_json else None)

    async def main() -> None:
        async with open_session(base_url=base_url, demo=demo) as session:
            if not prices:
                for model in await session.models():
                    stdout.write(f"{model.to_json() if as_json else model.id}\n")
                return
            catalog = await session.catalog()
            if as_json:
                for described in catalog.values():
                    stdout.write(f"{described.to_json()}\n")
            else:
                stdout.write(_table(catalog))

    run_until_signal(main(), signal.SIGINT)


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@connection_options
def balance(*, as_json: bool, base_url: str | None, demo: bool) -> None:
    """Print what is left of the money that the key may spend, and what was spent, in US dollars."""
    stdout = Stdout(encoding="utf-8" if as_json else None)

    async def main() -> None:
        async with open_session(base_url=base_url, demo=demo) as session:
            left = await session.balance()
        if as_json:
            stdout.write(f"{orjson.dumps(left._asdict()).decode()}\n")
        else:
            remaining = "no limit" if left.remaining is None else f"${left.remaining:,.2f}"
            stdout.write(f"remaining: {remaining}\nused: ${left.used:,.2f}\n")

    run_until_signal(main(), signal.SIGINT)


def _table(catalog: Catalog) -> str:
    """Return the catalogue as columns, which tools that cut at white space can read."""
    rows = [("MODEL", "INPUT", "OUTPUT", "CONTEXT", "ROUTES"), *map(_row, catalog.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{row[column]:>{widths[column]}}" for column in (1, 2, 3))
        + f"  {row[4]}"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _row(model: CatalogModel) -> tuple[str, str, str, str, str]:
    price, context = model.price, model.context_length
    prompt, completion = ("-", "-") if price is None else (f"{price.input:g}", f"{price.output:g}")
    return model.id, prompt, completion, "-" if context is None else str(context), ",".join(model.endpoints) or "-"
