"""What lies within a type: its members, its fields by their names in JSON, and which of these its types alone may judge."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel, RootModel
from pydantic_core import PydanticUndefined
from typing_extensions import NotRequired, ReadOnly, Required, get_type_hints, is_typeddict  # comes with pydantic

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DICTS",
    "LISTS",
    "SETS",
    "Field",
    "fields_of",
    "is_hashable",
    "is_structured",
    "members",
    "private_attributes",
    "reshapes",
    "within",
]

LISTS: Final = frozenset({list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable})
SETS: Final = frozenset({set, frozenset, tuple, collections.abc.Set, collections.abc.MutableSet})
DICTS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})

# What makes pydantic take values of a field that its type alone does not.
_LOOSENING: Final = ("coerce_numbers_to_str", "val_json_bytes", "val_temporal_unit")
_OF_MODELS: Final = BaseModel.__get_pydantic_core_schema__.__func__  # type: ignore[attr-defined] # it is a class method


class Field(NamedTuple):
    """A field of a shape.

    Attributes:
        name: What the shape calls it.
        type: Its type.
        is_judged: Whether a value that its type does not take is wrong: no validator of the shape may change it before.
    """

    name: str
    type: Any
    is_judged: bool


def private_attributes(cls: type[BaseModel]) -> dict[str, Any] | None:
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


def is_hashable(type_: Any) -> bool:
    """Whether a type can be looked up in a dict."""
    try:
        hash(type_)
    except TypeError:  # of what an Annotated holds
        return False
    return True


def within(type_: Any) -> Any:
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


def members(type_: Any) -> list[Any]:
    """Return the types that a type is one of."""
    if get_origin(type_) in (Union, types.UnionType):
        return [member for choice in get_args(type_) for member in members(within(choice))]
    return [type_]


def is_structured(type_: Any) -> bool:
    """Whether a value of a type is a list or an object."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and (
        origin in LISTS
        or origin in SETS
        or origin in DICTS
        or dataclasses.is_dataclass(origin)
        or is_typeddict(origin)
        or issubclass(origin, BaseModel)
    )


def fields_of(shape: Any) -> Mapping[str, Field] | None:
    """Return each field by its name in JSON; None where they cannot be told."""
    if not is_typeddict(shape) and (shape.__new__ is not object.__new__ or issubclass(shape, RootModel)):
        return None  # it can only be made whole
    loose = _loose(shape)
    described = getattr(shape, "__pydantic_fields__", None)  # of a model, or of pydantic's own dataclasses
    if described is not None:
        return _described(described, loose)
    try:
        hints = get_type_hints(shape, include_extras=True)
    except Exception:  # names that only the place of their definition knows
        return None
    if dataclasses.is_dataclass(shape):
        names = [field.name for field in dataclasses.fields(shape) if field.init]
        return {name: Field(name, hints[name], "*" not in loose) for name in names}
    return {name: Field(name, _without_qualifiers(hint), "*" not in loose) for name, hint in hints.items()}


def _described(fields: Mapping[str, Any], loose: set[str]) -> dict[str, Field]:
    found = {}
    for name, field in fields.items():
        alias = field.validation_alias
        if isinstance(alias, pydantic.AliasChoices):
            alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
        key = (field.annotation, *field.metadata)
        found[alias if isinstance(alias, str) else name] = Field(
            name, Annotated[key] if field.metadata else field.annotation, name not in loose and "*" not in loose
        )
    return found


def _loose(shape: Any) -> set[str]:
    """Return the fields whose values the shape may take though their types alone do not; ``*`` is all of them."""
    made_by = getattr(shape, "__get_pydantic_core_schema__", None)
    if made_by is not None and getattr(made_by, "__func__", None) is not _OF_MODELS:
        return {"*"}
    config = getattr(shape, "model_config", None) or getattr(shape, "__pydantic_config__", None)
    if isinstance(config, dict) and any(config.get(name) for name in _LOOSENING):
        return {"*"}
    decorators = getattr(shape, "__pydantic_decorators__", None)
    if decorators is None:
        return set()
    for found in (*decorators.model_validators.values(), *decorators.root_validators.values()):
        if found.info.mode != "after":
            return {"*"}
    return {
        name
        for found in (*decorators.field_validators.values(), *decorators.validators.values())
        if found.info.mode != "after"
        for name in found.info.fields
    }


def reshapes(type_: Any) -> bool:
    """Whether a type's own annotations may take what its members alone do not."""
    if get_origin(type_) is Annotated:
        inner, *about = get_args(type_)
        return reshapes(inner) or any(
            hasattr(item, "__get_pydantic_core_schema__") and not isinstance(item, pydantic.AfterValidator)
            for item in about
        )
    if hasattr(type_, "__supertype__"):
        return reshapes(type_.__supertype__)
    if type(type_).__name__ == "TypeAliasType":
        return reshapes(type_.__value__)
    return get_origin(type_) in (Union, types.UnionType) and any(map(reshapes, get_args(type_)))


def _without_qualifiers(hint: Any) -> Any:
    """Return the type of a TypedDict's field without Required, NotRequired and ReadOnly."""
    while get_origin(hint) in (NotRequired, ReadOnly, Required):
        hint = get_args(hint)[0]
    return hint
