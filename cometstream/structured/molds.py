"""Types to what a value is built with as it grows: models, dataclasses and dicts whose fields come one after the other.

A field that has not come is None; a text is there as far as it came; everything else is there once it ended. What is finished
is checked as its type asks, and takes its form (a date, an enum, a model whose validators ran); what is not valid stays as it came.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, Union, get_args, get_origin

import pydantic
import pydantic_core
from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic_core import PydanticUndefined
from typing_extensions import NotRequired, ReadOnly, Required, get_type_hints, is_typeddict  # comes with pydantic

from cometstream.structured.problems import InvalidValue, cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cometstream.answer.partial_json import Builder

__all__ = ["Molds", "Root"]

# A model that lies deeper is checked with the one around it: each check reads all that is within.
_DEEPEST_CHECK: Final = 8

_LISTS: Final = frozenset({list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable})
_SETS: Final = frozenset({set, frozenset, tuple, collections.abc.Set, collections.abc.MutableSet})
_DICTS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})

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
        inner = _within(type_)
        self._plain = _PLAIN.get(type_, ()) if _is_hashable(type_) else ()
        members = _members(inner)
        self.grows = any(member is str or member is Any or member is object for member in members)
        structured = [member for member in members if _is_structured(member)]
        # Of several it is not known which it is before its end.
        self._shape = structured[0] if len(structured) == 1 else None
        self._parts: Mapping[str, tuple[str, Any]] | None = None  # of a shape with named fields, by their names in JSON

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

    def build(self, items: bool, depth: int) -> _Items | _Fields | _Names:
        """Return what a list (`items`) or an object of this type is built with."""
        shape = self._shape
        origin = shape if get_origin(shape) is None else get_origin(shape)
        if items:
            arguments = get_args(shape)
            if origin in _LISTS and arguments:
                return _Items(self._molds.of(arguments[0]), None, depth)
            if origin in _SETS and arguments and (len(arguments) == 1 or arguments[-1] is ...):
                return _Items(self._molds.of(arguments[0]), self, depth)
            return _Items(_ANY, self, depth)
        if origin in _DICTS:
            arguments = get_args(shape)
            return _Names({}, self._molds.of(arguments[1]) if len(arguments) == 2 else _ANY, None, self._molds, depth)
        fields = self._fields(origin)
        if fields is None or origin is None:
            return _Names({}, _ANY, self, self._molds, depth)
        if is_typeddict(origin):
            return _Names(fields, _ANY, None, self._molds, depth)
        return _Fields(origin, fields, self, self._molds, depth)

    def _fields(self, shape: Any) -> Mapping[str, tuple[str, Any]] | None:
        if self._parts is None and shape is not None:
            self._parts = _fields_of(shape)
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

    __slots__ = ("_depth", "_item", "_whole", "raw", "value")

    def __init__(self, item: Mold, whole: Mold | None, depth: int) -> None:
        self._item = item
        self._whole = whole
        self._depth = depth
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
        checked = self._item.check(value)
        if checked is not value:
            self.put(key, checked)
        return checked

    def open(self, key: Any, items: bool, /) -> Builder:
        builder = self._item.build(items, self._depth + 1)
        self.raw.append(builder.raw)
        self.put(key, builder.value)
        return builder

    def finished(self) -> Any:
        return self.value if self._whole is None or self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


class _Names:
    """A dict that grows: a TypedDict, or one of any names."""

    __slots__ = ("_depth", "_fields", "_molds", "_other", "_whole", "raw", "value")

    def __init__(
        self,
        fields: Mapping[str, tuple[str, Any]],
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
        self.raw: dict[str, Any] = {}
        self.value: dict[str, Any] = {}

    def _mold(self, key: str) -> Mold:
        field = self._fields.get(key)
        return self._other if field is None else self._molds.of(field[1])

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        return partial(self.value.__setitem__, key) if self._mold(key).grows else None

    def put(self, key: Any, value: Any, /) -> object:
        self.value[key] = value
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.raw[key] = self.value[key] = value
        checked = self.value[key] = self._mold(key).check(value)
        return checked

    def open(self, key: Any, items: bool, /) -> Builder:
        builder = self._mold(key).build(items, self._depth + 1)
        self.raw[key] = builder.raw
        self.value[key] = builder.value
        return builder

    def finished(self) -> Any:
        return self.value if self._whole is None or self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


class _Fields:
    """A model or a dataclass that grows: made without its validators, which run at its end."""

    __slots__ = ("_came", "_depth", "_fields", "_molds", "_put", "_whole", "raw", "value")

    def __init__(self, cls: type, fields: Mapping[str, tuple[str, Any]], whole: Mold, molds: Molds, depth: int) -> None:
        self._fields = fields
        self._whole = whole
        self._molds = molds
        self._depth = depth
        self.raw: dict[str, Any] = {}
        self.value: Any = object.__new__(cls)
        self._came: set[str] = set()
        names = [name for name, _ in fields.values()]
        if issubclass(cls, BaseModel):
            # As model_construct does, but without defaults, which would look as if the model had written them.
            members = dict.fromkeys(names)
            for slot, content in (
                ("__dict__", members),
                ("__pydantic_fields_set__", self._came),
                ("__pydantic_extra__", None),
                ("__pydantic_private__", _private(cls)),
            ):
                object.__setattr__(self.value, slot, content)
            self._put: Callable[[str, Any], None] = members.__setitem__
        else:
            for name in names:
                object.__setattr__(self.value, name, None)
            self._put = types.MethodType(object.__setattr__, self.value)

    def grow(self, key: Any, /) -> Callable[[str], object] | None:
        field = self._fields.get(key)
        if field is None or not self._molds.of(field[1]).grows:
            return None
        self._came.add(field[0])
        return partial(self._put, field[0])

    def put(self, key: Any, value: Any, /) -> object:
        field = self._fields.get(key)
        if field is not None:
            self._came.add(field[0])
            self._put(field[0], value)
        return None

    def scalar(self, key: Any, value: Any, /) -> Any:
        self.raw[key] = value
        field = self._fields.get(key)
        if field is None:
            return value
        self._came.add(field[0])
        self._put(field[0], value)
        value = self._molds.of(field[1]).check(value)
        self._put(field[0], value)
        return value

    def open(self, key: Any, items: bool, /) -> Builder:
        field = self._fields.get(key)
        builder = (_ANY if field is None else self._molds.of(field[1])).build(items, self._depth + 1)
        self.raw[key] = builder.raw
        self.put(key, builder.value)
        return builder

    def finished(self) -> Any:
        return self.value if self._depth > _DEEPEST_CHECK else self._whole.check(self.raw)


def _private(cls: type[BaseModel]) -> dict[str, Any] | None:
    """Return the private attributes that have a default, as a new model has them; None where there are none."""
    attributes = cls.__private_attributes__
    if not attributes:
        return None
    private = {}
    for name, attribute in attributes.items():
        factory: Any = attribute.default_factory
        try:
            value = attribute.get_default() if factory is None else factory()
        except Exception:  # it takes the fields, which have not come
            continue
        if value is not PydanticUndefined:
            private[name] = value
    return private


def _is_hashable(type_: Any) -> bool:
    try:
        hash(type_)
    except TypeError:  # of what an Annotated holds
        return False
    return True


def _within(type_: Any) -> Any:
    """Return a type without its annotations and other names."""
    while True:
        if get_origin(type_) is Annotated:
            type_ = get_args(type_)[0]
        elif hasattr(type_, "__supertype__"):
            type_ = type_.__supertype__
        elif type(type_).__name__ == "TypeAliasType":
            type_ = type_.__value__
        else:
            return type_


def _members(type_: Any) -> list[Any]:
    """Return the types that a type is one of."""
    if get_origin(type_) in (Union, types.UnionType):
        return [member for choice in get_args(type_) for member in _members(_within(choice))]
    return [type_]


def _is_structured(type_: Any) -> bool:
    """Whether a value of a type is a list or an object."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and (
        origin in _LISTS
        or origin in _SETS
        or origin in _DICTS
        or dataclasses.is_dataclass(origin)
        or is_typeddict(origin)
        or issubclass(origin, BaseModel)
    )


def _fields_of(shape: Any) -> Mapping[str, tuple[str, Any]] | None:
    """Return of each field, by its name in JSON, its own name and its type; None where they cannot be told."""
    if not is_typeddict(shape) and (shape.__new__ is not object.__new__ or issubclass(shape, RootModel)):
        return None  # it can only be made whole
    described = getattr(shape, "__pydantic_fields__", None)  # of a model, or of pydantic's own dataclasses
    if described is not None:
        return _described(described)
    try:
        hints = get_type_hints(shape, include_extras=True)
    except Exception:  # names that only the place of their definition knows
        return None
    if dataclasses.is_dataclass(shape):
        return {field.name: (field.name, hints[field.name]) for field in dataclasses.fields(shape) if field.init}
    return {name: (name, _without_qualifiers(hint)) for name, hint in hints.items()}


def _described(fields: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    found = {}
    for name, field in fields.items():
        alias = field.validation_alias
        if isinstance(alias, pydantic.AliasChoices):
            alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
        key = (field.annotation, *field.metadata)
        found[alias if isinstance(alias, str) else name] = (
            name,
            Annotated[key] if field.metadata else field.annotation,
        )
    return found


def _without_qualifiers(hint: Any) -> Any:
    """Return the type of a TypedDict's field without Required, NotRequired and ReadOnly."""
    while get_origin(hint) in (NotRequired, ReadOnly, Required):
        hint = get_args(hint)[0]
    return hint


_ANY: Final = Mold(Any, Molds())
