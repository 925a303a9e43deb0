"""One run of a batch: gives rows to ``fan_out``, writes the results as they come, and says how it ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from cometstream.answer.typed_errors import is_unknown_model
from cometstream.batch import fan_out
from cometstream.batch.jsonl import ARRAY, InputFailed
from cometstream.batch.line_file import LineFileError
from cometstream.batch.output import OutputRefused
from cometstream.batch.output_line import error_code
from cometstream.cli.batch_figures import BatchFigures
from cometstream.cli.batch_input import FileInput
from cometstream.cli.batch_processes import Processes
from cometstream.cli.batch_progress import BatchView, Ending
from cometstream.cli.connection import load_prices
from cometstream.cli.exit_codes import ExitCode
from cometstream.cli.process import Interrupted, say
from cometstream.errors import APIStatusError, AuthenticationError, CometError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractAsyncContextManager

    from cometstream.batch import BatchResult, FanOut
    from cometstream.batch.jsonl import InputRow
    from cometstream.batch.output import BatchOutput
    from cometstream.cli.batch_input import StreamInput
    from cometstream.session import CometSession

__all__ = ["BadLines", "BatchRun"]

# Bad lines that are shown. All are counted, and have a line in the output.
_SHOWN: Final = 20

# Codes of failures that are counted one by one. They are the server's, which may invent any number of them.
_CODES_KEPT: Final = 100

# This many refusals in a row that are not the fault of their rows end a batch that had answers before.
_REFUSED: Final = 10

# Words of a 403 that refuses the content of one row.
_MODERATED: Final = ("moderat", "flagged", "content", "safety", "policy")

# If a stream begins with more bad lines than this, it is not a file of rows.
_NO_ROWS: Final = 100

# Parts of codes which say that the account has no money left.
_NO_CREDIT: Final = ("quota", "balance", "credit", "billing")

# Seconds between two looks at the progress.
_TICK: Final = 0.25


class BadLines:
    """Shows bad lines on stderr.

    Nothing is shown before `show` is called: an input without one good row gets one message instead.

    Args:
        name: The input's name.
        shown: How many to show; None for all.

    Attributes:
        count: How many there were.
        first: The first one; None if there was no bad line.
    """

    def __init__(self, name: str, *, shown: int | None = _SHOWN) -> None:
        self.count = 0
        self.first: InputRow | None = None
        self._name = name
        self._shown = shown
        self._waiting: list[InputRow] | None = []

    def add(self, row: InputRow) -> None:
        """Count a line, and show it unless too many were shown."""
        self.count += 1
        self.first = self.first or row
        if self._shown is not None and self.count > self._shown:
            return
        if self._waiting is None:
            self._say(row)
        else:
            self._waiting.append(row)

    def show(self) -> None:
        """Show the lines so far, and from now on each as it comes."""
        waiting, self._waiting = self._waiting or (), None
        for row in waiting:
            self._say(row)

    def _say(self, row: InputRow) -> None:
        say(f"{self._name}, line {row.line}: {'; '.join(row.problems)}")

    def sum_up(self) -> None:
        """Tell how many were not shown."""
        if self._shown is not None and self.count > self._shown:
            say(f"{self._name}: {self.count - self._shown:,} more lines are bad; --dry-run lists them all")


class BatchRun:
    """Runs a batch once.

    Args:
        rows: The input.
        output: Where the results go.
        strict: End if a line is bad; for a file, before anything is sent.
        quiet: Show no progress and no table.
        cost: Read the catalogue's prices first, for the costs that the server does not report.
        told_model: The user knows which model answers rows that name none.
        options: Of ``fan_out``.
        processes: How many send the rows; 1 is this one alone.
        base_url: Of the sessions of other processes.
        reported: Gather the figures of a report.

    Attributes:
        name: The input's name.
        figures: The figures; None if no report is wanted.
        added: Rows that were added to a file after its end was read.
    """

    def __init__(
        self,
        rows: FileInput | StreamInput,
        output: BatchOutput,
        *,
        strict: bool,
        quiet: bool,
        cost: bool,
        told_model: bool,
        options: Mapping[str, Any],
        processes: int = 1,
        base_url: str | None = None,
        reported: bool = False,
    ) -> None:
        self.name = rows.name
        self.figures = BatchFigures(priced=options.get("price") is not None) if reported else None
        self.added = 0
        self._rows = rows
        self._output = output
        self._strict = strict
        self._quiet = quiet
        self._cost = cost
        self._options = options
        self._processes = processes
        self._base_url = base_url
        self._told_model = told_model
        self._bad = BadLines(rows.name)
        self._due: int | None = None  # rows to run; None if that is not known
        self._checked = 0  # lines of a file that were there before anything was sent
        self._handed_out = 0
        self._pending: dict[str, InputRow] = {}  # rows that were handed out and have no line yet
        self._written = 0
        self._bad_written = 0
        self._failures: Counter[str] = Counter()
        self._batch: FanOut | Processes | None = None
        self._draining = False
        self._all_read = False
        self._answered = False
        self._refused: list[BatchResult] = []  # since the last answer; not the fault of their rows
        self._failure: Exception | None = None  # ends everything at once
        self._reason: InputFailed | CometError | None = None  # told after the requests under way have ended

    def check(self) -> None:
        """Check a file as a whole and list its bad lines. Only then is the output changed.

        Raises:
            LineFileError: The output cannot be written.
            InputFailed: It cannot be read, or has bad lines and the run is strict.
            OutputRefused: It is the output of another input, or another model answered it.
        """
        if isinstance(self._rows, FileInput):
            self._check_file(self._rows)
        for mended in self._output.begin():
            say(mended)

    async def main(self, opening: AbstractAsyncContextManager[CometSession]) -> None:
        """Run the rows that have no line yet.

        Args:
            opening: Opens the session.

        Raises:
            LineFileError: The output cannot be written.
            OutputRefused: It is the output of another input.
        Cancellation:
            Requests under way are ended, and their rows are left.
        """
        requests = self._requests()
        async with opening as session:
            if self._cost:
                await load_prices(session)
            if self.figures is not None:
                self.figures.begin(asyncio.get_running_loop().time)
            batch = self._batch = self._send(session, requests)
            view = BatchView(rows=self._due, quiet=self._quiet)
            try:
                async with batch:
                    with view:
                        await self._read(batch, view)
            finally:
                await requests.aclose()
                view.table(batch.progress, self._ending())
                if self.figures is not None:
                    self.figures.end(batch.progress, None if isinstance(batch, Processes) else batch.history)
        if isinstance(self._rows, FileInput):
            self._end_file(self._rows)
        else:
            self._end_stream(self._rows)
        if self._failure is not None:
            raise self._failure

    def _send(self, session: CometSession, requests: AsyncGenerator[dict[str, Any], None]) -> FanOut | Processes:
        if self._processes == 1:
            return fan_out(session, requests, **self._options)
        fan_out(session, [], **self._options)  # it says at once what is wrong
        return Processes(
            requests, count=self._processes, base_url=self._base_url, cost=self._cost, options=self._options
        )

    def drain(self) -> None:
        """Start no more rows. Requests under way come to their end."""
        self._draining = True
        if self._batch is not None:
            running = self._batch.progress.running
            say(
                f"ending: no more rows are sent, {running:,} requests under way come to their end; once more ends them now"
            )
            self._start_no_more()

    @property
    def cause(self) -> Exception | None:
        """The error that ended the run; None if none did."""
        return self._failure or self._reason

    @property
    def earlier(self) -> int:
        """How many rows had a line before."""
        return self._output.answered + self._output.failed

    @property
    def left(self) -> int | None:
        """How many rows have no line; None if some have none, but their number is not known."""
        if self._all_read:
            return len(self._pending) + self.added
        return None if self._due is None else max(self._due, self._handed_out) - self._written

    def exit_code(self) -> ExitCode:
        """Return how the run ended, and say what is left to do.

        Raises:
            Interrupted: A signal ended it early.
            CometError: The key was refused, the account has no credit left, or the model is unknown.
        """
        failed = sum(self._failures.values()) + self._bad_written + self._output.failed
        again = self._output.can_be_resumed
        if failed:
            say(f"{failed:,} rows failed: their lines say why" + ("; --retry-failed runs them again" if again else ""))
        left = self.left
        if left != 0:
            rows = "rows are" if left is None else "1 row is" if left == 1 else f"{left:,} rows are"
            say(f"{rows} left" + (": the same command with --resume runs them" if again else ""))
        if isinstance(self._reason, InputFailed):
            say(str(self._reason))
            return ExitCode.ERROR
        if self._reason is not None:
            raise self._reason
        if left != 0:
            if self._draining:
                raise Interrupted
            return ExitCode.ROWS_LEFT
        return ExitCode.ROWS_FAILED if failed else ExitCode.OK

    def _check_file(self, rows: FileInput) -> None:
        reader = rows.reader()
        self._due = good = 0
        for row in rows.read(reader):
            if row.problems:
                _check_lines(row, rows.name)
                self._bad.add(row)
            else:
                if not good:
                    self._bad.show()
                good += 1
                self._tell_model(row)
                self._output.check_same(row)
                self._due += not self._output.has(row)
        if self._bad.first is not None and not good:
            raise _no_rows(rows.name, self._bad.first)
        self._checked = reader.line
        self._bad.sum_up()
        self._output.check_known(reader.digests, rows.name)
        if self._strict and self._bad.count:
            raise InputFailed(f"{rows.name}: {self._bad.count:,} lines are bad, so nothing was sent (--strict)")

    def _tell_model(self, row: InputRow) -> None:
        if not self._told_model and not row.names_model:
            self._told_model = True
            say(f"rows that name no model are sent to {row.request['model']}; --model names another")

    def _end_file(self, rows: FileInput) -> None:
        """Tell of rows that were added to the file meanwhile."""
        if self._all_read:
            self.added = rows.added()
            more = self._handed_out - (self._due or 0)
            if more > 0:
                say(f"{rows.name}: {more:,} rows were added meanwhile, and were sent, too")
            if self.added:
                say(f"{rows.name}: {self.added:,} rows were added after its end was read")

    def _end_stream(self, rows: StreamInput) -> None:
        """Say what is only known at the end of a stream."""
        self._bad.sum_up()
        if self._all_read:
            try:
                self._output.check_known(rows.digests, rows.name)
            except OutputRefused as other:
                say(f"warning: {other}")  # too late to refuse it: the new lines are in it

    async def _read(self, batch: FanOut | Processes, view: BatchView) -> None:
        watch = asyncio.create_task(self._watch(batch, view))
        if self._draining:
            batch.drain()
        try:
            async for result in batch:
                self._take(result)
                if self._failure is not None:
                    break
            else:
                if self._reason is None:
                    self._write_refused()
        except LineFileError as error:
            self._failure = error
        except CometError as error:  # the cost cannot be limited, or the ledger cannot be used
            self._reason = error
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(self, batch: FanOut | Processes, view: BatchView) -> None:
        """Show the progress, and end the batch if it cannot go on."""
        while self._failure is None:
            progress = batch.progress
            view.show(progress)
            if self.figures is not None:
                self.figures.look(progress)
            await asyncio.sleep(_TICK)
            try:
                self._output.sync_if_due()
            except LineFileError as error:
                self._failure = error
        await batch.aclose()

    def _take(self, result: BatchResult) -> None:
        """Write a result."""
        if result.outcome == "cancelled":
            return
        error = result.error
        for_all = error is not None and _refuses_all(error)
        if error is not None and (for_all or _may_refuse_all(error)):
            self._refused.append(result)
            first = not self._answered and for_all
            if self._reason is None and (first or len(self._refused) >= _REFUSED):
                # It is not the fault of the row: every other row would be refused, too.
                self._reason = error
                self._start_no_more()
            return
        if result.outcome == "complete" and not result.from_ledger:  # a ledger's answer says nothing of the server
            # A single channel of a gateway may have a bad key: its rows have failed, the others go on.
            self._answered = True
            if self._reason is None:
                self._write_refused()
        self._write(result)

    def _write_refused(self) -> None:
        """Write the rows that were refused, since others were answered."""
        while self._refused:
            self._write(self._refused.pop(0))

    def _write(self, result: BatchResult) -> None:
        row = self._pending.pop(result.custom_id or "")
        self._written += 1
        if result.outcome != "complete":
            code = error_code(result)
            self._failures[code if code in self._failures or len(self._failures) < _CODES_KEPT else "other"] += 1
        self._output.write(row, result)
        if self.figures is not None:
            self.figures.note(result, row.custom_id)

    async def _requests(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the rows that are to be sent, and write a line for bad ones."""
        early: list[InputRow] | None = [] if self._due is None else None  # as in `_check_file`
        try:
            async with aclosing(self._rows.rows()) as rows:
                async for row in rows:
                    if row.problems and early is not None:
                        _check_lines(row, self._rows.name)
                        early.append(row)
                        if len(early) > _NO_ROWS:
                            raise _no_rows(self._rows.name, early[0])
                        continue
                    if early is not None:
                        self._bad.show()
                        for bad in early:
                            self._take_bad(bad)
                        early = None
                    if row.problems:
                        self._take_bad(row)
                    elif not self._output.has(row):
                        self._tell_model(row)
                        self._pending[row.custom_id] = row
                        self._handed_out += 1
                        yield row.request
                    else:
                        self._output.check_same(row)
                    if self._reason is not None:
                        break
                else:
                    if early:
                        raise _no_rows(self._rows.name, early[0])
                    self._all_read = not self._draining
        except _NoRows as error:
            self._failure = error
            self._start_no_more()
        except InputFailed as error:
            self._reason = error
        except (LineFileError, OutputRefused) as error:
            self._failure = error

    def _take_bad(self, row: InputRow) -> None:
        if not isinstance(self._rows, FileInput) or row.line > self._checked:
            self._bad.add(row)
            if self._strict:
                self._reason = InputFailed(
                    f"{self._rows.name}, line {row.line}: is bad, so no more was sent (--strict)"
                )
                self._start_no_more()
        if not self._output.has(row):
            self._output.write_bad(row)
            self._bad_written += 1
            if self.figures is not None:
                self.figures.note_bad(row.custom_id, row.problems)

    def _start_no_more(self) -> None:
        if self._batch is not None:
            self._batch.drain()

    def _ending(self) -> Ending:
        return Ending(self._output.path, self.earlier, self._bad.count, self.left, self._failures)


def _refuses_all(error: CometError) -> bool:
    """Whether a refusal is the fault of the key or the account, so that every row would be refused."""
    if isinstance(error, AuthenticationError):
        return True
    if not isinstance(error, APIStatusError) or error.retryable:
        return False
    return error.status == 402 or any(word in (error.code or "") for word in _NO_CREDIT)


def _may_refuse_all(error: CometError) -> bool:
    """Whether a refusal may be the fault of the model or the key; many in a row are."""
    return is_unknown_model(error) or (
        isinstance(error, PermissionDeniedError) and not any(word in str(error).lower() for word in _MODERATED)
    )


class _NoRows(InputFailed):
    """The input is no file of JSON lines."""


def _check_lines(row: InputRow, name: str) -> None:
    """Check that a bad line is not the beginning of a JSON array, whose last lines may look like rows."""
    if ARRAY in row.problems:
        raise _NoRows(
            f"{name} is a JSON array, so nothing was sent: write each row on a line of its own, as `jq -c '.[]' FILE` does"
        )


def _no_rows(name: str, first: InputRow) -> _NoRows:
    return _NoRows(
        f"{name}: no line is a row, so nothing was sent; is it a file of JSON lines? Line {first.line} {first.problems[0]}"
    )
