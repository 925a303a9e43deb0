"""``cometstream ask``: one prompt, its answer on stdout token by token."""

from __future__ import annotations

import asyncio
import signal
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import click

from cometstream.cli.connection import (
    chosen_model,
    clock_options,
    connection_options,
    cost_option,
    given_timeouts,
    load_prices,
    model_option,
    open_session,
    retries_option,
)
from cometstream.cli.exit_codes import EPILOG
from cometstream.cli.process import run_until_signal
from cometstream.cli.prompt import find_prompt
from cometstream.errors import CometError
from cometstream.policy import RetryPolicy
from cometstream.request.providers import warn_parameters

if TYPE_CHECKING:
    from cometstream.cli.printers import Notes, Printer
    from cometstream.cli.waiting import Waiting
    from cometstream.session import CometSession

__all__ = ["ask"]

# Seconds for the request where reading stdin took all of --total-timeout: too few, which the clock then says.
_LEAST: Final = 0.001


@click.command(epilog=EPILOG)
@click.argument("prompt", required=False, metavar="[PROMPT|-]")
@model_option("The model, as `cometstream models` names it.")
@click.option(
    "--stdin/--no-stdin",
    default=None,
    help="Read stdin beside PROMPT, or do not; by default it is read, unless it is a terminal or the shell's.",
)
@click.option("-s", "--system", metavar="TEXT", help="A system message before the prompt.")
@click.option("--temperature", type=float, metavar="NUMBER", help="0 to 2; left to the provider by default.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tokens that the answer may take; sent as max_completion_tokens to the models that CometAPI recommends it for, "
    "else as max_tokens.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object a line: each chunk as it comes, last an object with outcome, error, usage and metrics.",
)
@click.option("--usage", is_flag=True, help="Print token counts and metrics on stderr at the end.")
@cost_option
@click.option("--show-reasoning", is_flag=True, help="Print the model's reasoning on stderr as it comes.")
@clock_options(total="for everything, retries included")
@retries_option("Further attempts, made only before the first content.", default=RetryPolicy.max_retries)
@connection_options
@click.pass_context
def ask(
    context: click.Context,
    /,
    *,
    prompt: str | None,
    stdin: bool | None,
    model: str,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    as_json: bool,
    usage: bool,
    cost: bool,
    show_reasoning: bool,
    retries: int,
    base_url: str | None,
    demo: bool,
    **clocks: float | None,
) -> None:
    """Stream the answer to PROMPT to stdout; all else goes to stderr.

    If stdin is not a terminal, it is added to PROMPT after a blank line; without PROMPT, or with -, it is the prompt. With PROMPT,
    a stdin of the shell that runs this is left alone, as in a loop that reads lines.
    """
    began = time.monotonic()
    model = chosen_model(context, model, demo=demo)
    total = clocks["total"] or None
    messages = [{"role": "user", "content": find_prompt(prompt, stdin=stdin, within=total)}]
    if total is not None:
        clocks["total"] = max(total - (time.monotonic() - began), _LEAST)  # what stdin has left of it
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    request: dict[str, Any] = {"model": model, "messages": messages, "temperature": temperature}
    if max_tokens is not None:
        request[_token_limit(model)] = max_tokens
    timeouts = given_timeouts(clocks)

    from cometstream.cli.printers import JSONPrinter, Notes, TextPrinter  # rich: --help does not wait for it
    from cometstream.cli.waiting import Waiting

    printer = JSONPrinter() if as_json else TextPrinter()
    waiting = Waiting(model, show_reasoning=show_reasoning)
    notes = Notes(reasoning=show_reasoning, usage=usage, cost=cost)

    async def main() -> None:
        async with open_session(
            base_url=base_url, demo=demo, timeouts=timeouts, retry=waiting.policy(retries)
        ) as session:
            async with waiting:
                await _show(session, request, printer, notes, waiting, cost=cost)

    run_until_signal(main(), signal.SIGINT)


async def _show(
    session: CometSession,
    request: dict[str, Any],
    printer: Printer,
    notes: Notes,
    waiting: Waiting,
    *,
    cost: bool,
) -> None:
    """Send the request and show its answer, and how it ended."""
    stream = session.stream(**request)
    try:
        async with stream:
            async for chunk in stream:
                waiting.chunk(chunk)
                notes.chunk(chunk)
                printer.chunk(chunk)
        if cost:
            await load_prices(session)
    except (CometError, asyncio.CancelledError) as error:
        waiting.end()
        printer.ending(stream, error if isinstance(error, CometError) else None)
        notes.ending(stream)
        raise
    printer.ending(stream, None)
    notes.ending(stream)


def _token_limit(model: str) -> str:
    """Return the parameter that limits the answer's tokens: ``max_completion_tokens`` for models where the other is warned of."""
    warned: set[tuple[str, str]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warn_parameters({"model": model, "max_tokens": 1}, seen=warned)
    return "max_completion_tokens" if any(name == "max_tokens" for _, name in warned) else "max_tokens"
