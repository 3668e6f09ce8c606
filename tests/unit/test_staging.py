"""Staging files in the spool: what is hashed is what is kept, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tracker.events.errors import InvalidEvent
from tracker.spool import copying
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


@pytest.mark.parametrize("way", ["without another thread", "shared blocks"])
def test_what_is_kept_does_not_depend_on_how_it_is_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source = folder.parent / "source"
    source.write_bytes(os.urandom(3 * 1024 * 1024 + 17))

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    def share(from_fd: int, to_fd: int) -> bool:
        os.copy_file_range(from_fd, to_fd, 3 * 1024 * 1024 + 17, 0, 0)
        return True

    if way == "shared blocks":
        monkeypatch.setattr(copying, "_reflink", share)
    else:
        monkeypatch.setattr(threading.Thread, "start", no_thread)
    staged = Staging(folder).take_file(source)

    assert staged.path.read_bytes() == source.read_bytes()
    assert hashlib.sha256(source.read_bytes()).hexdigest() == staged.digest


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


@pytest.mark.parametrize("size", [4, 3_000_000])
def test_a_disk_that_is_full_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    source = folder.parent / "source"
    source.write_bytes(b"x" * size)

    def write(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        Staging(folder).take_bytes(b"data")
    with pytest.raises(OSError, match="No space"):
        Staging(folder).take_file(source)
    assert list((folder / "blobs").iterdir()) == []


def test_a_copy_that_is_interrupted_leaves_nothing_behind_and_closes_its_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder.parent / "source"
    source.write_bytes(os.urandom(20 * 1024 * 1024))

    class Interrupting:
        def update(self, data: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(hashlib, "sha256", Interrupting)
    with pytest.raises(KeyboardInterrupt):
        Staging(folder).take_file(source)

    for thread in threading.enumerate():
        if thread.name == "tracker-staging":
            thread.join(10)
    assert list((folder / "blobs").iterdir()) == []
    assert not [link for link in Path("/proc/self/fd").iterdir() if _leads_to(link, folder.parent)]


def _leads_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except FileNotFoundError:  # closed meanwhile
        return False
