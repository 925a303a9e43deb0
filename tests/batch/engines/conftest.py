from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from support.cli_server import ServerThread

from cometstream.testing import Reply
from cometstream.testing.server import RecordedRequest


class Counted:
    """A server that refuses each row whose text ends in 7, and counts.

    Attributes:
        asked: How often each row was.
        most: The most requests that were under way.
    """

    def __init__(self, thread: ServerThread) -> None:
        self.server = thread.server
        self.server.requests.clear()
        self.asked: Counter[str] = Counter()
        self.most = 0
        self.server.always(self.reply)

    def reply(self, recorded: RecordedRequest) -> Reply:
        text = str(recorded.json["messages"][-1]["content"])
        self.asked[text] += 1
        self.most = max(self.most, sum(not request.finished.is_set() for request in self.server.requests))
        if text.endswith("7"):
            return Reply.error(400)
        return Reply.text("re: ", 0.5, text, usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})


@pytest.fixture(scope="session")
def thread() -> Iterator[ServerThread]:
    """One server for all: the engines' processes have its address in their environment."""
    with ServerThread() as thread, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }.items():
            patch.setenv(name, value)
        yield thread


@pytest.fixture
def session(thread: ServerThread) -> dict[str, str]:
    """What a worker's session is made with."""
    return {"api_key": thread.server.api_key, "base_url": thread.server.base_url}


@pytest.fixture
def counted(thread: ServerThread) -> Counted:
    return Counted(thread)
