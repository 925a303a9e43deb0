"""Against the real Ray Data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engines import check_rows

from cometstream.batch.ray import Completions

ray: Any = pytest.importorskip("ray", reason="needs the extra ray, which is not in dev: it is heavy")
pytest.importorskip("ray.data", reason="needs ray[data]")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own

ROWS = 400


@pytest.fixture(scope="module")
def cluster(thread: Any) -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def dataset(count: int, blocks: int) -> Any:
    rows = [{"n": number, "prompt": str(number)} for number in range(count)]
    return ray.data.from_items(rows, override_num_blocks=blocks)


def test_hundreds_of_rows_are_under_way_in_one_actor_and_bad_ones_come_back(
    cluster: None, counted: Any, session: dict[str, str]
) -> None:
    options = {"session": session, "model": "m", "retry": None, "concurrency": 300}
    answers = dataset(ROWS, 1).map_batches(
        Completions,
        fn_constructor_kwargs=options,
        batch_size=100,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    check_rows(answers.take_all(), ROWS)
    assert sum(counted.asked.values()) == ROWS
    assert counted.most > 150


def test_an_actor_that_is_killed_pays_no_finished_row_again(
    cluster: None, counted: Any, session: dict[str, str], tmp_path: Path
) -> None:
    killed = tmp_path / "killed"

    class Mortal(Completions):
        """Its first actor is killed after some batches."""

        _batches = 0

        async def __call__(self, batch: Any) -> Any:
            out = await super().__call__(batch)
            self._batches += 1
            if self._batches == 3 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return out

    options = {"session": session, "model": "m", "retry": None, "id": "n", "ledger": str(tmp_path / "rows.db")}
    answers = dataset(200, 8).map_batches(
        Mortal,
        fn_constructor_kwargs={**options, "concurrency": 20},
        batch_size=25,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    check_rows(answers.take_all(), 200)
    assert killed.exists()
    again = sum(count - 1 for text, count in counted.asked.items() if not text.endswith("7"))
    assert again <= 20  # what was under way
