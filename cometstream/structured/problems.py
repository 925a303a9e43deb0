"""What pydantic finds wrong, as texts of one line each, without the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydantic

__all__ = ["InvalidValue"]


class InvalidValue(ValueError):
    """A value is not what its type asks for.

    Args:
        error: What pydantic found.
        skip: How many names of each path to leave out.

    Attributes:
        problems: Each as ``"path: what is wrong"``.
    """

    def __init__(self, error: pydantic.ValidationError, skip: int = 0) -> None:
        self.problems = [
            f"{_path(found['loc'][skip:])}: {found['msg']}"
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        super().__init__("; ".join(self.problems))


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for key in location:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path or "the answer"
