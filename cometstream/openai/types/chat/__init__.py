"""``openai.types.chat``: answers are our views, parameters our TypedDicts."""

from __future__ import annotations

from typing import TypeAlias

from cometstream.openai.parsing import ParsedChatCompletion, ParsedChatCompletionMessage, ParsedChoice
from cometstream.request.params import (
    AssistantMessageParam,
    ContentPartParam,
    DeveloperMessageParam,
    FilePartParam,
    FunctionToolParam,
    ImagePartParam,
    InputAudioPartParam,
    Message,
    NamedToolChoice,
    ReasoningEffort,
    StreamOptionsParam,
    SystemMessageParam,
    TextPartParam,
    ToolCallParam,
    ToolChoiceParam,
    ToolMessageParam,
    ToolParam,
    UserMessageParam,
)
from cometstream.views.chunks import ChatCompletionChunk
from cometstream.views.completion import ChatCompletion, ChatCompletionMessage, ToolCall
from cometstream.views.parts import ChatCompletionAudio, ChatCompletionTokenLogprob

__all__ = [
    "ChatCompletion",
    "ChatCompletionAssistantMessageParam",
    "ChatCompletionAudio",
    "ChatCompletionChunk",
    "ChatCompletionContentPartImageParam",
    "ChatCompletionContentPartInputAudioParam",
    "ChatCompletionContentPartParam",
    "ChatCompletionContentPartTextParam",
    "ChatCompletionDeveloperMessageParam",
    "ChatCompletionFunctionToolParam",
    "ChatCompletionMessage",
    "ChatCompletionMessageFunctionToolCall",
    "ChatCompletionMessageParam",
    "ChatCompletionMessageToolCall",
    "ChatCompletionMessageToolCallParam",
    "ChatCompletionMessageToolCallUnion",
    "ChatCompletionNamedToolChoiceParam",
    "ChatCompletionReasoningEffort",
    "ChatCompletionRole",
    "ChatCompletionStreamOptionsParam",
    "ChatCompletionSystemMessageParam",
    "ChatCompletionTokenLogprob",
    "ChatCompletionToolChoiceOptionParam",
    "ChatCompletionToolMessageParam",
    "ChatCompletionToolParam",
    "ChatCompletionToolUnionParam",
    "ChatCompletionUserMessageParam",
    "FilePartParam",
    "ParsedChatCompletion",
    "ParsedChatCompletionMessage",
    "ParsedChoice",
]

ChatCompletionAssistantMessageParam = AssistantMessageParam
ChatCompletionContentPartImageParam = ImagePartParam
ChatCompletionContentPartInputAudioParam = InputAudioPartParam
ChatCompletionContentPartParam: TypeAlias = ContentPartParam
ChatCompletionContentPartTextParam = TextPartParam
ChatCompletionDeveloperMessageParam = DeveloperMessageParam
ChatCompletionFunctionToolParam = FunctionToolParam
ChatCompletionMessageFunctionToolCall = ToolCall
ChatCompletionMessageParam: TypeAlias = Message
ChatCompletionMessageToolCall = ToolCall
ChatCompletionMessageToolCallParam = ToolCallParam
ChatCompletionMessageToolCallUnion = ToolCall
ChatCompletionNamedToolChoiceParam = NamedToolChoice
ChatCompletionReasoningEffort: TypeAlias = ReasoningEffort
ChatCompletionRole: TypeAlias = str
ChatCompletionStreamOptionsParam = StreamOptionsParam
ChatCompletionSystemMessageParam = SystemMessageParam
ChatCompletionToolChoiceOptionParam: TypeAlias = ToolChoiceParam
ChatCompletionToolMessageParam = ToolMessageParam
ChatCompletionToolParam: TypeAlias = ToolParam
ChatCompletionToolUnionParam: TypeAlias = ToolParam
ChatCompletionUserMessageParam = UserMessageParam
