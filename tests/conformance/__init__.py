"""What gateways really send, as data for any client: see README.md in this folder, and ``load()``."""

from __future__ import annotations

from conformance.catalogue import GROUPS, Case, load

__all__ = ["GROUPS", "Case", "load"]
