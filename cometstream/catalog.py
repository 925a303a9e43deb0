"""What the gateway tells besides answers: its catalogue of models with their prices, and the balance of an account. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final, NamedTuple, TypeGuard

from cometstream.answer.typed_errors import VERSION_AT_ITS_END
from cometstream.errors import ProtocolError
from cometstream.views.cost import TokenPrice, is_amount
from cometstream.views.view import View, dict_or_empty, int_or_none, list_of_dicts, text_or_none

__all__ = ["Balance", "Catalog", "CatalogModel", "catalog_url", "read_balance", "read_catalog"]

# Prices change by the day, not by the request.
_FRESH_FOR: Final = 24 * 3600.0

# What the gateway reports as the limit of a key that has none, in dollars.
_UNLIMITED: Final = 100_000_000

# Levels of lists and objects in which routes are looked for.
_DEEPEST: Final = 4


class CatalogModel(View):
    """One model of the catalogue; fields that are not named here read as attributes."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The id to send as ``model``."""
        return text_or_none(self._raw.get("id")) or ""

    @property
    def provider(self) -> str | None:
        """Who made the model."""
        return text_or_none(self._raw.get("provider"))

    @property
    def context_length(self) -> int | None:
        """Tokens that a request and its answer may have together, where the catalogue tells it."""
        return int_or_none(self._raw.get("context_length"))

    @property
    def endpoints(self) -> list[str]:
        """The routes that serve the model, such as ``/v1/chat/completions``; empty where the catalogue does not tell."""
        return list(dict.fromkeys(_routes(self._raw.get("endpoints"))))

    @property
    def price(self) -> TokenPrice | None:
        """What a million input and output tokens cost in US dollars, the gateway's discount taken off.

        None where the model is priced otherwise: by request, by second, in another currency.
        """
        pricing = dict_or_empty(self._raw.get("pricing"))
        unit = text_or_none(pricing.get("currency"))
        if unit is not None and not ("usd" in unit.lower() and "token" in unit.lower()):
            return None
        ratio = pricing.get("ratio")
        discount = ratio if is_amount(ratio) and ratio > 0 else 1
        prompt, completion = pricing.get("input"), pricing.get("output")
        if not is_amount(prompt) or not is_amount(completion) or not (prompt or completion):
            return None
        # 0.3 * 0.8 is 0.24 in a price list.
        return TokenPrice(round(prompt * discount, 9), round(completion * discount, 9))


class Catalog(Mapping[str, CatalogModel]):
    """The models of the gateway by their ids, as ``session.catalog()`` read them.

    Attributes:
        source: The address that they were read from.
    """

    def __init__(self, models: list[CatalogModel], source: str) -> None:
        self._models = {model.id: model for model in models}
        self._read = monotonic()
        self.source = source

    def __getitem__(self, model: str) -> CatalogModel:
        return self._models[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"<Catalog of {len(self)} models from {self.source}>"

    @property
    def is_fresh(self) -> bool:
        """Whether it was read less than a day ago."""
        return monotonic() - self._read < _FRESH_FOR

    @property
    def prices(self) -> dict[str, TokenPrice]:
        """The prices of the models that are priced by tokens."""
        return {model.id: price for model in self._models.values() if (price := model.price) is not None}


class Balance(NamedTuple):
    """The money of an account, or the part of it that its key may spend, in US dollars.

    Attributes:
        remaining: What is left; None where the key has no limit.
        used: What was spent.
    """

    remaining: float | None
    used: float


def catalog_url(base_url: str) -> str:
    """Return the address of the catalogue, which is on the same host but not below ``/v1``."""
    return f"{re.sub(VERSION_AT_ITS_END, '', base_url)}/api/models"


def read_catalog(document: Any, source: str) -> Catalog:
    """Return the catalogue that a document holds.

    Raises:
        ProtocolError: It holds none.
    Source:
        GET /api/models, "List available CometAPI models".
    """
    listed = document.get("data") if isinstance(document, dict) else document
    models = [model for model in map(CatalogModel, list_of_dicts(listed)) if model.id]
    if not models:
        raise ProtocolError(f"the answer of {source} is not a catalogue of models")
    return Catalog(models, source)


def read_balance(subscription: Any, usage: Any, source: str) -> Balance:
    """Return the balance that the two documents of the route hold: a limit in dollars, and what was spent in cents.

    Raises:
        ProtocolError: They hold none.
    Source:
        GET /v1/dashboard/billing/subscription and /v1/dashboard/billing/usage, once OpenAI's, which gateways kept.
    """
    limit = dict_or_empty(subscription).get("hard_limit_usd")
    spent = dict_or_empty(usage).get("total_usage")
    if not _is_number(limit) or not _is_number(spent):
        raise ProtocolError(f"the answer of {source} is not a balance")
    used = round(spent / 100, 9)
    return Balance(None if limit >= _UNLIMITED else round(limit - used, 9), used)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _routes(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the paths in a value: the catalogue's own form of them is not documented."""
    if isinstance(value, str):
        yield from re.findall(r"/[\w./:{}*-]+", value)
    elif isinstance(value, (list, dict)) and depth < _DEEPEST:
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _routes(item, depth + 1)
