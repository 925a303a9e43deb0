"""What gateways really send, as cases for tests of any client: a body as raw bytes, how HTTP delivers it, and what must come of it.

::

    @pytest.mark.parametrize("case", CASES, ids=str)  # or the argument comet_case, which is that
    def test_my_app(case, comet_server):
        comet_server.always(case.reply)
        assert ask_my_app() == case.text  # case.outcome tells whether the app must report a failure

The README of ``tests/conformance``, where the files stand, tells about them. An installed package has a copy beside this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cometstream.errors import UsageError
from cometstream.request.describe import shown
from cometstream.testing.replies import Reply

if TYPE_CHECKING:
    CASES: tuple[Case, ...]
    """The cases that suit an app which shows one answer as text: their bodies end by themselves, any client must read them
    alike, and they need no parameter of the request."""

__all__ = ["CASES", "GROUPS", "Case", "filled", "load"]

# In the order of the README's table.
GROUPS = ("framing", "chunk_shape", "tool_calls", "termination", "errors", "status", "usage", "reasoning")

_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[2] / "tests" / "conformance"
_FOLDER = _HERE if (_HERE / GROUPS[0]).is_dir() else _CHECKOUT

# Bytes of a body that is quick to send.
_QUICK = 200_000

# A reset takes with it what the client's kernel has not received: the body gets the time to arrive.
_BEFORE_RESET = 0.1

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

    def __str__(self) -> str:
        return self.id

    @property
    def outcome(self) -> str:
        """``complete``, ``unterminated``, ``truncated`` or ``error``, as of a stream."""
        return str(self.expect["outcome"])

    @property
    def text(self) -> str:
        """The content of the first choice as far as it comes; empty where there is none."""
        return next((choice["content"] or "" for choice in self.choices if choice["index"] == 0), "")

    @property
    def reply(self) -> Reply:
        """What the simulated server is to answer."""
        headers = self.http.get("headers", {"Content-Type": "text/event-stream"})
        framing = self.http.get("framing", "chunked")
        if framing == "raw":
            reply = Reply.raw(*([self.body] if self.body else []))
        else:
            status = self.http.get("status", 200)
            reply = Reply(body=(self.body,), status=status, headers=(*headers.items(),), framing=framing)
        if "encoding" in self.http:
            reply = reply.compressed(self.http["encoding"])
        if "split" in self.http:
            reply = reply.split(self.http["split"])
        if self.ending == "cut":
            return reply.cut()
        if self.ending == "reset":
            return reply.then(_BEFORE_RESET).reset()
        if self.ending == "silence":
            return reply.stall()
        if self.ending == "repeat":
            return reply.forever(float(self.http["every"]), self.pings)
        return reply

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
        UsageError: There is no such group, or the files are not there.
        ValueError: A file has a field that the format does not know, or the case has no body.
    """
    if group is not None and not (isinstance(group, str) and group in GROUPS):
        raise UsageError(f"group must be one of {', '.join(GROUPS)}; got {shown(group)}")
    folders = GROUPS if group is None else (group,)
    cases = [_read(path) for name in folders for path in sorted((_FOLDER / name).glob("*.json"))]
    if not cases:
        raise UsageError(f"the cases are not in {_FOLDER}: install cometstream with its data files")
    return cases


@cache
def _suited() -> tuple[Case, ...]:
    return tuple(
        case
        for case in load()
        if case.policy is None
        and case.ending in ("whole", "cut", "reset")
        and not case.request
        and len(case.choices) <= 1
        and len(case.body) <= _QUICK
        and "split_think" not in case.cometstream
    )


def __getattr__(name: str) -> Any:
    if name == "CASES":
        return _suited()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
