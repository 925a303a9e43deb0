from __future__ import annotations

import asyncio
import io
import random
import re
from itertools import pairwise
from typing import Literal

import pytest

pytest.importorskip("rich")

from rich.console import Console

from cometstream.cli import growing as growing_module
from cometstream.cli.growing import Growing

KINDS: tuple[Literal["text"], Literal["reasoning"]] = ("text", "reasoning")

TEXT = """\
# A title

A paragraph with **bold** and <b>HTML</b>,
on two lines.
#hashtag in it

Setext
------

- one

  still one
- two
1. first
2. second

```python
def f():

    return 1
```

> quoted
> twice

| a | b |
|---|---|
| 1 | 2 |

***
The end."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw whenever something came."""
    monkeypatch.setattr(growing_module, "_FRAME", 0.0)
    monkeypatch.setattr(growing_module, "_REST", 0)


async def drawn(pieces: list[str], kind: Literal["text", "reasoning"] = "text", *, live: bool = False) -> str:
    file = io.StringIO()
    # Without interaction only what is printed for good is written.
    console = Console(file=file, force_terminal=True, force_interactive=live, width=60, height=10, color_system=None)
    growing = Growing(console)
    for piece in pieces:
        growing.add(kind, piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    growing.settle()
    return file.getvalue() if live else without_cursor(file)


def without_cursor(file: io.StringIO) -> str:
    """Return what was written but for the cursor's being hidden and shown."""
    return re.sub(r"\x1b\[\?25[hl]", "", file.getvalue())


async def test_what_is_printed_does_not_depend_on_how_the_text_was_cut() -> None:
    whole = await drawn([TEXT])
    assert whole.index("A title") < whole.index("still one") < whole.index("return 1") < whole.index("The end.")
    randomly = random.Random(5)
    for _ in range(5):
        cuts = sorted(randomly.sample(range(len(TEXT)), 60))
        pieces = [TEXT[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(TEXT)], strict=True)]
        assert await drawn(pieces) == whole


async def test_blocks_have_one_blank_line_between_them() -> None:
    lines = [line.strip() for line in (await drawn([TEXT])).splitlines()]
    assert lines[0] == "A title"
    assert not any(first == second == "" for first, second in pairwise(lines))


async def test_a_finished_block_is_printed_while_the_next_one_grows() -> None:
    file = io.StringIO()
    growing = Growing(Console(file=file, force_terminal=True, force_interactive=False, width=60, height=10))
    growing.add("text", "one\n\ntw")
    await asyncio.sleep(0.01)
    assert "one" not in without_cursor(file)  # the next line may still make it something else
    growing.add("text", "o\n\nthree")
    await asyncio.sleep(0.2)
    assert without_cursor(file).split() == ["one"]
    growing.settle()
    assert without_cursor(file).split() == ["one", "two", "three"]


async def test_of_a_block_that_is_higher_than_the_terminal_the_end_is_drawn() -> None:
    items = "".join(f"- item {place}\n" for place in range(50))
    frames = (await drawn([items, "- last\n"], live=True)).split("\x1b[?25l")
    growing = frames[1].split("\x1b[?25h")[0]
    assert "item 49" in growing
    assert "item 30" not in growing


async def test_reasoning_keeps_its_lines() -> None:
    shown = await drawn(["First\nsecond\n", "\nthi", "rd *not* bold"], "reasoning")
    assert [line.strip() for line in shown.splitlines()] == ["First", "second", "", "third *not* bold"]


@pytest.mark.parametrize(
    "evil",
    ["\x1b[2J", "\x1b]8;;http://evil.example\x07x", "\x9b2J", "&#x202e;", "&#x9b;2J", "&#13;", "`\x1b[2J`", "\u2066"],
)
async def test_nothing_of_the_models_controls_the_terminal(evil: str) -> None:
    for text in (
        evil,
        f"# {evil}",
        f"```\n{evil}\n```",
        f"| {evil} |\n|---|\n| {evil} |",
        f"[{evil}](http://a/{evil})",
    ):
        for kind in KINDS:
            shown = re.sub(r"\x1b\[[\d;]*m", "", await drawn([text], kind))
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), repr(shown)
