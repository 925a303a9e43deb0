"""The catalogue of ``tests/conformance``, which no installed package holds."""

from __future__ import annotations

import sys

from benchmarks.children import ROOT

sys.path.append(str(ROOT / "tests"))

from conformance import Case, load
from conformance.replies import reply_of

__all__ = ["Case", "load", "reply_of"]
