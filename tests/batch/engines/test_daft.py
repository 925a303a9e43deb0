"""Against the real Daft."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from support.engines import check_rows

from cometstream.batch.daft import completions
from cometstream.errors import ConfigurationError

daft: Any = pytest.importorskip("daft", reason="needs the extra daft, which is not in dev: it is heavy")
pytestmark = pytest.mark.filterwarnings("default")  # Daft's own


def answered(count: int, **options: Any) -> list[dict[str, Any]]:
    frame = daft.from_pydict({"n": list(range(count)), "question": [str(number) for number in range(count)]})
    answer = completions(daft.col("question"), model="m", retry=None, **options)
    return [{"n": row["n"], **row["answer"]} for row in frame.with_column("answer", answer).to_pylist()]


def test_hundreds_of_rows_are_under_way_and_bad_ones_come_back(counted: Any, session: dict[str, str]) -> None:
    check_rows(answered(400, session=session, concurrency=300), 400)
    assert sum(counted.asked.values()) == 400
    assert counted.most > 150


def test_rows_are_paid_once(counted: Any, session: dict[str, str], tmp_path: Path) -> None:
    for known in (False, True):
        rows = answered(40, session=session, id=daft.col("n"), ledger=tmp_path / "rows.db")
        check_rows(rows, 40)
        assert {row["from_ledger"] for row in rows if row["error"] is None} == {known}
    assert all(count == 1 for text, count in counted.asked.items() if not text.endswith("7"))


def test_a_query_leaves_no_thread_behind(counted: Any, session: dict[str, str]) -> None:
    check_rows(answered(4, session=session), 4)
    gc.collect()
    assert "cometstream-rows" not in {thread.name for thread in threading.enumerate()}


def test_what_cannot_be_used_is_told_before_the_query_runs(session: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="give one of prompt, messages and request"):
        completions(model="m", session=session)
    with pytest.raises(ConfigurationError, match="rpm must be"):
        completions(daft.col("question"), session=session, rpm=-1)
