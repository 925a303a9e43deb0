from __future__ import annotations

from typing import Any

import pytest

from cometstream import CometError, CompletionUsage, ConfigurationError
from cometstream.batch.price import Cost

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
    "price", [1.25, "1.25", (1,), (1, 2, 3), (1, -2), (1, "2"), (True, 1), {"a": 1}, {"a": (1, None)}]
)
def test_what_is_no_price_is_refused(price: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^price: ") as caught:
        Cost(price)
    assert isinstance(caught.value, CometError)
