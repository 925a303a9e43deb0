"""The command group. It turns every ending into an exit code and at most one line on stderr."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TextIO

import click

from cometstream.cli.ask import ask
from cometstream.cli.batch import batch
from cometstream.cli.chat import chat
from cometstream.cli.exit_codes import EPILOG, ExitCode, exit_code
from cometstream.cli.models import balance, models
from cometstream.cli.probe import probe
from cometstream.cli.process import Interrupted, OutputFailed, say
from cometstream.cli.serve import serve
from cometstream.cli.words import described
from cometstream.errors import CometError
from cometstream.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cometstream", "run"]


@click.group(epilog=EPILOG, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cometstream() -> None:
    """Stream chat completions from CometAPI.

    The key is read from the environment variable COMETAPI_KEY.
    """


for command in (ask, balance, batch, chat, models, probe, serve):
    cometstream.add_command(command)


def run(args: Sequence[str] | None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: The arguments after the program's name; None takes the process's own.
    """
    with warnings.catch_warnings():
        # Warnings for users, each on one line. Others follow the settings of the interpreter.
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            result = cometstream.main(args, prog_name="cometstream", standalone_mode=False)
        except click.ClickException as error:
            say(_describe(error))
            return error.exit_code
        except (Interrupted, click.Abort):  # click makes an Abort of a KeyboardInterrupt
            return ExitCode.INTERRUPTED
        except OutputFailed as error:
            if isinstance(error.reason, BrokenPipeError):
                return ExitCode.CLOSED_PIPE
            say(_describe(error))
            return ExitCode.ERROR
        except CometError as error:
            say(_describe(error))
            return exit_code(error)
    return result if isinstance(result, int) else ExitCode.OK  # --help gives its own code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    say(f"warning: {message}")


def _describe(error: click.ClickException | OutputFailed | CometError) -> str:
    """Return the line that tells how the command ended."""
    if isinstance(error, CometError):
        return described(error)
    if isinstance(error, OutputFailed):
        return str(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return error.format_message()
    return f"{error.format_message()} (see `{context.command_path} --help`)"
