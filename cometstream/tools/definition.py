"""A tool: what the model is told of it, and what runs when the model calls it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload

from cometstream.errors import ConfigurationError, InvalidRequestError, ProtocolError
from cometstream.late import late_import
from cometstream.policy import NOT_GIVEN, NotGiven, is_seconds
from cometstream.request.describe import kind, shown
from cometstream.request.strict_schema import strict_schema
from cometstream.tools.arguments import ArgumentsError, schema_check
from cometstream.tools.schema import optional_as_null, plain_schema, schema_problems

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import ParamSpec

    from cometstream.tools.invocation import Approver
    from cometstream.views.completion import ToolCall

    P = ParamSpec("P")
else:
    from typing import ParamSpec

    P = ParamSpec("P")

__all__ = ["Tool", "checked_timeout", "tool"]

R = TypeVar("R")

# Of OpenAI's API; others are no stricter.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_NO_ARGUMENTS: Final[dict[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}


class Tool(Generic[P, R]):
    """A tool that a model may call. It stays what it was made from: call it, and the function is called.

    Args:
        name: Letters, digits, ``_`` and ``-``, 64 at most.
        function: What runs: async or plain; plain functions run in a worker thread. It is called with the arguments by name; with
            one model where `parameters` is a pydantic model; with the text where the tool is custom. None for a tool that you run
            yourself: a call of it pauses the run.
        description: What the model is told of it.
        parameters: The JSON Schema of its arguments, or a pydantic model; None for a tool without arguments.
        strict: Have the API hold the arguments to the schema, which is sent in strict mode's form. None does so where the schema
            comes from type hints or a pydantic model, and allows it; a schema of yours is sent as it is.
        custom: The tool takes a text, not JSON: True, or the format that it must have (``{"type": "grammar", ...}``).
        eager: Start a call while the answer still streams, as soon as its arguments are whole. False waits for the verified end of
            the answer: use it where a call cannot be undone. None is True, but for tools that need approval.
        approve: True pauses the run before each call, until `resume_tools` brings a decision; an async function is asked in place.
        timeout: Seconds that one call may take; None for no limit; not given is the run's.

    Raises:
        ConfigurationError: The name or an option cannot be used.
        InvalidRequestError: The API would refuse the schema; every problem is listed.
    """

    def __init__(
        self,
        name: str,
        function: Callable[P, R] | None = None,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | type[BaseModel] | None = None,
        strict: bool | None = None,
        custom: bool | Mapping[str, Any] = False,
        eager: bool | None = None,
        approve: bool | Approver = False,
        timeout: float | NotGiven | None = NOT_GIVEN,
    ) -> None:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                f"{shown(name)} cannot be a tool's name: it may have letters, digits, _ and -, 64 at most"
            )
        self.name = self.__name__ = name
        self._function = function
        if function is not None and not callable(function):
            raise ConfigurationError(f"tool {name!r}: must be a function or None; got {shown(function)}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"tool {name!r}: a generator has no result; return it, as a list if need be")
        if not isinstance(description, str):
            raise ConfigurationError(f"tool {name!r}: description must be a text; got {kind(description)}")
        self.description = description
        if strict is not None and not isinstance(strict, bool):
            raise ConfigurationError(f"tool {name!r}: strict must be True, False or None; got {shown(strict)}")
        self.format = self._checked_custom(custom, parameters, strict)
        self.custom = custom is not False
        self.approve = self._checked_approval(approve, eager)
        self.eager = eager if isinstance(eager, bool) else approve is False
        self.timeout = checked_timeout(timeout, f"tool {name!r}: timeout")
        self._read: Callable[[dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]] = _by_name
        self.validates = self.custom
        self.strict = False
        self.parameters: dict[str, Any] | None = None
        if not self.custom:
            self._describe(parameters, strict)
        if function is not None:
            functools.update_wrapper(self, function, updated=())

    def _checked_custom(self, custom: Any, parameters: Any, strict: Any) -> dict[str, Any] | None:
        if isinstance(custom, bool):
            if custom and (parameters is not None or strict):
                raise ConfigurationError(f"tool {self.name!r}: a custom tool takes a text; it has no parameters")
            return None
        if not isinstance(custom, Mapping):
            raise ConfigurationError(
                f"tool {self.name!r}: custom must be True, False or the text's format; got {shown(custom)}"
            )
        return plain_schema(custom)

    def _checked_approval(self, approve: Any, eager: Any) -> bool | Approver:
        if not isinstance(approve, bool) and not callable(approve):
            raise ConfigurationError(
                f"tool {self.name!r}: approve must be True, False or an async function; got {shown(approve)}"
            )
        if eager is not None and not isinstance(eager, bool):
            raise ConfigurationError(f"tool {self.name!r}: eager must be True, False or None; got {shown(eager)}")
        if eager and (approve is True or self._function is None):
            raise ConfigurationError(
                f"tool {self.name!r}: eager=True is not possible, its calls wait for a decision or a result of yours"
            )
        return cast("bool | Approver", approve)  # whether it is async shows when it is asked

    def _describe(self, parameters: Any, strict: bool | None) -> None:
        """Set the schema, and how arguments are read."""
        if isinstance(parameters, type) and hasattr(parameters, "model_json_schema"):
            with late_import:
                from cometstream.tools.signature import model_arguments

            schema, read_model = model_arguments(parameters)
            self._set_schema(schema, strict, generated=True)
            self._read, self.validates = lambda arguments: ((read_model(arguments),), {}), True
            return
        if parameters is not None and not isinstance(parameters, Mapping):
            raise ConfigurationError(
                f"tool {self.name!r}: parameters must be a JSON Schema, a pydantic model or None; got {shown(parameters)}"
            )
        schema = _NO_ARGUMENTS if parameters is None else plain_schema(parameters)
        self._set_schema(schema, strict, generated=parameters is None)
        check = schema_check(schema)
        if check is not None:
            self._read, self.validates = _checked(check), True

    def _set_schema(self, schema: dict[str, Any], strict: bool | None, *, generated: bool) -> None:
        """Take the schema as it is to be sent: strict where that is asked for, or possible for one that was not written by hand."""
        problems = schema_problems(schema)
        if not problems and strict is not False and (strict or generated):
            candidate, refused = strict_schema(optional_as_null(schema) if generated else schema, "parameters")
            if not refused:
                self.parameters, self.strict = candidate, True
                return
            problems = refused if strict else []
        if problems:
            raise InvalidRequestError([f"tool {self.name!r}: {problem}" for problem in problems])
        self.parameters = schema

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        if self._function is None:
            raise ConfigurationError(f"tool {self.name!r} has no function: its calls are yours to answer")
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @property
    def function(self) -> Callable[P, R] | None:
        """What runs; None for a tool that you run yourself."""
        return self._function

    def to_dict(self) -> dict[str, Any]:
        """Return the tool as a request has it."""
        about: dict[str, Any] = {"name": self.name}
        if self.description:
            about["description"] = self.description
        if self.custom:
            if self.format is not None:
                about["format"] = self.format
            return {"type": "custom", "custom": about}
        about["parameters"] = self.parameters
        if self.strict:
            about["strict"] = True
        return {"type": "function", "function": about}

    def read(self, call: ToolCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the function is to be called with.

        Raises:
            ArgumentsError: The arguments do not match; the message is for the model.
        """
        if self.custom:
            text = call.function.arguments if call.custom is None else call.custom.input
            return (text,), {}
        try:
            arguments = call.parse()
        except ProtocolError:
            raise ArgumentsError("the arguments are not a JSON object") from None
        return self._read(arguments)


def _by_name(arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (), arguments


def _checked(
    check: Callable[[dict[str, Any]], None],
) -> Callable[[dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]:
    def read(arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        check(arguments)
        return (), arguments

    return read


def checked_timeout(timeout: Any, what: str) -> float | NotGiven | None:
    """Return a caller's timeout.

    Raises:
        ConfigurationError: It is not a time.
    """
    if timeout is None or isinstance(timeout, NotGiven):
        return timeout
    if not is_seconds(timeout) or timeout == 0:
        raise ConfigurationError(f"{what} must be seconds, more than 0, or None for no limit; got {shown(timeout)}")
    return float(timeout)


class _FromSignature(Tool[P, R]):
    """A tool whose schema is read from its function."""

    def _describe(self, parameters: Any, strict: bool | None) -> None:
        with late_import:
            from cometstream.tools.signature import read_signature

        assert self._function is not None  # made by `tool` alone
        signature = read_signature(self._function, self.name)
        read = signature.read
        self._read, self.validates = lambda arguments: ((), read(arguments)), True
        self.description = self.description or signature.description
        self._set_schema(signature.schema, strict, generated=True)


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | type[BaseModel] | None = None,
    strict: bool | None = None,
    custom: bool | Mapping[str, Any] = False,
    eager: bool | None = None,
    approve: bool | Approver = False,
    timeout: float | NotGiven | None = NOT_GIVEN,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    parameters: Mapping[str, Any] | type[BaseModel] | None = None,
    **options: Any,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a function: name, description and schema come from its signature, type hints and docstring.

    Example:
        The model is told all of this but the body:

            @tool
            async def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
                '''Get the current weather.

                Args:
                    city: The city's English name.
                '''
                return f"4 degrees {unit}"

    The docstring may be written in Google's, NumPy's, reST's or Epydoc's style. Needs ``pip install 'cometstream[structured]'``
    unless `parameters` or `custom` is given.

    Args:
        function: Async or plain function, or any callable.
        name: The tool's name; None takes the function's.
        description: None takes the docstring's text.
        parameters: As for `Tool`; None reads the signature.
        **options: As for `Tool`.
    Raises:
        ConfigurationError: The function has a parameter that cannot be described, or an option cannot be used.
        InvalidRequestError: The API would refuse the schema; every problem is listed.
    """
    if function is not None:
        return _made(function, name, description, parameters, options)
    return lambda decorated: _made(decorated, name, description, parameters, options)


def _made(
    function: Callable[P, R], name: str | None, description: str | None, parameters: Any, options: dict[str, Any]
) -> Tool[P, R]:
    if not callable(function) or isinstance(function, Tool):
        raise ConfigurationError(f"@tool takes a function; got {shown(function)}")
    if name is None:
        name = _name_of(function)
    if parameters is None and options.get("custom", False) is False:
        return _FromSignature(name, function, description=description or "", **options)
    if description is None:
        with late_import:
            from cometstream.tools.signature import read_docstring

        description = read_docstring(function)
    return Tool(name, function, description=description, parameters=parameters, **options)


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None) or type(function).__name__
    if _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{name!r} cannot be a tool's name: give name=, with letters, digits, _ and -, 64 at most"
        )
    return str(name)
