"""Files as parts of what the user says: an image, sound, a text or another file, told apart by their bytes."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cometstream.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["attachment", "images_in", "only_image", "said"]

# A name after an @, at the beginning of a word; in quotes, or with a backslash before each space, as terminals paste it.
_REFERENCE: Final = re.compile(r"""(?<!\S)@(?:"([^"\n]+)"|'([^'\n]+)'|((?:\\.|[^\s\\])+))""")
_AFTER: Final = ".,;:!?)]"  # of the sentence around it
_LONGEST_NAME: Final = 4096
_IMAGE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def attachment(name: str) -> Any:
    """Return the part that a file is sent as; an https or http URL is that of an image, which the provider fetches.

    Raises:
        InvalidRequestError: The file cannot be read or sent.
    """
    from cometstream.conversation import audio, file, image

    if re.match(r"https?://", name):
        return image(name)
    path = Path(name).expanduser()
    # What is no image may be sound; what is neither, or cannot be read, is told of by the last try below.
    with suppress(InvalidRequestError):
        return image(path)
    with suppress(InvalidRequestError):
        return audio(path)
    text = _text(path)
    if text is None:
        return file(path)
    # Providers take PDF as files, and few of them anything else; a text is one for all.
    label = "".join(char for char in path.name if char.isprintable() and char != '"')
    return {"type": "text", "text": f'<file name="{label}">\n{text}\n</file>'}


def images_in(text: str) -> list[str]:
    """Return the files of images that a text names as ``@comet.png``; of other files nothing is read because of a text."""
    names = (
        quoted or single or re.sub(r"\\(.)", r"\1", bare.rstrip(_AFTER))
        for quoted, single, bare in _REFERENCE.findall(text)
    )
    return [name for name in names if name.lower().endswith(_IMAGE_ENDINGS)]


def only_image(text: str) -> str | None:
    """Return the file of an image that is all there is in a text, as when it is dragged into the terminal; else None."""
    if len(text) > _LONGEST_NAME or not text.rstrip("'\" ").lower().endswith(_IMAGE_ENDINGS):
        return None
    try:
        names = shlex.split(text)
        return names[0] if len(names) == 1 and Path(names[0]).expanduser().is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def said(text: str, parts: Sequence[Any]) -> Any:
    """Return what the user says, with what is attached to it, as a message."""
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts] if parts else text}


def _text(path: Path) -> str | None:
    """Return a file's text; None where it is no text, or is better told of by whoever reads all kinds."""
    from cometstream.conversation import MAX_SIZE

    try:
        if not path.is_file() or not 0 < path.stat().st_size <= MAX_SIZE:
            return None
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, ValueError):  # UnicodeDecodeError among them
        return None
    return None if "\0" in text or b"%PDF-" in data[:1024] else text
