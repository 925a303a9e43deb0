from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from cometstream.batch.jsonl import InputRow, RowReader
from cometstream.batch.line_file import LineFileError
from cometstream.batch.output import BatchOutput, OutputRefused
from cometstream.batch.result import BatchResult
from cometstream.errors import StreamTruncatedError
from cometstream.views.completion import ChatCompletion

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks are POSIX's here")


def rows(*lines: dict[str, Any]) -> list[InputRow]:
    reader = RowReader(model="m")
    return [row for row in (reader.read(orjson.dumps(line)) for line in lines) if row is not None]


ROWS = rows(*({"custom_id": name, "prompt": name} for name in "abcd"))
A, B, C, D = ROWS


def good(row: InputRow) -> BatchResult:
    return BatchResult(0, row.custom_id, row.request, ChatCompletion({"choices": []}), None, "complete", 1, None)


def cut(row: InputRow) -> BatchResult:
    return BatchResult(0, row.custom_id, row.request, None, StreamTruncatedError("cut"), "truncated", 1, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def names(path: Path) -> list[str]:
    return [orjson.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def write(path: Path, *results: BatchResult, errors: Path | None = None) -> None:
    by_name = {row.custom_id: row for row in ROWS}
    with BatchOutput(str(path), None if errors is None else str(errors), resume=True) as output:
        for result in results:
            output.write(by_name[result.custom_id or ""], result)


def test_each_row_has_one_line_and_the_next_run_knows_it(path: Path) -> None:
    write(path, good(A), cut(B))
    with BatchOutput(str(path), resume=True) as output:
        assert [output.has(row) for row in ROWS] == [True, True, False, False]
        assert (output.answered, output.failed) == (1, 1)
        assert output.begin() == []
        output.write(C, good(C))
    assert names(path) == ["a", "b", "c"]


def test_what_is_there_is_not_added_to_unasked(path: Path) -> None:
    write(path, good(A))
    before = path.read_bytes()
    with pytest.raises(OutputRefused, match="is not empty: go on with it by --resume"):
        BatchOutput(str(path))
    errors = path.with_name("errors.jsonl")
    with pytest.raises(OutputRefused, match=r"out.jsonl is not empty"):
        BatchOutput(str(errors), str(path))
    assert path.read_bytes() == before
    with BatchOutput(str(errors)) as output:  # empty, and free again
        output.write(A, good(A))


def test_failures_go_to_a_file_of_their_own_and_count_from_there(path: Path) -> None:
    errors = path.with_name("errors.jsonl")
    write(path, good(A), cut(B), errors=errors)
    with BatchOutput(str(path), str(errors), resume=True) as output:
        output.write_bad(InputRow(3, C.custom_id, C.id, {}, ("is not valid JSON",)))
    assert (names(path), names(errors)) == (["a"], ["b", "c"])
    with BatchOutput(str(path), str(errors), resume=True) as output:
        assert [output.has(row) for row in ROWS] == [True, True, True, False]


def test_retrying_takes_the_failed_lines_out_of_both_files_but_only_once_it_begins(path: Path) -> None:
    errors = path.with_name("errors.jsonl")
    write(path, good(A), cut(D))
    write(path, cut(B), errors=errors)
    with BatchOutput(str(path), str(errors), retry_failed=True) as output:
        assert [output.has(row) for row in ROWS] == [True, False, False, False]
        assert output.failed == 0
    assert (names(path), names(errors)) == (["a", "d"], ["b"])
    with BatchOutput(str(path), str(errors), retry_failed=True) as output:
        assert output.begin() == []
        output.write(B, good(B))
        with pytest.raises(LineFileError, match="another run"):
            BatchOutput(str(path), resume=True)
    assert (names(path), names(errors)) == (["a", "b"], [])


@pytest.mark.parametrize("kept", range(1, 100, 7))
def test_a_torn_last_line_is_taken_out_and_its_row_runs_again(path: Path, kept: int) -> None:
    write(path, good(A), good(B))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + kept])
    with BatchOutput(str(path), resume=True) as output:
        assert [output.has(row) for row in ROWS[:2]] == [True, False]
        assert path.read_bytes() == whole[: first + kept]
        assert output.begin() == [f"{path}: the last line was cut off; it is removed, and its row runs again"]
        output.write(B, good(B))
    assert path.read_bytes() == whole


def test_the_first_line_may_be_torn_too(path: Path) -> None:
    for torn in (b"{", b'{"id":"batch_row_12', b'{"id":"x","custom_id":"a"'):
        path.write_bytes(torn)
        with BatchOutput(str(path), resume=True) as output:
            assert len(output.begin()) == 1
        assert path.read_bytes() == b""


def test_a_last_line_that_lacks_only_its_end_is_kept(path: Path) -> None:
    write(path, good(A), good(B))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with BatchOutput(str(path), resume=True) as output:
        assert output.has(B)
        assert output.begin() == [f"{path}: the last line had no end, and got one"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"Dear diary", "line 1: is not a line of a batch output .does not begin as one"),
        (b"Dear diary\nHello", "line 1: is not a line"),
        (
            b'{"custom_id":"a","response":null,"error":{}}\n{}\n',
            "line 2: is not a line of a batch output .has no custom_id",
        ),
        (b'{"prompt": "Hi"}\n', "line 1: is not a line"),
    ],
)
def test_a_file_that_is_no_output_is_left_alone(path: Path, text: bytes, message: str) -> None:
    path.write_bytes(text)
    with pytest.raises(OutputRefused, match=message):
        BatchOutput(str(path), retry_failed=True)
    assert path.read_bytes() == text


def test_an_output_of_another_input_is_refused(path: Path) -> None:
    write(path, good(A), good(B))
    reader = RowReader(model="m")
    (other,) = [reader.read(orjson.dumps({"custom_id": "a", "prompt": "something else"}))]
    assert other is not None
    with BatchOutput(str(path), resume=True) as output:
        output.check_same(A)
        output.check_same(C)
        with pytest.raises(OutputRefused, match=r"it answers custom_id 'a' with another body than line 1 has"):
            output.check_same(other)
        with pytest.raises(OutputRefused, match=r"line 2 of .*out.jsonl answers 'b', which is not a row of in.jsonl"):
            output.check_known(reader.digests, "in.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    with BatchOutput(str(path), resume=True) as output:
        with pytest.raises(OutputRefused, match=r"its last line answers a row that is not a row of in.jsonl"):
            output.check_known(reader.digests, "in.jsonl")


def test_a_failed_line_is_no_sign_of_another_input(path: Path) -> None:
    write(path, cut(A))
    with BatchOutput(str(path), resume=True) as output:
        output.check_known((), "in.jsonl")


def test_an_output_of_openais_own_can_be_gone_on_with(path: Path) -> None:
    response = {"status_code": 200, "request_id": "r", "body": {}}
    line = {"id": "batch_req_6780a1f5d3888190a0fda3a2a3c81e59", "custom_id": "a", "response": response, "error": None}
    path.write_bytes(orjson.dumps(line) + b"\n")
    with BatchOutput(str(path), resume=True) as output:
        output.check_same(A)
        assert output.has(A)


def test_it_is_synced_each_second_and_at_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    synced: list[float] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(now[0]))
    with BatchOutput(str(path), clock=lambda: now[0]) as output:
        for tick in range(24):
            now[0] = tick / 8
            output.write(A, good(A))
        now[0] = 3.5
        output.sync_if_due()
        now[0] = 3.75
        output.write(B, good(B))
    assert synced == [1.0, 2.0, 3.5, 3.75]


def test_errors_and_output_must_differ(path: Path) -> None:
    with pytest.raises(OutputRefused, match="leave --errors out"):
        BatchOutput(str(path), str(path.parent / "." / path.name))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_says_how_to_go_on(path: Path) -> None:
    with BatchOutput(str(path), "/dev/full") as output:
        output.write(A, good(A))
        with pytest.raises(LineFileError, match=r"No space left on device.*--resume goes on from there"):
            output.write(B, cut(B))
    assert names(path) == ["a"]
