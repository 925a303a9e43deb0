"""Typed views of what a stream sends: ``chat.completion.chunk`` objects, their choices, deltas and usage.

The names are OpenAI's. Where gateways bend the shape (null for a list, no index, content as a list of parts) the view reads as
the documented shape would; ``raw`` and ``to_dict()`` keep what came.
"""

from __future__ import annotations

from typing import Any, Final

from cometstream.views.arguments import arguments_text
from cometstream.views.content import choice_says_more, is_content, reasoning_of, split_parts
from cometstream.views.parts import Annotation, ChatCompletionAudio, ChoiceLogprobs
from cometstream.views.view import View, dict_or_empty, int_or_none, list_of_dicts, text_or_none, view_or_none

__all__ = [
    "AnyChoice",
    "AnyCompletion",
    "AnyMessage",
    "ChatCompletionChunk",
    "Choice",
    "ChoiceDelta",
    "ChoiceDeltaFunctionCall",
    "ChoiceDeltaToolCall",
    "ChoiceDeltaToolCallCustom",
    "ChoiceDeltaToolCallFunction",
    "CompletionTokensDetails",
    "CompletionUsage",
    "PromptTokensDetails",
    "delta_of",
    "finish_reason_of",
    "index_of",
    "is_error_reason",
    "usage_beside",
]


# Finish reasons that say that there is none: empty, or a programming language's word for nothing, written as text.
_NO_REASONS: Final = frozenset(
    {"", "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified", "not_finished", "in_progress"}
)  # fmt: skip


# Nearly all others.
_PLAIN_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def finish_reason_of(choice: dict[str, Any]) -> str | None:
    """Return why a choice ended, or None while it goes on.

    This alone says what a finish reason is: ``""`` and ``"null"`` are none, ``finishReason`` is read where there is no other.
    """
    reason = choice.get("finish_reason")
    if (reason is None and "finishReason" not in choice) or (type(reason) is str and reason in _PLAIN_REASONS):
        return reason
    for word in (reason, choice.get("finishReason")):
        if isinstance(word, str) and word.strip().lower() not in _NO_REASONS:
            return word
    return None


def is_error_reason(reason: str | None) -> bool:
    """Whether a finish reason says that the answer failed: ``error`` in any spelling, ``network_error``, ``abort`` and the like."""
    if reason is None or reason in _PLAIN_REASONS:
        return False
    words = reason.strip().lower().replace("-", "_").split("_")
    return "error" in words or "abort" in words or "aborted" in words or words == ["insufficient", "system", "resource"]


def usage_beside(raw: dict[str, Any]) -> dict[str, Any] | None:
    """Return a chunk's usage where it stands in another place: Groq's ``x_groq``, or the first choice (Moonshot)."""
    for place in (raw.get("x_groq"), *list_of_dicts(raw.get("choices"))[:1]):
        usage = place.get("usage") if isinstance(place, dict) else None
        if usage and isinstance(usage, dict):
            return usage
    return None


def index_of(choice: dict[str, Any]) -> int:
    """Return which of the ``n`` choices this is; 0 if the gateway left it out, or wrote something that is not a number."""
    index = int_or_none(choice.get("index")) or 0
    return index if -(1 << 63) <= index < 1 << 64 else 0  # what 64 bits do not hold cannot be written as JSON


def delta_of(choice: dict[str, Any]) -> Any:
    """Return what a choice of a chunk adds: its delta, or the whole message of a gateway that streams in one piece."""
    return choice["delta"] if "delta" in choice else choice.get("message")


class PromptTokensDetails(View):
    """Where the prompt's tokens came from."""

    __slots__ = ()

    @property
    def cached_tokens(self) -> int | None:
        """Tokens served from the provider's prompt cache."""
        return int_or_none(self._raw.get("cached_tokens"))

    @property
    def audio_tokens(self) -> int | None:
        """Tokens that came from audio input."""
        return int_or_none(self._raw.get("audio_tokens"))


class CompletionTokensDetails(View):
    """What the completion's tokens were spent on."""

    __slots__ = ()

    @property
    def reasoning_tokens(self) -> int | None:
        """Tokens the model spent on reasoning; billed as output."""
        return int_or_none(self._raw.get("reasoning_tokens"))

    @property
    def audio_tokens(self) -> int | None:
        """Tokens of audio output."""
        return int_or_none(self._raw.get("audio_tokens"))

    @property
    def accepted_prediction_tokens(self) -> int | None:
        """Tokens of the predicted output that were accepted."""
        return int_or_none(self._raw.get("accepted_prediction_tokens"))

    @property
    def rejected_prediction_tokens(self) -> int | None:
        """Tokens of the predicted output that were discarded, and billed."""
        return int_or_none(self._raw.get("rejected_prediction_tokens"))


class CompletionUsage(View):
    """Token counts as the server reported them; providers' own fields (``cost``, cache counters) read as attributes."""

    __slots__ = ()

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the input; 0 where the report leaves it out."""
        tokens = self._raw.get("prompt_tokens")
        return tokens if type(tokens) is int else int_or_none(tokens) or 0

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, reasoning included; 0 where the report leaves it out."""
        tokens = self._raw.get("completion_tokens")
        return tokens if type(tokens) is int else int_or_none(tokens) or 0

    @property
    def total_tokens(self) -> int:
        """Input and output together; 0 where the report leaves it out."""
        tokens = self._raw.get("total_tokens")
        return tokens if type(tokens) is int else int_or_none(tokens) or 0

    @property
    def prompt_tokens_details(self) -> PromptTokensDetails | None:
        """Where the prompt's tokens came from."""
        return view_or_none(PromptTokensDetails, self._raw.get("prompt_tokens_details"))

    @property
    def completion_tokens_details(self) -> CompletionTokensDetails | None:
        """What the completion's tokens were spent on."""
        return view_or_none(CompletionTokensDetails, self._raw.get("completion_tokens_details"))


class ChoiceDeltaFunctionCall(View):
    """A fragment of a legacy function call."""

    __slots__ = ()

    @property
    def name(self) -> str | None:
        """The function's name, as a rule in the first fragment only."""
        return text_or_none(self._raw.get("name"))

    @property
    def arguments(self) -> str | None:
        """A piece of the JSON text of the arguments."""
        arguments = self._raw.get("arguments")
        return arguments if type(arguments) is str else arguments_text(arguments)


class ChoiceDeltaToolCallFunction(ChoiceDeltaFunctionCall):
    """The function part of a tool-call fragment."""

    __slots__ = ()


class ChoiceDeltaToolCallCustom(View):
    """The custom part of a tool-call fragment."""

    __slots__ = ()

    @property
    def name(self) -> str | None:
        """The tool's name, as a rule in the first fragment only."""
        return text_or_none(self._raw.get("name"))

    @property
    def input(self) -> str | None:
        """A piece of the text."""
        return text_or_none(self._raw.get("input"))


class ChoiceDeltaToolCall(View):
    """A fragment of one tool call. Which call it belongs to is the accumulator's to say: gateways repeat and omit indexes."""

    __slots__ = ()

    @property
    def index(self) -> int | None:
        """The call's place among the calls of its choice; None where the gateway left it out."""
        return int_or_none(self._raw.get("index"))

    @property
    def id(self) -> str | None:
        """The call's id, as a rule in the first fragment only."""
        return text_or_none(self._raw.get("id"))

    @property
    def type(self) -> str | None:
        """``"function"``, or a kind the provider adds."""
        return text_or_none(self._raw.get("type"))

    @property
    def function(self) -> ChoiceDeltaToolCallFunction | None:
        """Name and argument pieces."""
        function = self._raw.get("function")
        return ChoiceDeltaToolCallFunction(function) if isinstance(function, dict) else None

    @property
    def custom(self) -> ChoiceDeltaToolCallCustom | None:
        """Name and text of a call of a custom tool."""
        return view_or_none(ChoiceDeltaToolCallCustom, self._raw.get("custom"))


class AnyMessage(View):
    """What the delta of a chunk and a whole message have in common."""

    __slots__ = ()

    @property
    def content(self) -> str | None:
        """The text; None where there is none, as beside tool calls."""
        content = self._raw.get("content")
        if type(content) is str:
            return content
        return split_parts(content)[0] if isinstance(content, list) else None

    @property
    def reasoning(self) -> str | None:
        """The reasoning: ``reasoning_content``, ``reasoning``, or the thinking parts of the content."""
        return reasoning_of(self._raw)

    @property
    def reasoning_content(self) -> str | None:
        """The same as ``reasoning``, under the name that some providers give it."""
        return self.reasoning

    @property
    def refusal(self) -> str | None:
        """The refusal, where the model refuses."""
        return text_or_none(self._raw.get("refusal"))

    @property
    def audio(self) -> ChatCompletionAudio | None:
        """Sound and its transcript."""
        return view_or_none(ChatCompletionAudio, self._raw.get("audio"))

    @property
    def annotations(self) -> list[Annotation]:
        """Annotations, such as URL citations."""
        return [Annotation(annotation) for annotation in list_of_dicts(self._raw.get("annotations"))]


class AnyChoice(View):
    """What a choice of a chunk and one of a whole completion have in common."""

    __slots__ = ()

    @property
    def index(self) -> int:
        """Which of the ``n`` choices this is; 0 where the gateway left it out."""
        index = self._raw.get("index")
        return index if type(index) is int else index_of(self._raw)

    @property
    def finish_reason(self) -> str | None:
        """Why the choice ended (``stop``, ``length``, ``tool_calls`` ...); None while it goes on: it is never invented."""
        return finish_reason_of(self._raw)

    @property
    def logprobs(self) -> ChoiceLogprobs | None:
        """Log probabilities of the tokens; None where none were asked for."""
        return view_or_none(ChoiceLogprobs, self._raw.get("logprobs"))


class AnyCompletion(View):
    """What a chunk and a whole completion have in common."""

    __slots__ = ()

    @property
    def id(self) -> str | None:
        """The completion's id, the same in every chunk."""
        return text_or_none(self._raw.get("id"))

    @property
    def created(self) -> int | None:
        """Unix time of the completion's creation, in seconds."""
        return int_or_none(self._raw.get("created"))

    @property
    def model(self) -> str | None:
        """The model that answers, often with a version suffix."""
        return text_or_none(self._raw.get("model"))

    @property
    def service_tier(self) -> str | None:
        """The tier that processed the request."""
        return text_or_none(self._raw.get("service_tier"))

    @property
    def system_fingerprint(self) -> str | None:
        """The provider's backend configuration."""
        return text_or_none(self._raw.get("system_fingerprint"))


class ChoiceDelta(AnyMessage):
    """What one chunk adds to one choice."""

    __slots__ = ()

    @property
    def role(self) -> str | None:
        """``"assistant"``, as a rule in the first chunk only."""
        return text_or_none(self._raw.get("role"))

    @property
    def tool_calls(self) -> list[ChoiceDeltaToolCall] | None:
        """Fragments of tool calls; None if there are none, as in OpenAI's client."""
        calls = self._raw.get("tool_calls")
        if type(calls) is list and len(calls) == 1 and type(calls[0]) is dict:
            return [ChoiceDeltaToolCall(calls[0])]
        return [ChoiceDeltaToolCall(call) for call in list_of_dicts(calls)] or None

    @property
    def function_call(self) -> ChoiceDeltaFunctionCall | None:
        """A fragment of a legacy function call."""
        return view_or_none(ChoiceDeltaFunctionCall, self._raw.get("function_call"))


class Choice(AnyChoice):
    """One choice of a chunk."""

    __slots__ = ()

    @property
    def delta(self) -> ChoiceDelta:
        """What the chunk adds to the choice; empty where the gateway wrote null."""
        delta = self._raw.get("delta")
        return ChoiceDelta(delta if type(delta) is dict else dict_or_empty(delta_of(self._raw)))


class ChatCompletionChunk(AnyCompletion):
    """One ``chat.completion.chunk`` as it arrived."""

    __slots__ = ()

    @property
    def object(self) -> str | None:
        """``"chat.completion.chunk"``; some gateways write another text or none."""
        return text_or_none(self._raw.get("object"))

    @property
    def choices(self) -> list[Choice]:
        """What the chunk adds, per choice; empty in a usage chunk."""
        choices = self._raw.get("choices")
        if not choices:
            return []
        if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:
            return [Choice(choices[0])]
        return [Choice(choice) for choice in list_of_dicts(choices)]

    @property
    def usage(self) -> CompletionUsage | None:
        """Token counts, as a rule in the last chunk only; some providers report under ``x_groq``, or inside a choice."""
        usage = self._raw.get("usage")
        return view_or_none(CompletionUsage, usage if usage else usage_beside(self._raw) or usage)

    def has_content(self) -> bool:
        """Whether the chunk carries content: whatever a model produced, in any field that is not known bookkeeping.

        A role, an id, an empty text or a usage report is not content. The clocks ``first_content`` and ``content_idle`` go by this.
        """
        for choice in list_of_dicts(self._raw.get("choices")):  # noqa: SIM110 - a generator takes half as long again
            if is_content(delta_of(choice)) or choice_says_more(choice):
                return True
        return False
