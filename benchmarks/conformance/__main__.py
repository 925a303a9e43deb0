"""``python -m benchmarks.conformance [CLIENT ...] [--case TEXT]``: what each client makes of the catalogue."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import children
from benchmarks.conformance import report
from benchmarks.conformance.clients import CLIENTS
from benchmarks.conformance.run import Column, run
from cometstream.testing.conformance import Case, load


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance", description=__doc__)
    parser.add_argument("client", nargs="*", help=f"one or more of {', '.join(CLIENTS)}; all by default")
    parser.add_argument("--case", default="", help="only the cases whose id holds this text; nothing is written")
    options = parser.parse_args()
    unknown = set(options.client) - set(CLIENTS)
    if unknown:
        parser.error(f"unknown client: {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    # Splitting is a part that is used alone, and no option of any client here.
    cases = [case for case in load() if options.case in case.id and "split_think" not in case.cometstream]
    if not cases:
        parser.error(f"--case: no case's id holds {options.case!r}")
    clients = [client for client in CLIENTS if client in (options.client or CLIENTS)]
    console = Console()
    try:
        if any(client.startswith("litellm") for client in clients):
            console.print("litellm is installed into .venv-bench-litellm, unless it is there ...")
            children.make_litellm_env()
        columns = asyncio.run(run_all(console, clients, cases))
    except children.ChildFailed as error:
        console.print(f"[red]failed[/red] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is written.")
        return 130
    console.print(report.table(columns, cases))
    if options.client or options.case:
        for column in columns:
            for case in cases:
                verdict = column.verdicts[case.id]
                if verdict.kind != "right":
                    text = f"{column.client}: {case.id}{' (policy)' if case.policy else ''}: {verdict.kind}: {verdict.note}"
                    console.print(text, highlight=False, markup=False, soft_wrap=True)
    else:
        console.print(report.write(columns, cases))
    ours = [column for column in columns if column.client == "cometstream"]
    return 0 if all(report.totals(column, cases)["right"] == len(cases) for column in ours) else 1


async def run_all(console: Console, clients: list[str], cases: list[Case]) -> list[Column]:
    """Run every client over all cases; the clients run beside each other, the cases of one in turn."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars = {client: progress.add_task(client, total=len(cases)) for client in clients}
        tasks = [
            asyncio.ensure_future(run(client, cases, partial(progress.advance, bars[client]))) for client in clients
        ]
        try:
            return await asyncio.gather(*tasks)
        except Exception:
            for task in tasks:
                task.cancel()
            raise
        finally:
            # Each ends its process; a second cancellation would keep it from waiting for that.
            await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
