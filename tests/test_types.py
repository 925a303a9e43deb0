"""The names for annotations are in one place, and do not cost what they need not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cometstream
from cometstream import testing, types
from cometstream.answer import events
from cometstream.request import params


@pytest.mark.parametrize("name", types.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(types, name) is not None


def test_every_event_and_every_message_is_among_them() -> None:
    assert {name for name in events.__all__ if name.endswith("Event")} <= set(types.__all__)
    assert {name for name in params.__all__ if name.endswith(("Message", "MessageParam", "PartParam"))} <= set(
        types.__all__
    )


def test_they_are_the_same_objects_as_elsewhere() -> None:
    assert types.Reply is testing.Reply
    assert types.ChatCompletion is cometstream.ChatCompletion
    assert types.MessageParam is params.MessageParam


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match=r"module 'cometstream\.types' has no attribute 'Replay'"):
        types.Replay  # noqa: B018


def test_the_simulated_server_is_not_imported_for_annotations() -> None:
    code = "import sys, cometstream; assert 'cometstream.types' not in sys.modules; import cometstream.types; "
    code += "sys.exit('cometstream.testing' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
