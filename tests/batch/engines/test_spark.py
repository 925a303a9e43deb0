"""Against the real Spark."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engines import check_rows

from cometstream.batch.spark import Completions

pytest.importorskip("pyspark", reason="needs the extra spark, which is not in dev: it is heavy")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # Spark's own
    pytest.mark.skipif(shutil.which("java") is None, reason="needs Java, as Debian's openjdk-17-jre-headless"),
]


@pytest.fixture(scope="module")
def spark(thread: Any) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    # A task is tried three times.
    session = builder.master("local[2,3]").config("spark.ui.enabled", "false").config("spark.driver.host", "127.0.0.1")
    spark = session.getOrCreate()
    yield spark
    spark.stop()


def frame(spark: Any, count: int) -> Any:
    return spark.createDataFrame([(number, str(number)) for number in range(count)], ["n", "prompt"]).repartition(2)


@pytest.mark.parametrize("way", ["mapInArrow", "mapInPandas"])
def test_hundreds_of_rows_are_under_way_and_bad_ones_come_back(
    spark: Any, counted: Any, session: dict[str, str], way: str
) -> None:
    completions = Completions(session=session, model="m", retry=None, concurrency=200)
    rows = frame(spark, 400)
    check_rows([row.asDict() for row in getattr(rows, way)(completions, completions.schema(rows)).collect()], 400)
    assert sum(counted.asked.values()) == 400
    assert counted.most > 150


def test_a_worker_that_is_killed_pays_no_finished_row_again(
    spark: Any, counted: Any, session: dict[str, str], tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    ledger = str(tmp_path / "rows.db")
    completions = Completions(session=session, model="m", retry=None, concurrency=20, id="n", ledger=ledger)

    def mortal(tables: Any) -> Any:
        for number, table in enumerate(completions(tables)):
            yield table
            if number == 1 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "25")
    rows = frame(spark, 200)
    check_rows([row.asDict() for row in rows.mapInArrow(mortal, completions.schema(rows)).collect()], 200)
    assert killed.exists()
    again = sum(count - 1 for text, count in counted.asked.items() if not text.endswith("7"))
    assert again <= 2 * 20  # what was under way in two tasks
