"""Loads the cases: a body as raw bytes, how HTTP delivers it, and what a client must make of it. Needs nothing but Python."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent

# In the order of the README's table.
GROUPS = ("framing", "chunk_shape", "tool_calls", "termination", "errors", "status", "usage", "reasoning")

_FIELDS = {"title", "row", "source", "http", "request", "body", "expect", "policy", "cometstream"}
_HTTP = {"status", "headers", "framing", "split", "encoding", "ending", "repeat", "every"}
_EXPECT = {"outcome", "choices", "usage", "error", "or_error"}


@dataclass(frozen=True)
class Case:
    """One thing that a gateway sends; the README tells what each field means."""

    id: str
    title: str
    row: str
    source: str
    body: bytes
    http: dict[str, Any]
    expect: dict[str, Any]
    request: dict[str, Any] = field(default_factory=dict)
    policy: str | None = None
    cometstream: dict[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The folder that it stands in."""
        return self.id.partition("/")[0]

    @property
    def ending(self) -> str:
        """What the server does after the body: ``whole``, ``cut``, ``reset``, ``silence`` or ``repeat``."""
        return str(self.http.get("ending", "whole"))

    @property
    def is_plain(self) -> bool:
        """Whether the body alone decides: a 200, no fault of the transport that bytes cannot show."""
        return (
            self.http.get("status", 200) == 200
            and self.http.get("framing") != "raw"
            and self.ending in ("whole", "cut", "reset")
        )

    @property
    def pings(self) -> bytes:
        """What the ending ``repeat`` writes over and over."""
        return str(self.http["repeat"]).encode()

    @property
    def choices(self) -> list[dict[str, Any]]:
        """The expected choices, every field filled in; see ``filled``."""
        return [filled(choice) for choice in self.expect.get("choices", [])]


def filled(choice: dict[str, Any]) -> dict[str, Any]:
    """Return an expected choice with what it leaves out: index 0, no text, no calls."""
    whole: dict[str, Any] = {
        "index": 0,
        "content": None,
        "reasoning": None,
        "refusal": None,
        "tool_calls": [],
        "function_call": None,
        "finish_reason": None,
        **choice,
    }
    if isinstance(whole["content"], dict):
        whole["content"] = _made(whole["content"]).decode()
    return whole


def load(group: str | None = None) -> list[Case]:
    """Return all cases, or those of one group, in a fixed order.

    Raises:
        ValueError: A file has a field that the format does not know, or the case has no body.
    """
    folders = GROUPS if group is None else (group,)
    return [_read(path) for name in folders for path in sorted((FOLDER / name).glob("*.json"))]


def _read(path: Path) -> Case:
    data = json.loads(path.read_text(encoding="utf-8"))
    unknown = {
        *(data.keys() - _FIELDS),
        *(data.get("http", {}).keys() - _HTTP),
        *(data["expect"].keys() - _EXPECT),
    }
    raw = path.with_suffix(".body")
    if unknown or raw.exists() == ("body" in data):
        raise ValueError(f"{path}: unknown fields {sorted(unknown)}, or not just one body")
    body = raw.read_bytes() if raw.exists() else b"".join(map(_made, data["body"]))
    return Case(**{"http": {}, **data, "body": body, "id": f"{path.parent.name}/{path.stem}"})


def _made(piece: str | dict[str, Any]) -> bytes:
    """Return a piece of a body that is too long to be kept: a text, or one that is repeated."""
    return piece.encode() if isinstance(piece, str) else str(piece["repeat"]).encode() * int(piece["times"])
