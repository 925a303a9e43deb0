"""Conversations on disk: the last one, which ``-c`` goes on with, and those that a chat saves and loads."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from cometstream.cli.process import say
from cometstream.cli.whole_file import write_whole
from cometstream.errors import ConfigurationError

if TYPE_CHECKING:
    from cometstream.conversation import Conversation
    from cometstream.views.completion import ChatCompletion

__all__ = ["Kept", "continued", "keep_last", "load", "private_file", "save", "stopped", "touch"]

_OURS: Final = 0o600  # prompts and answers are nobody else's
_OUR_FOLDER: Final = 0o700

# A file that is not one of ours is not read whole.
_MOST: Final = 256 * 1024 * 1024


class Kept(NamedTuple):
    """A conversation, and the model that answered last in it; None where the file does not say."""

    conversation: Conversation
    model: str | None


def private_file(name: str, *, demo: bool) -> Path:
    """Return the path of a file in the user's state folder, which is made, and which nobody else may read.

    The demo has files of its own, so that trying it costs no real conversation.

    Raises:
        OSError: The folder cannot be made.

    Source:
        XDG Base Directory Specification: the state folder, a relative path in the variable is ignored, mode 0700.
    """
    folder = _state_folder() / "cometstream"
    folder.mkdir(mode=_OUR_FOLDER, parents=True, exist_ok=True)
    return folder / (f"demo-{name}" if demo else name)


def keep_last(conversation: Conversation, model: str, *, demo: bool) -> None:
    """Keep a conversation as the last one; where that is not possible, say so and go on."""
    try:
        save(private_file("last.json", demo=demo), conversation, model)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        why = (error.strerror if isinstance(error, OSError) else None) or error
        say(f"the conversation is not kept for -c, since its file cannot be written: {why} (--no-keep says no more)")


def continued(*, demo: bool) -> Kept:
    """Return the last conversation.

    Raises:
        ConfigurationError: There is none, or it cannot be read.
    """
    try:
        return load(private_file("last.json", demo=demo))
    except FileNotFoundError:
        raise ConfigurationError("there is no conversation to continue yet: leave out -c") from None
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"the last conversation cannot be read: {error}") from None


def save(path: Path, conversation: Conversation, model: str) -> None:
    """Write a conversation as a whole or not at all, readable by this user alone.

    Raises:
        OSError: The file cannot be written.
    """
    stored = {"model": model, **orjson.loads(conversation.to_json())}
    write_whole(path, orjson.dumps(stored))


def load(path: Path) -> Kept:
    """Read a conversation.

    Raises:
        OSError: The file cannot be read.
        ConfigurationError: It is not a conversation.
    """
    from cometstream.conversation import Conversation

    if path.stat().st_size > _MOST:
        raise ConfigurationError(f"{path.name} is too large to be a conversation")
    data = path.read_bytes()
    conversation = Conversation.from_json(data)
    model = orjson.loads(data).get("model")
    return Kept(conversation, model if isinstance(model, str) and model else None)


def stopped(completion: ChatCompletion) -> dict[str, Any] | None:
    """Return what had come of an answer that the user stopped, as a message; None where nothing was said.

    Only its text: calls and reasoning that were cut would be refused in the next request.
    """
    return {"role": "assistant", "content": completion.content} if completion.content else None


def touch(path: Path) -> Path:
    """Make an empty file that this user alone may read, where there is none, and return its path.

    Raises:
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, _OURS))
    return path


def _state_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    given = os.environ.get("XDG_STATE_HOME", "")
    return Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
