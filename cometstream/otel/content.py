"""Messages and tools as the conventions write them: a role and its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from cometstream.errors import CometError
from cometstream.otel.values import safe_text
from cometstream.request.encode import encode_body

if TYPE_CHECKING:
    from cometstream.observe import Call
    from cometstream.otel.values import Attributes, Redact

__all__ = ["as_texts", "content_attributes"]

# The types of a message's parts that lie elsewhere, and what they are.
_MEDIA: Final = {"image_url": "image", "video_url": "video", "input_audio": "audio", "file": "document"}


def content_attributes(call: Call) -> Attributes:
    """Return what was asked and answered, as JSON values without secrets; ``{}`` where it cannot be read."""
    found: Attributes = {}
    try:
        body = orjson.loads(encode_body({name: call.params.get(name) for name in ("messages", "tools")}))
    except CometError:
        body = {}
    if asked := [_message(message) for message in _dicts(body.get("messages"))]:
        found["gen_ai.input.messages"] = asked
    if tools := [_tool(tool) for tool in _dicts(body.get("tools"))]:
        found["gen_ai.tool.definitions"] = tools
    if call.completion is not None and call.completion.choices:
        found["gen_ai.output.messages"] = [
            {**_message(choice.message.raw), "role": "assistant", "finish_reason": choice.finish_reason or "error"}
            for choice in call.completion.choices
        ]
    return {name: _redacted(value, call.redact) for name, value in found.items()}


def as_texts(attributes: Attributes) -> Attributes:
    """Return the same for a span, which holds texts."""
    return {name: json.dumps(value, ensure_ascii=False, separators=(",", ":")) for name, value in attributes.items()}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message.get("role")
    made: dict[str, Any] = {"role": role if isinstance(role, str) else "user"}
    content = message.get("content")
    if role == "tool":
        made["parts"] = [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
        return made
    made["parts"] = [*_reasoning(message), *_parts(content), *_calls(message)]
    if isinstance(message.get("refusal"), str):
        made["parts"].append({"type": "text", "content": message["refusal"]})
    if isinstance(message.get("name"), str):
        made["name"] = message["name"]
    return made


def _reasoning(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str):
            yield {"type": "reasoning", "content": message[name]}
            return


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        yield {"type": "text", "content": content}
    for part in _dicts(content):
        type_ = part.get("type")
        if isinstance(part.get("text"), str):
            yield {"type": "text", "content": part["text"]}
        elif isinstance(type_, str) and type_ in _MEDIA:
            yield _media(_MEDIA[type_], part[type_] if isinstance(part.get(type_), dict) else {})
        else:
            yield {"type": type_ if isinstance(type_, str) else "unknown"}


def _media(modality: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a picture or the like. Where its bytes stand in the request they are left out: they are megabytes, and no text."""
    url = about.get("url")
    if isinstance(url, str) and not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    if isinstance(about.get("file_id"), str):
        return {"type": "file", "modality": modality, "file_id": about["file_id"]}
    type_ = url[5:].partition(";")[0].partition(",")[0] if isinstance(url, str) else None
    return {"type": "blob", "modality": modality, "mime_type": type_ or None, "content": ""}


def _calls(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for call in _dicts(message.get("tool_calls")):
        about = call.get("function") or call.get("custom")
        about = about if isinstance(about, dict) else {}
        arguments: Any = about.get("arguments", about.get("input"))
        try:
            arguments = orjson.loads(arguments)
        except (ValueError, TypeError):
            pass  # a custom tool's text, or what the model made of JSON
        yield {"type": "tool_call", "id": call.get("id"), "name": about.get("name"), "arguments": arguments}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    # The rest may be large, and is not recommended.
    type_ = tool.get("type")
    about = tool.get(type_) if isinstance(type_, str) else None
    return {"type": type_, "name": about.get("name") if isinstance(about, dict) else None}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _redacted(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return safe_text(value, redact)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {safe_text(str(name), redact): _redacted(item, redact) for name, item in value.items()}
    return value
