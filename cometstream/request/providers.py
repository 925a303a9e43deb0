"""The endpoint's table of what each provider takes, and warnings where a request goes beyond it.

A warning, never an error: providers change faster than tables, and the gateway adapts many parameters itself.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, MutableSet
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

from cometstream.request.describe import shown
from cometstream.request.encode import is_json_list

__all__ = [
    "PARAMETER_SUPPORT",
    "WANT_MAX_COMPLETION_TOKENS",
    "WANT_RESPONSES_ENDPOINT",
    "WARNED",
    "OpenAIModels",
    "ParameterWarning",
    "model_family",
    "wants_developer",
    "warn_parameters",
]


class ParameterWarning(UserWarning):
    """The model's provider does not take a parameter as it was given. The request is sent all the same."""


class OpenAIModels:
    """A group of OpenAI models, such as "o-series, GPT-5.1+".

    Attributes:
        name: The words of the endpoint's page.
        since: The first GPT version in the group; Pro, o-series and Codex models are always in it.
    """

    __slots__ = ("name", "since")

    def __init__(self, name: str, since: tuple[int, int]) -> None:
        self.name = name
        self.since = since


Support: TypeAlias = bool | float | tuple[str, ...] | OpenAIModels
"""A cell of the table: taken or not, up to a number (of `stop`: of strings), only these types, or only these models."""

PARAMETER_SUPPORT: Final[Mapping[str, Mapping[str, Support]]] = {
    "temperature": {"gpt": 2, "claude": 1, "gemini": 2},
    "top_p": {"gpt": 1, "claude": 1, "gemini": 1},
    "n": {"gpt": 128, "claude": 1, "gemini": 8},
    "stop": {"gpt": 4, "claude": 4, "gemini": 5},
    "tools": {"gpt": True, "claude": True, "gemini": True},
    "response_format": {"gpt": True, "claude": ("json_schema",), "gemini": True},
    "logprobs": {"gpt": True, "claude": False, "gemini": False},
    "reasoning_effort": {"gpt": OpenAIModels("o-series and GPT-5.1+", (5, 1)), "claude": False, "gemini": False},
}
"""The page's table "Parameter support across providers"; the columns are OpenAI GPT, Claude and Gemini."""

WANT_MAX_COMPLETION_TOKENS: Final = OpenAIModels("GPT-4.1, GPT-5 series and o-series", (4, 1))
"""The models for which the page recommends `max_completion_tokens` over `max_tokens`, and the role `developer` over `system`."""

WANT_RESPONSES_ENDPOINT: Final = frozenset({"pro", "o-series", "codex"})
"""The families for which the page recommends the Responses endpoint, which supports them better."""

WARNED: Final[set[tuple[str, str]]] = set()
"""The (model family, parameter) pairs that this process was warned of; ``WARNED.clear()`` brings the warnings back."""

# Tried in this order on the id's last path segment, after "ft:" (a fine-tune) or dotted words ("us.anthropic."). A version has few
# digits; Python refuses to read thousands of them.
_FAMILIES: Final = {
    "codex": r"(?:gpt-[\d.]+-)?codex(?![a-z])",
    "pro": r"(?:gpt-[\d.]+|o\d+)-pro(?![a-z])",
    "o-series": r"o\d+(?![a-z\d.])",
    "gpt": r"(?:chat)?gpt-(\d)(?:\.(\d{1,4}))?",
    "claude": r"claude(?![a-z])",
    "gemini": r"gemini(?![a-z])",
}


def model_family(model_id: str) -> str | None:
    """Return the family of a model by its id.

    Args:
        model_id: As in the request, with or without a provider's prefix ("anthropic/claude-..."), a date or a suffix.

    Returns:
        "gpt", "o-series", "pro", "codex", "claude" or "gemini"; None for all others.
    """
    return _match(model_id)[0]


def wants_developer(model_id: str) -> bool:
    """Whether the endpoint advises `developer` over `system` for a model's instructions.

    Source:
        "Message roles" on the page of POST /v1/chat/completions. Other models take `system`, which works with all.
    """
    family, version = _match(model_id)
    if family in (None, "claude", "gemini"):
        return False
    return version is None or version >= WANT_MAX_COMPLETION_TOKENS.since


def warn_parameters(
    body: Mapping[str, Any], *, stacklevel: int = 1, seen: MutableSet[tuple[str, str]] = WARNED
) -> None:
    """Warn of parameters that the model's provider does not take, once for each (model family, parameter).

    Args:
        body: The request body. Values of a wrong type are skipped: `check_request` refuses them.
        stacklevel: As in `warnings.warn`: 1 points to the line that calls this function, 2 to its caller.
        seen: The pairs that were warned of before; new pairs are added.

    Source:
        "Cross-provider notes" and the note on the Responses endpoint, on the page of POST /v1/chat/completions.
    """
    model = body.get("model")
    if not isinstance(model, str):
        return
    family, limits = _limits(model)
    for parameter, value in body.items():
        limit = limits.get(parameter)
        if limit is None or value is None or (family, parameter) in seen:
            continue
        exceeds, advice = limit
        if exceeds(value):
            seen.add((family, parameter))
            message = f"{parameter}: {advice} (model {shown(model)}); the request is sent unchanged"
            warnings.warn(message, ParameterWarning, stacklevel=stacklevel + 1)


# Whether a value is one that the models do not take, and what to say of it.
_Limit: TypeAlias = tuple[Callable[[Any], bool], str]


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """Return the families' patterns, made for the first request: the import does not wait for them."""
    return {
        family: re.compile(rf"(?:ft:|(?:[a-z-]+\.)+)?{pattern}", re.IGNORECASE) for family, pattern in _FAMILIES.items()
    }


def _match(model_id: str) -> tuple[str | None, tuple[int, int] | None]:
    """Return a model's family and, of GPT models, their version."""
    segment = model_id.rpartition("/")[2]
    for family, pattern in _patterns().items():
        if (match := pattern.match(segment)) is not None:
            return family, (int(match[1]), int(match[2] or 0)) if family == "gpt" else None
    return None, None


@lru_cache(maxsize=256)  # bounded: a program uses a few models, but a proxy passes any number of ids on
def _limits(model_id: str) -> tuple[str, dict[str, _Limit]]:
    """Return a model's family and its limits; no limits for unknown models."""
    family, version = _match(model_id)
    if family is None:
        return "", {}
    limits: dict[str, _Limit] = {}
    if family in WANT_RESPONSES_ENDPOINT:
        limits["model"] = (_always, f"{family} models are better supported by the Responses endpoint")
    column = family if family in ("claude", "gemini") else "gpt"
    if column == "gpt" and (version is None or version >= WANT_MAX_COMPLETION_TOKENS.since):
        advice = f"max_completion_tokens is recommended for {WANT_MAX_COMPLETION_TOKENS.name}"
        limits["max_tokens"] = (_always, advice)
    for parameter, cells in PARAMETER_SUPPORT.items():
        limit = _limit(parameter, cells[column], f"{family} models", version)
        if limit is not None:
            limits[parameter] = limit
    return family, limits


def _limit(parameter: str, cell: Support, models: str, version: tuple[int, int] | None) -> _Limit | None:
    if isinstance(cell, OpenAIModels):
        taken = version is None or version >= cell.since
        return None if taken else (_always, f"only {cell.name} take it")
    if isinstance(cell, bool):
        return None if cell else (bool, f"{models} do not take it")
    if isinstance(cell, tuple):
        return (lambda value: _is_other_type(value, cell), f"{models} take only {' or '.join(cell)}")
    if parameter == "stop":
        return (lambda value: is_json_list(value) and len(value) > cell, f"{models} take up to {cell} strings")
    return (lambda value: isinstance(value, (int, float)) and value > cell, f"{models} take up to {cell}")


def _always(value: object) -> bool:
    return True


def _is_other_type(value: object, types: tuple[str, ...]) -> bool:
    # Every model answers with "text" by itself.
    return isinstance(value, Mapping) and value.get("type") not in ("text", *types)
