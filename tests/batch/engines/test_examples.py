"""The examples of the engines run as they stand, without a key."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples" / "engines"


def test_each_example_has_thirty_lines_at_most_and_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"demo.py", "with_ray.py", "with_daft.py", "with_spark.py"}
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 30


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("daft", "daft"), ("spark", "pyspark")])
def test_example_prints_an_answer_for_each_row(name: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs the extra {name}, which is not in dev: it is heavy")
    if name == "spark" and shutil.which("java") is None:
        pytest.skip("needs Java, as Debian's openjdk-17-jre-headless")
    command = [sys.executable, str(EXAMPLES / f"with_{name}.py"), "--demo"]
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "comets: A comet is a small world" in done.stdout
    assert len(done.stdout.splitlines()) == 8
