"""A request, an answer and its usage as attributes: only values that OpenTelemetry can hold, without secrets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cometstream.views.cost import output_tokens
from cometstream.views.view import int_or_none

if TYPE_CHECKING:
    from cometstream.views.chunks import CompletionUsage
    from cometstream.views.completion import ChatCompletion

__all__ = ["Attributes", "Redact", "clean", "finish_reasons", "request_attributes", "safe_text", "token_counts"]

Attributes: TypeAlias = "dict[str, Any]"
Redact: TypeAlias = "Callable[[str], str]"

# A caller may send megabytes, and a server name its model so.
_LONGEST: Final = 1024
_MOST: Final = 64


def safe_text(text: str, redact: Redact) -> str:
    """Return a text without secrets, and without lone surrogates: one would cost the exporter all that it sends with it."""
    text = redact(text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean(attributes: Mapping[str, object], redact: Redact) -> Attributes:
    """Return the attributes that OpenTelemetry can hold: texts without secrets, numbers of 64 bits, and lists of texts."""
    found: Attributes = {}
    for name, value in attributes.items():
        if value is not None and (cleaned := _cleaned(value, redact)) is not None:
            found[name] = cleaned
    return found


def _cleaned(value: object, redact: Redact) -> object:
    if isinstance(value, str):
        # Cut behind the secrets: half of one is one, too.
        return safe_text(value, redact)[:_LONGEST]
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        return [safe_text(item, redact)[:_LONGEST] for item in value[:_MOST]]
    return None


def request_attributes(params: Mapping[str, Any]) -> dict[str, object]:
    """Return what a request asks for, beside its model."""
    found: dict[str, object] = {}
    for name in params.keys() & _ASKED.keys():
        attribute, read = _ASKED[name]
        found[attribute] = read(params[name])
    if (limit := params.get("max_completion_tokens")) is not None:
        found["gen_ai.request.max_tokens"] = _integer(limit)
    if isinstance(reasoning := params.get("reasoning"), Mapping):
        found.setdefault("gen_ai.request.reasoning.level", reasoning.get("effort"))
    if isinstance(modalities := params.get("modalities"), (list, tuple)) and "audio" in modalities:
        found["gen_ai.output.type"] = "speech"
    return found


def finish_reasons(completion: ChatCompletion[Any], *, latest: bool) -> list[str]:
    """Return the finish reasons of the choices. The newest conventions want ``error`` where one should have come."""
    reasons = [choice.finish_reason or "" for choice in completion.choices]
    return [reason or "error" for reason in reasons] if latest else [reason for reason in reasons if reason]


def token_counts(usage: CompletionUsage | None) -> dict[str, int]:
    """Return the token counts that the server reported, by the ends of the conventions' names, without those that it left out."""
    if usage is None:
        return {}
    raw = usage.raw
    inner, outer = _object(raw.get("prompt_tokens_details")), _object(raw.get("completion_tokens_details"))
    found = {
        "input_tokens": int_or_none(raw.get("prompt_tokens")),
        "output_tokens": None if int_or_none(raw.get("completion_tokens")) is None else output_tokens(usage),
        # The second names are DeepSeek's and Anthropic's.
        "cache_read.input_tokens": _first(inner.get("cached_tokens"), raw.get("prompt_cache_hit_tokens")),
        "cache_write.input_tokens": _first(inner.get("cache_write_tokens"), raw.get("cache_creation_input_tokens")),
        "reasoning.output_tokens": int_or_none(outer.get("reasoning_tokens")),
    }
    return {name: count for name, count in found.items() if count is not None and 0 <= count < 2**63}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(first: object, second: object) -> int | None:
    count = int_or_none(first)
    return int_or_none(second) if count is None else count


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _double(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _output_type(wanted: object) -> str | None:
    type_ = wanted.get("type") if isinstance(wanted, Mapping) else None
    return {"json_object": "json", "json_schema": "json", "text": "text"}.get(type_) if isinstance(type_, str) else None


_ASKED: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "stream": ("gen_ai.request.stream", lambda value: True if value is True else None),
    "max_tokens": ("gen_ai.request.max_tokens", _integer),
    "temperature": ("gen_ai.request.temperature", _double),
    "top_p": ("gen_ai.request.top_p", _double),
    "top_k": ("gen_ai.request.top_k", _integer),
    "seed": ("gen_ai.request.seed", _integer),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", _double),
    "presence_penalty": ("gen_ai.request.presence_penalty", _double),
    "stop": ("gen_ai.request.stop_sequences", lambda value: [value] if isinstance(value, str) else value),
    "n": ("gen_ai.request.choice.count", lambda value: None if value == 1 else _integer(value)),
    "reasoning_effort": ("gen_ai.request.reasoning.level", lambda value: value),
    "response_format": ("gen_ai.output.type", _output_type),
}
