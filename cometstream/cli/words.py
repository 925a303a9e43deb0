"""The library's messages in the command line's own words: an argument of Python is a flag here, or is nothing."""

from __future__ import annotations

import re
from typing import Final

from cometstream.errors import APIStatusError, CometError

__all__ = ["described", "in_cli_words"]

_CLOCK: Final = re.compile(r"\btimeouts\.(connect|first_content|content_idle|total)\b")

_WORDS: Final = {
    " or set max_connections": "",
    ", or pass api_key=": "",
    ", or pass ssl=": "",
    "from base_url=": "from --base-url",
    "load_dotenv() of the package python-dotenv does that, or": "`set -a; . ./.env` in the shell does that, or",
}


def in_cli_words(message: str) -> str:
    """Return a message with flags in the place of Python's names."""
    message = _CLOCK.sub(lambda clock: f"--{clock[1].replace('_', '-')}-timeout", message)
    for ours, theirs in _WORDS.items():
        message = message.replace(ours, theirs)
    return message


def described(error: CometError) -> str:
    """Return what an error says, with what one may want to know beside it."""
    message = in_cli_words(str(error))
    if isinstance(error, APIStatusError) and error.retry_after is not None:
        message += f" (the server asks to wait {error.retry_after:g} s)"
    if error.request_id is not None and error.request_id not in message:
        message += f" (request id: {error.request_id})"
    return message
