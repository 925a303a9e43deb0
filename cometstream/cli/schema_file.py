"""A JSON Schema in a file, as what an answer has to be: the request's ``response_format``, and the check of the answer."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import InvalidRequestError, OutputInvalidError
from cometstream.request.strict_schema import strict_schema

if TYPE_CHECKING:
    from cometstream.views.completion import ChatCompletion

__all__ = ["SchemaFile"]

# Source: OpenAI's reference of `response_format.json_schema.name`.
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 64

# Problems of an answer that are told.
_TOLD: Final = 5


class SchemaFile:
    """What ``--schema`` names.

    Args:
        name: The file: a JSON Schema, or a whole ``response_format`` around one.

    Attributes:
        response_format: What is sent.

    Raises:
        InvalidRequestError: The file cannot be read, or holds no schema.
    """

    def __init__(self, name: str) -> None:
        path = Path(name).expanduser()
        try:
            found = orjson.loads(path.read_bytes())
        except OSError as error:
            raise _refused(f"cannot read {name} ({error.strerror or error})") from None
        except ValueError as error:
            raise _refused(f"{name} is not JSON ({error})") from None
        fields = found.get("json_schema") if isinstance(found, dict) and found.get("type") == "json_schema" else None
        schema = fields.get("schema") if isinstance(fields, dict) else found
        if not isinstance(schema, dict):
            raise _refused(f'{name} holds no JSON Schema; a schema is an object, such as {{"type": "object", …}}')
        self._validator = _validator(schema, name)
        if isinstance(fields, dict):
            self.response_format: dict[str, Any] = found
            return
        label = _NOT_IN_NAME.sub("_", str(schema.get("title") or path.stem))[:_LONGEST_NAME].strip("_")
        form: dict[str, Any] = {"name": label or "answer", "schema": schema}
        strict, problems = strict_schema(schema)
        # Strict mode wants every field; a schema where some may be left out would get another meaning.
        if not problems and schema.get("type") == "object" and _all_required(schema):
            form = {**form, "schema": strict, "strict": True}
        self.response_format = {"type": "json_schema", "json_schema": form}

    def check(self, completion: ChatCompletion) -> None:
        """Check a whole answer: that it is JSON, and where jsonschema is installed, that it matches.

        Raises:
            OutputError: It does not; or the model refused, or the answer was cut.
        """
        value = completion.parsed
        if self._validator is None:
            return
        try:
            problems = [
                f"{_path(error.absolute_path)}: {error.message}" for error in self._validator.iter_errors(value)
            ]
        except RecursionError:
            problems = ["the answer: is nested too deeply to be checked"]
        if problems:
            more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
            error = OutputInvalidError(f"the answer does not match the schema: {'; '.join(problems[:_TOLD])}{more}")
            error.problems = tuple(problems)
            raise error


def _validator(schema: dict[str, Any], name: str) -> Any:
    try:
        jsonschema: Any = importlib.import_module("jsonschema")
    except ImportError:
        return None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        problem = getattr(error, "message", "it is nested too deeply")
        raise _refused(
            f"{name} is not a JSON Schema: {_path(getattr(error, 'absolute_path', ()))}: {problem}"
        ) from None
    return kind(schema)


def _all_required(schema: Any) -> bool:
    """Whether every object in a schema has all its fields required."""
    if isinstance(schema, list):
        return all(map(_all_required, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict) and set(properties) != set(schema.get("required") or ()):
        return False
    return all(map(_all_required, schema.values()))


def _path(steps: Any) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.lstrip(".") or "the whole"


def _refused(problem: str) -> InvalidRequestError:
    return InvalidRequestError([f"--schema: {problem}"])
