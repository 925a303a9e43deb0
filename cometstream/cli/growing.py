"""An answer on the terminal as it grows: Markdown whose finished blocks are printed for good, while the last one is drawn anew."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from markdown_it import MarkdownIt
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.text import Text

from cometstream.cli.process import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderResult

    Kind = Literal["text", "reasoning"]

__all__ = ["Growing"]

# Seconds between two drawings, and how many times longer than a drawing the pause after it is: a slow terminal, or a long block of
# code, costs at most a fifth of the time.
_FRAME: Final = 0.08
_REST: Final = 4

# The colours of the terminal itself, whether it is light or dark.
_CODE: Final = "ansi_dark"

# HTML is shown as the model wrote it; rich would leave it out.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


class Growing:
    """Shows one answer. Nothing of the model's reaches the terminal but as printable text.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._kind: Kind = "text"
        self._rest = ""  # what is not printed for good: the last block, so that it stays short
        self._new: list[str] = []
        self._printed = False
        self._next = 0.0  # when to draw again, on the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def add(self, kind: Kind, text: str) -> None:
        """Take what came; it is drawn within a moment."""
        if kind != self._kind:
            self.settle()
            self._kind = kind
        self._new.append(printable(text))
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_at(max(self._next, loop.time()), self._draw)

    def settle(self) -> None:
        """Print all that came for good; what comes next begins a block of its own."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._live is not None:
            self._live.stop()  # which takes the block away that was drawn for the time being
            self._live = None
        self._gather()
        self._print(self._rest)
        self._rest = ""

    def _draw(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._timer = None
        self._gather()
        end = _settled(self._rest, self._kind)
        settled, self._rest = self._rest[:end], self._rest[end:]
        rows = self._rows(self._rest)
        if rows and (self._printed or settled):
            rows.insert(0, [])
        # The end of a block that is higher than the terminal is what one wants to see of it.
        growing = _Rows(rows[-max(self._console.height - 2, 1) :])
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(growing)
        self._print(settled)
        self._live.refresh()
        now = loop.time()
        self._next = now + max(_FRAME, _REST * (now - began))

    def _gather(self) -> None:
        self._rest += "".join(self._new)
        self._new.clear()

    def _print(self, text: str) -> None:
        rows = self._rows(text)
        if rows:
            self._console.print(_Rows([[], *rows] if self._printed else rows))
            self._printed = True

    def _rows(self, text: str) -> list[list[Segment]]:
        """Return the lines of a text as they are drawn, with a blank one between blocks."""
        rows: list[list[Segment]] = []
        for block in _blocks(text, self._kind):
            drawn = self._block(block)
            if rows and drawn:
                rows.append([])
            rows += drawn
        return rows

    def _block(self, text: str) -> list[list[Segment]]:
        """Return the lines of one block, without blank ones around them."""
        if self._kind == "text":
            shown = Markdown("", code_theme=_CODE, hyperlinks=False)  # an address may not hide behind other words
            shown.parsed = _MARKDOWN.parse(text)
            lines = self._console.render_lines(shown, pad=False)
        else:
            lines = self._console.render_lines(Text(text, style="dim italic"), pad=False)
        # Entities of HTML may stand for control characters, so that only what is drawn is known to be clean.
        rows = [_row(Segment(printable(part.text), part.style) for part in line if not part.control) for line in lines]
        while rows and not rows[0]:
            del rows[0]
        while rows and not rows[-1]:
            del rows[-1]
        return rows


class _Rows:
    def __init__(self, rows: Iterable[list[Segment]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for row in self._rows:
            yield from row
            yield Segment.line()


def _settled(text: str, kind: Kind) -> int:
    """Return where the last block of a text begins, judged by its whole lines: all before it stays as it is."""
    whole = text[: text.rfind("\n") + 1]
    return sum(map(len, _blocks(whole, kind)[:-1]))


def _blocks(text: str, kind: Kind) -> list[str]:
    """Return the parts that a text consists of: paragraphs, lists, tables ...; joined they are the text."""
    if kind == "reasoning":
        return re.split(r"(?<=\n\n)(?!\n)", text)
    lines = text.split("\n")
    starts = [token.map[0] for token in _MARKDOWN.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    bounds = [0, *starts[1:], len(lines)]
    parts = ["\n".join(lines[begin:end]) for begin, end in pairwise(bounds)]
    return [f"{part}\n" for part in parts[:-1]] + parts[-1:]


def _row(parts: Iterable[Segment]) -> list[Segment]:
    """Return a line without the spaces at its end, which nobody wants to copy."""
    row = list(parts)
    while row and not row[-1].text.strip():
        del row[-1]
    if row:
        row[-1] = Segment(row[-1].text.rstrip(), row[-1].style)
    return row
