"""A request, an answer and its usage as attributes: only values that OpenTelemetry can hold, without secrets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

_DOUBLES: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_INTEGERS: Final = ("seed", "top_k")


def safe_text(text: str, redact: Redact) -> str:
    """Return a text without secrets, and without lone surrogates: one would cost the exporter all that it sends with it."""
    text = redact(text)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean(attributes: Mapping[str, object], redact: Redact) -> Attributes:
    """Return the attributes that OpenTelemetry can hold: texts without secrets, numbers of 64 bits, and lists of texts."""
    cleaned = {name: _cleaned(value, redact) for name, value in attributes.items() if value is not None}
    return {name: value for name, value in cleaned.items() if value is not None}


def _cleaned(value: object, redact: Redact) -> object:
    if isinstance(value, str):
        # Cut behind the secrets: half of one is one, too.
        return safe_text(value, redact)[:_LONGEST]
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        return [safe_text(item, redact)[:_LONGEST] for item in value[:_MOST]]
    return None


def request_attributes(params: Mapping[str, Any]) -> dict[str, object]:
    """Return what a request asks for, beside its model."""
    limit, stop, n = params.get("max_completion_tokens"), params.get("stop"), params.get("n")
    found: dict[str, object] = {
        "gen_ai.request.stream": True if params.get("stream") is True else None,
        "gen_ai.request.max_tokens": _integer(params.get("max_tokens") if limit is None else limit),
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
        "gen_ai.request.choice.count": None if n == 1 else _integer(n),
        "gen_ai.request.reasoning.level": _level(params),
        "gen_ai.output.type": _output_type(params),
    }
    for name in _DOUBLES:
        found[f"gen_ai.request.{name}"] = _double(params.get(name))
    for name in _INTEGERS:
        found[f"gen_ai.request.{name}"] = _integer(params.get(name))
    return found


def finish_reasons(completion: ChatCompletion[Any], *, latest: bool) -> list[str]:
    """Return the finish reasons of the choices. The newest conventions want ``error`` where one should have come."""
    reasons = [choice.finish_reason or "" for choice in completion.choices]
    return [reason or "error" for reason in reasons] if latest else [reason for reason in reasons if reason]


def token_counts(usage: CompletionUsage | None) -> dict[str, int]:
    """Return the token counts that the server reported, by the ends of the conventions' names, without those that it left out."""
    if usage is None:
        return {}
    raw, inner, outer = usage.raw, usage.prompt_tokens_details, usage.completion_tokens_details
    details = {} if inner is None else inner.raw
    found = {
        "input_tokens": raw.get("prompt_tokens"),
        "output_tokens": output_tokens(usage) if "completion_tokens" in raw else None,
        # The second names are DeepSeek's and Anthropic's.
        "cache_read.input_tokens": _first(details.get("cached_tokens"), raw.get("prompt_cache_hit_tokens")),
        "cache_write.input_tokens": _first(details.get("cache_write_tokens"), raw.get("cache_creation_input_tokens")),
        "reasoning.output_tokens": None if outer is None else outer.reasoning_tokens,
    }
    counts = {name: int_or_none(value) for name, value in found.items()}
    return {name: count for name, count in counts.items() if count is not None and 0 <= count < 2**63}


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _double(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _level(params: Mapping[str, Any]) -> object:
    effort, reasoning = params.get("reasoning_effort"), params.get("reasoning")
    return reasoning.get("effort") if effort is None and isinstance(reasoning, Mapping) else effort


def _output_type(params: Mapping[str, Any]) -> str | None:
    modalities, wanted = params.get("modalities"), params.get("response_format")
    if isinstance(modalities, Sequence) and "audio" in modalities:
        return "speech"
    type_ = wanted.get("type") if isinstance(wanted, Mapping) else None
    return {"json_object": "json", "json_schema": "json", "text": "text"}.get(type_) if isinstance(type_, str) else None
