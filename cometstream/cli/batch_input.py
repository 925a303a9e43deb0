"""The input of a batch: a file, which is checked before anything is sent, or a stream, whose rows are sent as they come."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import orjson

from cometstream.batch.jsonl import InputFailed, RowReader, open_input, read_lines, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container, Iterator
    from contextlib import AbstractContextManager

    from cometstream.batch.jsonl import InputRow

__all__ = ["FileInput", "StreamInput", "find_rows"]

_DEMO_PROMPTS: Final = (
    "Write one sentence about comets.",
    "What is a comet made of?",
    "Why does a comet have a tail?",
    "When will Halley's Comet come back?",
    "What is the Oort cloud?",
    "Which comet did a probe land on?",
)

# Rows that are read in one turn of the event loop. Rows that have their line already are not sent, so nothing else waits.
_AT_ONCE: Final = 50

# Lines that are read ahead of a stream.
_AHEAD: Final = 64


class FileInput:
    """Rows that can be read again and again.

    Args:
        name: Its name in messages.
        open_: Opens it at its beginning.
        model: The model of rows that name none.
    """

    def __init__(
        self, name: str, open_: Callable[[], AbstractContextManager[io.BufferedIOBase]], *, model: str | None
    ) -> None:
        self.name = name
        self._open = open_
        self._model = model
        self._reader: RowReader | None = None  # the one of `rows`

    def read(self, reader: RowReader | None = None) -> Iterator[InputRow]:
        """Yield the rows, from the first on.

        Args:
            reader: Turns lines into rows; None for a new one.

        Raises:
            InputFailed: It cannot be read.
        """
        if reader is None:
            reader = self.reader()
        with self._open() as file:
            for line in read_lines(file, self.name):
                row = reader.read(line)
                if row is not None:
                    yield row

    def reader(self) -> RowReader:
        """Return a new reader for `read`."""
        return RowReader(model=self._model)

    async def rows(self) -> AsyncGenerator[InputRow, None]:
        """Yield the rows, from the first on."""
        self._reader = self.reader()
        for number, row in enumerate(self.read(self._reader)):
            yield row
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def added(self) -> int:
        """Return how many lines follow the last line that `rows` has read."""
        read = 0 if self._reader is None else self._reader.line
        try:
            with self._open() as file:
                return sum(
                    number > read and bool(line.strip()) for number, line in enumerate(read_lines(file, self.name), 1)
                )
        except InputFailed:
            return 0  # it was deleted meanwhile, after every row was read


class StreamInput:
    """Rows from stdin or a pipe, each as soon as it is there.

    A thread reads the lines: no event loop can wait for every kind of file, and a read that waits must not keep the program from
    ending.

    Args:
        raw: The stream.
        name: Its name in messages.
        model: The model of rows that name none.

    Attributes:
        digests: The digests of all ``custom_id``s so far.
    """

    def __init__(self, raw: io.BufferedReader, name: str, *, model: str | None) -> None:
        self.name = name
        self.digests: Container[int] = ()
        self._model = model
        self._raw = raw
        self._places = threading.Semaphore(_AHEAD)

    async def rows(self) -> AsyncGenerator[InputRow, None]:
        """Yield the rows, until the stream ends.

        Raises:
            InputFailed: The stream cannot be read on.
        """
        reader = RowReader(model=self._model)
        self.digests = reader.digests
        lines: asyncio.Queue[bytes | InputFailed | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop, lines), daemon=True).start()
        while (line := await lines.get()) is not None:
            self._places.release()
            if isinstance(line, InputFailed):
                raise line
            row = reader.read(line)
            if row is not None:
                yield row

    def as_file(self) -> FileInput:
        """Return it as an input that is read to its end, once."""
        return FileInput(self.name, self._open, model=self._model)

    @contextmanager
    def _open(self) -> Iterator[io.BufferedIOBase]:
        with self._raw as raw:
            yield unpacked(raw, self.name)

    def _read(self, loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | InputFailed | None]) -> None:
        last: InputFailed | None = None
        try:
            try:
                with self._open() as file:
                    for line in read_lines(file, self.name):
                        self._places.acquire()
                        loop.call_soon_threadsafe(lines.put_nowait, line)
            except InputFailed as error:
                last = error
            loop.call_soon_threadsafe(lines.put_nowait, last)
        except RuntimeError:
            pass  # the loop is closed: nobody waits for more


def find_rows(source: str | None, *, model: str | None) -> FileInput | StreamInput:
    """Return the rows of an input.

    Args:
        source: A file or a pipe; ``-`` is stdin, None the rows of the demo.
        model: The model of rows that name none.

    Raises:
        InputFailed: It cannot be opened.
    """
    if source is None:
        return FileInput("the demo's rows", lambda: nullcontext(io.BytesIO(_demo_lines())), model=model)
    if source == "-":
        return StreamInput(_stdin(), "stdin", model=model)
    try:
        mode = os.stat(source).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return StreamInput(open(source, "rb"), source, model=model)
    except OSError as error:
        raise InputFailed(f"{source} cannot be read: {error.strerror or error}") from None
    return FileInput(source, lambda: open_input(source), model=model)


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:
        raise InputFailed("stdin is closed: name a file, or send the rows through a pipe")
    try:
        # Not sys.stdin: at the end of the program, Python would wait for the thread that reads it.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:
        return io.BufferedReader(io.BytesIO(sys.stdin.buffer.read()))  # not a file of the system


def _demo_lines() -> bytes:
    """Return a few rows to try a batch with."""
    return b"\n".join(
        orjson.dumps({"custom_id": f"comet-{number}", "prompt": prompt})
        for number, prompt in enumerate(_DEMO_PROMPTS, 1)
    )
