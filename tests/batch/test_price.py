from __future__ import annotations

from typing import Any

import pytest

from cometstream import CometError, CompletionUsage, ConfigurationError
from cometstream.batch.price import Cost
from cometstream.views.cost import output_tokens

USAGE = CompletionUsage({"prompt_tokens": 2_000_000, "completion_tokens": 500_000, "total_tokens": 2_500_000})


def test_a_price_holds_for_a_million_tokens() -> None:
    assert Cost((1.25, 10)).of("any", USAGE) == 2.5 + 5.0


def test_prices_may_differ_by_model() -> None:
    cost = Cost({"a": (1, 2), "b": (0, 4)})
    assert cost.of("a", USAGE) == 3.0
    assert cost.of("b", USAGE) == 2.0
    assert cost.of("c", USAGE) is None


def test_what_the_server_reports_goes_before_a_price() -> None:
    usage = CompletionUsage({**USAGE.raw, "cost": 0.25})
    assert Cost((1.25, 10)).of("any", usage) == 0.25
    assert Cost(None).of("any", usage) == 0.25


@pytest.mark.parametrize("reported", [None, "0.25", True, -1, float("nan"), float("inf"), {"total": 1}])
def test_a_report_that_is_no_amount_tells_nothing(reported: Any) -> None:
    usage = CompletionUsage({**USAGE.raw, "cost": reported})
    assert Cost(None).of("any", usage) is None
    assert Cost((1, 0)).of("any", usage) == 2.0


@pytest.mark.parametrize(
    "price", [1.25, "1.25", (1,), (1, 2, 3, 4), (1, 2, -3), (1, -2), (1, "2"), (True, 1), {"a": 1}, {"a": (1, None)}]
)
def test_what_is_no_price_is_refused(price: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^price: ") as caught:
        Cost(price)
    assert isinstance(caught.value, CometError)


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 2100}, 1100),
        ({"prompt_tokens": 1000, "completion_tokens": 1100, "total_tokens": 2100}, 1100),
        ({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 0}, 100),
        ({"prompt_tokens": 1000, "completion_tokens": 100}, 100),
        ({"prompt_tokens": 1000, "total_tokens": 1200}, 200),
    ],
)
def test_reasoning_that_only_the_total_counts_is_output(counts: dict[str, int], output: int) -> None:
    assert output_tokens(CompletionUsage(counts)) == output
    assert Cost((0, 1_000_000)).of("any", CompletionUsage(counts)) == output


@pytest.mark.parametrize(
    ("details", "cost"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 60}}, 40 * 2 + 60 * 0.5),
        ({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}, 40 * 2 + 60 * 0.5),
        ({"prompt_tokens_details": {"cached_tokens": 600}}, 100 * 0.5),
        ({"prompt_tokens_details": {"cached_tokens": -5}}, 100 * 2),
        ({"prompt_tokens_details": None}, 100 * 2),
    ],
)
def test_cached_input_has_its_own_price(details: dict[str, Any], cost: float) -> None:
    usage = CompletionUsage({"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100, **details})
    assert Cost((2_000_000, 0, 500_000)).of("any", usage) == cost
    assert Cost((2_000_000, 0)).of("any", usage) == 200
