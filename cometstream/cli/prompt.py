"""The prompt: from the argument, from stdin, or from both."""

from __future__ import annotations

import sys
import threading
from typing import Final, TextIO

import click

from cometstream.cli.process import say

__all__ = ["find_prompt"]

# Seconds of silence on stdin after which a person would wonder what the program waits for.
_PATIENCE: Final = 2.0


def find_prompt(argument: str | None) -> str:
    """Return the prompt: the argument, a blank line and stdin, or what there is of them.

    Stdin is read unless it is a terminal; with ``-`` it is read even then.

    Raises:
        click.UsageError: There is no prompt.
    """
    texts = [] if argument in (None, "-") else [argument]
    stdin: TextIO | None = sys.stdin  # None where the process was started with stdin closed
    if stdin is not None and (argument == "-" or not stdin.isatty()):
        texts.append(_read(stdin))
    elif argument is None:
        raise click.UsageError("no prompt: give it as an argument or through a pipe", click.get_current_context())
    prompt = "\n\n".join(text for text in texts if text)
    if not prompt.strip():
        raise click.UsageError("the prompt is empty", click.get_current_context())
    return prompt


def _read(stdin: TextIO) -> str:
    note = threading.Timer(
        _PATIENCE, say, ["waiting for the prompt's text on stdin (Ctrl-D ends it, </dev/null gives none)"]
    )
    note.daemon = True
    note.start()
    try:
        text = stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 text: {error.reason} at byte {error.start}") from None
    finally:
        note.cancel()
    return text.rstrip("\r\n")  # the line end that echo and editors add is not the prompt's
