"""Answers as pydantic models, by OpenAI's names: what is sent for a type, and what comes back as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from cometstream.answer.json_output import JSON_OUTPUT, json_within
from cometstream.openai.errors import ContentFilterFinishReasonError, LengthFinishReasonError
from cometstream.request.encode import is_json_list
from cometstream.request.strict_schema import strict_schema
from cometstream.structured import Schema, read_response_format
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
    "pydantic_function_tool",
]

_T = TypeVar("_T")


class _FunctionTool(dict[str, Any]):
    """The function of a tool, which remembers the model that it was made of."""

    model: Schema[Any]


def pydantic_function_tool(model: Any, *, name: str | None = None, description: str | None = None) -> dict[str, Any]:
    """Return a tool whose arguments are a pydantic model.

    It asks for strict mode where the model's schema has a strict form. A field with a default, for example, has none.

    Args:
        model: The model's class.
        name: The tool's name; None takes the class's.
        description: What the tool is for; None takes the class's docstring.
    Raises:
        InvalidRequestError: There is no JSON Schema for the model.
        ConfigurationError: The name cannot be used, or pydantic is not installed.
    """
    schema = Schema(model, name=name, description=description, strict=False)
    written = schema.wire["json_schema"]
    parameters, problems = strict_schema(written["schema"], "parameters")
    function = _FunctionTool(
        name=written["name"], strict=not problems, parameters=written["schema"] if problems else parameters
    )
    function.model = schema
    described = description or model.__doc__
    if described:
        function["description"] = described
    return {"type": "function", "function": function}


class Parser:
    """Parses the answer to one request.

    Args:
        response_format: A pydantic model, or another type that pydantic knows; anything else is sent as it is.
        tools: The tools; those of ``pydantic_function_tool`` give parsed arguments.
    Attributes:
        response_format: The parameter as it is sent.
    Raises:
        InvalidRequestError: There is no JSON Schema for the type.
        ConfigurationError: It is a type, and pydantic is not installed.
    """

    def __init__(self, response_format: Any, tools: Any) -> None:
        self.response_format, output, problems = read_response_format(response_format)
        self._schema = output if isinstance(output, Schema) else None
        if self._schema is response_format and problems:
            self.response_format = (
                response_format  # a Schema that asks for strict mode itself: the session says what is wrong
            )
        elif self._schema is not None and problems:
            self._schema = Schema(response_format, strict=False)
            self.response_format = self._schema.wire
        functions = [tool.get("function") for tool in tools if isinstance(tool, dict)] if is_json_list(tools) else []
        self._models = {each["name"]: each.model for each in functions if isinstance(each, _FunctionTool)}

    def __bool__(self) -> bool:
        return self._schema is not None or bool(self._models)

    def completion(self, completion: ChatCompletion) -> ParsedChatCompletion[Any]:
        """Return a whole answer with its texts and arguments parsed.

        Raises:
            LengthFinishReasonError: It was cut at its length limit.
            ContentFilterFinishReasonError: A content filter ended it.
            ValueError: pydantic's: a text or arguments do not match the model.
        """
        for choice in completion.choices:
            if choice.finish_reason == "length":
                raise LengthFinishReasonError(completion=completion)
            if choice.finish_reason == "content_filter":
                raise ContentFilterFinishReasonError(completion=completion)
        parsed = [self._message(choice.message) for choice in completion.choices]
        return ParsedChatCompletion(completion, parsed)

    def content(self, text: str | None) -> Any:
        """Return a text as the response format's object; None where there is no text or no type.

        Raises:
            ValueError: pydantic's: it does not match the model.
        """
        return None if self._schema is None or not text else self._schema.validate(_json_in(text))

    def arguments(self, name: str, text: str) -> Any:
        """Return the arguments of a call as its tool's model; where they are not valid or it has none, as far as they are JSON."""
        model = self._models.get(name)
        try:
            return JSON_OUTPUT.read(text) if model is None else model.validate(text)
        except Exception:  # of pydantic's, or of a validator of the caller's own; the completion's parsing tells of it
            return JSON_OUTPUT.read_partial(text)

    def _message(self, message: ChatCompletionMessage) -> tuple[Any, list[Any]]:
        calls = [self._arguments(call) for call in message.tool_calls or ()]
        return None if message.refusal else self.content(message.content), calls

    def _arguments(self, call: ToolCall) -> Any:
        model = self._models.get(call.function.name)
        return None if model is None else model.validate(orjson.dumps(call.parse()))


def _json_in(text: str) -> str:
    try:
        return json_within(text)
    except ValueError:
        return text  # pydantic's error says what is wrong


class ParsedFunction(FunctionCall):
    """A called function whose arguments are parsed."""

    __slots__ = ("_parsed",)

    def __init__(self, raw: dict[str, Any], parsed: Any = None) -> None:
        super().__init__(raw)
        self._parsed = parsed

    @property
    def parsed_arguments(self) -> Any:
        """The arguments as the tool's model; None for other tools."""
        return self._parsed


class ParsedToolCall(ToolCall):
    """A tool call whose arguments are parsed."""

    __slots__ = ("_parsed",)

    def __init__(self, raw: dict[str, Any], complete: bool = True, parsed: Any = None) -> None:
        super().__init__(raw, complete)
        self._parsed = parsed

    @property
    def function(self) -> ParsedFunction:
        """Name and arguments."""
        return ParsedFunction(super().function.raw, self._parsed)


class ParsedChatCompletionMessage(ChatCompletionMessage, Generic[_T]):
    """A message whose text is parsed."""

    __slots__ = ("_calls", "_parsed")

    def __init__(
        self, raw: dict[str, Any], complete: bool = True, parsed: _T | None = None, calls: Sequence[Any] = ()
    ) -> None:
        super().__init__(raw, complete)
        self._parsed = parsed
        self._calls = calls

    @property
    def parsed(self) -> _T | None:
        """The text as the response format's model; None if the model refused, called tools or wrote no text."""
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
    """A completion whose texts and arguments are parsed: ``completion.choices[0].message.parsed``."""

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
