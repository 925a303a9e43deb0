"""Inputs to begin with: every case of what gateways really send, and a few dozen that the fuzzer found."""

from __future__ import annotations

from pathlib import Path

from conformance import load

__all__ = ["CORPUS", "found", "seeds"]

CORPUS = Path(__file__).parent / "corpus"

# The first byte of an input: small pieces for all targets, and the wire itself for the accumulator.
_RAW = b"\x03"

# Bodies of megabytes are for the caps, and take too long byte by byte.
_LONG = 1_000_000


def seeds() -> dict[str, bytes]:
    """Return the cases of the catalogue as inputs, for any target, by their names."""
    return {case.id.replace("/", "-"): _RAW + case.body for case in load() if case.is_plain and len(case.body) < _LONG}


def found(target: str) -> dict[str, bytes]:
    """Return what the fuzzer found for a target, by the files' names."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
