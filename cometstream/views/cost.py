"""What an answer cost, in US dollars: as the server reported it, or by the prices of a million tokens. It is never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeGuard

from cometstream.views.view import int_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.views.chunks import CompletionUsage

__all__ = [
    "CostSource",
    "Prices",
    "TokenPrice",
    "is_amount",
    "output_tokens",
    "reported_cost",
    "token_cost",
    "without_date",
]

CostSource: TypeAlias = Literal["reported", "catalog", "unknown"]
"""Who says what an answer cost: the server with its usage, the gateway's catalogue of models, or nobody."""

_MILLION = 1_000_000

# No answer costs more, in whatever currency.
_MOST = 1e9

_DATE_LENGTHS = (10, 8)  # 2026-03-05, 20260305


class TokenPrice(NamedTuple):
    """What a million tokens cost."""

    input: float
    output: float


class Prices:
    """The prices of models by their ids; none at first. All answers of a session share one object."""

    __slots__ = ("_by_model",)

    def __init__(self) -> None:
        self._by_model: Mapping[str, TokenPrice] = {}

    def update(self, by_model: Mapping[str, TokenPrice]) -> None:
        """Take the place of the prices so far."""
        self._by_model = by_model

    def of(self, model: str | None) -> TokenPrice | None:
        """Return the price of a model, also where an answer names it with the date of its version."""
        if model is None or not self._by_model:
            return None
        return self._by_model.get(model) or self._by_model.get(without_date(model))


def reported_cost(usage: CompletionUsage) -> float | None:
    """Return the cost that the server reported with the usage."""
    reported = usage.raw.get("cost")
    return float(reported) if is_amount(reported) else None


def token_cost(usage: CompletionUsage, price: tuple[float, ...]) -> float:
    """Return what the tokens cost.

    Args:
        usage: The tokens.
        price: What a million input, a million output and (optionally) a million cached input tokens cost. Without the third,
            cached tokens cost as much as all others.
    """
    prompt, completion, *rest = price
    cached = min(_cached_tokens(usage), usage.prompt_tokens) if rest else 0
    amount = (usage.prompt_tokens - cached) * prompt + output_tokens(usage) * completion
    return (amount + (cached * rest[0] if cached else 0.0)) / _MILLION


def output_tokens(usage: CompletionUsage) -> int:
    """Return the output tokens that are billed. Some providers count reasoning in ``total_tokens`` only (xAI, Gemini)."""
    return max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens)


def _cached_tokens(usage: CompletionUsage) -> int:
    details = usage.prompt_tokens_details
    tokens = None if details is None else details.cached_tokens
    if tokens is None:
        tokens = int_or_none(usage.raw.get("prompt_cache_hit_tokens"))  # DeepSeek's name
    return max(tokens or 0, 0)


def is_amount(value: Any) -> TypeGuard[float]:
    """Whether a value is an amount of money, or a price."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST


def without_date(model: str) -> str:
    """Return a model's id without the date that many answers add to it."""
    for length in _DATE_LENGTHS:
        head, tail = model[: -length - 1], model[-length:]
        digits = tail.replace("-", "") if length == 10 and tail[4:5] == tail[7:8] == "-" else tail
        if head and model[-length - 1] == "-" and len(digits) == 8 and digits.isdigit() and digits.startswith("20"):
            return head
    return model
