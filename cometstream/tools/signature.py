"""A function's signature, type hints and docstring to a description and a JSON Schema; needs the extra ``structured``."""

from __future__ import annotations

import functools
import inspect
import typing
from typing import TYPE_CHECKING, Any

import orjson

from cometstream.errors import ConfigurationError
from cometstream.late import late_import
from cometstream.request.describe import shown
from cometstream.tools.arguments import ArgumentsError, listed
from cometstream.tools.schema import accepts_null, plain_schema, without_titles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel, ValidationError

__all__ = ["Signature", "model_arguments", "read_docstring", "read_signature"]

_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*{} cannot be described to a model; name each parameter",
    inspect.Parameter.VAR_KEYWORD: "**{} cannot be described to a model; name each parameter",
    inspect.Parameter.POSITIONAL_ONLY: "{} is positional-only; arguments are passed by name",
}


class Signature:
    """What a function takes.

    Attributes:
        description: What the docstring says before its parameters.
        schema: The JSON Schema of the arguments.
        read: Arguments as they came to the function's keyword arguments; raises `ArgumentsError`.
    """

    def __init__(
        self, description: str, schema: dict[str, Any], read: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        self.description = description
        self.schema = schema
        self.read = read


def read_signature(function: Callable[..., Any], name: str) -> Signature:
    """Read what a model must know to call a function.

    Raises:
        ConfigurationError: A parameter has no type hint, cannot be passed by name, or has a hint or default that JSON cannot
            hold; or the extra is not installed.
    """
    try:
        with late_import:
            import docstring_parser
            import pydantic
    except ImportError:
        raise ConfigurationError(
            f"tool {name!r}: signatures are read with pydantic and docstring_parser: pip install 'cometstream[structured]', "
            "or give parameters= a JSON Schema"
        ) from None
    parameters = _parameters(function, name)
    try:
        doc = docstring_parser.parse(read_docstring(function))
        description = "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)
        about = {param.arg_name: param.description for param in doc.params if param.description}
    except docstring_parser.ParseError:
        description, about = read_docstring(function), {}
    fields: dict[str, Any] = {}
    for place, (key, (hint, default)) in enumerate(parameters.items()):
        given: dict[str, Any] = {"alias": key}
        if key in about and not _says_description(hint):
            given["description"] = " ".join(about[key].split())
        if default is not inspect.Parameter.empty:
            try:
                given["default"] = default
                orjson.loads(pydantic.TypeAdapter(Any).dump_json(default))
            except Exception:
                raise ConfigurationError(
                    f"tool {name!r}: the default of {key} is {shown(default)}, which JSON cannot hold; "
                    "use None, and replace it in the function"
                ) from None
        # Names of its own, as pydantic does not take all that Python does.
        fields[f"p{place}"] = (hint, pydantic.Field(**given))
    try:
        model = pydantic.create_model(
            f"{name}_arguments", __config__=pydantic.ConfigDict(extra="forbid", protected_namespaces=()), **fields
        )
        schema = without_titles(plain_schema(model.model_json_schema()))
    except Exception as error:  # of pydantic's, and of the hints' own
        raise ConfigurationError(
            f"tool {name!r}: its type hints cannot be described in JSON Schema ({' '.join(str(error).split())[:300]})"
        ) from None
    optional = {key for key, (_, default) in parameters.items() if default is not inspect.Parameter.empty}
    return Signature(description, schema, _reader(model, schema, optional))


def read_docstring(function: Callable[..., Any]) -> str:
    """Return a callable's docstring; ``""`` where it has none of its own."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return inspect.getdoc(function) or ""
    return inspect.getdoc(type(function).__call__) or inspect.getdoc(type(function)) or ""


def model_arguments(model: type[BaseModel]) -> tuple[dict[str, Any], Callable[[dict[str, Any]], BaseModel]]:
    """Return the JSON Schema of a pydantic model, and what makes one of arguments as they came."""
    schema = without_titles(plain_schema(model.model_json_schema()))
    optional = {
        field.alias or key for key, field in getattr(model, "model_fields", {}).items() if not field.is_required()
    }
    omit = _not_null(schema, optional)

    def read(arguments: dict[str, Any]) -> BaseModel:
        made: BaseModel = _validated(model, arguments, omit)
        return made

    return schema, read


def _parameters(function: Callable[..., Any], name: str) -> dict[str, tuple[Any, Any]]:
    """Return hint and default of each parameter."""
    bound: Mapping[str, Any] = function.keywords if isinstance(function, functools.partial) else {}
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"tool {name!r}: its signature cannot be read; give parameters= a JSON Schema"
        ) from None
    hints = _hints(function, name)
    parameters = {}
    for key, parameter in signature.parameters.items():
        if key in bound:
            continue
        if parameter.kind in _REFUSED:
            raise ConfigurationError(f"tool {name!r}: {_REFUSED[parameter.kind].format(key)}")
        if key not in hints:
            more = "; decorate the bound method: tool(object.method)" if key in ("self", "cls") else ""
            raise ConfigurationError(f"tool {name!r}: parameter {key} has no type hint{more}")
        parameters[key] = hints[key], parameter.default
    return parameters


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    described: Any = function
    if inspect.isclass(function):
        described = function.__init__
    elif not inspect.isroutine(function):
        described = type(function).__call__
    try:
        hints = typing.get_type_hints(described, include_extras=True)
    except Exception as error:  # a hint may be any text
        raise ConfigurationError(
            f"tool {name!r}: its type hints cannot be read ({error}); name types that its module has"
        ) from None
    hints.pop("return", None)
    return hints


def _says_description(hint: Any) -> bool:
    return any(getattr(item, "description", None) for item in getattr(hint, "__metadata__", ()))


def _reader(
    model: type[BaseModel], schema: dict[str, Any], optional: set[str]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    omit = _not_null(schema, optional)
    names = {key: field.alias or key for key, field in model.model_fields.items()}

    def read(arguments: dict[str, Any]) -> dict[str, Any]:
        made = _validated(model, arguments, omit)
        return {name: getattr(made, key) for key, name in names.items() if key in made.model_fields_set}

    return read


def _not_null(schema: dict[str, Any], optional: set[str]) -> frozenset[str]:
    """Return the properties of which null means that they were left out: strict mode has no other way to say so."""
    properties = schema.get("properties", {})
    return frozenset(key for key in optional if key in properties and not accepts_null(properties[key]))


def _validated(model: type[BaseModel], arguments: dict[str, Any], omit: frozenset[str]) -> Any:
    import pydantic

    given = {key: value for key, value in arguments.items() if value is not None or key not in omit}
    try:
        # Not model_validate: a date, an enum or bytes are texts in JSON.
        return model.model_validate_json(orjson.dumps(given))
    except pydantic.ValidationError as error:
        raise ArgumentsError(_told(error)) from None
    except Exception as error:  # of a validator of the caller's own; or they are nested deeper than orjson writes
        raise ArgumentsError("the arguments could not be checked") from error


def _told(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return listed((".".join(str(step) for step in problem["loc"]), problem["msg"]) for problem in problems)
