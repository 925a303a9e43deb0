from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from cometstream import ChatCompletion, CompletionUsage
from cometstream.views.cost import Prices, TokenPrice, reported_cost, token_cost, without_date

PRICE = TokenPrice(1.0, 10.0)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}, 0.002),
        ({"prompt_tokens": 1000, "completion_tokens": 100}, 0.002),
        # reasoning in the total only, as xAI and Gemini count it
        (
            {
                "prompt_tokens": 1000,
                "completion_tokens": 100,
                "total_tokens": 2100,
                "completion_tokens_details": {"reasoning_tokens": 1000},
            },
            0.012,
        ),
        (
            {
                "prompt_tokens": 0,
                "completion_tokens": 100,
                "total_tokens": 100,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            0.001,
        ),
        ({}, 0.0),
    ],
)
def test_tokens_cost_what_a_million_of_them_cost(usage: dict[str, Any], cost: float) -> None:
    assert token_cost(CompletionUsage(usage), PRICE) == pytest.approx(cost)


def test_cached_tokens_cost_what_the_price_says_of_them_or_as_much_as_others() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 600}}
    assert token_cost(CompletionUsage(usage), (1.0, 10.0, 0.5)) == pytest.approx(0.0007)
    assert token_cost(CompletionUsage(usage), PRICE) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("cost", "expected"), [(0.5, 0.5), (0, 0.0), (None, None), ("0.5", None), (True, None), (-1, None), (1e10, None)]
)
def test_a_reported_cost_is_an_amount(cost: Any, expected: float | None) -> None:
    assert reported_cost(CompletionUsage({"cost": cost})) == expected


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5.4-2026-03-05", "gpt-5.4"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("gpt-5.4", "gpt-5.4"),
        ("gpt-5.4-99999999", "gpt-5.4-99999999"),
        ("gemini-2026-3-05x", "gemini-2026-3-05x"),
        ("-20250929", "-20250929"),
        ("20250929", "20250929"),
        ("", ""),
    ],
)
def test_a_model_is_priced_by_its_name_without_the_date(model: str, name: str) -> None:
    assert without_date(model) == name


def test_a_price_is_found_by_the_whole_name_first() -> None:
    prices = Prices()
    assert prices.of("a") is None
    prices.update({"a": PRICE, "a-20250101": TokenPrice(2.0, 2.0)})
    assert prices.of("a-20250101") == (2.0, 2.0)
    assert prices.of("a-20250202") == PRICE
    assert prices.of("b") is prices.of(None) is None


def test_a_completion_without_usage_or_prices_has_no_cost() -> None:
    prices = Prices()
    prices.update({"m": PRICE})
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    for raw, known in (({"model": "m"}, False), ({"usage": usage}, False), ({"model": "m", "usage": usage}, True)):
        completion = ChatCompletion(raw)
        assert (completion.cost, completion.cost_source) == (None, "unknown")
        completion.prices = prices
        assert completion.cost_source == ("catalog" if known else "unknown")
        assert copy.copy(completion) == pickle.loads(pickle.dumps(completion)) == completion
