"""The exit codes: which error ends the program with which, and the table for ``--help``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from cometstream.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    CometError,
    ConfigurationError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitError,
    StreamError,
)

__all__ = ["EPILOG", "ExitCode", "exit_code"]


class ExitCode(IntEnum):
    """How the program ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    AUTH = 3
    RATE_LIMIT = 4
    STREAM = 5
    TIMEOUT = 6
    CONNECTION = 7
    ROWS_FAILED = 8
    ROWS_LEFT = 9
    OUTPUT_LOST = 10
    # As a shell reports a program that SIGINT or SIGPIPE ended.
    INTERRUPTED = 130
    CLOSED_PIPE = 141


_MEANINGS: Final = {
    ExitCode.OK: "the answer came whole (also where the token limit or a filter ended it); in a batch, all of them",
    ExitCode.ERROR: "any other error",
    ExitCode.USAGE: "bad usage: a flag, the key, the base URL, the request; nothing was sent",
    ExitCode.AUTH: "the key was refused (401, 403)",
    ExitCode.RATE_LIMIT: "rate limit (429)",
    ExitCode.STREAM: "the answer broke off or has no proper end",
    ExitCode.TIMEOUT: "a clock ran out",
    ExitCode.CONNECTION: "no connection",
    ExitCode.ROWS_FAILED: "batch: every row has its line, but some lines tell of a failure",
    ExitCode.ROWS_LEFT: "batch: rows are left, since --max-tokens-total or --max-cost ended it, or rows were added to the input",
    ExitCode.OUTPUT_LOST: "batch: the output was deleted, replaced or emptied while it was being written; lines may be lost",
    ExitCode.INTERRUPTED: "Ctrl-C, or in a batch SIGTERM or SIGHUP; what came stays on stdout, or in the output file",
    ExitCode.CLOSED_PIPE: "the reader of stdout left",
}

# \b keeps click from joining the lines.
EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:3d}  {meaning}" for code, meaning in _MEANINGS.items())

# From the special to the general: a timeout is a connection error, too.
_CODES: Final[tuple[tuple[type[CometError], ExitCode], ...]] = (
    (InvalidRequestError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.USAGE),
    (AuthenticationError, ExitCode.AUTH),
    (PermissionDeniedError, ExitCode.AUTH),
    (RateLimitError, ExitCode.RATE_LIMIT),
    (StreamError, ExitCode.STREAM),
    (APITimeoutError, ExitCode.TIMEOUT),
    (APIConnectionError, ExitCode.CONNECTION),
)


def exit_code(error: CometError) -> ExitCode:
    """Return the code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.ERROR)
