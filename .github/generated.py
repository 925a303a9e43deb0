"""Fills what the site shows of the code: the table of states, the catalogue of quirks from the tests' cases, and each --help."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout
CASES = ROOT / "tests" / "conformance"
GROUPS = {
    "framing": "Framing: events, bytes, connections",
    "chunk_shape": "The shape of chunks",
    "tool_calls": "Tool calls",
    "termination": "Endings",
    "errors": "Errors inside an answer",
    "status": "Errors by status",
    "usage": "Usage",
    "reasoning": "Reasoning",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where a page has their marks; called by mkdocs for every page."""
    for mark, generated in (("states", states), ("catalogue", catalogue), ("commands", commands)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", generated())
    return markdown


def commands() -> str:
    """Return what each command says to --help."""
    import click

    from cometstream.cli.app import cometstream
    from cometstream.cli.exit_codes import EPILOG

    parts: list[str] = []
    for name, command in sorted(cometstream.commands.items()):
        context = click.Context(command, info_name=f"cometstream {name}", terminal_width=100)
        shown = command.get_help(context).partition("Exit codes:")[0].rstrip()
        parts.append(f"## {name}\n\n```text\n{shown}\n```")
    codes = EPILOG.partition("Exit codes:\n")[2]
    return "\n\n".join([*parts, f"## Exit codes\n\n```text\n{codes}\n```"])


def states() -> str:
    """Return the table of states."""
    from cometstream.answer.states import HAPPENINGS, TABLE

    rows = [["", *HAPPENINGS]]
    rows += [[f"**{state}**", *(to.get(happening, "·") for happening in HAPPENINGS)] for state, to in TABLE.items()]
    return _table(rows)


def catalogue() -> str:
    """Return all cases, a table for each group."""
    parts: list[str] = []
    for group, title in GROUPS.items():
        rows = [["what is sent", "who sends it", "what it is", "counted"]]
        for path in sorted((CASES / group).glob("*.json")):
            case = json.loads(path.read_text(encoding="utf-8"))
            counted = case.get("cometstream", {}).get("normalizations", {})
            rows.append(
                [
                    _plain(case["title"]),
                    _plain(case["source"]),
                    _outcome(case),
                    ", ".join(f"`{kind}`" for kind in counted),
                ]
            )
        parts.append(f"### {title}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _outcome(case: dict[str, Any]) -> str:
    outcome, error = case["expect"]["outcome"], case.get("cometstream", {}).get("error")
    return f"{outcome}: `{error}`" if error else str(outcome)


def _table(rows: list[list[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _plain(text: str) -> str:
    """Return a text as Markdown that says just this: links are links, all else is as it stands."""
    pieces = re.split(r"(https?://[^\s,)]+)", text)
    pieces[::2] = (re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", piece) for piece in pieces[::2])
    pieces[1::2] = (f"<{piece}>" for piece in pieces[1::2])
    return "".join(pieces)
