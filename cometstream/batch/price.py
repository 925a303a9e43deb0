"""What a row cost: as the server reported it, or by the caller's prices. It is never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown

if TYPE_CHECKING:
    from cometstream.views.chunks import CompletionUsage

__all__ = ["Cost", "Price"]

Price: TypeAlias = "tuple[float, float] | Mapping[str, tuple[float, float]]"
"""What a million input and a million output tokens cost, for all models or by model."""

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
        self._by_model: dict[str, tuple[float, float]] = {}
        self._price: tuple[float, float] | None = None
        if isinstance(price, Mapping):
            try:
                self._by_model = dict(price)
            except Exception as error:  # of a mapping of the caller's own
                raise ConfigurationError(f"price: cannot be read ({shown(error)})") from error
        else:
            self._price = price
        for pair in (*self._by_model.values(), *(() if self._price is None else (self._price,))):
            if not _is_pair(pair):
                raise ConfigurationError(
                    "price: must be what a million input and a million output tokens cost, as in (1.25, 10), "
                    f"or a mapping from models to such pairs; got {shown(pair)}"
                )

    def of(self, model: str, usage: CompletionUsage) -> float | None:
        """Return the cost of these tokens; None if neither the server nor the caller says."""
        reported = usage.to_dict().get("cost")
        if _is_amount(reported):
            return float(reported)
        price = self._by_model.get(model, self._price)
        if price is None:
            return None
        return (usage.prompt_tokens * price[0] + usage.completion_tokens * price[1]) / _MILLION


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_amount, value))


def _is_amount(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST
