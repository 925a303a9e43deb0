"""A type as a ``response_format``: what is sent, how the answer grows, and its checked value."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from cometstream.answer.json_output import json_within, read_pieces
from cometstream.answer.partial_json import PartialJSON
from cometstream.errors import ConfigurationError, InvalidRequestError
from cometstream.late import late_import
from cometstream.request.describe import shown
from cometstream.request.strict_schema import strict_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter

    from cometstream.answer.partial_json import Builder, OnPart, Path

__all__ = ["Schema", "schema_of"]

T = TypeVar("T")

# The field that a value stands in which is no object, as the API wants one at the root. The name is that of other libraries.
_WRAPPER: Final = "response"  # as `_understood` names it

# Source: OpenAI's reference of `response_format.json_schema.name`.
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 64


class Schema(Generic[T]):
    """A type as a ``response_format``. Give the type itself where its name and the strict mode are right.

    Args:
        type_: A pydantic model, a dataclass, a TypedDict, or anything else that pydantic's TypeAdapter takes.
        name: What the schema is called; None for the type's name.
        description: What the model is told of it; None for the type's docstring.
        strict: Ask for strict mode, which makes every answer match. Not every schema has a strict form: dicts of any names,
            defaults and tuples have none, and are refused before anything is sent.

    Attributes:
        wire: The ``response_format`` that is sent.
        problems: Why the API would refuse the schema; empty where it would not.

    Raises:
        InvalidRequestError: There is no JSON Schema for the type.
        ConfigurationError: pydantic is not installed, or an option cannot be used.
    """

    @overload
    def __init__(
        self, type_: type[T], *, name: str | None = None, description: str | None = None, strict: bool = True
    ) -> None: ...

    @overload
    def __init__(
        self, type_: Any, *, name: str | None = None, description: str | None = None, strict: bool = True
    ) -> None: ...

    def __init__(
        self, type_: Any, *, name: str | None = None, description: str | None = None, strict: bool = True
    ) -> None:
        for option, value in (("name", name), ("description", description)):
            if value is not None and not isinstance(value, str):
                raise ConfigurationError(f"{option} must be a string or None; got {shown(value)}")
        if name is not None and (_NOT_IN_NAME.search(name) or not 0 < len(name) <= _LONGEST_NAME):
            raise ConfigurationError(
                f"name must be 1 to {_LONGEST_NAME} letters, digits, dashes and underscores; got {shown(name)}"
            )
        if not isinstance(strict, bool):
            raise ConfigurationError(f"strict must be True or False; got {shown(strict)}")
        self._arguments = (type_, name, description, strict)
        self._make_root: Callable[[], Builder] | None = None
        self._wrapper: str | None = None
        self._whole, schema = _understood(type_)
        if not _is_object(schema):
            self._wrapper = _WRAPPER
            self._whole, schema = _understood(type_, wrapped=True)
        self.problems: list[str] = []
        if strict:
            schema, self.problems = strict_schema(schema)
            if self._wrapper is not None:  # it is not the caller's
                around = f"response_format.{self._wrapper}"
                self.problems = [problem.replace(around, "response_format", 1) for problem in self.problems]
        fields: dict[str, Any] = {"name": name or _name(type_), "schema": schema, "strict": strict}
        if description is not None:
            fields["description"] = description
        self.wire: dict[str, Any] = {"type": "json_schema", "json_schema": fields}

    def __repr__(self) -> str:
        return f"Schema({shown(self._arguments[0])})"

    def parser(self, on_part: OnPart | None = None) -> PartialJSON:
        """Return a parser whose value grows into one of the type."""
        if self._make_root is None:
            from cometstream.structured.molds import Molds, Root

            self._make_root = partial(Root, Molds().of(self._arguments[0]), self._wrapper)
        if on_part is not None and self._wrapper is not None:
            on_part = _without_wrapper(on_part)
        return PartialJSON(self._make_root, prose=True, on_part=on_part)

    def read(self, text: str) -> T:
        """Return the value that a whole answer's text says.

        Raises:
            ValueError: It is not valid; ``problems`` says why.
        """
        from cometstream.structured.problems import InvalidValue, cause_of

        whole = json_within(text)
        try:
            return self.validate(whole)
        except Exception as error:  # of pydantic's, or of a validator of the caller's own, which some answers surprise
            raise InvalidValue(error, skip=0 if self._wrapper is None else 1) from cause_of(error)

    def validate(self, text: str | bytes) -> T:
        """Return the value of a JSON text.

        Raises:
            Exception: pydantic's ``ValidationError``, or what a validator of the type raised.
        """
        value = self._whole.validate_json(text)
        read: T = value if self._wrapper is None else getattr(value, self._wrapper)
        return read

    def read_partial(self, text: str) -> Any:
        """Return the value as far as a text says it; None where it does not begin."""
        return read_pieces(self.parser(), text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, self._arguments


def _made(type_: Any, name: str | None, description: str | None, strict: bool) -> Schema[Any]:
    return Schema(type_, name=name, description=description, strict=strict)


@lru_cache(maxsize=256)  # bounded: types can be made at run time, without end
def schema_of(type_: Any) -> Schema[Any]:
    """Return the schema of a type; that of one that was asked for before is at hand."""
    return Schema(type_)


def _understood(type_: Any, *, wrapped: bool = False) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Return pydantic's adapter of a type, or of a model that has it as its only field, and its JSON Schema.

    Raises:
        InvalidRequestError: It has none.
    """
    try:
        with late_import:
            from pydantic import TypeAdapter, create_model
    except ImportError as error:
        raise ConfigurationError(
            "a type as response_format needs pydantic 2: pip install 'cometstream[structured]'"
        ) from error
    with late_import:  # now: an answer that was paid for is read without a file
        from cometstream.structured import molds  # noqa: F401
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(create_model(_name(type_), response=(type_, ...)) if wrapped else type_)
        return adapter, adapter.json_schema()
    except Exception as error:  # pydantic's, or of the caller's own type
        raise InvalidRequestError([f"response_format: {shown(type_)} has no JSON Schema ({_said(error)})"]) from None


def _said(error: Exception) -> str:
    """Return what an error says, without pydantic's address of a page about it."""
    try:
        return " ".join(str(error).split()).partition(" For further information")[0]
    except Exception:  # of the caller's own error
        return type(error).__name__


def _is_object(schema: dict[str, Any]) -> bool:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = schema.get("$defs", {}).get(reference.rpartition("/")[2], {})
    return schema.get("type") == "object"


def _name(type_: Any) -> str:
    name = getattr(type_, "__name__", None) or str(type_)
    return _NOT_IN_NAME.sub("_", str(name))[:_LONGEST_NAME].strip("_") or "answer"


def _without_wrapper(on_part: OnPart) -> OnPart:
    def told(path: Path, value: Any, problem: ValueError | None) -> None:
        if path:  # the object around it is not the caller's
            on_part(path[1:], value, problem)

    return told
