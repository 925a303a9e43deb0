"""Takes what is secret out of what is recorded. What stands in its place is as long, so that no boundary moves."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson

from cometstream.config import LEAST_SECRET

__all__ = ["UNSTORED_HEADERS", "Mask"]

UNSTORED_HEADERS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "www-authenticate",
        "x-api-key",
    }
)
"""Headers of answers that are never stored, whatever they hold."""

# Fewer characters in base64 stand in other texts by chance.
_TELLING: Final = 8


class Mask:
    """Covers secrets with stars, wherever they stand: as they are, as in JSON, in a URL, and in base64.

    Args:
        secrets: The keys and passwords.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= LEAST_SECRET for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._found = re.compile(b"|".join(map(re.escape, longest_first))) if forms else None

    def cover(self, data: bytes) -> bytes:
        """Return bytes of the same length without the secrets."""
        return data if self._found is None else self._found.sub(lambda found: b"*" * len(found[0]), data)

    def cover_text(self, text: str) -> str:
        """Return a text without the secrets."""
        return self.cover(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def cover_json(self, value: Any) -> Any:
        """Return a JSON value without the secrets in its texts and names."""
        if isinstance(value, str):
            return self.cover_text(value)
        if isinstance(value, list):
            return [self.cover_json(item) for item in value]
        if isinstance(value, dict):
            return {self.cover_text(name): self.cover_json(item) for name, item in value.items()}
        return value

    def cover_pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Return pieces of the same lengths without the secrets, also of one that is cut apart by a boundary."""
        covered = self.cover(b"".join(pieces))
        result, start = [], 0
        for piece in pieces:
            result.append(covered[start : start + len(piece)])
            start += len(piece)
        return result


def _forms(secret: str) -> Iterator[bytes]:
    plain = secret.encode("utf-8", "surrogateescape")
    yield plain
    yield quote(plain, safe="").encode()
    written = orjson.dumps(secret)[1:-1] if secret.isprintable() else plain
    yield written
    yield written.replace(b"/", b"\\/")
    for before in range(3):
        # What stands before the secret and behind it changes the characters at both ends.
        encoded = base64.b64encode(b"\0" * before + plain)
        whole = (before + len(plain)) * 4 // 3
        inner = encoded[-(-before * 4 // 3) : whole]
        if len(inner) >= _TELLING:
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))
