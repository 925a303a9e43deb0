"""Writes a file as a whole or not at all, readable by this user alone."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_folder", "write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name, and give it its name when it is whole.

    Raises:
        OSError: The file cannot be written; what had its name before is as it was.
    """
    # mkstemp makes files with mode 0600, and never follows a link.
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def check_folder(path: Path) -> None:
    """Check that `write_whole` can make its file.

    Raises:
        OSError: It cannot.
    """
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(number)
    os.unlink(temporary)
