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
    get = params.get
    limit, stop, n = get("max_completion_tokens"), get("stop"), get("n")
    return {
        "gen_ai.request.stream": True if get("stream") is True else None,
        "gen_ai.request.max_tokens": _integer(get("max_tokens") if limit is None else limit),
        "gen_ai.request.temperature": _double(get("temperature")),
        "gen_ai.request.top_p": _double(get("top_p")),
        "gen_ai.request.top_k": _integer(get("top_k")),
        "gen_ai.request.seed": _integer(get("seed")),
        "gen_ai.request.frequency_penalty": _double(get("frequency_penalty")),
        "gen_ai.request.presence_penalty": _double(get("presence_penalty")),
        "gen_ai.request.stop_sequences": [stop] if isinstance(stop, str) else stop,
        "gen_ai.request.choice.count": None if n == 1 else _integer(n),
        "gen_ai.request.reasoning.level": _level(params),
        "gen_ai.output.type": _output_type(params),
    }


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
        "output_tokens": None if int_or_none(raw.get("completion_tokens")) is None else output_tokens(usage),
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
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
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
    if isinstance(modalities, (list, tuple)) and "audio" in modalities:
        return "speech"
    type_ = wanted.get("type") if isinstance(wanted, Mapping) else None
    return {"json_object": "json", "json_schema": "json", "text": "text"}.get(type_) if isinstance(type_, str) else None
