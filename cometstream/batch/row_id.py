"""Names for rows: how a line of the output tells which row it answers, and whether it is still the same row."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["fingerprint", "made_custom_id", "row_id", "short_digest"]

_PREFIX: Final = "batch_row_"
_HEX_DIGITS: Final = 32


def row_id(custom_id: str, body: bytes) -> str:
    """Return the ``id`` of a row's output line.

    It is made of the row alone, so that an output can be held against the input that it answers.

    Args:
        custom_id: The row's name.
        body: The row's body in a form that equal bodies share.
    """
    digest = blake2b(custom_id.encode(errors="surrogatepass"), digest_size=_HEX_DIGITS // 2)
    digest.update(b"\n")
    digest.update(body)
    return _PREFIX + digest.hexdigest()


def made_custom_id(line: int, body: bytes) -> str:
    """Return the name of a row that has none: its line and a hash of its body, so that another run finds it again."""
    return f"line-{line}-{blake2b(body, digest_size=8).hexdigest()}"


def short_digest(text: str) -> int:
    """Return 64 bits that stand for a text: of 1,000,000 rows any two share theirs once in 37 million batches."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def fingerprint(id: str) -> int | None:  # noqa: A002 - the wire's own name
    """Return 64 bits of an ``id`` that `row_id` made; None for the ids of others."""
    digits = id.removeprefix(_PREFIX)
    if digits == id or len(digits) != _HEX_DIGITS:
        return None
    try:
        return int(digits[:16], 16)
    except ValueError:
        return None
