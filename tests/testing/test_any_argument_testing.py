"""Whatever a public call of the tools for tests is given, no error but a ``CometError`` leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.odd_values import each, only_ours

from cometstream.testing import CometServer, recording, replaying
from cometstream.testing.conformance import load
from cometstream.testing.scripting import Scripting

SCRIPTS: dict[str, tuple[str, ...]] = {
    "reply": ("reasoning", "finish_reason", "delay", "pace"),
    "tool_calls": ("text", "fragment"),
    "error": ("status", "message", "code", "retry_after", "times"),
    "rate_limited": ("retry_after", "times"),
    "overloaded": ("retry_after", "times"),
    "error_after": ("message", "code"),
    "reset": ("times",),
    "always": ("reply",),
}
ANY = ("reply", "tool_calls", "cut_after", "reset_after", "stall_after", "error_after", "script")


def test_scripts_take_or_refuse_each_odd_value() -> None:
    scripting = Scripting()
    for name, options in SCRIPTS.items():
        for given in each(*options):
            with only_ours():
                getattr(scripting, name)(**({"status": 500, **given} if name == "error" else given))
    for name in ANY:
        for given in each("value"):
            with only_ours():
                getattr(scripting, name)(given["value"])


def test_a_server_takes_or_refuses_each_odd_value() -> None:
    for given in each("api_key", "models", "token_rate"):
        with only_ours():
            CometServer(**given)
    with CometServer() as server:
        for given in each("models"):
            with only_ours():
                server.models = given["models"]


def test_recordings_and_replays_take_or_refuse_each_odd_value(tmp_path: Path) -> None:
    path = tmp_path / "c.cassette"
    with recording(None, path):
        pass
    for given in each("session", "path", "hash_contents", "without_headers"):
        made: dict[str, Any] = {"session": None, "path": path, **given}
        with only_ours():
            recording(**made)
    for given in each("session", "path", "realtime"):
        made = {"session": None, "path": path, **given}
        with only_ours():
            replaying(**made)
    for given in each("group"):
        with only_ours():
            load(**given)
