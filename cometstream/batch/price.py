"""What an answer cost: as the server reported it, or by the caller's prices. It is never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from cometstream.errors import ConfigurationError
from cometstream.request.describe import shown
from cometstream.views.cost import Prices, is_amount, reported_cost, token_cost

if TYPE_CHECKING:
    from cometstream.views.chunks import CompletionUsage

__all__ = ["Cost", "Price"]

Price: TypeAlias = "tuple[float, ...] | Mapping[str, tuple[float, ...]]"
"""What a million input, a million output and (optionally) a million cached input tokens cost, for all models or by model."""


class Cost:
    """Computes the cost of one answer.

    Args:
        price: The caller's prices; None if there are no prices.
        catalog: The prices of the gateway's catalogue, for models that have none of the caller's.

    Raises:
        ConfigurationError: They are not prices.
    """

    def __init__(self, price: Price | None, catalog: Prices | None = None) -> None:
        self._catalog = Prices() if catalog is None else catalog
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
        """Return the cost of these tokens; None if neither the server nor the caller nor the catalogue says."""
        reported = reported_cost(usage)
        if reported is not None:
            return reported
        price = self._by_model.get(model, self._price) or self._catalog.of(model)
        return None if price is None else token_cost(usage, price)


def _is_price(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) in (2, 3) and all(map(is_amount, value))
