"""Documents in Markdown: their blocks of code, which are run as they stand, their links, and the commands that they name.

A document is one program, block after block, in a folder of its own:

- ``python`` is run with the names of the blocks before it, and may ``await`` at its top level, as in ``python -m asyncio``.
- ``bash`` is run line by line, with a simulated server in ``COMETAPI_BASE_URL``. A server that a line starts runs until the
  end of the document. Of ``pip install`` only the extras are held against pyproject.toml: the tests install nothing.
- A block with a title is a file of that name. Lines of ``bash`` below it have to use it.
- ``text`` and ``json`` are what the block before printed; ``...`` stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import shlex
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from cometstream.cli import main as command_line
from support.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<options>.*)\n(?P<code>(?s:.*?))^(?P=indent)```$", re.MULTILINE
)
_TITLE: Final = re.compile(r'title="([^"]+)"')
_EXTRAS: Final = re.compile(r"cometstream\[([\w,]+)\]")
_OUTPUT: Final = ("text", "json")
# The port that documents write, for which a free one is taken.
_PORT: Final = "8000"


class Block(NamedTuple):
    """One block of code and the line that it begins in."""

    language: str
    title: str | None
    code: str
    line: int


def blocks(markdown: str) -> list[Block]:
    """Return the blocks of code of a document."""
    return [
        Block(
            fence["language"],
            title[1] if (title := _TITLE.search(fence["options"])) else None,
            textwrap.dedent(fence["code"]),
            markdown.count("\n", 0, fence.start("code")) + 1,
        )
        for fence in _FENCE.finditer(markdown)
    ]


def links(markdown: str) -> list[str]:
    """Return the files of the checkout that a document links to."""
    text = _FENCE.sub("", markdown)
    return re.findall(r"\]\((?!https?:)([^)#\s]+)", text)


def commands(markdown: str) -> set[str]:
    """Return the commands of the command line that a document names."""
    return set(re.findall(r"\bcometstream (ask|balance|batch|chat|models|probe|serve)\b", markdown))


class Running:
    """A document that runs.

    Args:
        path: Where it is.
        folder: Where its files go and its commands run.
        environment: What its commands have as theirs.
    """

    def __init__(self, path: Path, folder: Path, environment: dict[str, str]) -> None:
        self._path, self._folder = path, folder
        self._environment = environment
        self._names: dict[str, Any] = {"__name__": "document"}
        self._loop = asyncio.new_event_loop()
        self._servers: list[subprocess.Popen[bytes]] = []
        self._unused: set[str] = set()
        self._port = str(free_port())

    def run(self) -> None:
        """Run every block.

        Raises:
            AssertionError: A block did not print what stands below it, a command failed, or a file is not used.
            Exception: What a block of Python raises.
        """
        printed = ""
        try:
            for block in blocks(self._path.read_text(encoding="utf-8")):
                block = block._replace(code=re.sub(rf"\b{_PORT}\b", self._port, block.code))
                where = f"{self._path.name}:{block.line}"
                if block.title is not None:
                    (self._folder / block.title).write_text(block.code, encoding="utf-8")
                    self._unused.add(block.title)
                elif block.language == "python":
                    printed = self._python(block)
                elif block.language == "bash":
                    printed = "".join(self._shell(line, where) for line in _lines(block.code))
                else:
                    assert block.language in _OUTPUT, (
                        f"{where}: nobody runs {block.language or 'a block without language'}"
                    )
                    assert _matches(block.code, printed), f"{where} was not printed, but:\n{printed}"
            assert not self._unused, f"{self._path.name}: no command uses {self._unused}"
        finally:
            self._end_tasks()
            self._loop.close()
            for server in self._servers:
                server.terminate()
                server.communicate(timeout=30)

    def _python(self, block: Block) -> str:
        # The line numbers of a traceback are the document's.
        source = "\n" * (block.line - 1) + block.code
        code = compile(source, str(self._path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if code.co_flags & inspect.CO_COROUTINE:
                self._loop.run_until_complete(eval(code, self._names))
            else:
                exec(code, self._names)
        return printed.getvalue()

    def _end_tasks(self) -> None:
        """End what a document that failed has left behind."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))

    def _shell(self, line: str, where: str) -> str:
        self._unused = {name for name in self._unused if name not in line and Path(name).stem not in line}
        words = shlex.split(line, comments=True)
        if words[:2] == ["pip", "install"]:
            extras = {extra for named in _EXTRAS.findall(line) for extra in named.split(",")}
            assert extras <= _extras(), f"{where}: no such extra in {line}"
            return ""
        if words[0] == "uvicorn" or words[:2] == ["cometstream", "serve"]:
            self._serve(words)
            return ""
        if words[0] == "cometstream" and not re.search(r"[|<>&;$]", line):
            return _command_line(words[1:], where)  # in this process: a new one takes most of a second
        ended = subprocess.run(
            ["bash", "-c", line], cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, f"{where}: {line} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def _serve(self, words: list[str]) -> None:
        server = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=self._folder, env=self._environment, stderr=subprocess.PIPE
        )
        self._servers.append(server)
        while server.poll() is None:
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", int(self._port))):
                return
            time.sleep(0.02)  # another process: nothing here can wait for it otherwise
        raise AssertionError(f"{shlex.join(words)} ended:\n{server.communicate()[1].decode()}")


def _lines(code: str) -> Iterator[str]:
    """Yield the commands; a backslash at the end of a line goes on in the next."""
    for line in code.replace("\\\n", "").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


def _command_line(args: list[str], where: str) -> str:
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as told,
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO())),
    ):
        code = command_line(args)
    assert code == 0, f"{where}: cometstream {shlex.join(args)} ended with {code}:\n{told.getvalue()}"
    return printed.getvalue()


def _matches(expected: str, printed: str) -> bool:
    pattern = ".*?".join(map(re.escape, _plain(expected).split("...")))
    return re.fullmatch(pattern, _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    """Return a text without white space that nobody sees."""
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip()


def _extras() -> set[str]:
    section = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    return set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
