"""The pytest plugin: in a checkout inside the package, in an installed copy of it a module of its own."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

__all__ = ["plugin"]


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
