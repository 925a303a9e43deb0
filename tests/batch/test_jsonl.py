from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from cometstream.batch import jsonl
from cometstream.batch.jsonl import InputFailed, InputRow, RowReader, open_input, read_lines, unpacked

MESSAGES = [{"role": "user", "content": "Hi"}]
BODY = {"model": "gpt-5.4", "messages": MESSAGES}


def read(*lines: bytes | dict[str, Any], model: str | None = None) -> list[InputRow]:
    reader = RowReader(model=model)
    rows = [reader.read(line if isinstance(line, bytes) else orjson.dumps(line)) for line in lines]
    return [row for row in rows if row is not None]


def lines_of(path: Path) -> list[bytes]:
    with open_input(str(path)) as file:
        return list(read_lines(file, str(path)))


def test_each_of_the_three_forms_is_the_same_request() -> None:
    batch_line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {**BODY, "seed": 1}}
    bare = {"custom_id": "b", **BODY, "seed": 1}
    prompt = {"custom_id": "c", "prompt": "Hi", "model": "gpt-5.4", "seed": 1}
    rows = read(batch_line, bare, prompt)
    assert [row.problems for row in rows] == [(), (), ()]
    assert [row.request.pop("custom_id") for row in rows] == ["a", "b", "c"]
    assert all(row.request == {**BODY, "seed": 1} for row in rows)


def test_method_and_url_of_a_batch_line_may_be_left_out() -> None:
    assert read({"body": BODY})[0].problems == ()
    assert read({"url": "/chat/completions", "body": BODY})[0].problems == ()


def test_the_model_option_is_for_rows_without_one() -> None:
    rows = read({"prompt": "Hi"}, {"prompt": "Hi", "model": None}, {**BODY, "model": "own"}, model="given")
    assert [row.request["model"] for row in rows] == ["given", "given", "own"]


def test_stream_is_dropped_and_extra_body_passes_unread() -> None:
    rows = read({**BODY, "stream": False}, {**BODY, "stream": True, "extra_body": {"top_k": 40}})
    assert "stream" not in rows[0].request
    assert rows[1].request["extra_body"] == {"top_k": 40}
    assert read({**BODY, "stream": False, "stream_options": {"include_usage": True}})[0].problems == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"nope", "is not valid JSON: "),
        (b'{"prompt": "Hi"', "is not valid JSON: "),
        (b'{"prompt": "\xff"}', "is not valid JSON: "),
        (b'{"prompt": NaN}', "is not valid JSON: "),
        (b"[]", "is the beginning of a JSON array"),
        (b'"Hi"', "is a string; "),
        (b"null", "is null; "),
        (b"true", "is true or false; "),
        (b"7", "is a number; "),
        (b"{}", "has neither messages nor prompt nor body"),
        ({"custom_id": 7.0, **BODY}, "custom_id: must be a string"),
        ({"custom_id": True, **BODY}, "custom_id: must be a string"),
        ({"custom_id": "", **BODY}, "custom_id: must be a string"),
        ({"method": "GET", "body": BODY}, "method: must be POST"),
        ({"url": "/v1/embeddings", "body": BODY}, "url: must be /v1/chat/completions"),
        ({"method": "POST", "url": "/v1/chat/completions"}, "body: must be an object"),
        ({"body": []}, "body: must be an object"),
        ({"custom-id": "a", "body": BODY}, "custom-id: is unknown in an OpenAI Batch line"),
        ({"prompt": ""}, "prompt: must be a string that is not empty"),
        ({"prompt": ["Hi"]}, "prompt: must be a string that is not empty"),
        ({"prompt": "Hi", "messages": MESSAGES}, "prompt: is given beside messages"),
        ({"messages": MESSAGES}, "model: is missing; give the row one, or all such rows with --model"),
        ({**BODY, "messages": []}, "messages: "),
        ({**BODY, "temperature": 3}, "temperature: is 3; it must be a number from 0 to 2"),
        ({**BODY, "temprature": 1}, "temprature: is not a parameter of this endpoint; did you mean 'temperature'?"),
        ({**BODY, "timeouts": None}, "timeouts: is not a parameter of this endpoint"),
        ({**BODY, "headers": {"a": "b"}}, "headers: is not a parameter of this endpoint"),
        ({**BODY, "stream": "yes"}, "stream: "),
        ({**BODY, "extra_body": 7}, "extra_body: must be an object"),
    ],
)
def test_a_bad_line_says_what_is_wrong_with_it(line: bytes | dict[str, Any], problem: str) -> None:
    (row,) = read(line, model="gpt-5.4" if isinstance(line, dict) and "prompt" in line else None)
    assert any(told.startswith(problem) for told in row.problems), row.problems
    assert row.request == {}
    assert row.custom_id
    assert row.id


def test_only_the_first_line_can_begin_an_array() -> None:
    assert [row.problems[:1] for row in read({"prompt": "a"}, b"[]", model="m")] == [
        (),
        ('is a list; a row is an object: an OpenAI Batch line, a request body, or {"prompt": "..."}',),
    ]


def test_all_problems_of_a_line_are_told_at_once() -> None:
    (row,) = read({**BODY, "temperature": 3, "top_p": 2})
    assert [problem.partition(":")[0] for problem in row.problems] == ["temperature", "top_p"]


def test_a_body_that_is_nested_too_deep_is_bad_and_no_crash() -> None:
    line = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "metadata": %b}' % (
        b'{"a":' * 400 + b"1" + b"}" * 400
    )
    (row,) = read(line)
    assert row.problems == ("is nested too deep; at most 254 levels are allowed",)


def test_blank_lines_crlf_a_bom_and_a_last_line_without_end_are_fine() -> None:
    text = b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n  \n{"prompt": "b"}\n\n{"prompt": "c"}'
    lines = list(read_lines(io.BufferedReader(io.BytesIO(text)), "in"))
    rows = read(*lines, model="m")
    assert [(row.line, row.request["messages"][0]["content"]) for row in rows] == [(1, "a"), (4, "b"), (6, "c")]


def test_a_duplicate_names_the_first_and_gets_a_name_of_its_own() -> None:
    rows = read({"custom_id": "a", **BODY}, {"custom_id": "b", **BODY}, {"custom_id": "a", **BODY})
    assert rows[2].problems == ("custom_id: line 1 has the same one; each row needs one of its own",)
    assert len({row.custom_id for row in rows}) == 3
    assert len({row.id for row in rows}) == 3


def test_a_row_without_a_name_gets_one_of_its_line_and_its_body() -> None:
    same = read({"prompt": "a"}, {"prompt": "a"}, model="m")
    assert [row.custom_id.rsplit("-", 1)[0] for row in same] == ["line-1", "line-2"]
    again = read(b'{ "prompt" : "a" }', {"prompt": "b"}, model="other")
    assert again[0].custom_id == same[0].custom_id
    assert again[0].id != same[0].id, "another model answers it"
    assert read(b'{ "prompt" : "a" }', model="m")[0].id == same[0].id
    assert again[1].custom_id != same[1].custom_id


def test_the_id_tells_bodies_apart_that_have_the_same_name() -> None:
    first, second = (
        read({"custom_id": "a", "prompt": "x"}, model="m"),
        read({"custom_id": "a", "prompt": "y"}, model="m"),
    )
    reordered = read(b'{"temperature": 1, "custom_id": "a", "prompt": "x"}', model="m")
    ordered = read(b'{"custom_id": "a", "prompt": "x", "temperature": 1}', model="m")
    assert first[0].id != second[0].id
    assert reordered[0].id == ordered[0].id


def test_a_huge_line_is_read_and_one_past_all_reason_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    text = orjson.dumps({"prompt": "x" * 5_000_000}) + b"\n"
    (line,) = read_lines(io.BufferedReader(io.BytesIO(text)), "in")
    assert read(line, model="m")[0].problems == ()
    monkeypatch.setattr(jsonl, "_LINE_LIMIT", 2**20)
    lines = list(read_lines(io.BufferedReader(io.BytesIO(text + b'{"prompt": "y"}\n')), "in"))
    rows = read(*lines, model="m")
    assert [row.line for row in rows] == [1, 2]
    assert rows[0].problems == ("is longer than 1 MiB; are line ends missing?",)
    assert rows[1].problems == ()


def test_gzip_is_told_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    text = b'{"prompt": "a"}\n{"prompt": "b"}\n'
    packed, plain = tmp_path / "in.jsonl", tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(text[:16]) + gzip.compress(text[16:]))
    plain.write_bytes(text)
    assert lines_of(packed) == lines_of(plain) == text.splitlines(keepends=True)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\0\0\0\0" + data[44:]])
def test_damaged_gzip_says_so_with_its_line(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(damage(gzip.compress(b'{"prompt": "a"}\n' + os.urandom(200).hex().encode())))
    with pytest.raises(InputFailed, match=r"in.gz, after line \d: the gzip data is cut or damaged"):
        lines_of(path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputFailed, match=r"none.jsonl cannot be read: No such file"):
        lines_of(tmp_path / "none.jsonl")
    with pytest.raises(InputFailed, match=r"cannot be read: Is a directory"):
        lines_of(tmp_path)
    utf16 = tmp_path / "utf16.jsonl"
    utf16.write_text("{}", encoding="utf-16")
    with pytest.raises(InputFailed, match="UTF-16 text: save it as UTF-8"):
        lines_of(utf16)


def test_an_empty_input_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"")
    assert lines_of(path) == []


class Failing(io.RawIOBase):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            raise OSError(5, "Input/output error")
        piece = self._pieces.pop(0)
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_disk_that_fails_says_after_which_line() -> None:
    lines = read_lines(io.BufferedReader(Failing(b"{}\n")), "in")
    assert next(lines) == b"{}\n"
    with pytest.raises(InputFailed, match="in, after line 1, cannot be read: Input/output error"):
        next(lines)
    with pytest.raises(InputFailed, match="in cannot be read"):
        unpacked(io.BufferedReader(Failing()), "in")


def test_a_million_names_are_kept_as_numbers() -> None:
    reader = RowReader(model="m")
    for number in range(3):
        reader.read(orjson.dumps({"custom_id": "long" * 1000 + str(number), "prompt": "x"}))
    digests: Any = reader.digests
    assert all(type(key) is int for key in digests)
