"""What an answer cost: as the server reported it, or by the caller's prices. It is never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from cometstream.views.chunks import CompletionUsage

__all__ = ["Cost", "Price", "output_tokens"]

Price: TypeAlias = "tuple[float, ...] | Mapping[str, tuple[float, ...]]"
"""What a million input, a million output and (optionally) a million cached input tokens cost, for all models or by model."""

_MILLION: Final = 1_000_000

# No answer costs more, in whatever currency.
_MOST: Final = 1e9


class Cost:
    """Computes the cost of one answer.

    Args:
        price: The caller's prices; None if there are no prices.

    Raises:
        ConfigurationError: They are not prices.
    """

    def __init__(self, price: Price | None) -> None:
        self._by_model: dict[str, tuple[float, ...]] = {}
        self._price: tuple[float, ...] | None = None
        if isinstance(price, Mapping):
            try:
                self._by_model = dict(price)
            except Exception as error:  # of a mapping of the caller's own
                raise ConfigurationError(f"price: cannot be read ({shown(error)})") from error
        else:
            self._price = price
        for amounts in (*self._by_model.values(), *(() if self._price is None else (self._price,))):
            if not _is_price(amounts):
                raise ConfigurationError(
                    "price: must be what a million input and a million output tokens cost, as in (1.25, 10), and optionally "
                    "a million cached input tokens, as in (1.25, 10, 0.125); or a mapping from models to such prices; "
                    f"got {shown(amounts)}"
                )

    def of(self, model: str, usage: CompletionUsage) -> float | None:
        """Return the cost of these tokens; None if neither the server nor the caller says."""
        reported = usage.to_dict().get("cost")
        if _is_amount(reported):
            return float(reported)
        price = self._by_model.get(model, self._price)
        if price is None:
            return None
        cached = min(_cached_tokens(usage), usage.prompt_tokens) if len(price) > 2 else 0
        amount = (usage.prompt_tokens - cached) * price[0] + output_tokens(usage) * price[1]
        return (amount + (cached * price[2] if cached else 0.0)) / _MILLION


def output_tokens(usage: CompletionUsage) -> int:
    """Return the output tokens that are billed. Some providers count reasoning in ``total_tokens`` only (xAI, Gemini)."""
    return max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens)


def _cached_tokens(usage: CompletionUsage) -> int:
    details = usage.prompt_tokens_details
    tokens = None if details is None else details.cached_tokens
    if tokens is None:
        tokens = usage.to_dict().get("prompt_cache_hit_tokens")  # DeepSeek's name
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def _is_price(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) in (2, 3) and all(map(_is_amount, value))


def _is_amount(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST
