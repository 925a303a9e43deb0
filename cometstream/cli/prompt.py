"""The prompt: from the argument, from stdin, or from both."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any, Final, TextIO

import click

from cometstream.cli.process import say
from cometstream.errors import APITimeoutError

__all__ = ["find_prompt"]

# Seconds of silence on stdin after which a person would wonder what the program waits for.
_PATIENCE: Final = 2.0

# Programs that read commands, or the lines of a loop, from the stdin that those which they start share with them.
_SHELLS: Final = frozenset({"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "zsh"})


def find_prompt(argument: str | None, *, stdin: bool | None = None, within: float | None = None) -> str:
    """Return the prompt: the argument, a blank line and stdin, or what there is of them.

    Args:
        argument: The argument; None where there is none, ``-`` for stdin.
        stdin: Whether to read stdin beside an argument. None reads it unless it is a terminal, or the shell's that runs this.
        within: Seconds until which stdin has to end; None for no limit.

    Raises:
        click.UsageError: There is no prompt.
        APITimeoutError: Stdin did not end.
    """
    if stdin is False and argument in (None, "-"):
        raise click.UsageError("--no-stdin needs a PROMPT", click.get_current_context())
    texts = [] if argument in (None, "-") else [argument]
    file: TextIO | None = sys.stdin  # None where the process was started with stdin closed
    if file is not None and _is_wanted(file, argument, stdin):
        texts.append(_read(file, within))
    elif argument is None:
        raise click.UsageError("no prompt: give it as an argument or through a pipe", click.get_current_context())
    prompt = "\n\n".join(text for text in texts if text)
    if not prompt.strip():
        raise click.UsageError("the prompt is empty", click.get_current_context())
    return prompt


def _is_wanted(file: TextIO, argument: str | None, stdin: bool | None) -> bool:
    if stdin is not None or argument == "-":
        return stdin is not False
    if file.isatty():
        return False
    if argument is not None and _is_a_shells(file):
        say("stdin belongs to the shell that runs this, and is left to it (--stdin reads it, --no-stdin says no more)")
        return False
    return True


def _read(stdin: TextIO, within: float | None) -> str:
    note = threading.Timer(
        _PATIENCE,
        say,
        ["waiting for the prompt's text on stdin (Ctrl-D ends it, --no-stdin does without)"],
    )
    note.daemon = True
    note.start()
    try:
        data = stdin.buffer.read() if within is None else _read_within(stdin, within)
    finally:
        note.cancel()
    text = data.decode("utf-8-sig", "replace")
    if "\ufffd" in text and "\ufffd".encode() not in data:
        say("stdin is not all UTF-8 text: what is not was replaced by \ufffd")
    return text.rstrip("\r\n")  # the line end that echo and editors add is not the prompt's


def _read_within(stdin: TextIO, seconds: float) -> bytes:
    """Read in a thread: a pipe can be waited for in one way on every system, and a thread that waits holds nothing at exit."""
    pieces: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        try:
            while piece := _read_some(stdin):
                pieces.append(piece)
        except OSError:
            pass  # what came is all there is
        finally:
            ended.set()

    threading.Thread(target=read, daemon=True).start()
    if not ended.wait(seconds):
        raise APITimeoutError(f"stdin did not end within {seconds:g} s (timeouts.total)", clock="total")
    return b"".join(pieces)


def _read_some(stdin: TextIO) -> bytes:
    try:
        number = stdin.fileno()
    except (OSError, ValueError):  # not a file of the system's
        return stdin.buffer.read()
    return os.read(number, 65536)


def _is_a_shells(stdin: TextIO) -> bool:
    """Whether a shell among the programs that started this one has the same stdin: ``while read`` would lose its lines to us.

    Only Linux tells. ``git diff | cometstream ask ...`` has a pipe of its own, also where `timeout` or `uv run` stand before it.
    A here-document of dash cannot be told from the pipe of a loop: it is left alone too, which is said.
    """
    try:
        mine: Any = os.fstat(stdin.fileno())
        if stat.S_ISREG(mine.st_mode) and os.lseek(stdin.fileno(), 0, os.SEEK_CUR) == 0:
            return False  # a loop would have read a line of it
        parent = os.getppid()
        while parent > 0 and not stat.S_ISCHR(mine.st_mode):
            process = Path(f"/proc/{parent}")
            theirs = os.stat(process / "fd" / "0")
            if (theirs.st_dev, theirs.st_ino) != (mine.st_dev, mine.st_ino):
                return False
            if (process / "comm").read_text().strip() in _SHELLS:
                return True
            # proc(5): the name may hold spaces and brackets; behind it come the state and the parent.
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return False
