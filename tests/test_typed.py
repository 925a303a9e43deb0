"""The types that users see are what `tests/typed` says, for mypy; pyright reads those files with all others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TYPED = Path(__file__).parent / "typed"


@pytest.mark.slow
def test_mypy_sees_the_types_that_were_given() -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(TYPED)]
    done = subprocess.run(command, cwd=TYPED.parent.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout + done.stderr == ""


@pytest.mark.slow
def test_mypy_refuses_what_is_misspelt(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from cometstream import CometSession\n"
        "def f(session: CometSession) -> None:\n"
        "    session.stream(model='m', messages=[], temprature=1)\n"
        "    session.stream(model='m', messages=[], response_format=5)\n"
        "    session.stream(messages=[])\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(wrong)]
    done = subprocess.run(command, cwd=TYPED.parent.parent, capture_output=True, text=True, timeout=300, check=False)
    assert {line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line} == {"3", "4", "5"}
