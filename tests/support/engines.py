"""What the tests of Ray Data, Daft and Spark check alike."""

from __future__ import annotations

from typing import Any

__all__ = ["check_rows"]


def check_rows(rows: list[dict[str, Any]], count: int) -> None:
    """Each row is there once, with its own answer or its own error."""
    assert sorted(str(row["n"]) for row in rows) == sorted(str(number) for number in range(count))
    for row in rows:
        bad = str(row["n"]).endswith("7")
        assert row["content"] == (None if bad else f"re: {row['n']}")
        assert (row["error"] is not None) == bad
        assert row["prompt_tokens"] == (None if bad else 7)
