"""Names for rows: how a line of the output tells which row it answers, and by which model."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

__all__ = ["Fingerprint", "fingerprint", "made_custom_id", "row_id", "short_digest"]

_PREFIX: Final = "batch_row_"
_HALF: Final = 16  # hex digits, 64 bits


class Fingerprint(NamedTuple):
    """What an ``id`` tells of its row.

    Attributes:
        row: 64 bits of the row's name and body.
        model: 64 bits of the model that it was sent to.
    """

    row: int
    model: int


def row_id(custom_id: str, body: bytes, model: str) -> str:
    """Return the ``id`` of a row's output line.

    It depends on the row and its model only, so that a later run can compare an output with its input.

    Args:
        custom_id: The row's name.
        body: The row's body in a form that equal bodies share.
        model: The model that the row is sent to.
    """
    row = _digest(custom_id.encode(errors="surrogatepass"), b"\n", body)
    return _PREFIX + row + _digest(model.encode(errors="surrogatepass"))


def made_custom_id(line: int, body: bytes) -> str:
    """Return the name of a row that has no name: its line and a hash of its body, so that a later run finds it."""
    return f"line-{line}-{blake2b(body, digest_size=8).hexdigest()}"


def short_digest(text: str) -> int:
    """Return a hash of 64 bits. In a batch of a million rows, two rows share it once in 37 million batches."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def fingerprint(id: str) -> Fingerprint | None:  # noqa: A002 - the wire's own name
    """Return what an ``id`` that `row_id` made tells of its row; None for the ids of others."""
    digits = id.removeprefix(_PREFIX)
    if digits == id or len(digits) != 2 * _HALF:
        return None
    try:
        return Fingerprint(int(digits[:_HALF], 16), int(digits[_HALF:], 16))
    except ValueError:
        return None


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=_HALF // 2)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
