"""Staging files in the spool: what is hashed is what is kept, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tracker.events.errors import InvalidEvent
from tracker.spool import staging
from tracker.spool.staging import Staging, staged_files, staged_size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "writer").mkdir()
    return tmp_path / "writer"


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 512 * 1024 + 1, 3 * 1024 * 1024 + 17])
def test_a_file_is_kept_under_the_digest_of_its_bytes(folder: Path, size: int) -> None:
    source = folder.parent / "source"
    source.write_bytes(os.urandom(size))
    staged = Staging(folder).take_file(source)
    source.write_bytes(b"edited later")

    kept = staged.path.read_bytes()
    assert (len(kept), hashlib.sha256(kept).hexdigest()) == (size, staged.digest)
    assert staged.size == size
    assert not staged.was_changing


@pytest.mark.parametrize("is_touched", [False, True])
def test_a_file_left_alone_is_copied_by_the_kernel_unless_it_is_touched_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_touched: bool
) -> None:
    source = folder.parent / "source"
    source.write_bytes(os.urandom(3 * 1024 * 1024 + 17))
    os.utime(source, (1, 1))
    copy_range, calls = staging._copy_range, []

    def copy(from_fd: int, to_fd: int, limit: int) -> bool:
        calls.append(limit)
        if is_touched and len(calls) == 1:
            source.write_bytes(os.urandom(limit))
        return copy_range(from_fd, to_fd, limit)

    monkeypatch.setattr(staging, "_copy_range", copy)
    staged = Staging(folder).take_file(source)
    kept = staged.path.read_bytes()
    assert calls == [len(kept)]
    assert hashlib.sha256(kept).hexdigest() == staged.digest
    assert kept == source.read_bytes()


def test_each_record_has_a_file_of_its_own_and_equal_bytes_lie_once(folder: Path) -> None:
    stage = Staging(folder)
    first, second = stage.take_bytes(b"same"), stage.take_bytes(b"same")

    assert first.digest == second.digest
    assert first.path != second.path
    assert first.path.stat().st_ino == second.path.stat().st_ino
    assert staged_size(folder) == (2, 4)
    first.path.unlink()
    assert stage.take_bytes(b"same").path.read_bytes() == b"same"


def test_a_file_that_was_uploaded_and_removed_is_staged_again(folder: Path) -> None:
    stage = Staging(folder)
    stage.take_bytes(b"same").path.unlink()
    again = stage.take_bytes(b"same")
    assert staged_files(folder)[again.digest] == [again.path]


def test_a_file_that_is_written_to_meanwhile_is_consistent_and_says_so(folder: Path) -> None:
    source = folder.parent / "log"
    source.write_bytes(b"x" * 2_000_000)
    stop = threading.Event()

    def write() -> None:
        with source.open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 200_000_000:
                file.write(b"y" * 10_000)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        staged = Staging(folder).take_file(source)
    finally:
        stop.set()
        writing.join()
    assert staged.was_changing
    assert hashlib.sha256(staged.path.read_bytes()).hexdigest() == staged.digest
    assert len(staged_files(folder)) == 1


def test_what_is_no_regular_file_is_refused_without_waiting(folder: Path) -> None:
    fifo = folder.parent / "fifo"
    os.mkfifo(fifo)
    stage = Staging(folder)
    with pytest.raises(InvalidEvent, match="no regular file"):
        stage.take_file(fifo)
    with pytest.raises(InvalidEvent, match="folder"):
        stage.take_file(folder)
    with pytest.raises(FileNotFoundError):
        stage.take_file(folder / "missing")
    assert staged_files(folder) == {}


def test_a_disk_that_is_full_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        Staging(folder).take_bytes(b"data")
    assert list((folder / "blobs").iterdir()) == []
