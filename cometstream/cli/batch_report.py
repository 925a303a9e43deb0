"""``cometstream batch --report``: checks where the report goes, says how the run ended, and writes the page."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cometstream.cli.batch_report_page import RunFacts, as_page
from cometstream.cli.exit_codes import ExitCode
from cometstream.cli.process import Interrupted, say
from cometstream.cli.whole_file import check_folder, write_whole
from cometstream.cli.words import described
from cometstream.errors import CometError
from cometstream.policy import Clocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from cometstream.cli.batch_run import BatchRun

__all__ = ["BatchReport", "ReportRefused", "checked_report", "shown_settings"]

_SUFFIXES: Final = (".html", ".htm")

_CLOCKS: Final = frozenset(clock.name for clock in fields(Clocks))


class ReportRefused(Exception):
    """The report cannot be written there; the message says why, and what to do."""


def checked_report(path: str, others: Iterable[str | None]) -> Path:
    """Return where a report goes, once it is certain that it can be written.

    Args:
        path: As the user wrote it.
        others: The files of this run that it must not be.

    Raises:
        ReportRefused: It cannot be written, or is one of these files.
    """
    file = Path(os.path.realpath(path))  # of a link, the file behind it is replaced
    if file.suffix.lower() not in _SUFFIXES:
        raise ReportRefused(f"--report takes the name of an .html file; got {path}")
    for other in others:
        if other not in (None, "-") and _same(file, Path(os.path.realpath(other))):
            raise ReportRefused(
                f"{path} is {other}, which this run reads or writes: choose another file for the report"
            )
    try:
        if not file.parent.is_dir():
            raise ReportRefused(f"{path} cannot be made: there is no folder {file.parent}")
        if file.exists():
            if not file.is_file():
                raise ReportRefused(f"{path} is not a file: choose another one for the report")
            if not os.access(file, os.W_OK):
                raise ReportRefused(f"{path} cannot be written: it is protected")
        check_folder(file)
    except OSError as error:
        raise ReportRefused(f"{path} cannot be written: {error.strerror or error}") from None
    return file


class BatchReport:
    """Writes the report of a run when its block ends, however it ends, for ``with``.

    Args:
        path: Where it goes; None writes none.
        settings: What the user chose, by the names of the flags.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._settings = settings
        self._run: BatchRun | None = None
        self._code: ExitCode | None = None

    def begins(self, run: BatchRun) -> None:
        """Take the run: from now on there is something to report."""
        self._run = run

    def ended(self, code: ExitCode) -> ExitCode:
        """Take how the run has ended, and return it."""
        self._code = code
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run = self._run
        if self._path is None or run is None or run.figures is None:
            return
        facts = RunFacts(
            name=run.name,
            ended=self._told(run, exc),
            whole=exc is None and self._code == ExitCode.OK,
            left=run.left,
            earlier=run.earlier,
            processes=self._settings["processes"],
            settings=shown_settings(self._settings),
        )
        try:
            write_whole(self._path, as_page(run.figures, facts).encode())
        except OSError as error:
            say(f"the report {self._path} cannot be written: {error.strerror or error}")

    def _told(self, run: BatchRun, error: BaseException | None) -> str:
        """Return how the run ended, as sentences."""
        error = run.cause or error
        if isinstance(error, CometError):
            return f"It was ended by an error: {described(error)}"
        if isinstance(error, Interrupted):
            return "It was ended by a signal. Rows are left."
        if error is not None:
            return f"It was ended by an error: {str(error) or type(error).__name__}"
        if self._code == ExitCode.ROWS_LEFT:
            limits = [flag for flag in ("max_cost", "max_tokens_total") if self._settings[flag] is not None]
            if run.added or not limits:
                return "Rows are left: they were added to the input while it ran."
            return f"It was ended by {' or '.join(map(_flag, limits))}. Rows are left."
        return "Every row has its line." + (" Some lines tell of a failure." if self._code != ExitCode.OK else "")


def _same(first: Path, second: Path) -> bool:
    try:
        return first == second or first.samefile(second)  # a second name of one file, too
    except OSError:
        return False


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" + ("-timeout" if name in _CLOCKS else "")


def shown_settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings that say something, as texts."""
    shown: list[tuple[str, str]] = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else "yes" if value is True else str(value)
        shown.append((_flag(name), _without_password(text)))
    return shown


def _without_password(text: str) -> str:
    """Return a setting without the user and the password that the address of a Redis may hold."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address"
    return f"{parts.scheme}://{host}{parts.path}"
