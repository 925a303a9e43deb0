"""The pytest plugin: in a checkout inside the package, in an installed copy of it a module of its own."""

from __future__ import annotations

import importlib
from typing import Any

try:
    plugin: Any = importlib.import_module("cometstream.testing.plugin")
except ModuleNotFoundError:  # as in the tests of an unpacked sdist
    plugin = importlib.import_module("pytest_cometstream")

__all__ = ["plugin"]
