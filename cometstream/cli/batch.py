"""``cometstream batch``: a file of requests in, a file of answers out."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import click

from cometstream.cli.connection import (
    check_connection,
    chosen_model,
    clock_options,
    connection_options,
    cost_option,
    given_timeouts,
    model_option,
    open_session,
    retries_option,
)
from cometstream.cli.exit_codes import EPILOG, ExitCode
from cometstream.cli.process import Interrupted, Stdout, one_line, rare_collections, run_until_signal, say
from cometstream.errors import ConfigurationError

if TYPE_CHECKING:
    from cometstream.cli.batch_input import FileInput

__all__ = ["batch"]


def _concurrency(context: click.Context, parameter: click.Parameter, value: Any) -> int | str:
    """Return ``"auto"``, or a number of 1 or more."""
    return value if value == "auto" else click.IntRange(min=1).convert(value, parameter, context)


def _price(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Return two or three amounts."""
    if value is None:
        return None
    amounts = value.split(",")
    if len(amounts) not in (2, 3):
        raise click.BadParameter(
            f"{value!r} is not of the form IN,OUT or IN,OUT,CACHED, as in 1.25,10", context, parameter
        )
    kind = click.FloatRange(min=0, max=1e9)
    return tuple(kind(amount.strip(), parameter, context) for amount in amounts)


def _late(context: click.Context, parameter: click.Parameter, value: str | None) -> float | str | None:
    """Return when a request is late: seconds, or a percentile."""
    if value is None:
        return None
    from cometstream.batch import Hedge

    try:
        after: float | str = float(value)
    except ValueError:
        after = value
    try:
        return Hedge(after).after
    except ConfigurationError:
        raise click.BadParameter(
            f"{value!r} is neither seconds above 0 nor a percentile from p50 to p99", context, parameter
        ) from None


class _Refused(click.ClickException):
    """Input or output cannot be used; nothing was sent."""

    exit_code = ExitCode.USAGE


@click.command(epilog=EPILOG)
@click.argument("source", required=False, metavar="[IN.jsonl|-]")
@click.option("-o", "--output", metavar="OUT.jsonl", help="Where the answers go, a line each; - is stdout.")
@click.option("--errors", metavar="FILE", help="Where the lines of failed rows go.  [default: the output]")
@click.option("--resume", is_flag=True, help="Go on with an output: run the rows that have no line there.")
@click.option("--retry-failed", is_flag=True, help="Remove the lines of failed rows from the output, then resume.")
@click.option("--force", is_flag=True, help="Resume an output even if another model answered the rows in it.")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing: check every line, list bad ones, count rows, estimate tokens."
)
@click.option("--strict", is_flag=True, help="Send nothing if a line is bad.")
@model_option("The model of rows that name none.")
@click.option(
    "--concurrency",
    callback=_concurrency,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Requests at a time; auto adapts to how well the answers come.",
)
@click.option("--rpm", type=click.FloatRange(min=0.001), metavar="N", help="The most requests a minute.")
@click.option("--tpm", type=click.FloatRange(min=0.001), metavar="N", help="The most tokens a minute.")
@click.option(
    "--max-tokens-total",
    type=click.IntRange(min=1),
    metavar="N",
    help="Start no more rows after so many tokens.",
)
@click.option(
    "--price",
    callback=_price,
    metavar="IN,OUT[,CACHED]",
    help="What a million input tokens and a million output tokens cost, and a million cached input tokens.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    metavar="AMOUNT",
    help="Start no more rows after so much is spent; the cost must be known, for example by --price.",
)
@click.option(
    "--ledger",
    metavar="FILE|redis://...",
    help="Where finished rows are written down, so that no run or worker pays one twice.",
)
@click.option(
    "--shared-limits",
    metavar="FILE|redis://...",
    help="What runs at the same time share: --rpm, --tpm, --max-cost, --max-tokens-total and the server's own limits.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1, max=64),
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes, to use several cores; the limits are for all together.",
)
@click.option(
    "--hedge",
    callback=_late,
    metavar="SECONDS|pNN",
    help="Send a request a second time if it has brought no content after so long; p95 is what 95 % of the answers take.",
)
@click.option(
    "--hedge-share",
    type=click.FloatRange(min=0, max=1, min_open=True),
    metavar="SHARE",
    help="The most requests that --hedge sends, as a share of the rows.  [default: 0.05]",
)
@click.option(
    "--hedge-max-cost",
    type=click.FloatRange(min=0, min_open=True),
    metavar="AMOUNT",
    help="No more requests of --hedge once they may have cost so much; the cost must be known, for example by --price.",
)
@click.option("--report", metavar="FILE.html", help="Write a page about the run: its speed, errors, cost and settings.")
@clock_options(total="for each attempt")
@retries_option(
    "Further attempts of a row whose answer broke off or did not come.  [default: 5; more while no server can be reached]",
    default=None,
)
@cost_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no table.")
@connection_options
@click.pass_context
def batch(
    context: click.Context,
    /,
    *,
    source: str | None,
    output: str | None,
    errors: str | None,
    resume: bool,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    strict: bool,
    model: str,
    quiet: bool,
    cost: bool,
    base_url: str | None,
    demo: bool,
    concurrency: int | Literal["auto"],
    rpm: float | None,
    tpm: float | None,
    max_tokens_total: int | None,
    price: tuple[float, ...] | None,
    max_cost: float | None,
    ledger: str | None,
    shared_limits: str | None,
    processes: int,
    hedge: float | str | None,
    hedge_share: float | None,
    hedge_max_cost: float | None,
    report: str | None,
    retries: int | None,
    **clocks: float | None,
) -> int:
    """Send each row of IN.jsonl as a request, and write each answer as a line of OUT.jsonl.

    A row is a line of OpenAI's Batch API, a request body, or {"prompt": "..."}; - reads stdin; gzip is unpacked. Ctrl-C, SIGTERM
    or the end of the terminal lets the requests under way come to their end, a second one ends them; --resume goes on from there.
    """
    named = context.get_parameter_source("model") is not click.core.ParameterSource.DEFAULT
    model = chosen_model(context, model, demo=demo)
    if source is None and not demo:
        raise click.UsageError("no input: name a file of rows, or - for stdin; --demo has some of its own", context)
    if demo and processes > 1:
        raise click.UsageError("--demo has its server in this process: leave out --processes", context)
    if output is None and not dry_run:
        raise click.UsageError("no output: name a file with -o", context)
    if report is not None and dry_run:
        raise click.UsageError("--dry-run sends nothing that could be reported: leave out --report", context)
    if hedge is None and not (hedge_share is None and hedge_max_cost is None):
        flag = "--hedge-max-cost" if hedge_share is None else "--hedge-share"
        raise click.UsageError(f"{flag} needs --hedge, which says when a request is late", context)
    if "-" in (output, errors) and (resume or retry_failed):
        raise click.UsageError("what went to stdout cannot be resumed: name a file with -o", context)
    if not dry_run:
        check_connection(base_url=base_url, demo=demo)

    # rich and the batch's own rooms: --help does not wait for them.
    from cometstream.batch import Hedge
    from cometstream.batch.jsonl import InputFailed
    from cometstream.batch.ledger import checked_ledger
    from cometstream.batch.line_file import LineFileClosed, LineFileError, LineFileLost
    from cometstream.batch.output import BatchOutput, OutputRefused, same_file
    from cometstream.batch.shared_limits import checked_shared_limits
    from cometstream.cli.batch_input import FileInput, find_rows
    from cometstream.cli.batch_report import BatchReport, ReportRefused, checked_report
    from cometstream.cli.batch_run import BatchRun
    from cometstream.config import find_base_url

    checked_ledger(ledger)  # before the output is touched
    checked_shared_limits(shared_limits)
    share = Hedge.share if hedge_share is None else hedge_share
    hedging = None if hedge is None else Hedge(hedge, share, hedge_max_cost)
    try:
        rows = find_rows(source, model=model)
        for written in (output, errors):
            if source is not None and written not in (None, "-") and same_file(source, written):
                raise InputFailed(f"{written} is the input: choose another output")
        for store in (ledger, shared_limits):
            for other in (source, output, errors):
                if store is not None and other is not None and same_file(store, other):
                    raise InputFailed(
                        f"{store} is the input or the output: choose another file for the ledger or the limits"
                    )
        page = None if report is None else checked_report(report, (source, output, errors, ledger, shared_limits))
        if dry_run:
            return _dry_run(rows if isinstance(rows, FileInput) else rows.as_file())
        settings = {**context.params, "model": model, "base_url": None if demo else find_base_url(base_url)}
        with (
            BatchReport(page, settings) as reporting,
            BatchOutput(
                output or "", errors, resume=resume, retry_failed=retry_failed, force=force, mode=_mode(source)
            ) as opened,
        ):
            run = BatchRun(
                rows,
                opened,
                quiet=quiet,
                strict=strict,
                cost=cost,
                told_model=named or quiet or demo,
                processes=processes,
                base_url=base_url,
                reported=page is not None,
                options={
                    "concurrency": concurrency,
                    "rpm": rpm,
                    "tpm": tpm,
                    "max_tokens_total": max_tokens_total,
                    "price": price,
                    "max_cost": max_cost,
                    "ledger": ledger,
                    "shared_limits": shared_limits,
                    **({} if retries is None else {"retry": retries}),
                    "hedge": hedging,
                    "timeouts": given_timeouts(clocks),
                },
            )
            run.check()
            session = open_session(base_url=base_url, demo=demo)
            reporting.begins(run)
            try:
                with rare_collections():
                    run_until_signal(run.main(session), *_signals(), drain=run.drain)
            except Interrupted:
                pass  # by the second signal; what is left is told all the same
            return reporting.ended(run.exit_code())
    except (InputFailed, OutputRefused, ReportRefused) as error:
        raise _Refused(str(error)) from None
    except LineFileLost as error:
        say(f"{error}. Answers may be lost; nothing more was sent")
        return ExitCode.OUTPUT_LOST
    except LineFileClosed:
        return ExitCode.CLOSED_PIPE
    except LineFileError as error:
        raise click.ClickException(str(error)) from None


def _signals() -> list[signal.Signals]:
    """Return the signals that let a batch come to its end: those of Ctrl-C, of a service's end and of a terminal that is closed."""
    signals = [signal.SIGINT, signal.SIGTERM]
    # Windows has no SIGHUP, and nohup ignores it: the batch goes on then.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def _mode(source: str | None) -> int:
    """Return the permissions of a new output: the input's, which holds the same prompts; else its owner's alone."""
    try:
        return 0o600 if source is None else (os.stat(source).st_mode & 0o666) | 0o600
    except OSError:
        return 0o600


def _dry_run(rows: FileInput) -> int:
    """Check every line, and tell on stdout what there is to do."""
    from cometstream.batch.tokens import estimate_input
    from cometstream.cli.batch_run import BadLines

    bad = BadLines(rows.name, shown=None)
    bad.show()
    models: Counter[str] = Counter()
    tokens = 0
    for row in rows.read():
        if row.problems:
            bad.add(row)
        else:
            models[row.request["model"]] += 1
            tokens += estimate_input(row.request)
    stdout = Stdout()
    good = sum(models.values())
    stdout.write(f"{rows.name}: {good:,} good rows, {bad.count:,} bad; about {tokens:,} input tokens\n")
    for model, count in models.most_common():
        stdout.write(f"  {count:,} for {one_line(model)}\n")
    return ExitCode.USAGE if bad.count else ExitCode.OK
