"""The arguments of a call, held against the tool's JSON Schema."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import ConfigurationError
from cometstream.late import late_import
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ArgumentsError", "listed", "schema_check"]

# Problems that a model is told at a time, and characters of each.
_MOST: Final = 5
_LONGEST: Final = 300


class ArgumentsError(Exception):
    """The arguments do not match the schema; the message is for the model."""


def listed(problems: Iterable[tuple[str, str]]) -> str:
    """Return problems, each a path and what is wrong there, as one text for the model."""
    texts = [f"{path}: {' '.join(text.split())[:_LONGEST]}" if path else text[:_LONGEST] for path, text in problems]
    more = f"; and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return "; ".join(texts[:_MOST]) + more


def schema_check(schema: dict[str, Any]) -> Callable[[dict[str, Any]], None] | None:
    """Return a function that raises `ArgumentsError` for arguments that do not match; None where jsonschema is not installed.

    Raises:
        ConfigurationError: It is not a JSON Schema.
    """
    try:
        with late_import:
            jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError:
        return None
    try:
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        path = "".join(f".{step}" for step in error.absolute_path)
        raise ConfigurationError(f"parameters{path}: is not a JSON Schema: {error.message[:_LONGEST]}") from None
    except RecursionError:
        raise ConfigurationError("parameters: is not a JSON Schema: it is nested too deep") from None
    except Exception as error:  # jsonschema's own, at what it did not expect
        raise ConfigurationError(f"parameters: is not a JSON Schema ({shown(error)})") from error
    made = validator(schema)

    def check(arguments: dict[str, Any]) -> None:
        try:
            errors = sorted(made.iter_errors(arguments), key=lambda error: [str(step) for step in error.absolute_path])
        except RecursionError:
            raise ArgumentsError("the arguments are nested too deep") from None
        except Exception as error:  # of a schema that says what cannot be checked
            raise ArgumentsError("the arguments could not be checked") from error
        if errors:
            raise ArgumentsError(
                listed((".".join(str(step) for step in error.absolute_path), error.message) for error in errors)
            )

    return check
