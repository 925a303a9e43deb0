"""``cometstream ask``: one prompt, its answer on stdout token by token."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any, Final

import click

from cometstream.cli.attachments import attachment, said
from cometstream.cli.connection import (
    chosen_model,
    clock_options,
    connection_options,
    continue_option,
    cost_option,
    given_timeouts,
    keep_option,
    load_prices,
    model_option,
    open_session,
    retries_option,
    token_limit,
)
from cometstream.cli.exit_codes import EPILOG
from cometstream.cli.kept import continued, keep_last, stopped
from cometstream.cli.process import run_until_signal
from cometstream.cli.prompt import find_prompt
from cometstream.cli.schema_file import SchemaFile
from cometstream.errors import CometError
from cometstream.policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from cometstream.cli.printers import Notes, Printer
    from cometstream.cli.waiting import Waiting
    from cometstream.session import CometSession
    from cometstream.views.completion import ChatCompletion

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
@continue_option
@keep_option
@click.option(
    "--attach",
    multiple=True,
    metavar="FILE",
    help="Send an image (PNG, JPEG, GIF, WebP; also an https URL), sound (WAV, MP3), a text or a PDF with the prompt; "
    "may be repeated.",
)
@click.option(
    "--schema",
    metavar="FILE",
    help="Ask for JSON that matches the JSON Schema in FILE, and check the answer; exit code 1 where it does not match.",
)
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
    continue_: bool,
    no_keep: bool,
    attach: tuple[str, ...],
    schema: str | None,
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

    Prompt and answer are kept in a file of yours, so that -c and `cometstream chat -c` can go on with them.
    """
    began = time.monotonic()
    total = clocks["total"] or None
    kept = continued(demo=demo) if continue_ else None
    model = chosen_model(context, model, demo=demo, kept=None if kept is None else kept.model)
    wanted = None if schema is None else SchemaFile(schema)
    parts = [attachment(name) for name in attach]
    question = said(find_prompt(prompt, stdin=stdin, within=total), parts)
    if total is not None:
        clocks["total"] = max(total - (time.monotonic() - began), _LEAST)  # what stdin has left of it
    request: dict[str, Any] = {"model": model, "temperature": temperature}
    if wanted is not None:
        request["response_format"] = wanted.response_format
    if max_tokens is not None:
        request[token_limit(model)] = max_tokens
    timeouts = given_timeouts(clocks)

    from cometstream.cli.printers import JSONPrinter, Notes, TextPrinter  # rich: --help does not wait for it
    from cometstream.cli.waiting import Waiting
    from cometstream.conversation import Conversation

    conversation = Conversation() if kept is None else kept.conversation
    if system is not None:
        conversation.system = system
    # What `ask` is told to say as `system` is sent as that, to every model.
    request["messages"] = [*conversation.messages, question]

    def remember(answer: Any) -> None:
        if not no_keep and answer is not None:
            conversation.add(question, answer)
            keep_last(conversation, model, demo=demo)

    printer = JSONPrinter() if as_json else TextPrinter()
    waiting = Waiting(model, show_reasoning=show_reasoning)
    notes = Notes(reasoning=show_reasoning, usage=usage, cost=cost)

    async def main() -> None:
        async with open_session(
            base_url=base_url, demo=demo, timeouts=timeouts, retry=waiting.policy(retries)
        ) as session:
            async with waiting:
                completion = await _show(session, request, printer, notes, waiting, remember, cost=cost)
        if wanted is not None:
            wanted.check(completion)

    run_until_signal(main(), signal.SIGINT)


async def _show(
    session: CometSession,
    request: dict[str, Any],
    printer: Printer,
    notes: Notes,
    waiting: Waiting,
    remember: Callable[[Any], None],
    *,
    cost: bool,
) -> ChatCompletion:
    """Send the request, show its answer and how it ended, and return it."""
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
        if isinstance(error, asyncio.CancelledError):
            remember(stopped(stream.completion))
        raise
    printer.ending(stream, None)
    notes.ending(stream)
    remember(stream.completion.message)
    return stream.completion
