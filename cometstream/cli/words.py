"""The library's messages in the command line's own words: an argument of Python is a flag here, or is nothing."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["in_cli_words"]

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
