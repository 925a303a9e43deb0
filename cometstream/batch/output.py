"""The output: one line for each row. The next run reads it to know which rows are left."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from cometstream.batch.line_file import LineFile, LineFileError
from cometstream.batch.output_line import bad_row_line, read_output_line, result_line
from cometstream.batch.row_id import Fingerprint, fingerprint, short_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from types import TracebackType

    from typing_extensions import Self

    from cometstream.batch.jsonl import InputRow
    from cometstream.batch.output_line import OutputLine
    from cometstream.batch.result import BatchResult

__all__ = ["BatchOutput", "OutputRefused", "same_file"]

# Seconds between two syncs. If the process dies, nothing is lost; if the machine dies, at most the lines of so many seconds.
_SYNC_EVERY: Final = 1.0

# How each line begins. A file with less than one line that begins otherwise is not ours, and must not be cut.
_BEGINNING: Final = b'{"id":"'


class OutputRefused(Exception):
    """The output cannot be used by this run; the message says why, and what to do."""


class BatchOutput:
    """The output of a batch, for ``with``: a line for each row. Failures may go to a file of their own.

    Opening it reads what is there and changes nothing. `begin` changes it, when it is certain that this run goes on.

    Args:
        path: Where the lines go; ``-`` is stdout.
        errors: Where the lines of failed rows go; None for the same file.
        resume: Go on with what is there; otherwise the files must be empty.
        mode: The permissions of a new file. It holds prompts and answers, so by default only its owner may read it.
        retry_failed: Remove the lines of failed rows, and go on.
        force: Go on even if the rows that are there were answered by another model.
        clock: Seconds, on a clock that only goes forward.

    Attributes:
        path: Where the lines go.
        answered: Rows that had a good line at first.
        failed: Rows that had the line of a failure at first, and keep it.

    Raises:
        LineFileError: A file cannot be opened or written, or another run has it.
        OutputRefused: A file is not empty and shall not be resumed, or it is not the output of a batch.
    """

    def __init__(
        self,
        path: str,
        errors: str | None = None,
        *,
        resume: bool = False,
        retry_failed: bool = False,
        force: bool = False,
        mode: int = 0o600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry_failed = retry_failed
        self._force = force
        self._warned = False
        self._answered: dict[int, Fingerprint | None] = {}  # by a digest of the custom_id
        self._failed: set[int] = set()
        self._clock = clock
        self._synced = clock()
        if errors is not None and same_file(path, errors):
            raise OutputRefused(f"{errors} is the output, too: leave --errors out to have all lines in one file")
        with ExitStack() as opened:
            self._files: list[LineFile] = []
            for name in (path, errors):
                if name is not None:
                    self._files.append(LineFile(name, mode=mode))
                    opened.callback(self._files[-1].close)
            for file in self._files:
                name = file.path
                if file.regular and file.size:
                    if not (resume or retry_failed):
                        raise OutputRefused(
                            f"{name} is not empty: go on with it by --resume, also run its failed rows again by "
                            "--retry-failed, or choose another output"
                        )
                    self._learn(file)
            self._opened = opened.pop_all()
        self.path = self._files[0].path
        self.answered = len(self._answered)
        self.failed = len(self._failed - self._answered.keys())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def can_be_resumed(self) -> bool:
        """Whether a later run can read the lines."""
        return not any(file.is_stdout for file in self._files)

    def has(self, row: InputRow) -> bool:
        """Whether a row had a line already when the output was opened."""
        digest = short_digest(row.custom_id)
        return digest in self._answered or digest in self._failed

    def check_same(self, row: InputRow) -> None:
        """Check that the line of a row, if there is one, answers this row and comes from the same model.

        Raises:
            OutputRefused: It answers another row of this name, or another model answered it.
        """
        known, own = self._answered.get(short_digest(row.custom_id)), fingerprint(row.id)
        if known is None or own is None or known == own:
            return
        if known.row != own.row:
            raise OutputRefused(
                f"{self.path} is the output of another input: it answers custom_id {row.custom_id!r} with another body "
                f"than line {row.line} has; choose another output"
            )
        told = f"{self.path} has answers of another model: custom_id {row.custom_id!r} was not sent to {row.request['model']!r}"
        if not self._force:
            raise OutputRefused(
                f"{told}; name the model of the earlier run, choose another output, or mix them by --force"
            )
        if not self._warned:
            self._warned = True
            warnings.warn(f"{told}; they are mixed now (--force)", stacklevel=2)

    def check_known(self, digests: Container[int], source: str) -> None:
        """Check that every row with a good line is in the input.

        Args:
            digests: Of the ``custom_id`` of each row of the input.
            source: The input's name.

        Raises:
            OutputRefused: A row is not.
        """
        unknown = {digest for digest in self._answered if digest not in digests}
        if not unknown:
            return
        where = "its last line answers a row that is not a row"
        for file in self._files:
            for number, line in enumerate(file.read(), 1):
                custom_id = read_output_line(line).custom_id
                if short_digest(custom_id) in unknown:
                    where = f"line {number} of {file.path} answers {custom_id!r}, which is not a row"
                    unknown.clear()
        raise OutputRefused(f"{self.path} is the output of another input: {where} of {source}; choose another output")

    def begin(self) -> list[str]:
        """Repair what a crash left, and remove the lines of rows that are to run again.

        Returns:
            What was repaired, a line each.
        Raises:
            LineFileError: A file cannot be written; what is in it is safe.
        """
        told: list[str] = []
        for file in self._files:
            torn = file.torn() if file.regular else b""
            if torn:
                whole = _is_output_line(torn)
                file.mend(whole=whole)
                told.append(
                    f"{file.path}: the last line had no end, and got one"
                    if whole
                    else f"{file.path}: the last line was cut off; it is removed, and its row runs again"
                )
            if self._retry_failed and file.regular and any(read_output_line(text).failed for text in file.read()):
                file.keep(lambda text: not read_output_line(text).failed)
        return told

    def write(self, row: InputRow, result: BatchResult) -> None:
        """Write a row's result.

        Raises:
            LineFileError: It cannot be written; the lines before it are whole.
        """
        line = result_line(result, id=row.id, custom_id=row.custom_id)
        self._append(self._files[0 if result.outcome == "complete" else -1], line)

    def write_bad(self, row: InputRow) -> None:
        """Write what is wrong with a row that cannot be sent.

        Raises:
            LineFileError: As `write`.
        """
        self._append(self._files[-1], bad_row_line(row.problems, id=row.id, custom_id=row.custom_id))

    def sync_if_due(self) -> None:
        """Write everything to the disk, unless that was done in the last second.

        Raises:
            LineFileError: It cannot be put there.
            LineFileLost: A file was deleted, replaced or cut.
        """
        now = self._clock()
        if now - self._synced >= _SYNC_EVERY:
            self._synced = now
            for file in self._files:
                file.sync()
                file.check()

    def close(self) -> None:
        """Write everything to the disk, and release the files. A second call does nothing.

        Raises:
            LineFileError: It cannot be put there.
        """
        self._opened.close()

    def _append(self, file: LineFile, line: bytes) -> None:
        try:
            file.append(line)
            self.sync_if_due()
        except LineFileError as error:
            raise type(error)(str(error) if file.is_stdout else f"{error}; --resume goes on from there") from None

    def _learn(self, file: LineFile) -> None:
        """Learn which rows a file has lines of.

        Raises:
            OutputRefused: It is not the output of a batch.
        """
        torn = file.torn()
        try:
            for text in file.read():
                self._learn_line(read_output_line(text))
            if _is_output_line(torn):
                self._learn_line(read_output_line(torn))
            elif not file.lines and not torn.startswith(_BEGINNING[: len(torn)]):
                raise ValueError("does not begin as one")
        except ValueError as error:
            raise OutputRefused(
                f"{file.path}, line {file.lines or 1}: is not a line of a batch output ({error}); choose another output"
            ) from None

    def _learn_line(self, line: OutputLine) -> None:
        digest = short_digest(line.custom_id)
        if not line.failed:
            self._answered[digest] = fingerprint(line.id)
        elif not self._retry_failed:
            self._failed.add(digest)


def _is_output_line(text: bytes) -> bool:
    try:
        read_output_line(text)
    except ValueError:
        return False
    return True


def same_file(first: str, second: str) -> bool:
    """Whether two paths lead to the same file."""
    return os.path.realpath(first) == os.path.realpath(second)
