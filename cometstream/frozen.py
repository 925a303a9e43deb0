"""``@dataclass(frozen=True, init=False)`` whose other methods are written here, once for all classes.

`dataclasses.dataclass` writes and compiles the methods of each class while its module is imported, which takes longer than the rest
of that module. A class that is made here brings its own ``__init__``; to users and to type checkers it is a frozen dataclass.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
    from typing import Literal, NoReturn, TypeVar

    _T = TypeVar("_T")

__all__ = ["dataclass"]


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({told})"


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _setattr(self: Any, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash, "__setattr__": _setattr, "__delattr__": _delattr}

if not TYPE_CHECKING:

    def dataclass(*, frozen: Literal[True], init: Literal[False]) -> Callable[[type[_T]], type[_T]]:
        """Make a frozen dataclass of a class whose ``__init__`` sets all fields with ``self.__dict__.update``."""

        def made(cls: type[_T]) -> type[_T]:
            for name, method in _METHODS.items():
                setattr(cls, name, method)
            cls = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
            cls.__dataclass_params__.frozen = True  # so that only a frozen dataclass may be made of it
            return cls

        return made
