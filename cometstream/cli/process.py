"""The program as a process: signals, stdout and stderr."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn, TextIO, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType
    from typing import Any

__all__ = [
    "Interrupted",
    "OutputFailed",
    "Stdout",
    "is_terminal",
    "one_line",
    "printable",
    "rare_collections",
    "run_until_signal",
    "say",
]

_T = TypeVar("_T")

# Objects that are made, and not freed, between two searches for garbage in a batch: some megabytes. Python's own number is 700.
_YOUNG: Final = 50_000

# C0 without tab and line feed; DEL; C1; what changes the direction of text.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Interrupted(Exception):
    """A signal asked the program to end, and everything is closed."""


class OutputFailed(Exception):
    """Stdout cannot be written.

    Args:
        reason: What the system says.
    """

    def __init__(self, reason: OSError) -> None:
        super().__init__(f"stdout cannot be written: {reason.strerror or reason}")
        self.reason = reason


class Stdout:
    """Standard output; every write is flushed, so that a reader has each token at once.

    Args:
        encoding: None keeps the locale's.

    Raises:
        OutputFailed: It is closed.
    """

    def __init__(self, *, encoding: str | None = None) -> None:
        file: TextIO | None = sys.stdout  # None where the process was started with stdout closed
        if file is None:
            raise OutputFailed(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        if isinstance(file, io.TextIOWrapper):
            # One character that the terminal does not know must not lose the rest of the answer.
            file.reconfigure(encoding=encoding, errors="replace")
        self._file = file
        self._terminal = file.isatty()

    def write(self, text: str) -> None:
        """Write `text` at once; on a terminal, without control characters.

        Raises:
            OutputFailed: The reader has left, the disk is full, ...
        """
        try:
            self._file.write(printable(text) if self._terminal else text)
            self._file.flush()
        except OSError as error:
            self._abandon()
            raise OutputFailed(error) from None

    def _abandon(self) -> None:
        # Python flushes the rest of the buffer when it exits: let that succeed.
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)
        except OSError:
            pass  # not a file of the system


def is_terminal(file: TextIO | None) -> bool:
    """Whether a stream of this process is a terminal; None is one that was closed before the process began."""
    return file is not None and file.isatty()


def say(message: str) -> None:
    """Print one line on stderr."""
    try:
        print(f"cometstream: {one_line(message)}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads stderr


def printable(text: str) -> str:
    """Return `text` without what could control a terminal; line ends and tabs stay.

    Otherwise a model or a server could set the clipboard, rename the window or hide text. Each such character becomes U+FFFD.
    Carriage returns could overwrite the line, and are left out.

    Source:
        ECMA-48 (C0 and C1 controls); Unicode TR 36, 3.4 (bidirectional overrides).
    """
    return _CONTROLS.sub("\ufffd", text.replace("\r", ""))


def one_line(text: str) -> str:
    """Return `text` on one line, without control characters, since some of it comes from servers."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def run_until_signal(
    main: Coroutine[Any, Any, _T], *signals: signal.Signals, drain: Callable[[], object] | None = None
) -> _T:
    """Run a coroutine on an event loop of its own. The first signal cancels it, the next one ends the process at once.

    Args:
        main: What to run.
        signals: The signals to handle. What Python does at SIGINT differs between its versions.
        drain: Called in the loop at the first signal, so that `main` ends by itself. Then the second signal cancels it.

    Raises:
        Interrupted: A signal came, and `main` let itself be cancelled.
    """

    async def watched() -> _T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        steps: list[Callable[[], object]] = [task.cancel] if drain is None else [drain, task.cancel]

        def interrupt(number: int, _: FrameType | None) -> None:
            if not steps:
                leave(128 + number)
            loop.call_soon_threadsafe(steps.pop(0))

        former = {number: signal.getsignal(number) for number in signals}
        for number in signals:
            # A loop's own handlers wait until it is free, so they only wake it: a signal that came just before it began to wait
            # would otherwise be heard when something else happens. On Windows every loop is woken.
            with suppress(NotImplementedError):
                loop.add_signal_handler(number, _woken)
            signal.signal(number, interrupt)
        try:
            return await main
        except asyncio.CancelledError:
            if not steps:
                raise Interrupted from None
            raise
        finally:
            for number, handler in former.items():
                with suppress(NotImplementedError):
                    loop.remove_signal_handler(number)
                signal.signal(number, handler)

    return asyncio.run(watched())


def _woken() -> None:
    """Do nothing: Python calls its own handlers as soon as the loop is awake."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have Python search seldom for garbage: for objects that hold each other, and that nobody else holds.

    A row leaves none, and has some 60 objects while it is on its way. At Python's own pace the objects of hundreds of rows are
    searched again and again, which takes about a sixth of a batch's CPU time.
    """
    former, was_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    gc.freeze()  # the program's own code need not be looked at
    gc.set_threshold(_YOUNG, *former[1:])
    try:
        yield
    finally:
        gc.set_threshold(*former)
        if not was_frozen:
            gc.unfreeze()


def leave(code: int) -> NoReturn:
    """End the process now, since a write that blocks could keep it alive. Every write was flushed, so nothing is lost."""
    os._exit(code)
