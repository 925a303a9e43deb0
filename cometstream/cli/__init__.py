"""The console script: ``main()``, and a clear word where the extra is missing.

::

    app.py          the command group, and how every ending becomes an exit code and one line on stderr
    ask.py          cometstream ask; prompt.py finds the prompt, waiting.py passes the time, printers.py shows the answer
    attachments.py  files as parts of a message; schema_file.py a JSON Schema as what an answer has to be
    kept.py         conversations on disk
    chat.py         cometstream chat; chat_state.py is one chat, chat_turn.py one answer in it, chat_commands.py its commands,
                    chat_tools.py what the model may call; terminal.py reads the lines, growing.py draws the answer
    batch.py        cometstream batch; batch_run.py is one run of it, batch_input.py its rows, batch_progress.py what it shows
    models.py       cometstream models and cometstream balance
    probe.py        cometstream probe; probe_figures.py what it measured, as a table and as JSON, probe_plot.py as a picture
    serve.py        cometstream serve
    connection.py   flags to a session, or to a simulated server and a session with it
    exit_codes.py   the exit codes
    process.py      signals, stdout and stderr
    words.py        the library's messages in the command line's words
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        args: The arguments after the program's name; None takes the process's own.
    """
    missing = [package for package in ("click", "rich") if find_spec(package) is None]
    if missing:
        print(
            f"cometstream: the command line needs {' and '.join(missing)}: pip install 'cometstream[cli]'",
            file=sys.stderr,
        )
        return 1
    try:
        from cometstream.cli.app import run  # needs the extra

        return run(args)
    except KeyboardInterrupt:  # before there was a loop to cancel, or after
        return 130
