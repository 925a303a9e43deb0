"""A file to which lines are only appended. It is locked, repaired after a crash, and never left with half a line."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING, Final

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LineFile", "LineFileClosed", "LineFileError", "LineFileLost"]

_BLOCK: Final = 2**16

# The errors of file systems that cannot lock files, as some network and FUSE file systems.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})


class LineFileError(Exception):
    """The file cannot be opened or written; the message says what is safe, and what to do."""


class LineFileLost(LineFileError):
    """The file was deleted, replaced or cut while it was being written: lines in it may be gone."""


class LineFileClosed(LineFileError):
    """The reader of the pipe has left."""


class LineFile:
    """A file to append lines to. Opening it makes it if it does not exist, and locks it.

    The lock ends with the process. A device, a pipe or stdout is only written to, and neither locked nor read.

    Args:
        path: Where it is; ``-`` is stdout.
        mode: Its permissions if it is made.

    Attributes:
        path: As it was given; ``stdout`` for ``-``.
        is_stdout: Whether it is stdout.
        regular: Whether it is a file, and not a device, a pipe or stdout.
        size: Bytes in it.
        lines: Whole lines that were read or written so far.

    Raises:
        LineFileError: It cannot be opened, or another process holds it.
    """

    def __init__(self, path: str, *, mode: int = 0o600) -> None:
        self.is_stdout = path == "-"
        self.path = "stdout" if self.is_stdout else path
        self._mode = mode
        self.regular = False  # stdout is only written to, even if it is a file
        self.size = self.lines = 0
        self._dirty = False
        self._fd = _stdout() if self.is_stdout else self._open()

    def read(self) -> Iterator[bytes]:
        """Yield the lines without their ends, and count them. What follows the last line end is left out.

        Raises:
            LineFileError: It cannot be read.
        """
        self.lines = 0
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        self.lines += 1
                        yield line[:-1]
        except OSError as error:
            raise LineFileError(f"{self.path} cannot be read: {_reason(error)}") from None

    def torn(self) -> bytes:
        """Return what follows the last line end.

        Raises:
            LineFileError: It cannot be read.
        """
        blocks: list[bytes] = []
        try:
            with open(self.path, "rb") as file:
                start = self.size
                while start > 0:
                    length = min(_BLOCK, start)
                    start -= length
                    file.seek(start)
                    block = file.read(length)
                    end = block.rfind(b"\n")
                    blocks.append(block[end + 1 :])
                    if end >= 0:
                        break
        except OSError as error:
            raise LineFileError(f"{self.path} cannot be read: {_reason(error)}") from None
        return b"".join(reversed(blocks))

    def mend(self, *, whole: bool) -> None:
        """Repair a last line that has no end.

        Args:
            whole: Add the line end; otherwise the line is removed.

        Raises:
            LineFileError: The file cannot be written.
        """
        torn = self.torn()
        try:
            if whole:
                self._write(b"\n")
                self.lines += 1
            else:
                os.ftruncate(self._fd, self.size - len(torn))
                self.size -= len(torn)
                self._dirty = True
        except OSError as error:
            raise LineFileError(f"{self.path} cannot be repaired: {_reason(error)}") from None

    def append(self, line: bytes) -> None:
        """Write a line and its end at once. If that fails, nothing of it stays.

        Raises:
            LineFileError: The disk is full, or gone.
            LineFileClosed: The reader of the pipe has left.
            LineFileLost: The file was deleted, replaced or cut.
        """
        self.check()
        try:
            self._write(line + b"\n")
        except BrokenPipeError:
            raise LineFileClosed(f"{self.path} has no reader any more") from None
        except OSError as error:
            raise LineFileError(
                f"{self.path} cannot be written: {_reason(error)}. Its {self.lines:,} lines are whole and safe"
            ) from None
        self.check()
        self.lines += 1

    def check(self) -> None:
        """Check that the file is still the one at its path, with every byte that was written.

        Raises:
            LineFileLost: It was deleted, replaced or cut.
        """
        if not self.regular:
            return
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            raise LineFileLost(f"{self.path} was deleted or moved while the batch was writing it") from None
        except OSError as error:
            raise LineFileLost(f"{self.path} cannot be reached any more: {_reason(error)}") from None
        mine = os.fstat(self._fd)
        if not os.path.samestat(there, mine):
            raise LineFileLost(f"{self.path} was replaced by another file while the batch was writing it")
        if mine.st_size < self.size:
            raise LineFileLost(
                f"{self.path} was emptied or cut while the batch was writing it: "
                f"it has {mine.st_size:,} bytes instead of {self.size:,}"
            )

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Keep only the lines that are wanted. The others are removed all at once; after a crash, none is.

        Raises:
            LineFileError: It cannot be rewritten; it is as it was.
        """
        path = os.path.realpath(self.path)  # a link stays a link
        kept = None
        try:
            with tempfile.NamedTemporaryFile(
                dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.", delete=False
            ) as new:
                kept = new.name
                for line in self.read():
                    if wanted(line):
                        new.write(line + b"\n")
                new.flush()
                os.fsync(new.fileno())
            shutil.copymode(path, kept)
            held = self._fd
            if sys.platform == "win32":
                os.close(held)  # Windows cannot replace an open file
            os.replace(kept, path)
            kept = None
            _sync_folder(path)
            # Only now the lock of the old file may end: until then no other process can get either file.
            self._fd = self._open()
            if sys.platform != "win32":
                os.close(held)
        except OSError as error:
            raise LineFileError(f"{self.path} cannot be rewritten: {_reason(error)}. It is as it was") from None
        finally:
            if kept is not None:
                os.unlink(kept)

    def sync(self) -> None:
        """Make the system write everything to the disk.

        Raises:
            LineFileError: It could not.
        """
        if not self._dirty:
            return
        self._dirty = False
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise LineFileError(
                f"{self.path} cannot be written to the disk: {_reason(error)}. The last lines may be lost"
            ) from None

    def close(self) -> None:
        """Write everything to the disk, and release the lock.

        Raises:
            LineFileError: It could not be written; the file is closed anyway.
            LineFileLost: The file was deleted, replaced or cut since the last line.
        """
        try:
            self.sync()
            self.check()
        finally:
            os.close(self._fd)

    def _open(self) -> int:
        while True:
            try:
                fd = os.open(
                    self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), mode=self._mode
                )
            except FileNotFoundError:
                folder = os.path.dirname(self.path)
                raise LineFileError(f"{self.path} cannot be made: there is no folder {folder}") from None
            except OSError as error:
                raise LineFileError(f"{self.path} cannot be written: {_reason(error)}") from None
            status = os.fstat(fd)
            self.regular = stat.S_ISREG(status.st_mode)
            self.size = status.st_size if self.regular else 0
            if not self.regular:
                return fd
            try:
                _lock(fd, self.path)
                # Between opening and locking, the process that held the file may have replaced it.
                if os.path.samestat(os.stat(self.path), os.fstat(fd)):
                    self.size = os.fstat(fd).st_size
                    return fd
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):  # a disk that is nearly full takes only a part
                written += os.write(self._fd, data[written:] if written else data)
        except OSError:
            self._take_back(written)
            raise
        self.size += written
        self._dirty = self.regular

    def _take_back(self, written: int) -> None:
        try:
            # If files cannot be locked, another run may have written after it. Then `mend` removes it later.
            if written and self.regular and os.fstat(self._fd).st_size == self.size + written:
                os.ftruncate(self._fd, self.size)
        except OSError:
            pass  # the caller gets the first error; `mend` repairs the file before the next run


def _stdout() -> int:
    try:
        return os.dup(1)
    except OSError as error:
        raise LineFileError(f"stdout cannot be written: {_reason(error)}") from None


def _lock(fd: int, path: str) -> None:
    """Lock the file for this process.

    Raises:
        LineFileError: Another process has it.
    """
    if sys.platform == "win32":
        warnings.warn(f"{path} is not locked on this system: let no other run write to it", stacklevel=2)
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise LineFileError(
                f"{path} is being written by another run: wait for its end, or choose another file"
            ) from None
        warnings.warn(f"{path} cannot be locked ({_reason(error)}): let no other run write to it", stacklevel=2)


def _sync_folder(path: str) -> None:
    """Write a file's new name to the disk, if the system can open a folder."""
    try:
        fd = os.open(os.path.dirname(path), os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
