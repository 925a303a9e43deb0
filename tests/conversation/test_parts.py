from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from cometstream import CometError, ConfigurationError, Conversation, InvalidRequestError, ToolCall
from cometstream.conversation import audio, file, image, tool_result

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
GIF = b"GIF89a" + bytes(20)
WEBP = b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20)
WAV = b"RIFF\x20\0\0\0WAVEfmt " + bytes(20)
MP3 = b"ID3\x04" + bytes(20)
MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(20)
AAC = b"\xff\xf1\x50\x80" + bytes(20)
PDF = b"%PDF-1.7\n" + bytes(20)


def data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("data", "mime"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
)
def test_an_image_is_told_by_its_bytes(data: bytes, mime: str, tmp_path: Path) -> None:
    (tmp_path / "upload.bin").write_bytes(data)
    url = data_url(mime, data)
    for source in (data, bytearray(data), memoryview(data), tmp_path / "upload.bin", url):
        assert image(source) == {"type": "image_url", "image_url": {"url": url}}
    assert image(data, detail="low")["image_url"] == {"url": url, "detail": "low"}


def test_an_image_can_stand_elsewhere() -> None:
    part = image("https://example.com/a.png?b=1", detail="high")
    assert part == {"type": "image_url", "image_url": {"url": "https://example.com/a.png?b=1", "detail": "high"}}


@pytest.mark.parametrize(("data", "name"), [(WAV, "wav"), (MP3, "mp3"), (MP3_FRAME, "mp3")])
def test_sound_is_told_by_its_bytes(data: bytes, name: str) -> None:
    encoded = base64.b64encode(data).decode()
    assert audio(data) == {"type": "input_audio", "input_audio": {"data": encoded, "format": name}}
    assert audio(data, format=name) == audio(data)
    assert audio(f"data:audio/{'mpeg' if name == 'mp3' else 'x-wav'};base64,{encoded}") == audio(data)


def test_a_format_of_one_provider_is_taken_where_it_is_named() -> None:
    assert audio(AAC, format="aac")["input_audio"]["format"] == "aac"


def test_a_file_has_a_name_and_a_type(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(PDF)
    encoded = data_url("application/pdf", PDF)
    assert file(tmp_path / "report.pdf") == {
        "type": "file",
        "file": {"filename": "report.pdf", "file_data": encoded},
    }
    assert file(PDF, filename="report")["file"].get("file_data") == encoded
    assert file(encoded, filename="other.pdf")["file"].get("filename") == "other.pdf"
    assert file(b"a,b", filename="t.csv")["file"].get("file_data") == data_url("text/csv", b"a,b")
    assert (
        file(b"\x00", filename="x", mime="application/x-own")["file"]
        .get("file_data", "")
        .startswith("data:application/x-own")
    )
    assert file(b"about %PDF- files", filename="a.txt")["file"].get("file_data", "").startswith("data:text/plain")
    assert file(file_id="file-1") == {"type": "file", "file": {"file_id": "file-1"}}


def test_every_part_can_be_said() -> None:
    chat = Conversation([["Look", image(PNG), audio(WAV), file(PDF, filename="a.pdf")]])
    assert [part["type"] for part in chat.messages[0]["content"]] == ["text", "image_url", "input_audio", "file"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: image(PDF), "image: is application/pdf by its bytes; PNG, JPEG, GIF and WebP images are taken"),
        (lambda: image(b"<svg/>"), "image: is of no known type by its bytes"),
        (lambda: image(b""), "image: is empty"),
        (lambda: image(PNG, max_size=27), r"image: has 28 bytes; at most 27 are taken \(max_size\)"),
        (lambda: image(data_url("image/png", PNG), max_size=27), "image: has 28 bytes; at most 27"),
        (lambda: image(data_url("image/png", PNG * 9), max_size=27), "image: has .* bytes; at most 27"),
        (lambda: image(data_url("image/gif", PNG)), "is image/png by its bytes, but its URL says 'image/gif'"),
        (lambda: image("data:image/png;base64,%%%"), "image: is a data URL that is not base64"),
        (lambda: image("data:image/png;base64,"), "image: is empty"),
        (lambda: image("data:image/png,abc"), "image: is a text that is not a data URL"),
        (lambda: image("/etc/passwd"), "image: is a text that is not an https, http or data URL; .* pathlib.Path"),
        (lambda: image("https:///a.png"), "image: is a text that is not an https"),
        (lambda: image("https://a b/c"), "image: is a text that is not an https"),
        (lambda: image("http://[::1/c"), "image: is a text that is not an https"),
        (lambda: image("file:///etc/passwd"), "image: is a text that is not an https"),
        (lambda: image(5), "image: is 5; bytes, a path or a data URL are taken"),  # type: ignore[arg-type]
        (lambda: image(Path("no such file")), r"image: cannot read 'no such file' \(No such file or directory\)"),
        (lambda: image(Path("a\0b")), "image: is a path that no file can have"),
        (lambda: image(Path("/")), "image: '/' is not a file that can be read whole"),
        (lambda: image(Path(__file__), max_size=9), "image: has .* bytes; at most 9"),
        (lambda: image(PNG, detail="much"), "detail must be 'low', 'high', 'auto' or None; got 'much'"),
        (lambda: image(PNG, max_size=0), "max_size must be a whole number of bytes, 1 or more; got 0"),
        (lambda: audio(PNG), "audio: is image/png by its bytes; WAV and MP3 are taken"),
        (lambda: audio(AAC), "audio: is of no known type by its bytes"),
        (lambda: audio(WAV, format="mp3"), "audio: is audio/wav by its bytes, but format= says mp3"),
        (lambda: audio(AAC, format="wav"), "audio: is of no known type by its bytes, but format= says wav"),
        (lambda: audio(WAV, format="a b"), "format must be a format's name"),
        (lambda: audio("song.mp3"), "audio: is a text that is not a data URL"),
        (lambda: file(PNG, filename="a.pdf"), "is image/png by its bytes, but its name or mime= says application/pdf"),
        (
            lambda: file(b"x", filename="a.pdf"),
            "is of no known type by its bytes, but its name or mime= says application",
        ),
        (lambda: file(b"x", filename="x"), "file: has no known type by its bytes or its name 'x'; give mime="),
        (lambda: file(PDF, filename="x", mime="text"), "mime must be a type such as 'text/csv', or None; got 'text'"),
        (lambda: file(PDF), "file needs a filename= where the source is not a path"),
        (lambda: file(PDF, filename="a\nb"), "filename must be a text without line breaks"),
        (lambda: file(), "file needs a source"),
        (lambda: file(PDF, file_id="file-1"), "file takes a source or a file_id, not both"),
        (lambda: tool_result("", "4"), "tool_result: has no call to answer"),
        (lambda: tool_result({}, "4"), "tool_result: has no call to answer"),
        (lambda: tool_result("a", {"x": {1, 2}}), "tool_result: result.x: cannot be written as JSON"),
        (lambda: tool_result("a", float("nan")), "tool_result: result: is nan"),
    ],
)
def test_what_no_provider_takes_is_refused_in_one_line(make: Any, told: str) -> None:
    with pytest.raises((InvalidRequestError, ConfigurationError), match=told) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequestError, match="is not a file that can be read whole"):
        image(tmp_path / "pipe")


def test_a_name_that_cannot_be_sent_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a\nb.txt").write_text("x")
    with pytest.raises(ConfigurationError, match="the file's name has a character that cannot be sent"):
        file(tmp_path / "a\nb.txt")


@pytest.mark.parametrize(
    ("content", "text"),
    [("clear", "clear"), ({"sky": "clear"}, '{"sky":"clear"}'), (None, "null"), ([1, "a"], '[1,"a"]')],
)
def test_a_result_is_a_text_or_json(content: object, text: str) -> None:
    message = {"role": "tool", "tool_call_id": "call_1", "content": text}
    raw = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    for call in ("call_1", raw, ToolCall(raw)):
        assert tool_result(call, content) == message


def test_a_call_that_cannot_be_read_has_no_id() -> None:
    from support.odd_values import BrokenMapping

    with pytest.raises(CometError, match="has no call to answer"):
        tool_result(BrokenMapping(), "4")
