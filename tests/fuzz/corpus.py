"""Inputs to begin with: every row of what gateways really send, and a few dozen that the fuzzer found."""

from __future__ import annotations

from pathlib import Path

from quirks import QUIRKS

__all__ = ["CORPUS", "found", "seeds"]

CORPUS = Path(__file__).parent / "corpus"

# The first byte of an input: small pieces for both targets, and the wire itself for the accumulator.
_RAW = b"\x03"


def seeds() -> dict[str, bytes]:
    """Return the rows of the table of quirks as inputs, for either target, by their names."""
    return {f"quirk-{place:03}-{quirk.row.split()[0]}": _RAW + quirk.wire for place, quirk in enumerate(QUIRKS)}


def found(target: str) -> dict[str, bytes]:
    """Return what the fuzzer found for a target, by the files' names."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
