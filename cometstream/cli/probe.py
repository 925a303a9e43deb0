"""``cometstream probe``: how fast models answer, by streams that are measured; what it may cost is said before it is spent."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cometstream.cli.connection import (
    check_connection,
    chosen_model,
    clock_options,
    connection_options,
    given_timeouts,
    load_prices,
    model_option,
    open_session,
    retries_option,
    token_limit,
)
from cometstream.cli.exit_codes import EPILOG, ExitCode
from cometstream.cli.process import Stdout, is_terminal, run_until_signal, say
from cometstream.errors import AuthenticationError, CometError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cometstream.cli.probe_figures import Probed
    from cometstream.session import CometSession
    from cometstream.views.cost import TokenPrice

__all__ = ["probe"]

_PROMPT: Final = "Tell the story of a comet in about 150 words."

# Pieces that came with one read are handed over within some microseconds.
_TOGETHER: Final = 1e-4


@click.command(epilog=EPILOG)
@click.argument("prompt", default=_PROMPT)
@model_option("A model, as `cometstream models` names it; repeat it to see several side by side.", multiple=True)
@click.option(
    "--streams",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    metavar="N",
    help="Streams of each model.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=2,
    show_default=True,
    metavar="N",
    help="Streams of each model at a time. Several models are measured at the same time.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="Tokens that each answer may take: with the prompt they bound the cost.",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the percentiles into a file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of the table.")
@click.option("-y", "--yes", is_flag=True, help="Spend the money without a question.")
@clock_options(total="for each stream, retries included")
@retries_option("Further attempts of each stream, made only before its first content.", default=0)
@connection_options
@click.pass_context
def probe(
    context: click.Context,
    /,
    *,
    prompt: str,
    model: tuple[str, ...],
    streams: int,
    concurrency: int,
    max_tokens: int,
    plot: Path | None,
    as_json: bool,
    yes: bool,
    retries: int,
    base_url: str | None,
    demo: bool,
    **clocks: float | None,
) -> int:
    """Measure how fast models answer PROMPT, and print it as a table.

    The table has the time to the first content, the gaps between two arrivals of content (pieces within 0.1 ms of each other arrive
    together), tokens a second as the server counts them, errors by their kind, and how often a connection was used again.

    What it may cost is said first, and you are asked. Without a terminal to ask on, --yes has to be given.
    """
    check_connection(base_url=base_url, demo=demo)
    if not (yes or demo or (is_terminal(sys.stdin) and is_terminal(sys.stderr))):
        raise click.UsageError(
            "a probe spends money, and there is no terminal to ask on: give --yes, or try --demo", context
        )
    if plot is not None and (plot.suffix.lower() != ".svg" or plot.is_dir() or not plot.absolute().parent.is_dir()):
        raise click.UsageError(f"--plot takes the name of an .svg file, in a folder that is there; got {plot}", context)
    names = list(dict.fromkeys(chosen_model(context, name, demo=demo) for name in model))
    asked: list[dict[str, Any]] = [
        {"model": name, "messages": [{"role": "user", "content": prompt}], token_limit(name): max_tokens}
        for name in names
    ]
    timeouts = given_timeouts(clocks)
    prices: Mapping[str, TokenPrice] = {}
    if not demo:
        prices = run_until_signal(_prices(base_url, names), signal.SIGINT)
        for line in _estimates(asked, prices, streams, max_tokens):
            say(line)
        if not yes and not _agreed():
            say("nothing was sent")
            return ExitCode.ERROR
    stdout = Stdout(encoding="utf-8" if as_json else None)

    from cometstream.cli.probe_figures import Probed, as_document, as_table  # rich: --help does not wait for it
    from cometstream.cli.probe_plot import as_svg

    probed = Probed(names, streams, concurrency)

    async def main() -> None:
        async with open_session(base_url=base_url, demo=demo, timeouts=timeouts, retry=retries or None) as session:
            if demo:
                await load_prices(session)
            else:
                session.prices.update(prices)
            await _measure(session, asked, probed)

    try:
        run_until_signal(main(), signal.SIGINT)
    finally:
        if probed.samples:  # also after Ctrl-C: what was measured was paid for
            stdout.write(as_document(probed) if as_json else as_table(probed))
            if plot is not None:
                _write(plot, as_svg(probed))
    if probed.failure is not None and not probed.succeeded:
        raise probed.failure
    return ExitCode.OK


def _agreed() -> bool:
    """Ask on stderr; `click.confirm` of some versions writes on stdout, too.

    Raises:
        click.Abort: There is no answer.
    """
    print("Go on? [y/N]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise click.Abort
    return answer.strip().lower() in ("y", "yes")


async def _prices(base_url: str | None, names: list[str]) -> dict[str, TokenPrice]:
    """Return the prices of the models that the gateway's catalogue has."""
    async with open_session(base_url=base_url, demo=False) as session:
        await load_prices(session)
        return {name: price for name in names if (price := session.prices.of(name)) is not None}


def _estimates(
    asked: list[dict[str, Any]], prices: Mapping[str, TokenPrice], streams: int, max_tokens: int
) -> list[str]:
    """Return what the streams of each model cost at most, a line each; of several models all together, too."""
    from cometstream.batch.tokens import estimate_input

    lines: list[str] = []
    total = 0.0
    for request in asked:
        price = prices.get(request["model"])
        if price is None:
            known = "the price is unknown"
        else:
            most = streams * (estimate_input(request) * price.input + max_tokens * price.output) / 1e6
            total += most
            known = f"about ${most:.6f} at most (${price.input:g} and ${price.output:g} a million tokens)"
        counted = f"{streams} stream" if streams == 1 else f"{streams} streams"
        lines.append(f"{request['model']}: {counted} of up to {max_tokens} tokens: {known}")
    if len(lines) > 1 and total:
        more = "" if len(prices) == len(asked) else ", and what is unknown"
        lines.append(f"all: about ${total:.6f} at most{more}")
    return lines


async def _measure(session: CometSession, asked: list[dict[str, Any]], probed: Probed) -> None:
    """Send the streams of all models, each model's in turns, and note what they bring.

    Raises:
        AuthenticationError: The key is refused: every other stream would be, too.
    """
    from rich.progress import Progress

    from cometstream.cli.printers import Stderr

    opened = session.connections_opened or 0
    console = Stderr()
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    bar = progress.add_task("streams", total=probed.streams * len(asked))

    async def work(requests: Iterator[dict[str, Any]]) -> None:
        for request in requests:
            await _stream(session, request, probed)
            progress.advance(bar)

    began = time.perf_counter()
    workers: list[asyncio.Task[None]] = []
    for request in asked:
        waiting = iter([request] * probed.streams)
        workers += [asyncio.create_task(work(waiting)) for _ in range(min(probed.concurrency, probed.streams))]
    try:
        with progress:
            await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        probed.seconds = time.perf_counter() - began
        probed.opened = (session.connections_opened or 0) - opened


async def _stream(session: CometSession, request: dict[str, Any], probed: Probed) -> None:
    """Read one stream, and note it."""
    stream = session.stream(**request)
    gaps: list[float] = []
    last: float | None = None
    failure: CometError | None = None
    try:
        async with stream:
            async for event in stream.events(chunks=False):
                if event.type.endswith(".delta"):
                    now = time.perf_counter()
                    if last is not None and now - last >= _TOGETHER:
                        gaps.append(now - last)
                    last = now
    except AuthenticationError:
        raise
    except CometError as error:
        failure = error
    probed.note(stream.metrics, gaps, failure)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror or error}") from None
    say(f"drawn into {path}")
