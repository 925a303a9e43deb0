"""The base of all typed views: one dict of the wire, read through attributes.

A view copies nothing. It holds the dict that orjson made and looks fields up when they are read, which costs a fraction of a
microsecond where a validated model costs tens. What it does not name it still carries: unknown fields read as attributes.
"""

from __future__ import annotations

import math
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

__all__ = ["View", "dict_or_empty", "int_or_none", "list_of_dicts", "text_or_none", "view_or_none"]

_V = TypeVar("_V", bound="View")


def dict_or_empty(value: object) -> dict[str, Any]:
    """Return `value` if it is a dict, else an empty one: gateways write null, lists and texts where objects belong."""
    return value if isinstance(value, dict) else {}


def list_of_dicts(value: object) -> list[dict[str, Any]]:
    """Return the dicts of a list; an empty list for anything that is not a list."""
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        return [value[0]]
    return [item for item in value if isinstance(item, dict)] if value and isinstance(value, list) else []


def text_or_none(value: object) -> str | None:
    """Return `value` if it is a text, else None."""
    return value if isinstance(value, str) else None


def int_or_none(value: object) -> int | None:
    """Return `value` if it is a whole number, also one written as a float or a text; else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    # 18 digits are more than any count, time or index has; Python refuses to read thousands of them.
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18 else None


class View:
    """A read-only typed view of one JSON object of the wire.

    Fields that the wire leaves out read as None (lists as empty); fields that this library does not know read as attributes
    with the wire's own values. Views of one class are equal where their dicts are, and they pickle.

    Args:
        raw: The object as it was parsed. It is kept, not copied: do not change it afterwards.
    """

    __slots__ = ("_raw",)

    _raw: dict[str, Any]
    _made_raw: Callable[[], dict[str, Any]]  # makes the dict of a view that was made without one
    _reads_as: ClassVar[type[View]]

    def __init_subclass__(cls, reads_as: type[View] | None = None) -> None:
        # A class that reads just as another does, only faster, is not to be told from it.
        cls._reads_as = reads_as or cls
        for name, value in list(vars(cls).items()):
            if isinstance(value, property):
                setattr(cls, name, value.setter(_refuse_change))

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw

    raw: property = property(attrgetter("_raw"), doc="The object as it came, not a copy.")

    def to_dict(self) -> dict[str, Any]:
        """Return the object with the wire's own names and values; a shallow copy."""
        return dict(self._raw)

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the object as JSON.

        Args:
            indent: None for one line, anything else for two spaces a level.
        """
        option = orjson.OPT_INDENT_2 if indent is not None else 0
        return orjson.dumps(self.to_dict(), option=option).decode()

    def model_dump(
        self, *, exclude_none: bool = False, exclude_unset: bool = False, mode: str = "python"
    ) -> dict[str, Any]:
        """Return ``to_dict()``, under the name that pydantic models give it.

        Args:
            exclude_none: Leave out fields that are null, at every depth.
            exclude_unset: Accepted as such callers pass it: what the wire left out is never there.
            mode: Accepted likewise: ``"python"`` and ``"json"`` are the same here.
        """
        dumped = self.to_dict()
        return _without_none(dumped) if exclude_none else dumped

    def model_dump_json(self, *, indent: int | None = None, exclude_none: bool = False) -> str:
        """Return ``to_json()``, under the name that pydantic models give it."""
        option = orjson.OPT_INDENT_2 if indent is not None else 0
        return orjson.dumps(self.model_dump(exclude_none=exclude_none), option=option).decode()

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        """Return a view of a dict, or of another view, under the name that pydantic models give it.

        Raises:
            ValueError: It is neither.
        """
        if isinstance(value, cls):
            return value
        raw = value.to_dict() if isinstance(value, View) else value
        if not isinstance(raw, dict):
            raise ValueError(f"{cls.__name__} needs a dict; got {type(value).__name__}")
        return cls(raw)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        # Called by pydantic alone: a view can be the field of a model, and FastAPI's answer.
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(
            cls.model_validate,
            core_schema.any_schema(metadata={"pydantic_js_updates": {"type": "object", "title": cls.__name__}}),
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls.model_dump, return_schema=core_schema.dict_schema()
            ),
        )

    @property
    def __pydantic_serializer__(self) -> Any:
        # Read by pydantic alone, where a view stands in what it was told nothing of: `-> Any`, a dict.
        return _serializer()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        # As pydantic models: dict(view), which FastAPI makes of what an endpoint returns.
        return iter(self.to_dict().items())

    def __getattr__(self, name: str) -> Any:
        # Reached only for a name that is not a declared field. Dunder lookups of copy and pickle must not find wire fields.
        if name == "_raw":
            raw = self._raw = self._made_raw()
            return raw
        if not name.startswith("__"):
            try:
                return self._raw[name]
            except KeyError:
                pass
        raise AttributeError(f"{self._reads_as.__name__} has no field {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return self._reads_as is other._reads_as and self._raw == other._raw

    __hash__ = None  # type: ignore[assignment] # equal by content, and the content is a dict

    def __repr__(self) -> str:
        fields = ", ".join(f"{key}={_short(value)}" for key, value in self._raw.items())
        return f"{self._reads_as.__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reads_as, (self._raw,)


@cache
def _serializer() -> Any:
    from pydantic_core import SchemaSerializer, core_schema

    dumped = core_schema.plain_serializer_function_ser_schema(View.model_dump)
    return SchemaSerializer(core_schema.any_schema(serialization=dumped))


def _refuse_change(view: View, _value: object) -> None:
    raise AttributeError(
        f"{type(view)._reads_as.__name__} is read-only: change the dict of its to_dict(), or use OpenAI's own client over "
        "cometstream.openai.transport.CometTransport"
    )


def view_or_none(cls: type[_V], value: object) -> _V | None:
    """Return a view of `value` if it is a dict, else None."""
    return cls(value) if isinstance(value, dict) else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]}... ({len(text)} characters)"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
