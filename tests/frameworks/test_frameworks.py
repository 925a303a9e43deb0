from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tests.frameworks.__main__ import FRAMEWORKS, ROOT, is_met, python_of, run

EXAMPLES = sorted((ROOT / "examples" / "frameworks").glob("*.py"))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_works_over_the_transport_and_takes_no_cut_answer_for_whole(name: str) -> None:
    if "FRAMEWORKS_DIR" not in os.environ or not python_of(name).exists():
        pytest.skip(f"no environment for {name}: FRAMEWORKS_DIR=... python -m tests.frameworks {name} makes it")
    found = run(name)
    assert is_met(found), found


def test_there_is_an_example_for_each() -> None:
    assert [path.stem.removeprefix("with_") for path in EXAMPLES] == sorted(FRAMEWORKS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    ast.parse(path.read_text())
    assert len(path.read_text().splitlines()) <= 20
