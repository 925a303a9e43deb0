"""What pydantic finds wrong, as texts of one line each, without the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

if TYPE_CHECKING:
    import pydantic

__all__ = ["InvalidValue", "cause_of"]

# Characters of one problem: the words may be a validator's own.
_LONGEST: Final = 300


class InvalidValue(ValueError):
    """A value is not what its type asks for.

    Args:
        error: What pydantic found, or what a validator of the caller's own raised beside the errors that pydantic takes.
        skip: How many names of each path to leave out.

    Attributes:
        problems: Each as ``"path: what is wrong"``.
    """

    def __init__(self, error: pydantic.ValidationError | Exception, skip: int = 0) -> None:
        if isinstance(error, ValidationError):
            self.problems = [
                f"{_path(found['loc'][skip:])}: {' '.join(found['msg'].split())[:_LONGEST]}"
                for found in error.errors(include_url=False, include_context=False, include_input=False)
            ]
        else:
            self.problems = [f"the answer: a validator raised {type(error).__name__}"]
        super().__init__("; ".join(self.problems))


def cause_of(error: Exception) -> Exception | None:
    """Return an error whose traceback is of use, a broken validator's; pydantic's own says nothing more, and quotes values."""
    return None if isinstance(error, ValidationError) else error


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for key in location:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path or "the answer"
