"""Images, sound and files as parts of a message, checked by what their bytes are; and the result of a tool as a message."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import os
import re
import stat
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from cometstream.errors import ConfigurationError, InvalidRequestError
from cometstream.request.describe import kind, shown
from cometstream.request.encode import encode_body
from cometstream.views.completion import ToolCall

if TYPE_CHECKING:
    from cometstream.request.params import FilePartParam, ImagePartParam, InputAudioPartParam, ToolMessageParam

__all__ = ["MAX_SIZE", "Source", "audio", "file", "image", "tool_result"]

Source: TypeAlias = "bytes | bytearray | memoryview | os.PathLike[str]"
"""Where the bytes of a part are: at hand, or in a file. Only a path object is opened, never a text that a browser may have sent."""

MAX_SIZE: Final = 20 * 1024 * 1024
"""The default ``max_size`` in bytes. No provider behind the endpoint is known to take more in one request."""

# The formats that OpenAI's reference of the route names for each kind of part.
_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SOUNDS: Final = {"audio/wav": "wav", "audio/mpeg": "mp3"}
_SNIFFED: Final = frozenset({*_IMAGES, *_SOUNDS, "application/pdf"})

_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"ID3", "audio/mpeg"),
)
_IN_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}

# Readers of PDF look for its mark in so many bytes.
_PDF_MARK_WITHIN: Final = 1024

_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_MIME: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.IGNORECASE)
_FORMAT: Final = re.compile(r"[a-z0-9]{1,16}", re.IGNORECASE)
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")


def image(source: Source | str, *, detail: str | None = None, max_size: int = MAX_SIZE) -> ImagePartParam:
    """Return an image as a part of a message.

    Args:
        source: The image's bytes, the path of its file (a ``pathlib.Path``, read at once), or an https, http or data URL.
        detail: ``"low"``, ``"high"`` or ``"auto"``: how closely the model looks, and how many tokens that costs.
        max_size: The largest size in bytes that is taken.
    Raises:
        InvalidRequestError: It is not a PNG, JPEG, GIF or WebP image by its bytes, is empty or too large, or cannot be read.
        ConfigurationError: An option cannot be used.
    """
    if detail is not None and (not isinstance(detail, str) or detail not in ("low", "high", "auto")):
        raise ConfigurationError(f"detail must be 'low', 'high', 'auto' or None; got {shown(detail)}")
    if isinstance(source, str) and source[:5].lower() != "data:":
        url = _checked_url(source)
    else:
        data, claimed = _read("image", source, max_size)
        found = _sniff(data)
        if found not in _IMAGES:
            raise _refused("image", f"{_by_bytes(found)}; PNG, JPEG, GIF and WebP images are taken")
        _same("image", claimed, found)
        url = source if isinstance(source, str) else _data_url(data, found)
    part: Any = {"url": url} if detail is None else {"url": url, "detail": detail}
    return {"type": "image_url", "image_url": part}


def audio(
    source: Source | str,
    *,
    format: str | None = None,  # noqa: A002 - the wire's own name
    max_size: int = MAX_SIZE,
) -> InputAudioPartParam:
    """Return sound as a part of a message.

    Args:
        source: The sound's bytes, the path of its file (a ``pathlib.Path``, read at once), or a data URL.
        format: The format's name on the wire, for one that a provider takes beyond WAV and MP3; None finds it out.
        max_size: The largest size in bytes that is taken.
    Raises:
        InvalidRequestError: It is not WAV or MP3 by its bytes (or not ``format``), is empty or too large, or cannot be read.
        ConfigurationError: An option cannot be used.
    """
    if format is not None and (not isinstance(format, str) or not _FORMAT.fullmatch(format)):
        raise ConfigurationError(f"format must be a format's name, such as 'wav', or None; got {shown(format)}")
    data, claimed = _read("audio", source, max_size)
    found = _sniff(data)
    if format is None:
        if found not in _SOUNDS:
            raise _refused("audio", f"{_by_bytes(found)}; WAV and MP3 are taken, and others with format=")
        _same("audio", claimed, found)
        format = _SOUNDS[found]  # noqa: A001 - the wire's own name
    elif (found is not None or format.lower() in _SOUNDS.values()) and _SOUNDS.get(found or "") != format.lower():
        raise _refused("audio", f"{_by_bytes(found)}, but format= says {format}")
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": format}}


def file(
    source: Source | str | None = None,
    *,
    filename: str | None = None,
    mime: str | None = None,
    file_id: str | None = None,
    max_size: int = MAX_SIZE,
) -> FilePartParam:
    """Return a file as a part of a message.

    Args:
        source: The file's bytes, its path (a ``pathlib.Path``, read at once), or a data URL; None where ``file_id`` is given.
        filename: The name to send; None takes the path's.
        mime: The file's type, such as ``"text/csv"``; None finds it out by the bytes and the name.
        file_id: The id of a file that was uploaded before.
        max_size: The largest size in bytes that is taken.
    Raises:
        InvalidRequestError: The type is not known or not what the name says, the file is empty or too large, or cannot be read.
        ConfigurationError: An option cannot be used.
    """
    for name, value in (("filename", filename), ("file_id", file_id), ("mime", mime)):
        if value is not None and (not isinstance(value, str) or not value.strip() or not value.isprintable()):
            raise ConfigurationError(f"{name} must be a text without line breaks, or None; got {shown(value)}")
    if mime is not None and not _MIME.fullmatch(mime):
        raise ConfigurationError(f"mime must be a type such as 'text/csv', or None; got {shown(mime)}")
    if file_id is not None:
        if source is not None:
            raise ConfigurationError("file takes a source or a file_id, not both")
        return {"type": "file", "file": {"file_id": file_id}}
    if source is None:
        raise ConfigurationError("file needs a source (bytes, a path or a data URL) or a file_id")
    data, claimed = _read("file", source, max_size)
    if filename is None:
        filename = PurePath(os.fspath(source)).name if isinstance(source, os.PathLike) else None
        if filename is None:
            raise ConfigurationError("file needs a filename= where the source is not a path")
        if not filename.isprintable():
            raise ConfigurationError(
                f"the file's name has a character that cannot be sent, give filename=; got {shown(filename)}"
            )
    found, named = _sniff(data), mimetypes.guess_type(f"name{PurePath(filename).suffix}")[0]
    wanted = mime or claimed or named or found
    if wanted is None:
        raise _refused("file", f"has no known type by its bytes or its name {shown(filename)}; give mime=")
    for claim in (mime, claimed, named):
        if (
            claim is not None
            and (found is not None or claim in _SNIFFED)
            and claim != found
            and not _is_text(claim, found)
        ):
            raise _refused("file", f"{_by_bytes(found)}, but its name or mime= says {claim}")
    return {"type": "file", "file": {"filename": filename, "file_data": _data_url(data, wanted)}}


def tool_result(call: ToolCall | Mapping[str, Any] | str, content: object) -> ToolMessageParam:
    """Return what a tool returned as the message that answers its call.

    Args:
        call: The call, or its id.
        content: What the tool returned: a text as it is, anything else is written as JSON.
    Raises:
        InvalidRequestError: The call has no id, or the content cannot be written as JSON.
    """
    call_id: object = call
    if isinstance(call, ToolCall):
        call_id = call.id
    elif isinstance(call, Mapping):
        try:
            call_id = call.get("id")
        except Exception:  # of a mapping of the caller's own
            call_id = None
    if not isinstance(call_id, str) or not call_id:
        raise _refused("tool_result", "has no call to answer; give the tool call or its id")
    if not isinstance(content, str):
        try:
            content = encode_body({"result": content})[len(b'{"result":') : -1].decode()
        except InvalidRequestError as error:
            raise InvalidRequestError([f"tool_result: {problem}" for problem in error.problems]) from None
        except Exception as error:  # of an object of the caller's own
            raise _refused("tool_result", f"cannot be read ({shown(error)})") from error
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _read(part: str, source: object, max_size: object) -> tuple[bytes, str | None]:
    """Return a source's bytes, and the type that a data URL claims."""
    if not isinstance(max_size, int) or isinstance(max_size, bool) or max_size < 1:
        raise ConfigurationError(f"max_size must be a whole number of bytes, 1 or more; got {shown(max_size)}")
    claimed = None
    if isinstance(source, (bytes, bytearray, memoryview)):
        size = memoryview(source).nbytes
        data = bytes(source) if size <= max_size else b""
    elif isinstance(source, os.PathLike):
        size, data = _read_file(part, source, max_size)
    elif isinstance(source, str) and (match := _DATA_URL.match(source)) is not None:
        claimed = match[1].lower() or None
        size = (len(source) - match.end()) * 3 // 4
        try:
            data = base64.b64decode(source[match.end() :], validate=True) if size <= max_size + 3 else b""
        except (binascii.Error, ValueError):
            raise _refused(part, "is a data URL that is not base64") from None
        size = len(data) or size
    elif isinstance(source, str):
        raise _refused(part, "is a text that is not a data URL; to send a file, give a pathlib.Path or its bytes")
    else:
        raise _refused(part, f"is {kind(source)}; bytes, a path or a data URL are taken")
    if size > max_size:
        raise _refused(part, f"has {size:,} bytes; at most {max_size:,} are taken (max_size)")
    if not data:
        raise _refused(part, "is empty")
    return data, claimed


def _read_file(part: str, path: os.PathLike[str], limit: int) -> tuple[int, bytes]:
    try:
        # A pipe or a device would wait or never end.
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise _refused(part, f"{shown(os.fspath(path))} is not a file that can be read whole")
        if state.st_size > limit:
            return state.st_size, b""
        with open(path, "rb") as opened:
            data = opened.read(limit + 1)
    except OSError as error:
        raise _refused(
            part, f"cannot read {shown(os.fspath(path))} ({error.strerror or type(error).__name__})"
        ) from None
    except InvalidRequestError:
        raise
    except (TypeError, ValueError):  # a name that no file can have
        raise _refused(part, "is a path that no file can have") from None
    return len(data), data


def _sniff(data: bytes) -> str | None:
    """Return the type of some bytes by how they begin; None for all that is not told here."""
    for beginning, mime in _BEGINNINGS:
        if data.startswith(beginning):
            return mime
    if data.startswith(b"RIFF"):
        return _IN_RIFF.get(data[8:12])
    # A frame of MPEG audio: eleven bits for the beginning, then version and layer; 01 is layer III.
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2:
        return "audio/mpeg"
    return "application/pdf" if b"%PDF-" in data[:_PDF_MARK_WITHIN] else None


def _is_text(claim: str, found: str | None) -> bool:
    """Whether a text only looks like something else: it may quote a PDF's mark, or begin with ID3."""
    return claim.startswith("text/") and found in ("application/pdf", "audio/mpeg")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or _NOT_IN_URLS.search(url):
            raise ValueError
    except ValueError:
        raise _refused(
            "image",
            "is a text that is not an https, http or data URL; to send a file, give a pathlib.Path or its bytes",
        ) from None
    return url


def _same(part: str, claimed: str | None, found: str | None) -> None:
    if claimed is not None and claimed.replace("image/jpg", "image/jpeg").replace("audio/x-wav", "audio/wav") != found:
        raise _refused(part, f"{_by_bytes(found)}, but its URL says {shown(claimed)}")


def _by_bytes(found: str | None) -> str:
    return f"is {found} by its bytes" if found else "is of no known type by its bytes"


def _data_url(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _refused(part: str, problem: str) -> InvalidRequestError:
    return InvalidRequestError([f"{part}: {problem}"])
