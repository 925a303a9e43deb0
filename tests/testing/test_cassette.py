"""A cassette is text that a person can read, and gives back the bytes that it was made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometstream.testing.cassette import Cassette, CassetteError, Ending, Exchange, Failure, Piece, parsed_body

TEXT = r"""cometstream cassette 1

request POST /chat/completions
    {
      "model": "gpt-5.4",
      "messages": [
        {
          "role": "user",
          "content": "Grüße"
        }
      ]
    }
answer 200 after 0.2130
    Content-Type: text/event-stream
body
    0.0001 | data: {"a":"\\n\xe2\x80\xa8"}\n\n
           | data: caf
    0.0312 | é \t\xff\r\n\r\n
           | end\x20
    0.0400 cut ClientPayloadError: Response payload is not completed

# A comment.

request GET /models
failure APITimeoutError clock=connect retryable after 1.5000
    no connection within 1 s

request POST /chat/completions
    {}
no answer
"""

CASSETTE = Cassette(
    [
        Exchange(
            "POST",
            "/chat/completions",
            {"model": "gpt-5.4", "messages": [{"role": "user", "content": "Grüße"}]},
            0.213,
            200,
            [("Content-Type", "text/event-stream")],
            [
                Piece(0.0001, 'data: {"a":"\\n\u2028"}\n\ndata: caf'.encode()),
                Piece(0.0312, "é \t".encode() + b"\xff\r\n\r\nend "),
            ],
            Ending(0.04, "cut", "ClientPayloadError", "Response payload is not completed"),
        ),
        Exchange(
            "GET",
            "/models",
            waited=1.5,
            failure=Failure("APITimeoutError", "no connection within 1 s", retryable=True, clock="connect"),
        ),
        Exchange("POST", "/chat/completions", {}),
    ]
)


def read(tmp_path: Path, text: str) -> Cassette:
    path = tmp_path / "c.cassette"
    path.write_text(text, encoding="utf-8", newline="")
    return Cassette.load(path)


def test_a_file_holds_what_it_says(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT) == CASSETTE
    assert read(tmp_path, TEXT.replace("\n", "\r\n")) == CASSETTE  # as some editors save it


def test_it_is_written_as_it_is_read(tmp_path: Path) -> None:
    assert CASSETTE.text() == TEXT.replace("# A comment.\n\n", "")
    CASSETTE.save(tmp_path / "new" / "folder" / "c.cassette")
    assert Cassette.load(tmp_path / "new" / "folder" / "c.cassette") == CASSETTE
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["c.cassette"]


@given(
    pieces=st.lists(st.binary(min_size=1), max_size=5),
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3),
    how=st.sampled_from(["end", "silence", "left", "cut"]),
)
def test_any_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], texts: Any, how: str
) -> None:
    value, message, text = texts
    headers = [("X-A", value.strip())]
    ending = Ending(1.0, how, "OSError", text) if how == "cut" else Ending(1.0, how)
    made = Cassette(
        [
            Exchange("POST", "/a?b=c", {"a": texts}, 0.5, 200, headers, [Piece(0.25, data) for data in pieces], ending),
            Exchange("POST", "/a", [], 0.5, failure=Failure("APIConnectionError", message)),
        ],
        hashed=True,
    )
    path = tmp_path_factory.getbasetemp() / "any.cassette"
    made.save(path)
    assert Cassette.load(path) == made
    lines = path.read_text(encoding="utf-8").split("\n")
    assert all(line == line.rstrip() for line in lines)  # an editor that strips lines takes nothing away


@pytest.mark.parametrize(
    "body", [b'{"a": NaN}', b'{"a": "\\ud800"}', b'{"a": 123456789012345678901234567890}', b"null"]
)
def test_a_body_that_another_client_wrote_comes_back(tmp_path: Path, body: bytes) -> None:
    made = Cassette([Exchange("POST", "/a", parsed_body(body))])
    assert read(tmp_path, made.text()).text() == made.text()


def test_a_body_that_is_too_deep_is_refused() -> None:
    with pytest.raises(CassetteError, match="deeper than 240 levels cannot be recorded"):
        parsed_body(json.dumps({"a": 1}).encode().replace(b"1", b"[" * 300 + b"]" * 300))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("cometstream cassette 1", "something", "line 1: expected 'cometstream cassette 1': is this a cassette?"),
        ("request GET", "ask GET", "line 24: expected 'request METHOD ROUTE'"),
        ('"model": "gpt-5.4",', '"model": "gpt-5.4"', "line 12: the request's body ends here and is not JSON"),
        ("answer 200", "answer OK", "line 13: expected 'answer STATUS after SECONDS', 'failure ...' or 'no answer'"),
        ("Content-Type: text", "Content-Type text", "line 14: expected 'Name: value'"),
        ("body\n", "bytes\n", "line 15: expected 'body'"),
        ("    0.0001 |", "           |", "line 16: a body's first line needs its time"),
        ("é \\t", "é \\q", "line 18: a backslash begins one of"),
        ("    0.0312 |", "    soon |", "line 18: expected 'SECONDS | bytes', or an ending"),
        ("    0.0400 cut", "    0.0400 end\n    0.0400 cut", "line 21: a body goes on after its ending"),
        (
            "    0.0400 cut ClientPayloadError: Response payload is not completed\n",
            "",
            "line 22: expected the body's ending: end, cut, silence or left",
        ),
        ("no answer\n", "", "expected 'answer STATUS after SECONDS'"),
    ],
)
def test_what_is_no_cassette_is_told_with_its_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(CassetteError) as caught:
        read(tmp_path, TEXT.replace(before, after, 1))
    assert message in str(caught.value)
    assert str(tmp_path / "c.cassette") in str(caught.value)


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CassetteError, match=r"none\.cassette cannot be read \(No such file or directory\)"):
        Cassette.load(tmp_path / "none.cassette")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(CassetteError, match="binary is not UTF-8 text"):
        Cassette.load(tmp_path / "binary")
    with pytest.raises(CassetteError, match="cannot be written"):
        CASSETTE.save(tmp_path / "binary" / "c.cassette")
