from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometstream.batch import line_file
from cometstream.batch.line_file import LineFile, LineFileError, LineFileLost

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and limits are POSIX's here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[LineFile]:
    file = LineFile(str(path))
    yield file
    file.close()


def test_each_line_is_one_write_and_is_there_at_once(
    file: LineFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    write = os.write

    def watched(fd: int, data: bytes) -> int:
        written.append(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", watched)
    file.append(b"one")
    file.append(b"two")
    assert written == [b"one\n", b"two\n"]
    assert path.read_bytes() == b"one\ntwo\n"
    assert list(file.read()) == [b"one", b"two"]
    assert file.lines == 2


def test_a_second_run_is_refused_as_long_as_the_first_lives(path: Path) -> None:
    program = (
        f"from cometstream.batch.line_file import LineFile; f = LineFile({str(path)!r}); print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"1\n"
        with pytest.raises(LineFileError, match="is being written by another run"):
            LineFile(str(path))
        first.send_signal(signal.SIGKILL)
        first.wait()
    LineFile(str(path)).close()


def test_the_lock_holds_on_after_a_rewrite(path: Path) -> None:
    path.write_bytes(b"a\nb\n")
    file = LineFile(str(path))
    file.keep(lambda line: line == b"b")
    with pytest.raises(LineFileError, match="another run"):
        LineFile(str(path))
    file.append(b"c")
    file.close()
    assert path.read_bytes() == b"b\nc\n"


def test_whoever_locks_a_file_that_was_just_replaced_looks_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"old\n")
    lock = line_file._lock
    others: list[Callable[[], object]] = [lambda: path.unlink(), lambda: (path.unlink(), path.write_bytes(b"new\n"))]

    def replaced_meanwhile(fd: int, name: str) -> None:
        if others:
            others.pop()()
        lock(fd, name)

    monkeypatch.setattr(line_file, "_lock", replaced_meanwhile)
    file = LineFile(str(path))
    file.append(b"ours")
    file.close()
    assert path.read_bytes() == b"ours\n"


def test_a_rewrite_keeps_mode_and_links_and_leaves_nothing_behind(path: Path) -> None:
    target = path.with_name("target.jsonl")
    target.write_bytes(b"a\nb\nc\n")
    target.chmod(0o640)
    path.symlink_to(target)
    file = LineFile(str(path))
    file.keep(lambda line: line != b"b")
    file.close()
    assert target.read_bytes() == b"a\nc\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert path.is_symlink()
    assert sorted(path.parent.iterdir()) == [path, target]


def test_a_rewrite_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"a\nb\n")
    file = LineFile(str(path))

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(LineFileError, match=r"cannot be rewritten: Permission denied. It is as it was"):
        file.keep(lambda line: False)
    file.close()
    assert path.read_bytes() == b"a\nb\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("length", [1, 65535, 65536, 65537, 200_000])
def test_what_has_no_end_is_found_and_taken_out_or_ended(path: Path, length: int) -> None:
    for whole in (False, True):
        path.write_bytes(b"one\n" + b"x" * length)
        file = LineFile(str(path))
        assert list(file.read()) == [b"one"]
        assert file.torn() == b"x" * length
        file.mend(whole=whole)
        assert file.torn() == b""
        file.append(b"two")
        file.close()
        assert path.read_bytes().splitlines() == [b"one", *([b"x" * length] if whole else []), b"two"]


def test_a_file_with_nothing_but_half_a_line_is_emptied(path: Path) -> None:
    path.write_bytes(b"half")
    file = LineFile(str(path))
    file.mend(whole=False)
    file.close()
    assert path.read_bytes() == b""


def test_a_disk_that_is_full_keeps_the_lines_before_and_nothing_of_the_last(path: Path) -> None:
    program = f"""
import resource, sys
from cometstream.batch.line_file import LineFile, LineFileError, LineFileLost
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))  # Python ignores SIGXFSZ
file = LineFile({str(path)!r})
file.append(b"one")
try:
    file.append(b"much too long")
except LineFileError as error:
    print(error)
file.append(b"two")
file.close()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert ended.stderr == ""
    assert ended.stdout == f"{path} cannot be written: File too large. Its 1 lines are whole and safe\n"
    assert path.read_bytes() == b"one\ntwo\n"


def test_half_a_line_stays_for_the_next_run_where_it_cannot_be_taken_back(
    file: LineFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(fd: int, data: bytes) -> int:
        if data == b"two\n":
            return write(fd, data[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(LineFileError, match="No space left"):
        file.append(b"two")
    assert path.read_bytes() == b"tw"


def test_lines_of_another_run_are_not_cut_where_files_cannot_be_locked(
    file: LineFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(fd: int, data: bytes) -> int:
        if data == b"two\n":
            write(fd, b"tw")
            write(fd, b"\nother\n")
            return 2
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(LineFileError):
        file.append(b"two")
    assert path.read_bytes() == b"tw\nother\n"


@pytest.mark.parametrize(
    ("number", "warned"), [(errno.ENOLCK, True), (errno.EOPNOTSUPP, True), (errno.EWOULDBLOCK, False)]
)
def test_a_file_system_without_locks_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, warned: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "said the system")

    monkeypatch.setattr(line_file.fcntl, "flock", refuse)
    if not warned:
        with pytest.raises(LineFileError, match="another run"):
            LineFile(str(path))
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        LineFile(str(path)).close()
    assert "cannot be locked (said the system): let no other run write to it" in str(told[0].message)


def test_a_device_is_only_written_to() -> None:
    first, second = LineFile(os.devnull), LineFile(os.devnull)
    first.append(b"one")
    assert (first.regular, first.size, first.lines) == (False, 4, 1)
    first.close()
    second.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_device_that_is_full_says_so() -> None:
    file = LineFile("/dev/full")
    with pytest.raises(LineFileError, match="No space left on device"):
        file.append(b"one")
    file.close()


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(LineFileError, match="Is a directory"):
        LineFile(str(tmp_path))
    with pytest.raises(LineFileError, match="there is no folder"):
        LineFile(str(tmp_path / "none" / "out.jsonl"))


def test_syncing_is_done_once_for_what_was_written_and_its_failure_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    file = LineFile(str(path))
    file.sync()
    file.append(b"one")
    file.sync()
    file.sync()
    assert len(synced) == 1

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    file.append(b"two")
    with pytest.raises(LineFileError, match="The last lines may be lost"):
        file.close()
    LineFile(str(path)).close()  # it was closed all the same


def test_a_file_that_cannot_be_read_says_so(path: Path) -> None:
    file = LineFile(str(path))
    file.append(b"one")
    path.unlink()
    for read in (lambda: list(file.read()), file.torn):
        with pytest.raises(LineFileError, match="cannot be read: No such file"):
            read()
    with pytest.raises(LineFileLost, match="was deleted or moved"):
        file.close()


def _delete(path: Path) -> None:
    path.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_suffix(".1"))


def _replace(path: Path) -> None:
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"another\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_suffix(".1"))


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can be neither deleted nor moved there")
@pytest.mark.parametrize(
    ("lose", "told"),
    [
        (_delete, "was deleted or moved"),
        (_move, "was deleted or moved"),
        (_replace, "was replaced by another file"),
        (_empty, "was emptied or cut .* 0 bytes instead of 4"),
        (_rename_folder, "was deleted or moved"),
    ],
)
def test_a_file_that_is_lost_is_noticed_before_the_next_line_counts(
    tmp_path: Path, lose: Callable[[Path], None], told: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "out"
    file = LineFile(str(path))
    file.append(b"one")
    lose(path)
    with pytest.raises(LineFileLost, match=told):
        file.append(b"two")
    assert file.lines == 1
    with pytest.raises(LineFileLost, match=told):
        file.close()


def test_a_file_that_is_made_has_the_mode_it_was_given(tmp_path: Path) -> None:
    LineFile(str(tmp_path / "private")).close()
    LineFile(str(tmp_path / "shared"), mode=0o640).close()
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_mend_that_fails_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"half")
    file = LineFile(str(path))

    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(LineFileError, match="cannot be repaired: Input/output error"):
        file.mend(whole=False)
    file.close()
