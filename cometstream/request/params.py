"""Types of the request's parameters, for editors and type checkers; at run time `checks` looks at their values.

Every object may also be a plain mapping, so that dicts from anywhere and other libraries' TypedDicts are accepted. Optional
parameters take None for "not given", as in the OpenAI SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired

__all__ = [
    "AssistantMessageParam",
    "AudioParam",
    "ChatParams",
    "ContentPartParam",
    "DeveloperMessageParam",
    "FilePartParam",
    "FunctionParam",
    "FunctionToolParam",
    "ImagePartParam",
    "InputAudioPartParam",
    "MessageParam",
    "NamedToolChoice",
    "OtherChatParams",
    "PredictionParam",
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


class FunctionParam(TypedDict):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: NotRequired[str]
    parameters: NotRequired[Mapping[str, object]]
    strict: NotRequired[bool | None]


class FunctionToolParam(TypedDict):
    """A tool that is a function."""

    type: Literal["function"]
    function: FunctionParam


ToolParam: TypeAlias = FunctionToolParam | Mapping[str, object]
"""A tool; tool types of a provider's own go as plain mappings."""


class FunctionName(TypedDict):
    """A function by its name."""

    name: str


class NamedToolChoice(TypedDict):
    """Call this one function."""

    type: Literal["function"]
    function: FunctionName


ToolChoiceParam: TypeAlias = Literal["auto", "none", "required"] | str | NamedToolChoice | Mapping[str, object]
"""How the model selects tools."""


class TextFormat(TypedDict):
    """Plain text, or any JSON object without a schema."""

    type: Literal["text", "json_object"]


class JSONSchema(TypedDict):
    """A named JSON Schema; with `strict` the answer must match it exactly."""

    name: str
    schema: Mapping[str, object]
    description: NotRequired[str]
    strict: NotRequired[bool | None]


class JSONSchemaFormat(TypedDict):
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormatParam: TypeAlias = TextFormat | JSONSchemaFormat | Mapping[str, object]
"""The answer's format."""


class StreamOptionsParam(TypedDict, total=False):
    """Options of a stream; `include_usage` asks for token counts before its end."""

    include_usage: bool
    include_obfuscation: bool


class AudioParam(TypedDict):
    """The voice and the format of spoken answers."""

    voice: str | Mapping[str, object]
    format: str


class PredictionParam(TypedDict):
    """Text that much of the answer is expected to repeat."""

    type: Literal["content"]
    content: str | Sequence[TextPartParam | Mapping[str, object]]


class WebSearchOptionsParam(TypedDict, total=False):
    """How the model searches the web, where it does."""

    search_context_size: Literal["low", "medium", "high"]
    user_location: Mapping[str, object] | None


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
    reasoning_effort: Literal["low", "medium", "high"] | str | None
    stream_options: StreamOptionsParam | Mapping[str, object] | None
    service_tier: Literal["auto", "default", "flex", "priority"] | str | None
    audio: AudioParam | Mapping[str, object] | None
    function_call: Literal["auto", "none"] | str | FunctionName | Mapping[str, object] | None
    functions: Sequence[FunctionParam | Mapping[str, object]] | None
    metadata: Mapping[str, str] | None
    modalities: Sequence[Literal["text", "audio"] | str] | None
    parallel_tool_calls: bool | None
    prediction: PredictionParam | Mapping[str, object] | None
    moderation: Mapping[str, object] | None
    prompt_cache_key: str | None
    prompt_cache_options: Mapping[str, object] | None
    prompt_cache_retention: Literal["in_memory", "24h"] | str | None
    safety_identifier: str | None
    seed: int | None
    store: bool | None
    verbosity: Literal["low", "medium", "high"] | str | None
    web_search_options: WebSearchOptionsParam | Mapping[str, object] | None


class RunParams(CommonParams, total=False):
    """What a run of tools takes: it has `tools` of its own."""

    response_format: ResponseFormatParam | None


class OtherChatParams(CommonParams, total=False):
    """What a call takes beside `model`, `messages` and `response_format`."""

    tools: Sequence[ToolParam] | None


class ChatParams(OtherChatParams, total=False):
    """Every parameter of the request body but `model`, `messages` and `stream`."""

    response_format: ResponseFormatParam | None
