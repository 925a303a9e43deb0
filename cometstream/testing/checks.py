"""The gateway's validation: the requests that it refuses, with the error bodies of its documents and in their order."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from cometstream.testing.replies import Reply

__all__ = ["refusal"]

_RANGES: dict[str, tuple[float, float | None]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_logprobs": (0, 20),
    "n": (1, 128),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
}
_WHOLE = {"top_logprobs", "n", "max_tokens", "max_completion_tokens"}
_STOPS = 5  # no provider takes more


def refusal(body: Any, models: Collection[str], request_id: str) -> Reply | None:
    """Return the error for a chat completion request; None if the request is served.

    Args:
        body: The request's parsed body; None if it is not JSON.
        models: The ids of the models that are served.
        request_id: The id to name in the error's message.
    Source:
        The 400 and 500 examples of POST /v1/chat/completions; for the 503, what users of the gateway report. The model comes
        first: the gateway routes by it before it reads the other fields.
    """
    if not isinstance(body, dict):
        return Reply.error(400, "the body is not a JSON object", code="invalid_request", request_id=request_id)
    model = body.get("model")
    if not model:
        return Reply.error(400, "model name is required", request_id=request_id)
    if model not in models:
        return Reply.error(
            503, f"no available channel for model {model}", code="model_not_found", request_id=request_id
        )
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return Reply.error(500, "field messages is required", param="", code="invalid_request", request_id=request_id)
    for param, problem in _problems(body):
        return Reply.error(400, problem, param=param, code="invalid_value", request_id=request_id)
    return None


def _problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for position, message in enumerate(body["messages"]):
        path = f"messages[{position}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            yield path, f"{path} must be an object with a role"
        elif message["role"] == "tool" and not message.get("tool_call_id"):
            yield path, f"{path} of role tool must have a tool_call_id"
    for position, tool in enumerate(body.get("tools") or ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        named = tool.get(kind) if kind in ("function", "custom") else None
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            yield f"tools[{position}]", f"tools[{position}] must be a function or a custom tool with a name"
    for name in ("response_format", "stream_options", "logit_bias"):
        if not isinstance(body.get(name) or {}, dict):
            yield name, f"{name} must be an object"
    for name, (low, high) in _RANGES.items():
        value = body.get(name)
        if value is not None and not _within(value, low, high, name in _WHOLE):
            yield name, f"{name} must be {'at least ' + str(low) if high is None else f'between {low} and {high}'}"
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield "top_logprobs", "top_logprobs needs logprobs to be true"
    if body.get("stream_options") is not None and not body.get("stream"):
        yield "stream_options", "stream_options is only allowed when stream is true"
    if isinstance(body.get("stop"), list) and len(body["stop"]) > _STOPS:
        yield "stop", f"stop takes at most {_STOPS} sequences"


def _within(value: Any, low: float, high: float | None, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return value >= low and (high is None or value <= high)
