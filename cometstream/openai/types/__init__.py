"""OpenAI's names of types, for annotations: our views of answers, and the TypedDicts of requests."""

from __future__ import annotations

from cometstream.views.chunks import CompletionTokensDetails, CompletionUsage, PromptTokensDetails
from cometstream.views.models import Model

__all__ = ["ChatModel", "CompletionTokensDetails", "CompletionUsage", "Model", "PromptTokensDetails"]

ChatModel = str
