from __future__ import annotations

import base64
from pathlib import Path

import pytest

from cometstream.cli import main
from cometstream.cli.attachments import attachment, images_in
from cometstream.errors import InvalidRequestError
from cometstream.testing import Reply, SimulatedServer

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
PDF = b"%PDF-1.7\n%%EOF\n"


def test_each_file_goes_with_the_prompt_as_what_its_bytes_are(server: SimulatedServer, tmp_path: Path) -> None:
    files = {"comet.dat": PNG, "sound": WAV, "notes.md": "Grüße".encode(), "paper.pdf": PDF}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    server.script(Reply.text("Yes."))
    attached = [flag for name in files for flag in ("--attach", str(tmp_path / name))]
    assert main(["ask", "What are these?", *attached, "--attach", "https://example.com/a.png"]) == 0
    assert server.requests[0].json["messages"][0]["content"] == [
        {"type": "text", "text": "What are these?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"}},
        {"type": "text", "text": '<file name="notes.md">\nGrüße\n</file>'},
        {
            "type": "file",
            "file": {
                "filename": "paper.pdf",
                "file_data": f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}",
            },
        },
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


@pytest.mark.parametrize("data", [None, b"", b"\xff\xfe\x00\x01"])
def test_a_file_that_cannot_be_sent_is_told_before_anything_is(
    server: SimulatedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes | None
) -> None:
    path = tmp_path / "unknown"
    if data is not None:
        path.write_bytes(data)
    assert main(["ask", "What is this?", "--attach", str(path)]) == 2
    assert capsys.readouterr().err.startswith("cometstream: the request was not sent, it has 1 problem: file: ")
    assert not server.requests


def test_a_folder_and_a_device_are_no_files(tmp_path: Path) -> None:
    for name in (str(tmp_path), "/dev/zero"):
        with pytest.raises(InvalidRequestError):
            attachment(name)


def test_a_text_names_images_after_an_at_sign_and_nothing_else() -> None:
    text = r"""Compare @a.png with @"my comet.jpg", @'b c.webp' and @d\ e.GIF; ask me@f.png, @/etc/passwd or g.png"""
    assert images_in(text) == ["a.png", "my comet.jpg", "b c.webp", "d e.GIF"]
