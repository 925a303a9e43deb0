"""Answers as pydantic models: the schema that goes out, and what comes back as objects. pydantic is the caller's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cometstream.errors import ConfigurationError
from cometstream.openai.errors import ContentFilterFinishReasonError, LengthFinishReasonError
from cometstream.request.describe import shown
from cometstream.views.completion import (
    ChatCompletion,
    ChatCompletionMessage,
    CompletionChoice,
    FunctionCall,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ParsedChatCompletion",
    "ParsedChatCompletionMessage",
    "ParsedChoice",
    "Parser",
    "partial_value",
    "pydantic_function_tool",
]

_T = TypeVar("_T")


class _FunctionTool(dict[str, Any]):
    """The function of a tool, which remembers the model that it was made of."""

    model: Any


def pydantic_function_tool(model: Any, *, name: str | None = None, description: str | None = None) -> dict[str, Any]:
    """Return a tool whose arguments are a pydantic model.

    Args:
        model: The model's class.
        name: The tool's name; None takes the class's.
        description: What the tool is for; None takes the class's docstring.
    Raises:
        ConfigurationError: It is not a pydantic model.
    """
    function = _FunctionTool(name=name or getattr(model, "__name__", ""), strict=True, parameters=_schema(model))
    function.model = model
    described = description or model.__doc__
    if described:
        function["description"] = described
    return {"type": "function", "function": function}


class Parser:
    """What one request's answer is parsed with.

    Args:
        response_format: A pydantic model, or another type that pydantic knows; anything else is sent as it is.
        tools: The tools; those of ``pydantic_function_tool`` give parsed arguments.
    Attributes:
        response_format: The parameter as it is sent.
    """

    def __init__(self, response_format: Any, tools: Sequence[Any] | None) -> None:
        self._type = response_format if isinstance(response_format, type) else None
        self.response_format = response_format if self._type is None else _format(self._type)
        functions = [tool.get("function") for tool in tools or () if isinstance(tool, dict)]
        self._models = {each["name"]: each.model for each in functions if isinstance(each, _FunctionTool)}

    def __bool__(self) -> bool:
        return self._type is not None or bool(self._models)

    def completion(self, completion: ChatCompletion) -> ParsedChatCompletion[Any]:
        """Return a whole answer with what it says as objects.

        Raises:
            LengthFinishReasonError: It ended at its length limit.
            ContentFilterFinishReasonError: A content filter ended it.
            ValueError: pydantic's: what it says does not match the model.
        """
        for choice in completion.choices:
            if choice.finish_reason == "length":
                raise LengthFinishReasonError(completion=completion)
            if choice.finish_reason == "content_filter":
                raise ContentFilterFinishReasonError(completion=completion)
        parsed = [self._message(choice.message) for choice in completion.choices]
        return ParsedChatCompletion(completion, parsed)

    def content(self, text: str | None) -> Any:
        """Return a text as the response format's object; None where there is no text or no type."""
        if self._type is None or not text:
            return None
        return _adapter(self._type).validate_json(text)

    def _message(self, message: ChatCompletionMessage) -> tuple[Any, list[Any]]:
        calls = [self._arguments(call) for call in message.tool_calls or ()]
        return None if message.refusal else self.content(message.content), calls

    def _arguments(self, call: ToolCall) -> Any:
        model = self._models.get(call.function.name)
        return None if model is None else _adapter(model).validate_python(call.parse())


class ParsedFunction(FunctionCall):
    """A called function with its arguments as an object."""

    __slots__ = ("_parsed",)

    def __init__(self, raw: dict[str, Any], parsed: Any = None) -> None:
        super().__init__(raw)
        self._parsed = parsed

    @property
    def parsed_arguments(self) -> Any:
        """The arguments as the tool's model; None for other tools."""
        return self._parsed


class ParsedToolCall(ToolCall):
    """A tool call with its arguments as an object."""

    __slots__ = ("_parsed",)

    def __init__(self, raw: dict[str, Any], complete: bool = True, parsed: Any = None) -> None:
        super().__init__(raw, complete)
        self._parsed = parsed

    @property
    def function(self) -> ParsedFunction:
        """Name and arguments."""
        return ParsedFunction(super().function.raw, self._parsed)


class ParsedChatCompletionMessage(ChatCompletionMessage, Generic[_T]):
    """A message with what it says as an object."""

    __slots__ = ("_calls", "_parsed")

    def __init__(
        self, raw: dict[str, Any], complete: bool = True, parsed: _T | None = None, calls: Sequence[Any] = ()
    ) -> None:
        super().__init__(raw, complete)
        self._parsed = parsed
        self._calls = calls

    @property
    def parsed(self) -> _T | None:
        """What the message says, as the response format's model; None where it refused, called tools or said nothing."""
        return self._parsed

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        """The tool calls in order; None if there are none."""
        calls = super().tool_calls
        if calls is None:
            return None
        parsed = [*self._calls, *[None] * len(calls)]
        return [ParsedToolCall(call.raw, self._complete, each) for call, each in zip(calls, parsed, strict=False)]


class ParsedChoice(CompletionChoice, Generic[_T]):
    """A choice whose message is parsed."""

    __slots__ = ("_told",)

    def __init__(self, raw: dict[str, Any], told: tuple[_T | None, list[Any]] = (None, [])) -> None:
        super().__init__(raw)
        self._told = told

    @property
    def message(self) -> ParsedChatCompletionMessage[_T]:
        """The message."""
        plain = super().message
        return ParsedChatCompletionMessage(plain.raw, plain._complete, *self._told)


class ParsedChatCompletion(ChatCompletion, Generic[_T]):
    """An answer with what it says as objects: ``completion.choices[0].message.parsed``."""

    __slots__ = ("_told",)

    def __init__(self, completion: ChatCompletion, told: list[tuple[_T | None, list[Any]]]) -> None:
        super().__init__(completion.raw, completion.normalizations)
        self.request_id, self.prices = completion.request_id, completion.prices
        self._told = told

    @property
    def choices(self) -> list[CompletionChoice]:
        """The choices, by index."""
        return [ParsedChoice(choice.raw, told) for choice, told in zip(super().choices, self._told, strict=True)]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (ChatCompletion(self._raw, self._normalizations), self._told)


def partial_value(text: str) -> Any:
    """Return what the beginning of a JSON text says so far; None where that is nothing."""
    from pydantic_core import from_json

    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError:
        return None


def _format(kind: type) -> dict[str, Any]:
    schema = {"name": kind.__name__, "schema": _schema(kind), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _adapter(kind: Any) -> Any:
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise ConfigurationError("parsing needs pydantic: pip install pydantic") from None
    return TypeAdapter(kind)


def _schema(kind: Any) -> dict[str, Any]:
    """Return the schema of a type, strict as the providers want it.

    Raises:
        ConfigurationError: pydantic does not know the type.
    """
    try:
        schema = _adapter(kind).json_schema()
    except ConfigurationError:
        raise
    except Exception as error:  # of pydantic's, or of the type's own hooks
        raise ConfigurationError(f"no schema can be made of {shown(kind)}: {error}") from error
    strict: dict[str, Any] = _strict(schema)
    return strict


def _strict(schema: Any) -> Any:
    """Return a schema in which each object names all it has and requires it; defaults that are null are left out."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items() if not (key == "default" and value is None)}
    if isinstance(strict.get("properties"), dict):
        strict["required"] = list(strict["properties"])
    if strict.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict
