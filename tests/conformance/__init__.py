"""What gateways really send, as data for any client: see README.md in this folder. The package loads it, for others too."""

from __future__ import annotations

from cometstream.testing.conformance import GROUPS, Case, filled, load

__all__ = ["GROUPS", "Case", "filled", "load"]
