"""Types of the request's parameters, for editors and type checkers; at run time `checks` looks at their values.

A dict literal in a call is checked key by key. A variable of type ``dict[str, Any]`` is taken as it is, for what a provider has of
its own. A message may be any mapping, since checkers take ``[{"role": "user", "content": "Hello"}]`` for ``list[dict[str, str]]``.
Fields are ReadOnly, so that OpenAI's own TypedDicts are accepted. Optional parameters take None for "not given".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from cometstream.views.completion import ChatCompletionMessage

if TYPE_CHECKING:
    from typing_extensions import NotRequired, ReadOnly

__all__ = [
    "AssistantMessageParam",
    "AudioParam",
    "ChatParams",
    "ContentPartParam",
    "CustomParam",
    "CustomToolParam",
    "DeveloperMessageParam",
    "FilePartParam",
    "FunctionParam",
    "FunctionToolParam",
    "ImagePartParam",
    "InputAudioPartParam",
    "Message",
    "MessageParam",
    "NamedToolChoice",
    "OtherChatParams",
    "PredictionParam",
    "ReasoningEffort",
    "ResponseFormatParam",
    "RunParams",
    "StreamOptionsParam",
    "SystemMessageParam",
    "TextPartParam",
    "ToolCallParam",
    "ToolChoiceParam",
    "ToolMessageParam",
    "ToolParam",
    "UserMessageParam",
    "WebSearchOptionsParam",
]


class _Unchecked:
    """What no value of a literal is; only Any passes for it."""


_AnyDict: TypeAlias = Mapping[str, _Unchecked]


class TextPartParam(TypedDict):
    """A piece of text inside a message."""

    type: Literal["text"]
    text: str


class ImageURL(TypedDict):
    """Where an image is: an https or a data URL."""

    url: str
    detail: NotRequired[Literal["low", "high", "auto"]]


class ImagePartParam(TypedDict):
    """An image inside a message."""

    type: Literal["image_url"]
    image_url: ImageURL


class InputAudio(TypedDict):
    """Recorded sound, base64, and its format."""

    data: str
    format: str


class InputAudioPartParam(TypedDict):
    """Sound inside a message."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class File(TypedDict, total=False):
    """A file by its id, or its name and its content as a data URL."""

    file_id: str
    filename: str
    file_data: str


class FilePartParam(TypedDict):
    """A file inside a message."""

    type: Literal["file"]
    file: File


ContentPartParam: TypeAlias = (
    TextPartParam | ImagePartParam | InputAudioPartParam | FilePartParam | Mapping[str, object]
)
"""One part of a message's content; part types of a provider's own go as plain mappings."""


class DeveloperMessageParam(TypedDict):
    """The same as ``SystemMessageParam``, under the role that newer models know."""

    role: Literal["developer"]
    content: str | Sequence[ContentPartParam]
    name: NotRequired[str]


class SystemMessageParam(TypedDict):
    """Instructions that the model follows whatever the user says."""

    role: Literal["system"]
    content: str | Sequence[ContentPartParam]
    name: NotRequired[str]


class UserMessageParam(TypedDict):
    """What the end user says."""

    role: Literal["user"]
    content: str | Sequence[ContentPartParam]
    name: NotRequired[str]


class ToolCallFunction(TypedDict):
    """The function that the model called, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCallParam(TypedDict):
    """A tool call of an earlier answer."""

    id: str
    type: Literal["function"]
    function: ToolCallFunction


class AssistantMessageParam(TypedDict):
    """An earlier answer of the model; `content` may be missing where it called tools, refused or spoke."""

    role: Literal["assistant"]
    content: NotRequired[str | Sequence[ContentPartParam] | None]
    name: NotRequired[str]
    refusal: NotRequired[str | None]
    reasoning_content: NotRequired[str | None]
    tool_calls: NotRequired[Sequence[ToolCallParam | Mapping[str, object]] | None]
    function_call: NotRequired[ToolCallFunction | Mapping[str, object] | None]
    audio: NotRequired[Mapping[str, object] | None]


class ToolMessageParam(TypedDict):
    """What a tool returned for the call named by `tool_call_id`."""

    role: Literal["tool"]
    content: str | Sequence[ContentPartParam]
    tool_call_id: str


MessageParam: TypeAlias = (
    SystemMessageParam
    | DeveloperMessageParam
    | UserMessageParam
    | AssistantMessageParam
    | ToolMessageParam
    | Mapping[str, object]
)
"""One message of the conversation: a dict literal, another library's TypedDict, or what ``message.to_dict()`` gave."""

Message: TypeAlias = MessageParam | ChatCompletionMessage
"""What a conversation is made of: ``messages: list[Message]`` takes dicts, and an answer's ``message`` as it is."""


class FunctionParam(TypedDict):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: ReadOnly[str]
    description: ReadOnly[NotRequired[str]]
    parameters: ReadOnly[NotRequired[Mapping[str, object]]]
    strict: ReadOnly[NotRequired[bool | None]]


class FunctionToolParam(TypedDict):
    """A tool that is a function."""

    type: ReadOnly[Literal["function"]]
    function: ReadOnly[FunctionParam]


class CustomParam(TypedDict):
    """A tool that takes text; `format` restricts the text."""

    name: ReadOnly[str]
    description: ReadOnly[NotRequired[str]]
    format: ReadOnly[NotRequired[Mapping[str, object]]]


class CustomToolParam(TypedDict):
    """A tool that takes text instead of JSON."""

    type: ReadOnly[Literal["custom"]]
    custom: ReadOnly[CustomParam]


ToolParam: TypeAlias = FunctionToolParam | CustomToolParam | _AnyDict
"""A tool. Annotate a tool of a provider's own type as ``dict[str, Any]``."""


class FunctionName(TypedDict):
    """A function by its name."""

    name: ReadOnly[str]


class NamedToolChoice(TypedDict):
    """Call this one function."""

    type: ReadOnly[Literal["function"]]
    function: ReadOnly[FunctionName]


ToolChoiceParam: TypeAlias = Literal["auto", "none", "required"] | NamedToolChoice | _AnyDict
"""How the model selects tools."""


class TextFormat(TypedDict):
    """Plain text, or any JSON object without a schema."""

    type: ReadOnly[Literal["text", "json_object"]]


class JSONSchema(TypedDict):
    """A named JSON Schema; with `strict` the answer must match it exactly."""

    name: ReadOnly[str]
    schema: ReadOnly[NotRequired[Mapping[str, object]]]
    description: ReadOnly[NotRequired[str]]
    strict: ReadOnly[NotRequired[bool | None]]


class JSONSchemaFormat(TypedDict):
    """JSON that matches a schema."""

    type: ReadOnly[Literal["json_schema"]]
    json_schema: ReadOnly[JSONSchema]


ResponseFormatParam: TypeAlias = TextFormat | JSONSchemaFormat | _AnyDict
"""The answer's format."""


class StreamOptionsParam(TypedDict, total=False):
    """Options of a stream; `include_usage` asks for token counts before its end."""

    include_usage: ReadOnly[bool]
    include_obfuscation: ReadOnly[bool]


class AudioParam(TypedDict):
    """The voice and the format of spoken answers."""

    voice: ReadOnly[str | Mapping[str, object]]
    format: ReadOnly[str]


class PredictionParam(TypedDict):
    """Text that much of the answer is expected to repeat."""

    type: ReadOnly[Literal["content"]]
    content: ReadOnly[str | Sequence[TextPartParam | Mapping[str, object]]]


class WebSearchOptionsParam(TypedDict, total=False):
    """How the model searches the web, where it does."""

    search_context_size: ReadOnly[Literal["low", "medium", "high"]]
    user_location: ReadOnly[Mapping[str, object] | None]


ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How long a reasoning model thinks; a model knows some of them."""


class CommonParams(TypedDict, total=False):
    """Every parameter of the request body but `model`, `messages`, `stream`, `tools` and `response_format`.

    Source:
        The OpenAPI of POST /v1/chat/completions; from `audio` on, OpenAI's own reference of the same route.
    """

    temperature: float | None
    top_p: float | None
    n: int | None
    stop: str | Sequence[str] | None
    max_tokens: int | None
    max_completion_tokens: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[str, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    user: str | None
    tool_choice: ToolChoiceParam | None
    reasoning_effort: ReasoningEffort | None
    stream_options: StreamOptionsParam | _AnyDict | None
    service_tier: Literal["auto", "default", "flex", "priority"] | str | None
    audio: AudioParam | _AnyDict | None
    function_call: Literal["auto", "none"] | FunctionName | _AnyDict | None
    functions: Sequence[FunctionParam | _AnyDict] | None
    metadata: Mapping[str, str] | None
    modalities: Sequence[Literal["text", "audio"] | str] | None
    parallel_tool_calls: bool | None
    prediction: PredictionParam | _AnyDict | None
    moderation: Mapping[str, object] | None
    prompt_cache_key: str | None
    prompt_cache_options: Mapping[str, object] | None
    prompt_cache_retention: Literal["in_memory", "24h"] | str | None
    safety_identifier: str | None
    seed: int | None
    store: bool | None
    verbosity: Literal["low", "medium", "high"] | None
    web_search_options: WebSearchOptionsParam | _AnyDict | None


class RunParams(CommonParams, total=False):
    """What a run of tools takes: it has `tools` of its own."""

    response_format: ResponseFormatParam | None


class OtherChatParams(CommonParams, total=False):
    """What a call takes beside `model`, `messages` and `response_format`."""

    tools: Sequence[ToolParam] | None


class ChatParams(OtherChatParams, total=False):
    """Every parameter of the request body but `model`, `messages` and `stream`."""

    response_format: ResponseFormatParam | None
