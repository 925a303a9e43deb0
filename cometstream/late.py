"""``with late_import:`` around an import that waits until it is needed, so that it fails as all else here does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cometstream.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["late_import"]


class _LateImport:
    """An import reads a file, and a busy process may have no file descriptor left, which Python tells by an ``OSError``."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise UsageError(
                f"this needs a module that cannot be loaded now: {error}; where too many files are open, raise the limit "
                "(`ulimit -n 65536`)"
            ) from error


late_import: Final = _LateImport()
