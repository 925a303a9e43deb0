"""The pytest plugin: in a checkout inside the package, in an installed copy of it a module of its own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

import pytest

from support.documents import ROOT

__all__ = ["plugin", "run_with_plugin"]


def _load() -> Any:
    """Import it under another name than the installed one, which runs of pytest without an installed copy refuse."""
    spec = importlib.util.find_spec("cometstream.testing.plugin") or importlib.util.find_spec("pytest_cometstream")
    assert spec is not None
    assert spec.origin is not None
    if spec.name == "cometstream.testing.plugin":
        return importlib.import_module(spec.name)
    named = importlib.util.spec_from_file_location("comet_plugin", spec.origin)
    assert named is not None
    assert named.loader is not None
    loaded = importlib.util.module_from_spec(named)
    named.loader.exec_module(loaded)
    return loaded


plugin: Any = _load()


def run_with_plugin(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *args: str) -> pytest.RunResult:
    """Run pytest in a process of its own, with the plugin and the examples at hand.

    A second run in this process would import parts of FastAPI again beside those that are here, and its routes match no more.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "examples"), *filter(None, sys.path)]))
    if importlib.util.find_spec("cometstream.testing.plugin") is not None:
        # In a checkout: without the copy that an editable install made of it once.
        args = ("-p", "cometstream.testing.plugin", "-p", "no:cometstream", *args)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args)
