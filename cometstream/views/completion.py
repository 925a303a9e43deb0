"""Typed views of a whole answer: ``chat.completion``, its choices, messages and tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from cometstream.errors import ProtocolError
from cometstream.views.arguments import arguments_text, said_once
from cometstream.views.chunks import AnyChoice, AnyCompletion, AnyMessage, CompletionUsage, finish_reason_of
from cometstream.views.cost import CostSource, Prices, reported_cost, token_cost
from cometstream.views.output import Parsed, ParsedT_co, read_output
from cometstream.views.parts import ChoiceLogprobs
from cometstream.views.view import View, dict_or_empty, list_of_dicts, text_or_none, view_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from cometstream.views.output import Output

__all__ = [
    "ChatCompletion",
    "ChatCompletionMessage",
    "CompletionChoice",
    "CustomCall",
    "FunctionCall",
    "ToolCall",
    "completion_as_chunk",
]

# The words of OpenAI and others for an ending after which calls may run. After any other, a call may lack its end even where
# what came happens to parse: arguments that have not begun look like none, and a refusal takes back what was written before.
_LETS_RUN: Final = frozenset(
    {
        "complete",
        "completed",
        "done",
        "end_of_text",
        "end_of_turn",
        "end_turn",
        "eos",
        "eos_token",
        "eot",
        "finish",
        "finished",
        "function_call",
        "function_calls",
        "stop",
        "stop_sequence",
        "stop_token",
        "stopped",
        "tool_call",
        "tool_calls",
        "tool_use",
    }
)


def _lets_run(reason: str | None) -> bool:
    """Whether a finish reason proves that the calls before it came whole, and may run."""
    if reason is None:
        return False
    word = reason.strip().lower().replace("-", "_").replace(" ", "_")
    return word.removeprefix("finish_reason_") in _LETS_RUN


class FunctionCall(View):
    """The function that a call names, and its arguments."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The function's name; ``""`` where it never came."""
        return text_or_none(self._raw.get("name")) or ""

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, as the model wrote it: it may be invalid. ``ToolCall.parse()`` checks it."""
        return arguments_text(self._raw.get("arguments")) or ""


class CustomCall(View):
    """The custom tool that a call names, and the text for it."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The tool's name; ``""`` where it never came."""
        return text_or_none(self._raw.get("name")) or ""

    @property
    def input(self) -> str:
        """The text, as the model wrote it."""
        return text_or_none(self._raw.get("input")) or ""


class ToolCall(View):
    """One whole tool call.

    Args:
        raw: The call as ``{"id", "type", "function": {"name", "arguments"}}``, or ``"custom": {"name", "input"}`` in the function's
            place, and whatever the provider added.
        complete: Whether the choice it belongs to ended in a way that proves the call whole.
    """

    __slots__ = ("_complete",)

    def __init__(self, raw: dict[str, Any], complete: bool = True) -> None:
        self._raw = raw
        self._complete = complete

    @property
    def id(self) -> str:
        """The id to send back as ``tool_call_id`` with the tool's result."""
        return text_or_none(self._raw.get("id")) or ""

    @property
    def type(self) -> str:
        """``"function"``, ``"custom"``, or a kind the provider adds."""
        return text_or_none(self._raw.get("type")) or "function"

    @property
    def function(self) -> FunctionCall:
        """Name and arguments."""
        return FunctionCall(dict_or_empty(self._raw.get("function")))

    @property
    def custom(self) -> CustomCall | None:
        """Name and text of a call of a custom tool; None for any other call."""
        return CustomCall(dict_or_empty(self._raw.get("custom"))) if self.type == "custom" else None

    @property
    def executable(self) -> bool:
        """Whether the call came whole: its choice ended properly, it has a name, and its arguments are a JSON object.

        A custom tool takes any text.
        """
        custom = self.custom
        if custom is not None:
            return self._complete and custom.name != ""
        try:
            self.parse()
        except ProtocolError:
            return False
        return True

    def parse(self) -> dict[str, Any]:
        """Return the arguments as a dict; a tool without arguments (``""`` or null on the wire) gives ``{}``.

        Raises:
            ProtocolError: The call was cut, or its arguments are not a JSON object. Do not execute it. Or it is of a custom tool,
                whose text is in ``custom.input``.
        """
        if self.type == "custom":
            raise ProtocolError("a call of a custom tool has no arguments: its text is in call.custom.input")
        name, arguments = self.function.name, said_once([self.function.arguments])[0]
        raw = arguments.encode("utf-8", "replace")
        if not self._complete:
            raise ProtocolError(
                f"tool call {name!r} was cut before its end, or its answer did not end in a way that lets calls run: "
                "do not execute it",
                raw=raw,
            )
        if not name:
            raise ProtocolError("a tool call has no function name: do not execute it", raw=raw)
        try:
            parsed = orjson.loads(arguments) if arguments.strip() else {}
        except orjson.JSONDecodeError as error:
            raise ProtocolError(
                f"tool call {name!r} has arguments that are not JSON ({error}): do not execute it", raw=raw
            ) from None
        if parsed is None:
            return {}
        if not isinstance(parsed, dict):
            raise ProtocolError(
                f"tool call {name!r} has arguments that are not a JSON object: do not execute it", raw=raw
            )
        return parsed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._raw, self._complete)


def _sendable(call: ToolCall) -> dict[str, Any]:
    """Return a call as a request has it."""
    sent = {**call.raw, "id": call.id, "type": call.type}
    if call.type == "function":
        function = call.function
        sent["function"] = {**function.raw, "name": function.name, "arguments": said_once([function.arguments])[0]}
    return sent


# What a part must hold under the name of its type: a text, or an object with texts of which the first ones must be there.
_TEXT_PARTS: Final = ("text", "refusal")
_OBJECT_PARTS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "image_url": (("url",), ("detail",)),
    "input_audio": (("data", "format"), ()),
    "file": ((), ("file_id", "filename", "file_data")),
}


def _sendable_part(part: Any) -> dict[str, Any] | None:
    """Return a part of content as a request has it; None for what cannot be one."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        return None
    kind = part.get("type")
    if not isinstance(kind, str):
        kind = "thinking" if "thinking" in part else "text"
        if kind not in part:
            return None
        part = {**part, "type": kind}
    sent: dict[str, Any] = part
    held = sent.get(kind)
    if kind in _TEXT_PARTS:
        return sent if isinstance(held, str) else None
    if kind not in _OBJECT_PARTS:
        return sent
    required, optional = _OBJECT_PARTS[kind]
    if not isinstance(held, dict) or not all(isinstance(held.get(name), str) for name in required):
        return None
    kept = {name: value for name, value in held.items() if name not in optional or isinstance(value, str)}
    return {**sent, kind: kept}


# Type checkers take `messages = [{"role": "user", "content": "Hello"}]` for a list[dict[str, str]]. A class with a base of type Any
# fits everywhere, so `messages.append(completion.message)` passes; known fields keep their types.
_FitsInList: Any = object


class ChatCompletionMessage(AnyMessage, Parsed[ParsedT_co], _FitsInList):  # type: ignore[misc] # a base of type Any, see above
    """The assistant's message. It, or ``to_dict()``, can be sent back as it is in the next request's ``messages``."""

    __slots__ = ("_choice", "_complete")

    def __init__(
        self, raw: dict[str, Any], complete: bool = True, choice: CompletionChoice[ParsedT_co] | None = None
    ) -> None:
        self._raw = raw
        self._complete = complete
        self._choice = choice

    @property
    def role(self) -> str:
        """``"assistant"``."""
        return text_or_none(self._raw.get("role")) or "assistant"

    @property
    def parsed(self) -> ParsedT_co:
        """The value that the text says, checked, where the request's ``response_format`` asked for one; else None.

        Raises:
            OutputError: The answer is not such a value: the model refused, it was cut, or it is not valid.
        """
        if self._choice is None:
            parsed: ParsedT_co = self._raw.get("parsed")  # type: ignore[assignment] # nothing was asked for
            return parsed
        return self._choice.parsed_of(self)

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        """The tool calls in order; None if there are none, as in OpenAI's client."""
        calls = self._raw.get("tool_calls")
        if not calls:
            return None
        named = [
            call if call.get("id") else {**call, "id": f"call_{place}"}
            for place, call in enumerate(list_of_dicts(calls))
        ]
        return [ToolCall(call, self._complete) for call in named] or None

    @property
    def function_call(self) -> FunctionCall | None:
        """A legacy function call."""
        return view_or_none(FunctionCall, self._raw.get("function_call"))

    def to_dict(self) -> dict[str, Any]:
        """Return the message as providers take it back; ``raw`` is what came.

        The names are the wire's own. Audio is its id, calls that were cut are left out, as nobody may answer them, and where
        nothing else is left the content is ``""``.
        """
        message = dict(self._raw)
        message["role"] = self.role
        calls = [_sendable(call) for call in self.tool_calls or ()] if self._complete else []
        if calls:
            message["tool_calls"] = calls
        else:
            message.pop("tool_calls", None)
        call = self.function_call
        if call is not None and self._complete and call.name:
            message["function_call"] = {**call.raw, "name": call.name, "arguments": said_once([call.arguments])[0]}
        else:
            message.pop("function_call", None)
        audio = self.audio
        if audio is not None and audio.id:
            message["audio"] = {"id": audio.id}
        else:
            message.pop("audio", None)
        if not isinstance(name := message.get("name"), str) or not name:
            message.pop("name", None)
        content = message.get("content")
        if isinstance(content, list):
            content = message["content"] = [part for part in map(_sendable_part, content) if part is not None]
        elif not isinstance(content, str):
            content = message["content"] = None
        if not isinstance(message.get("refusal"), str) and "refusal" in message:
            message["refusal"] = None
        if not content and not any(message.get(name) for name in ("tool_calls", "function_call", "audio", "refusal")):
            # The words of a sound that has no id to send back; else nothing, which must be a text all the same.
            message["content"] = (audio.transcript if audio is not None else None) or ""
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._raw, self._complete, self._choice)


class CompletionChoice(AnyChoice, Parsed[ParsedT_co]):
    """One choice of a completion."""

    __slots__ = ("_completion",)

    def __init__(self, raw: dict[str, Any], completion: ChatCompletion[ParsedT_co] | None = None) -> None:
        self._raw = raw
        self._completion = completion

    @property
    def message(self) -> ChatCompletionMessage[ParsedT_co]:
        """The message."""
        reason, message = finish_reason_of(self._raw), self._raw.get("message")
        return ChatCompletionMessage(
            message if type(message) is dict else dict_or_empty(message),
            _lets_run(reason),
            None if self._completion is None else self,
        )

    def parsed_of(self, message: ChatCompletionMessage[ParsedT_co]) -> ParsedT_co:
        """Return the value of this choice's message; see ``ChatCompletionMessage.parsed``."""
        completion = self._completion
        assert completion is not None  # only then does the message ask
        return completion.parsed_of(self, message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._raw, self._completion)


class ChatCompletion(AnyCompletion, Parsed[ParsedT_co]):
    """A whole answer, or what has come of one. The short names (``content``, ``tool_calls`` ...) read the first choice.

    Args:
        raw: The ``chat.completion`` object.
        normalizations: What was bent into the documented shape, each kind with its count.

    Attributes:
        request_id: The gateway's id of the request, where the completion was not streamed; a stream has its own.
        prices: The prices that ``cost`` goes by where the server reports none; None for no prices.
        metrics: The ``StreamMetrics`` of ``session.complete()``; None where the completion was streamed, a stream has its own.
    """

    __slots__ = ("_normalizations", "_output", "_parsed", "metrics", "prices", "request_id")

    def __init__(
        self,
        raw: dict[str, Any],
        normalizations: Mapping[str, int] | None = None,
        output: Output[ParsedT_co] | None = None,
    ) -> None:
        self.prices: Prices | None = None
        self.metrics: Any = None  # StreamMetrics is built on views, so its type cannot be named here
        self.request_id = text_or_none(raw.get("request_id"))
        self._raw = raw
        self._output = output
        self._parsed: dict[int, ParsedT_co] | None = None  # the values that were read, by the index of their choices
        self._normalizations = dict(normalizations) if normalizations else {}

    @property
    def _request_id(self) -> str | None:
        """``request_id``, under its name in OpenAI's client."""
        return self.request_id

    @property
    def object(self) -> str:
        """``"chat.completion"``."""
        return text_or_none(self._raw.get("object")) or "chat.completion"

    @property
    def choices(self) -> list[CompletionChoice[ParsedT_co]]:
        """The choices, by index."""
        choices = self._raw.get("choices")
        completion = None if self._output is None else self
        if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:
            return [CompletionChoice(choices[0], completion)]
        return [CompletionChoice(choice, completion) for choice in list_of_dicts(choices)]

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts as reported; None where the server reported none: they are never guessed or summed."""
        usage = self._raw.get("usage")
        return CompletionUsage(usage) if isinstance(usage, dict) else None

    @property
    def usage_source(self) -> Literal["reported", "unknown"]:
        """``"reported"`` where the server sent counts, else ``"unknown"``."""
        return "unknown" if self.usage is None else "reported"

    @property
    def cost(self) -> float | None:
        """What the answer cost in US dollars, by ``cost_source``; None where nobody says, it is never guessed."""
        return self._cost()[0]

    @property
    def cost_source(self) -> CostSource:
        """``"reported"`` by the server, ``"catalog"`` after ``session.catalog()`` has read the model's price, or ``"unknown"``."""
        return self._cost()[1]

    def _cost(self) -> tuple[float | None, CostSource]:
        usage = self.usage
        if usage is None:
            return None, "unknown"
        reported = reported_cost(usage)
        if reported is not None:
            return reported, "reported"
        price = None if self.prices is None else self.prices.of(self.model)
        return (None, "unknown") if price is None else (token_cost(usage, price), "catalog")

    @property
    def normalizations(self) -> dict[str, int]:
        """What the server's shapes had to be bent to, each kind with its count; empty for a clean answer."""
        return dict(self._normalizations)

    @property
    def message(self) -> ChatCompletionMessage[ParsedT_co] | Any:
        """The first choice's message; None before any choice came, which type checkers do not ask about: a whole answer has one."""
        choices = self.choices
        return choices[0].message if choices else None

    @property
    def content(self) -> str | None:
        """The first choice's text."""
        message = self.message
        return message.content if message else None

    @property
    def parsed(self) -> ParsedT_co:
        """The first choice's value, where the request's ``response_format`` asked for one; else None.

        Raises:
            OutputError: The answer is not such a value: the model refused, it was cut, or it is not valid.
        """
        choices = self.choices or [CompletionChoice({}, None if self._output is None else self)]
        return choices[0].message.parsed

    @property
    def reasoning(self) -> str | None:
        """The first choice's reasoning."""
        message = self.message
        return message.reasoning if message else None

    @property
    def refusal(self) -> str | None:
        """The first choice's refusal."""
        message = self.message
        return message.refusal if message else None

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The first choice's tool calls; empty if there are none."""
        message = self.message
        return (message.tool_calls or []) if message else []

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended."""
        choices = self.choices
        return choices[0].finish_reason if choices else None

    @property
    def logprobs(self) -> ChoiceLogprobs | None:
        """The first choice's log probabilities."""
        choices = self.choices
        return choices[0].logprobs if choices else None

    def asking_for(self, output: Output[Any]) -> Self:
        """Have the values of the choices read as ``response_format`` asked for them; return the completion itself."""
        self._output = output
        return self

    def parsed_of(self, choice: CompletionChoice[Any], message: ChatCompletionMessage[Any]) -> ParsedT_co:
        """Return the value of one of the choices; see ``ChatCompletionMessage.parsed``. It is read once."""
        assert self._output is not None  # only then does the choice ask
        if self._parsed is None:
            self._parsed = {}
        if choice.index not in self._parsed:
            reason = choice.finish_reason
            self._parsed[choice.index] = read_output(
                self._output, message, finish_reason=reason, whole=_lets_run(reason), completion=self
            )
        return self._parsed[choice.index]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._raw, self._normalizations, self._output)


def completion_as_chunk(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the one chunk that says the same as a whole completion: each message becomes a delta."""
    chunk = {**raw, "object": "chat.completion.chunk"}
    chunk["choices"] = [
        {**{key: value for key, value in choice.items() if key != "message"}, "delta": choice.get("message")}
        for choice in list_of_dicts(raw.get("choices"))
    ]
    return chunk
