"""Names for annotations, in one place: messages and parameters of a request, answers, events of a stream.

``Reply``, what the simulated server answers, is imported when it is asked for, and the server with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cometstream.answer.events import (
    ChunkEvent,
    ContentDeltaEvent,
    ContentDoneEvent,
    FunctionToolCallArgumentsDeltaEvent,
    FunctionToolCallArgumentsDoneEvent,
    KeepAliveEvent,
    LogprobsContentDeltaEvent,
    LogprobsContentDoneEvent,
    LogprobsRefusalDeltaEvent,
    LogprobsRefusalDoneEvent,
    ReasoningDeltaEvent,
    ReasoningDoneEvent,
    RefusalDeltaEvent,
    RefusalDoneEvent,
    StreamEvent,
)
from cometstream.request.params import (
    AssistantMessageParam,
    AudioParam,
    ChatParams,
    ContentPartParam,
    CustomToolParam,
    DeveloperMessageParam,
    FilePartParam,
    FunctionParam,
    FunctionToolParam,
    ImagePartParam,
    InputAudioPartParam,
    Message,
    MessageParam,
    NamedToolChoice,
    PredictionParam,
    ReasoningEffort,
    ResponseFormatParam,
    StreamOptionsParam,
    SystemMessageParam,
    TextPartParam,
    ToolCallParam,
    ToolChoiceParam,
    ToolMessageParam,
    ToolParam,
    UserMessageParam,
    WebSearchOptionsParam,
)
from cometstream.views.chunks import (
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    CompletionUsage,
)
from cometstream.views.completion import (
    ChatCompletion,
    ChatCompletionMessage,
    CompletionChoice,
    FunctionCall,
    ToolCall,
)
from cometstream.views.models import Model

if TYPE_CHECKING:
    from cometstream.testing import Reply

__all__ = [
    "AssistantMessageParam",
    "AudioParam",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionMessage",
    "ChatParams",
    "Choice",
    "ChoiceDelta",
    "ChoiceDeltaToolCall",
    "ChunkEvent",
    "CompletionChoice",
    "CompletionUsage",
    "ContentDeltaEvent",
    "ContentDoneEvent",
    "ContentPartParam",
    "CustomToolParam",
    "DeveloperMessageParam",
    "FilePartParam",
    "FunctionCall",
    "FunctionParam",
    "FunctionToolCallArgumentsDeltaEvent",
    "FunctionToolCallArgumentsDoneEvent",
    "FunctionToolParam",
    "ImagePartParam",
    "InputAudioPartParam",
    "KeepAliveEvent",
    "LogprobsContentDeltaEvent",
    "LogprobsContentDoneEvent",
    "LogprobsRefusalDeltaEvent",
    "LogprobsRefusalDoneEvent",
    "Message",
    "MessageParam",
    "Model",
    "NamedToolChoice",
    "PredictionParam",
    "ReasoningDeltaEvent",
    "ReasoningDoneEvent",
    "ReasoningEffort",
    "RefusalDeltaEvent",
    "RefusalDoneEvent",
    "Reply",
    "ResponseFormatParam",
    "StreamEvent",
    "StreamOptionsParam",
    "SystemMessageParam",
    "TextPartParam",
    "ToolCall",
    "ToolCallParam",
    "ToolChoiceParam",
    "ToolMessageParam",
    "ToolParam",
    "UserMessageParam",
    "WebSearchOptionsParam",
]


def __getattr__(name: str) -> object:
    if name == "Reply":
        from cometstream.testing import Reply

        return Reply
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
