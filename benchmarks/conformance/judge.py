"""Says whether a client was right: what it showed beside what the catalogue expects, in general terms.

The rules are the same for all and stand in benchmarks/README.md. Where two readings are fair, the client gets the better one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["right", "silent", "loud", "hang"]


@dataclass(frozen=True)
class Raised:
    """The exception that a client ended with.

    Args:
        name: Its class, with its module.
        own: Whether it belongs to the client's own tree of errors.
        status: The HTTP status that it tells.
        message: The beginning of its text.
    """

    name: str
    own: bool
    status: int | None = None
    message: str = ""


@dataclass(frozen=True)
class Seen:
    """What a client showed to its caller.

    Args:
        views: The choices and the usage, in each of the ways that the client offers to read them.
        raised: The exception at the end; None for none.
        hung: It had not ended when its time was over.
    """

    views: list[dict[str, Any]] = field(default_factory=list)
    raised: Raised | None = None
    hung: bool = False

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Seen:
        raised = data.get("raised")
        return cls(data.get("views", []), None if raised is None else Raised(**raised))


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    note: str = ""


def judge(expect: dict[str, Any], choices: list[dict[str, Any]], status: int, seen: Seen) -> Verdict:
    """Judge one client's answer to one case.

    Args:
        expect: The case's ``expect``.
        choices: Its choices, filled in.
        status: The HTTP status that the server answered with.
        seen: What the client showed.
    """
    if seen.hung:
        return Verdict("hang")
    if "error" in expect:
        return _judge_error(choices, status, seen)
    if seen.raised is not None:
        if seen.raised.own and expect.get("or_error"):
            return Verdict("right")
        return Verdict("loud", f"raised {_shown(seen.raised)}")
    differences = [_difference(expect, choices, view) for view in seen.views]
    if None in differences:
        return Verdict("right")
    return Verdict("silent", (differences[0] if differences else None) or "nothing was shown")


def _judge_error(choices: list[dict[str, Any]], status: int, seen: Seen) -> Verdict:
    """An error is due: one of the client's own, with the HTTP status where there is one; what it keeps beside does not count."""
    if seen.raised is None:
        wanted = {choice["index"]: choice["finish_reason"] for choice in choices}
        shown = seen.views[0].get("choices", []) if seen.views else []
        invented = [choice["finish_reason"] for choice in shown if choice["finish_reason"]]
        if invented and not any(wanted.values()):
            return Verdict("silent", f"no error; invented finish_reason {_quoted(invented[0])}")
        if not any(map(_says, shown)):
            return Verdict("silent", "no error, and an empty answer")
        reasons = [choice["finish_reason"] for choice in shown]
        return Verdict("silent", f"no error; finish_reason {', '.join(map(_quoted, reasons))}")
    if not seen.raised.own:
        return Verdict("loud", f"raised {_shown(seen.raised)}, which is none of its own errors")
    if status >= 400 and seen.raised.status != status:
        return Verdict("loud", f"raised {seen.raised.name} with status {seen.raised.status}, not {status}")
    return Verdict("right")


def _difference(expect: dict[str, Any], choices: list[dict[str, Any]], view: dict[str, Any]) -> str | None:
    """Return where a view first differs from what is expected; None where it does not."""
    shown = {choice["index"]: choice for choice in view["choices"] if _says(choice)}
    wanted = {choice["index"]: choice for choice in choices}
    if set(shown) != set(wanted):
        return f"choices {sorted(shown, key=str)}, not {sorted(wanted)}"
    for index, want in wanted.items():
        have = shown[index]
        place = f"choice {index}: " if len(wanted) > 1 else ""
        for name in ("content", "reasoning", "refusal", "finish_reason"):
            if (have.get(name) or None) != (want[name] or None):
                return f"{place}{name} {_quoted(have.get(name))}, not {_quoted(want[name])}"
        called, wants_call = have.get("function_call"), want["function_call"]
        if (called is None) != (wants_call is None) or (wants_call and not _same_call(called, wants_call)):
            return f"{place}function_call {_quoted(called)}"
        difference = _calls_differ(have.get("tool_calls") or [], want["tool_calls"])
        if difference:
            return place + difference
    usage = expect.get("usage")
    if "usage" in expect:
        return _usage_differs(view.get("usage"), usage)
    return None


def _usage_differs(have: Any, want: dict[str, Any] | None) -> str | None:
    if want is None:
        return f"usage {_quoted(have)}, where none was told" if have else None
    if not isinstance(have, dict):
        return f"usage {_quoted(have)}"
    lost = [name for name, value in want.items() if not _holds(have.get(name), value)]
    return f"usage: {lost[0]} {_quoted(have.get(lost[0]))}, not {_quoted(want[lost[0]])}" if lost else None


def _says(choice: dict[str, Any]) -> bool:
    """Whether a choice says anything: clients may show one that is empty."""
    return any(choice.get(name) for name in ("content", "reasoning", "refusal", "tool_calls", "function_call")) or bool(
        choice.get("finish_reason")
    )


def _calls_differ(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> str | None:
    if len(have) != len(want):
        return f"{len(have)} tool calls, not {len(want)}"
    for number, (call, wanted) in enumerate(zip(have, want, strict=True)):
        if wanted["id"] is not None and call["id"] != wanted["id"]:
            return f"tool call {number}: id {_quoted(call['id'])}"
        if call["name"] != wanted["name"]:
            return f"tool call {number}: name {_quoted(call['name'])}"
        # A call that was cut must only not look like a whole one.
        if _arguments(call["arguments"]) != wanted["arguments"]:
            return f"tool call {number}: arguments {_quoted(call['arguments'])}"
    return None


def _same_call(have: dict[str, Any], want: dict[str, Any]) -> bool:
    return have["name"] == want["name"] and _arguments(have["arguments"]) == _arguments(want["arguments"])


def _arguments(text: Any) -> dict[str, Any] | None:
    """Return arguments as a program would read them; none is an empty object, and what is no object is None."""
    if isinstance(text, dict):
        return text
    try:
        parsed = json.loads(text) if text else {}
    except (TypeError, ValueError):
        return None
    return {} if parsed is None else parsed if isinstance(parsed, dict) else None


def _holds(have: Any, want: Any) -> bool:
    if isinstance(want, dict):
        return isinstance(have, dict) and all(_holds(have.get(key), value) for key, value in want.items())
    return bool(have == want)


def _shown(raised: Raised) -> str:
    return f"{raised.name}: {raised.message}" if raised.message else raised.name


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"
