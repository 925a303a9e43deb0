"""Types to what a value is built with as it grows: models, dataclasses and dicts whose fields come one after the other.

A field that has not come is None; a text is there as far as it came; everything else is there once it ended. What is finished
is checked as its type asks, and takes its form (a date, an enum, a model whose validators ran); what is not valid stays as it came.
"""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args, get_origin

import pydantic_core
from pydantic import BaseModel, TypeAdapter
from typing_extensions import is_typeddict  # comes with pydantic

from cometstream.structured.problems import InvalidValue, cause_of
from cometstream.structured.shapes import (
    DICTS,
    LISTS,
    SETS,
    Field,
    fields_of,
    is_hashable,
    is_structured,
    members,
    private_attributes,
    reshapes,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cometstream.answer.partial_json import Builder

__all__ = ["Molds", "Root"]

# A model that lies deeper is checked with the one around it: each check reads all that is within.
_DEEPEST_CHECK: Final = 8

# The depth of all that a validator may still make valid: it is checked with what has that validator.
_UNJUDGED: Final = 1 << 20

# What JSON has as it is: nothing to check.
_PLAIN: Final[Mapping[Any, tuple[type, ...]]] = {
    str: (str,),
    int: (int,),
    float: (float,),
    bool: (bool,),
    None: (type(None),),
    type(None): (type(None),),
    Any: (object,),
    object: (object,),
}


class Part(Protocol):
    """A builder that also keeps its value as JSON has it."""

    raw: Any


class Molds:
    """The molds of a type and of all types within it, each made when it is first needed."""

    def __init__(self) -> None:
        self._molds: dict[int, tuple[Any, Mold]] = {}  # by the id of the type, which is kept for as long

    def of(self, type_: Any) -> Mold:
        """Return the mold of a type."""
        found = self._molds.get(id(type_))
        if found is None:
            # Kept before its fields are looked at: a type may lie within itself.
            mold = Mold(type_, self)
            found = self._molds[id(type_)] = (type_, mold)
        return found[1]


class Mold:
    """What a value of one type is made into.

    Attributes:
        grows: Whether a text may be shown before its end.
    """

    def __init__(self, type_: Any, molds: Molds) -> None:
        self._type = type_
        self._molds = molds
        self._adapter: TypeAdapter[Any] | None = None
        inner = within(type_)
        self._plain = _PLAIN.get(type_, ()) if is_hashable(type_) else ()
        choices = members(inner)
        self._reshapes = reshapes(type_)
        self.grows = any(member is str or member is Any or member is object for member in choices)
        structured = [member for member in choices if is_structured(member)]
        # Of several it is not known which it is before its end.
        self._shape = structured[0] if len(structured) == 1 else None
        self._parts: Mapping[str, Field] | None = None  # of a shape with named fields, by their names in JSON

    def check(self, raw: Any) -> Any:
        """Return what a finished value is made into.

        Raises:
            ValueError: It is not valid.
        """
        if (
            self._plain
            and isinstance(raw, self._plain)
            and ((raw is not True and raw is not False) or int not in self._plain)
        ):
            return raw
        if self._adapter is None:
            try:
                self._adapter = TypeAdapter(self._type)
            except Exception:  # a type that only means something within another, which is checked as a whole
                self._adapter = TypeAdapter(Any)
        try:
            return self._adapter.validate_json(pydantic_core.to_json(raw, inf_nan_mode="constants"))
        except Exception as error:  # of pydantic's, or of a validator of the caller's own, which some answers surprise
            raise InvalidValue(error) from cause_of(error)

    def made(self, raw: Any, depth: int) -> Any:
        """Return what a finished value at a depth is made into; where it is not judged yet, it stays as it is if it is not valid.

        Raises:
            ValueError: It is not valid.
        """
        try:
            return self.check(raw)
        except ValueError:
            if depth < _UNJUDGED:
                raise
            return raw

    def build(self, items: bool, depth: int) -> _Items | _Fields | _Names:
        """Return what a list (`items`) or an object of this type is built with."""
        builder = self._builder(items, depth)
        if self._reshapes:
            builder.within = _UNJUDGED
        return builder

    def _builder(self, items: bool, depth: int) -> _Items | _Fields | _Names:
        shape = self._shape
        origin = shape if get_origin(shape) is None else get_origin(shape)
        if items:
            arguments = get_args(shape)
            if origin in LISTS and arguments:
                return _Items(self._molds.of(arguments[0]), None, depth)
            if origin in SETS and arguments and (len(arguments) == 1 or arguments[-1] is ...):
                return _Items(self._molds.of(arguments[0]), self, depth)
            return _Items(_ANY, self, depth)
        if origin in DICTS:
            arguments = get_args(shape)
            return _Names({}, self._molds.of(arguments[1]) if len(arguments) == 2 else _ANY, None, self._molds, depth)
        fields = self._fields(origin)
        if fields is None or origin is None:
            return _Names({}, _ANY, self, self._molds, depth)
        if is_typeddict(origin):
            return _Names(fields, _ANY, None, self._molds, depth)
        return _Fields(origin, fields, self, self._molds, depth)

    def _fields(self, shape: Any) -> Mapping[str, Field] | None:
        if self._parts is None and shape is not None:
            self._parts = fields_of(shape)
        return self._parts


class Root:
    """What the root is put in.

    Args:
        mold: What it is made into.
        within: The only name of the object that the root stands in, where its type is no object; None where it is one.
    """

    __slots__ = ("_mold", "_within", "value")

    def __init__(self, mold: Mold, within: str | None) -> None:
        self._mold = mold
        self._within = within
        self.value: Any = None

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        """See ``Builder``; a text alone is no object."""
        return None

    def put(self, key: Any, value: Any, /) -> object:
        """See ``Builder``."""
        self.value = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        """See ``Builder``."""
        self.value = value
        raise ValueError("the answer is no object")

    def open(self, key: Any, items: bool, /) -> Builder:
        """See ``Builder``."""
        if self._within is not None and not items:
            return _Wrapper(self, self._mold, self._within)
        builder = self._mold.build(items, 0)
        self.value = builder.value
        return builder

    def finished(self) -> Any:
        """See ``Builder``."""
        return self.value


class _Wrapper:
    """The object around a value that is none itself: what it is put in is the root's value."""

    __slots__ = ("_mold", "_name", "_root")

    def __init__(self, root: Root, mold: Mold, name: str) -> None:
        self._root = root
        self._mold = mold
        self._name = name

    @property
    def value(self) -> Any:
        return self._root.value

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self._root.put, None) if key == self._name and self._mold.grows else None

    def put(self, key: Any, value: Any, /) -> object:
        if key == self._name:
            self._root.value = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        if key != self._name:
            return value
        self._root.value = value
        value = self._root.value = self._mold.check(value)
        return value

    def open(self, key: Any, items: bool, /) -> Builder | None:
        if key != self._name:
            return None
        builder = self._mold.build(items, 0)
        self._root.value = builder.value
        return builder

    def finished(self) -> Any:
        return self.value


class _Items:
    """A list that grows."""

    __slots__ = ("_depth", "_item", "_whole", "raw", "value", "within")

    def __init__(self, item: Mold, whole: Mold | None, depth: int) -> None:
        self._item = item
        self._whole = whole
        self._depth = depth
        self.within = depth + 1
        self.raw: list[Any] = []
        self.value: list[Any] = []

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self.put, key) if self._item.grows else None

    def put(self, key: Any, value: Any, /) -> object:
        if key == len(self.value):
            self.value.append(value)
        else:
            self.value[key] = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.raw.append(value)
        self.put(key, value)
        checked = self._item.made(value, self.within)
        if checked is not value:
            self.put(key, checked)
        return checked

    def open(self, key: Any, items: bool, /) -> Builder:
        builder = self._item.build(items, self.within)
        self.raw.append(builder.raw)
        self.put(key, builder.value)
        return builder

    def finished(self) -> Any:
        return self.value if self._whole is None or self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


class _Names:
    """A dict that grows: a TypedDict, or one of any names."""

    __slots__ = ("_depth", "_fields", "_molds", "_other", "_whole", "raw", "value", "within")

    def __init__(
        self,
        fields: Mapping[str, Field],
        other: Mold,
        whole: Mold | None,
        molds: Molds,
        depth: int,
    ) -> None:
        self._fields = fields
        self._other = other
        self._whole = whole
        self._molds = molds
        self._depth = depth
        self.within = depth + 1
        self.raw: dict[str, Any] = {}
        self.value: dict[str, Any] = {}

    def _mold(self, key: str) -> Mold:
        field = self._fields.get(key)
        return self._other if field is None else self._molds.of(field.type)

    def _depth_of(self, key: str) -> int:
        field = self._fields.get(key)
        return self.within if field is None or field.is_judged else _UNJUDGED

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self.value.__setitem__, key) if self._mold(key).grows else None

    def put(self, key: Any, value: Any, /) -> object:
        self.value[key] = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.raw[key] = self.value[key] = value
        checked = self.value[key] = self._mold(key).made(value, self._depth_of(key))
        return checked

    def open(self, key: Any, items: bool, /) -> Builder:
        builder = self._mold(key).build(items, self._depth_of(key))
        self.raw[key] = builder.raw
        self.value[key] = builder.value
        return builder

    def finished(self) -> Any:
        return self.value if self._whole is None or self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


class _Fields:
    """A model or a dataclass that grows: made without its validators, which run at its end."""

    __slots__ = ("_came", "_depth", "_fields", "_molds", "_put", "_whole", "raw", "value", "within")

    def __init__(self, cls: type, fields: Mapping[str, Field], whole: Mold, molds: Molds, depth: int) -> None:
        self._fields = fields
        self._whole = whole
        self._molds = molds
        self._depth = depth
        self.within = depth + 1
        self.raw: dict[str, Any] = {}
        self.value: Any = object.__new__(cls)
        self._came: set[str] = set()
        names = [field.name for field in fields.values()]
        if issubclass(cls, BaseModel):
            # As model_construct does, but without defaults, which would look as if the model had written them.
            attributes = dict.fromkeys(names)
            for slot, content in (
                ("__dict__", attributes),
                ("__pydantic_fields_set__", self._came),
                ("__pydantic_extra__", None),
                ("__pydantic_private__", private_attributes(cls)),
            ):
                object.__setattr__(self.value, slot, content)
            self._put: Callable[[str, Any], None] = attributes.__setitem__
        else:
            for name in names:
                object.__setattr__(self.value, name, None)
            self._put = types.MethodType(object.__setattr__, self.value)

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        field = self._fields.get(key)
        if field is None or not self._molds.of(field.type).grows:
            return None
        self._came.add(field.name)
        return partial(self._put, field.name)

    def put(self, key: Any, value: Any, /) -> object:
        field = self._fields.get(key)
        if field is not None:
            self._came.add(field.name)
            self._put(field.name, value)
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.raw[key] = value
        field = self._fields.get(key)
        if field is None:
            return value
        self._came.add(field.name)
        self._put(field.name, value)
        value = self._molds.of(field.type).made(value, self.within if field.is_judged else _UNJUDGED)
        self._put(field.name, value)
        return value

    def open(self, key: Any, items: bool, /) -> Builder:
        field = self._fields.get(key)
        if field is None:
            builder = _ANY.build(items, self.within)
        else:
            builder = self._molds.of(field.type).build(items, self.within if field.is_judged else _UNJUDGED)
        self.raw[key] = builder.raw
        self.put(key, builder.value)
        return builder

    def finished(self) -> Any:
        return self.value if self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


_ANY: Final = Mold(Any, Molds())
