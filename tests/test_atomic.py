"""Files are the old one or the new one; locks free themselves; logs survive a cut."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from disperse import atomic
from disperse.errors import LockedError, StorageError


def full(path: Path) -> None:
    """A writer whose disk is full halfway."""
    path.write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    atomic.write_text(target, "old")
    with pytest.raises(
        StorageError, match=r"a\.txt: cannot be written \(No space left on device\)"
    ) as caught:
        atomic.write_file(target, full)
    assert caught.value.exit_code == 3
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_another_error_of_the_writer_passes_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        atomic.write_file(tmp_path / "a.txt", lambda path: path.write_text(str(1 / 0)) and None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_at_the_end_is_no_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    target = tmp_path / "a.txt"
    atomic.write_text(target, "old")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match="Input/output error"):
        atomic.write_text(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_new_file_is_whole_before_it_takes_the_name(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"

    def write(path: Path) -> None:
        assert not target.exists()
        assert path.parent == target.parent  # a rename within one file system
        path.write_text("new")

    atomic.write_file(target, write)
    assert target.read_text() == "new"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("path", ["file", "file/b"])
def test_a_file_in_the_way_is_a_storage_error(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        atomic.write_text(tmp_path / path / "a.txt", "new")
    with pytest.raises(StorageError, match="cannot be written"), atomic.locked(tmp_path / path / "lock"):
        raise AssertionError("not reached")


def fill(target: Path, write: Callable[[Path], None]) -> None:
    with atomic.new_folder(target) as folder:
        (folder / "a").write_text("x")
        write(folder / "b")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(StorageError, match="No space left"):
        fill(target, full)
    assert names(tmp_path) == []
    fill(target, lambda _: target.exists() and pytest.fail("there before its end"))
    assert names(tmp_path) == ["folder"]
    with pytest.raises(StorageError, match="folder: cannot be written"):
        fill(target, lambda path: path.with_name("a").write_text("other") and None)
    assert (target / "a").read_text() == "x"  # never onto one that is there
    assert names(tmp_path) == ["folder"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1.json").write_text("x")
    (tmp_path / ".tmp-2").mkdir()
    (tmp_path / ".tmp-2" / "a").write_text("x")
    (tmp_path / "kept.json").write_text("x")
    atomic.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["kept.json"]


def test_equal_values_have_equal_digests_and_nan_has_none() -> None:
    assert atomic.canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    assert (
        atomic.digest({"b": 1, "a": 2})
        == atomic.digest({"a": 2, "b": 1})
        != atomic.digest({"a": 2, "b": 1.5})
    )
    assert len(atomic.digest(0)) == 12
    for value in (float("nan"), [float("inf")]):
        with pytest.raises(ValueError, match="not JSON compliant"):
            atomic.digest(value)
        with pytest.raises(ValueError, match="not JSON compliant"):
            atomic.write_json(Path("never"), value)


@pytest.mark.parametrize("cut", ['{"step": 2, "lo', "{", '{"step": 2}'])
def test_a_last_line_that_was_cut_is_left_out(tmp_path: Path, cut: str) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n' + cut)
    whole = [{"step": 2}] if cut.endswith("}") else []  # cut before its line end alone
    assert atomic.read_jsonl(log) == [{"step": 1}, *whole]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"step": 1}\n{"ste\n{"step": 3}\n', r"log\.jsonl:2: not JSON"),
        (b'{"step": 1}\n{"ste\n', r"log\.jsonl:2: not JSON"),  # whole lines are not cut ones
        (b'{"step": 1}\n[1]\n', r"log\.jsonl:2: expected an object"),
        (b'{"step": 1}\n{"a": "\xff"}\n', r"log\.jsonl: cannot be read"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(StorageError, match=message):
        atomic.read_jsonl(tmp_path / "log.jsonl")


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert atomic.read_jsonl(tmp_path / "none.jsonl") == []


HOLD = """
import fcntl, os, sys, time
handle = open(sys.argv[1], "a+")
fcntl.flock(handle, fcntl.LOCK_EX)
handle.truncate(0)
print(os.getpid(), file=handle, flush=True)
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_names_its_holder_and_frees_itself_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with atomic.locked(path):
        pass  # makes it; a free lock file does not lock
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(LockedError, match=f"in use by process {holder.pid}") as caught,
            atomic.locked(path),
        ):
            raise AssertionError("not reached")
        assert caught.value.exit_code == 75
        holder.kill()
        holder.wait()
    with atomic.locked(path):
        assert path.read_text() == str(os.getpid())


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640)])
def test_files_are_readable_for_whom_the_umask_lets(tmp_path: Path, umask: int, expected: int) -> None:
    """A colleague on the same cluster must be able to read a run."""

    def private(path: Path) -> None:
        path.touch(mode=0o600)

    before = os.umask(umask)
    try:
        atomic.write_file(tmp_path / "file", private)
        with atomic.new_folder(tmp_path / "folder") as folder:
            private(folder / "inside")
    finally:
        os.umask(before)
    for path in (tmp_path / "file", tmp_path / "folder" / "inside"):
        assert path.stat().st_mode & 0o777 == expected
